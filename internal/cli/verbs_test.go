package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func model(t *testing.T) *kong.Application {
	t.Helper()
	p, err := parser(&verbs{}, IO{Out: io.Discard, Err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return p.Model
}

// TestVerbs holds what the contract asks of every verb: flags that can be set by the environment, help with an example, and
// --json where data is printed.
func TestVerbs(t *testing.T) {
	noData := []string{"serve", "token", "backup", "restore", "completion", "policy dynamodb", "policy trust", "sync rules remove"} // a policy is JSON
	for _, verb := range model(t).Leaves(true) {
		if !strings.Contains(verb.Detail, "Example") || !strings.Contains(verb.Detail, "\n    tenantry "+verb.Path()) && !strings.Contains(verb.Detail, "(tenantry "+verb.Path()) {
			t.Errorf("the help of %s has no example of it", verb.Path())
		}
		json := false
		for _, f := range slices.Concat(verb.AllFlags(false)...) {
			json = json || f.Name == "json"
			if f.Name != "help" && !slices.ContainsFunc(f.Envs, func(env string) bool { return strings.HasPrefix(env, "TENANTRY_") }) {
				t.Errorf("--%s of %s can't be set by the environment", f.Name, verb.Path())
			}
			if f.Help == "" {
				t.Errorf("--%s of %s has no help", f.Name, verb.Path())
			}
			if f.HasDefault && !strings.Contains(f.Help, f.Default) {
				t.Errorf("the help of --%s of %s doesn't say its default, %s", f.Name, verb.Path(), f.Default)
			}
		}
		if !json && !slices.Contains(noData, verb.Path()) {
			t.Errorf("%s has no --json", verb.Path())
		}
	}
}

func TestCandidates(t *testing.T) {
	tests := []struct{ words, want string }{
		{"", "backup completion copy data jobs keys me member policy projection report restore serve setting sync tables tenant token verify version"},
		{"te", "tenant"},
		{"tables create --table-prefix x --ent", "--entities"},
		{"data ", "delete get history list put"},
		{"data --help p", "put"},
		{"data list acme PRODUCT --de", "--deleted --descending"},
		{"data list ", "acme bravo"},
		{"data list acme PRODUCT --limit ", ""},
		{"data list acme PRODUCT --deleted --js", "--json"},
		{"serve --store ", "dynamodb memory postgres sqlite"},
		{"serve --store m", "memory"},
		{"serve --store = m", "memory"},
		{"serve --store =", "dynamodb memory postgres sqlite"},
		{"serve --store = memory --dem", "--demo"},
		{"completion ", "bash fish zsh"},
		{"completion bash ", ""},
		{"tenant show ", "acme bravo"},
		{"tenant show b", "bravo"},
		{"member list ", "acme bravo"},
		{"member add acme ", ""},
		{"nothing of ours ", "backup completion copy data jobs keys me member policy projection report restore serve setting sync tables tenant token verify version"},
	}
	root := model(t).Node
	for _, test := range tests {
		got := strings.Join(candidates(root, strings.Split(test.words, " "), func() []string { return []string{"bravo", "acme"} }), " ")
		if got != test.want {
			t.Errorf("after %q: %q, want %q", test.words, got, test.want)
		}
	}
}

func TestSubjectOf(t *testing.T) {
	for name, want := range map[string]string{
		"root":                    "cli:root",
		`DOMAIN\ann`:              `cli:DOMAIN\ann`,
		"ann lee#1":               "cli:ann_lee_1",
		"jürgen":                  "cli:j_rgen",
		strings.Repeat("x", 1000): "cli:" + strings.Repeat("x", 251),
	} {
		if got := subjectOf(name); got != want {
			t.Errorf("subjectOf(%q) is %q, want %q", name, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"Chair":            "Chair",
		"Stühle 椅子":        "Stühle 椅子",
		"\x1b[31mred":      `\x1b[31mred`,
		"a\tb\nc":          `a\tb\nc`,
		"evil\u202egnp":    `evil\u202egnp`,
		"bad \xff byte":    `bad \ufffd byte`,
		`back\slash "quo"`: `back\slash "quo"`,
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestNegatives(t *testing.T) {
	args := strings.Fields("data put --version -1 a -5 --name=x -3 -- -7")
	want := strings.Fields("data put --version=-1 a -5 --name=x -3 -- -7")
	if got := negatives(args); !slices.Equal(got, want) {
		t.Errorf("negatives are %q, want %q", got, want)
	}
}

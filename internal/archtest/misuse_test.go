package archtest

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMisuse builds every program of testdata/misuse as a module of its own would. Each line with a "want:" comment must
// fail to compile with a message that matches, and no other line may fail, so that a program is refused for its misuse alone.
func TestMisuse(t *testing.T) {
	programs, err := filepath.Glob(filepath.Join(root, "testdata", "misuse", "*.go"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("found %d programs, error %v", len(programs), err)
	}
	module := outsideModule(t)
	for _, path := range programs {
		name := strings.TrimSuffix(filepath.Base(path), ".go")
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(module, name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(module, name, "main.go"), source, 0o666); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wants := wantComments(t, source)
			if control := name == "control"; control != (len(wants) == 0) {
				t.Fatalf("the program expects %d messages; the control, and it alone, expects none", len(wants))
			}
			compare(t, wants, compile(t, module, name))
		})
	}
}

// outsideModule makes a module beside this one that requires it, and whatever it requires, from the module cache.
func outsideModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	gosum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	_, requirements, found := bytes.Cut(gomod, []byte("module "+modulePath+"\n"))
	if !found {
		t.Fatalf("go.mod does not begin with module %s", modulePath)
	}
	text := "module outside\n" + string(requirements) +
		"\nrequire " + modulePath + " v0.0.0\n\nreplace " + modulePath + " => " + strconv.Quote(root) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), gosum, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

var wantComment = regexp.MustCompile(`// want: (.*)$`)

// wantComments returns the expected message of each line that has one.
func wantComments(t *testing.T, source []byte) map[int]*regexp.Regexp {
	t.Helper()
	wants := make(map[int]*regexp.Regexp)
	number := 0
	for line := range strings.Lines(string(source)) {
		number++
		if m := wantComment.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			re, err := regexp.Compile(m[1])
			if err != nil {
				t.Fatalf("line %d: %v", number, err)
			}
			wants[number] = re
		}
	}
	return wants
}

var compilerError = regexp.MustCompile(`main\.go:(\d+):\d+: (.*)`)

// compile builds the program and returns the compiler's messages by line.
func compile(t *testing.T, module, name string) map[int]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "misuse", "-gcflags=-e", "-o", os.DevNull, "./"+name)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	got := make(map[int]string)
	for _, m := range compilerError.FindAllStringSubmatch(string(out), -1) {
		line, convErr := strconv.Atoi(m[1])
		if convErr != nil {
			t.Fatal(convErr)
		}
		got[line] += m[2] + "; "
	}
	if (err != nil) != (len(got) > 0) {
		t.Fatalf("go build: error %v, and a message that no line of the program explains:\n%s", err, out)
	}
	return got
}

func compare(t *testing.T, wants map[int]*regexp.Regexp, got map[int]string) {
	t.Helper()
	for _, line := range slices.Sorted(maps.Keys(wants)) {
		switch message, failed := got[line]; {
		case !failed:
			t.Errorf("line %d compiles; it must fail with %q", line, wants[line])
		case !wants[line].MatchString(message):
			t.Errorf("line %d fails with %q; it must fail with %q", line, message, wants[line])
		}
	}
	for _, line := range slices.Sorted(maps.Keys(got)) {
		if wants[line] == nil {
			t.Errorf("line %d fails with %q; it must compile", line, got[line])
		}
	}
}

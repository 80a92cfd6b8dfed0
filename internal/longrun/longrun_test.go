package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func proved(measured string, err error) func(context.Context, io.Writer, uint64) (string, error) {
	return func(context.Context, io.Writer, uint64) (string, error) { return measured, err }
}

func TestRun(t *testing.T) {
	all := []attempt{
		{"one", "the first", proved("1 of 1", nil)},
		{"two", "the second", proved("0 of 1", errors.New("it broke"))},
		{"three", "the third", proved("3 of 3", nil)},
	}
	for _, tt := range []struct {
		name, args, err string
		want, unwanted  []string
	}{
		{"all, after a failure too", "-seed 7", "1 of 3 proofs failed",
			[]string{"== one: the first (seed 7)", "one      ok           0s  1 of 1", "two      FAILED       0s  0 of 1; it broke", "three    ok           0s  3 of 3"}, nil},
		{"some", "-only three,one", "", []string{"3 of 3", "1 of 1"}, []string{"two"}},
		{"a list", "-list", "", []string{"one      the first", "two      the second"}, []string{"=="}},
		{"a name that is none", "-only four", `no proof "four"`, nil, []string{"=="}},
		{"a flag that is none", "-nly one", "not defined", nil, []string{"=="}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), &out, all, strings.Fields(tt.args))
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			for _, text := range tt.want {
				if !strings.Contains(out.String(), text) {
					t.Errorf("%q is not in:\n%s", text, out.String())
				}
			}
			for _, text := range tt.unwanted {
				if strings.Contains(out.String(), text) {
					t.Errorf("%q is in:\n%s", text, out.String())
				}
			}
		})
	}
}

func TestRunIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	second := false
	err := prove(ctx, io.Discard, []attempt{
		{"one", "", func(context.Context, io.Writer, uint64) (string, error) { stop(); return "", nil }},
		{"two", "", func(context.Context, io.Writer, uint64) (string, error) { second = true; return "", nil }},
	}, 1)
	if !errors.Is(err, context.Canceled) || second {
		t.Errorf("got error %v; the second proof ran: %v", err, second)
	}
}

func TestProofsHaveNames(t *testing.T) {
	names := map[string]bool{}
	for _, p := range attempts() {
		if names[p.name] || p.name == "" || p.what == "" || strings.Contains(p.name, ",") {
			t.Errorf("the name %q stands twice or is none", p.name)
		}
		names[p.name] = true
	}
}

func TestTargets(t *testing.T) {
	got := targets("FuzzA\nFuzzB\nok  \tm/a\t0.01s\nok  \tm/none\t0.01s\n?   \tm/b\t[no test files]\nFuzzC\nok  \tm/c\t0.02s\n")
	want := []target{{"m/a", "FuzzA"}, {"m/a", "FuzzB"}, {"m/c", "FuzzC"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(target{})); diff != "" {
		t.Error(diff)
	}
}

func TestNotes(t *testing.T) {
	var n notes
	for _, part := range []string{"fuzz: elapsed: 3s, execs: 100 (1/sec)\nfuzz: elap", "sed: 6s, execs: 2", "34 (1/sec), new\n    x_test.go:7: measu", "red: 10 of 10\n",
		"--- PASS: TestX (0.1s)\n    --- PASS: TestX/part (0.1s)\n"} {
		if _, err := io.WriteString(&n, part); err != nil {
			t.Fatal(err)
		}
	}
	if n.inputs != 234 || n.passed != 1 || len(n.measured) != 1 || n.measured[0] != "10 of 10" {
		t.Errorf("kept %+v", n)
	}
}

// TestProofByTest runs a proof by go test on this package.
func TestProofByTest(t *testing.T) {
	var out strings.Builder
	measured, err := test(nil, "-run", "^TestTargets$", ".")(t.Context(), &out, 0)
	if err != nil || measured != "1 tests passed" || !strings.Contains(out.String(), "--- PASS: TestTargets") {
		t.Errorf("got %q and error %v:\n%s", measured, err, out.String())
	}
	if _, err := test(nil, "-run", "^TestNoneOfTheseIsThere$", ".")(t.Context(), io.Discard, 0); err == nil {
		t.Error("a proof that runs no test passes")
	}
}

package analysis

import (
	"strings"
	"testing"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/analysistest"
)

func TestZeroScope(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), ZeroScope, "zero", kitPath)
}

func TestMakeScope(t *testing.T) {
	list := guardPath + " New # reason\n" + modulePath + "/listed New # reason\n" + modulePath + "/testslisted_test NewRoot # reason\n"
	analysistest.Run(t, analysistest.TestData(), newMakeScope(list),
		scopePath, guardPath, modulePath+"/listed", modulePath+"/testslisted", modulePath+"/unlisted", "linkname", "kit")
}

func TestCtxIdentity(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), CtxIdentity, "identity", guardPath)
}

func TestHTTPTenant(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), HTTPTenant, "request", httpPath)
}

func TestAnalyzersAreValid(t *testing.T) {
	if err := analysis.Validate(Analyzers()); err != nil {
		t.Fatal(err)
	}
}

func TestParseAllowances(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"comments and empty lines", "# why\n\npath New NewRoot  # reason\n", ""},
		{"no function", "path # reason\n", "allow.txt:1: a line is PATH FUNCTION… # reason"},
		{"no reason", "\npath New\n", "allow.txt:2: a line is PATH FUNCTION… # reason"},
		{"empty reason", "path New #\n", "allow.txt:1: a line is PATH FUNCTION… # reason"},
		{"no such function", "path Forge # reason\n", "allow.txt:1: Forge makes no capability; the functions that do are New, NewSystem, NewRoot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseAllowances(tt.text)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got error %q, want %q", got, tt.want)
			}
		})
	}
	all, err := Allowances()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if !strings.HasPrefix(a.Path+"/", modulePath+"/") {
			t.Errorf("allow.txt lists %s, which can't import internal/scope", a.Path)
		}
	}
}

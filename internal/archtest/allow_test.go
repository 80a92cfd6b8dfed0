package archtest

import (
	"go/ast"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/analysis"
)

// TestAllowListIsUsed finds lines of analysis/allow.txt that allow what nobody does any more.
func TestAllowListIsUsed(t *testing.T) {
	allowances, err := analysis.Allowances()
	if err != nil {
		t.Fatal(err)
	}
	files := goFiles(t, token.NewFileSet())
	for _, a := range allowances {
		dir, testsOnly := strings.CutSuffix(inModule(a.Path), "_test")
		for _, function := range a.Functions {
			used := false
			for _, f := range files {
				if filepath.ToSlash(filepath.Dir(f.path)) == dir && (f.test || !testsOnly) {
					used = used || makes(f.syntax, function)
				}
			}
			if !used {
				t.Errorf("allow.txt lets %s use scope.%s, which it does not; remove it", a.Path, function)
			}
		}
	}
}

// makes reports whether a file mentions a function of package scope, from outside or from within.
func makes(f *ast.File, function string) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			found = found || ok && pkg.Name == "scope" && n.Sel.Name == function
		case *ast.CallExpr:
			fun, ok := n.Fun.(*ast.Ident)
			found = found || ok && f.Name.Name == "scope" && fun.Name == function
		}
		return true
	})
	return found
}

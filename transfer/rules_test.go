package transfer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"testing"
)

// TestEveryWordHasARule reads which words the application keeps rows under: a new one fails here until somebody decides whether it travels.
func TestEveryWordHasARule(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../tenantry.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		name, isIdent := call.Fun.(*ast.Ident)
		literal, isLiteral := call.Args[0].(*ast.BasicLit)
		if isIdent && isLiteral && name.Name == "keeper" {
			word, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[word] = true
		}
		return true
	})
	if len(found) < 11 {
		t.Fatalf("found only the words %q in tenantry.go; look for them where they are now", slices.Sorted(maps.Keys(found)))
	}
	for _, word := range slices.Sorted(maps.Keys(found)) {
		if rules[word] == unknown {
			t.Errorf("nobody decided whether rows of %s travel to another store; give the word a rule, and docs/adr/0013-moving-a-store.md a line", word)
		}
	}
}

package transfer

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// TestEveryWordHasARule reads which words the application keeps rows under: a new one fails here until somebody decides whether it travels.
func TestEveryWordHasARule(t *testing.T) {
	found := map[string]bool{}
	words := func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			word, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[word] = true
		}
		return true
	}
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool { // keeper("WORD"), and store.Keeper(root, record.MustEntityType("WORD"))
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name, isIdent := call.Fun.(*ast.Ident)
			method, isMethod := call.Fun.(*ast.SelectorExpr)
			if isIdent && name.Name == "keeper" || isMethod && method.Sel.Name == "Keeper" {
				ast.Inspect(call, words)
			}
			return true
		})
	}
	if len(found) < 12 {
		t.Fatalf("found only the words %q in the application; look for them where they are now", slices.Sorted(maps.Keys(found)))
	}
	for _, word := range slices.Sorted(maps.Keys(found)) {
		if rules[word] == unknown {
			t.Errorf("nobody decided whether rows of %s travel to another store; give the word a rule, and docs/adr/0013-moving-a-store.md a line", word)
		}
	}
}

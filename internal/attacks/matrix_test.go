package attacks_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tableRow is a row of docs/attacks.md: an ID, then the test that covers it or what it waits for.
var tableRow = regexp.MustCompile("(?m)^\\| ([A-Z]{3}-[0-9]{2}) \\| (?:`internal/attacks ([^`]+)`|(waits for issue [0-9]+|waits for a later issue|not automated yet)) \\| [^|]* \\|$")

// TestDocument checks that docs/attacks.md has exactly the IDs of the matrix, and that the tests it names are those that exist.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "matrix.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID string }
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("the matrix has %d cases: %v", len(cases), err)
	}
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "attacks.md"))
	if err != nil {
		t.Fatal(err)
	}
	stated := map[string]string{}
	for _, m := range tableRow.FindAllStringSubmatch(string(document), -1) {
		if _, twice := stated[m[1]]; twice {
			t.Errorf("%s stands twice in the document", m[1])
		}
		stated[m[1]] = m[2]
	}
	if rows := strings.Count(string(document), "\n| ") - strings.Count(string(document), "\n| ID |"); rows != len(stated) {
		t.Errorf("%d rows of the document have the form of a row, of %d", len(stated), rows)
	}
	played := attacksPlayed(t)
	for _, c := range cases {
		test, ok := stated[c.ID]
		switch {
		case !ok:
			t.Errorf("the document lacks %s", c.ID)
		case test != played[c.ID]:
			t.Errorf("the document says that %q covers %s; it is %q", test, c.ID, played[c.ID])
		}
		delete(stated, c.ID)
		delete(played, c.ID)
	}
	for id := range stated {
		t.Errorf("the document has %s, which is not in the matrix", id)
	}
	for id := range played {
		t.Errorf("a test plays %s, which is not in the matrix", id)
	}
}

// attacksPlayed returns the name of the subtest that plays each ID, as the tests of this package say it.
func attacksPlayed(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	played := map[string]string{}
	for _, file := range files {
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range syntax.Decls {
			test, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(test.Name.Name, "Test") {
				continue
			}
			for id := range attacksIn(test) {
				if _, twice := played[id]; twice {
					t.Errorf("%s is played twice", id)
				}
				played[id] = test.Name.Name + "/" + id
			}
		}
	}
	return played
}

// attacksIn calls yield with the ID of each call of world.attack in a function.
func attacksIn(test *ast.FuncDecl) func(yield func(string) bool) {
	var ids []string
	ast.Inspect(test, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 3 {
			return true
		}
		method, isMethod := call.Fun.(*ast.SelectorExpr)
		id, isText := call.Args[1].(*ast.BasicLit)
		if isMethod && isText && method.Sel.Name == "attack" {
			if text, err := strconv.Unquote(id.Value); err == nil {
				ids = append(ids, text)
			}
		}
		return true
	})
	return slices.Values(ids)
}

package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const maxLines = 600

// goFile is a Go file of the module.
type goFile struct {
	path   string // relative to the module's root
	source []byte
	syntax *ast.File
	test   bool // _test.go
}

// TestHouseRules holds the rules of CONTRIBUTING.md that a reader of the syntax can.
func TestHouseRules(t *testing.T) {
	fset := token.NewFileSet()
	commented := make(map[string]bool) // directories; true where a file has the package comment
	for _, f := range goFiles(t, fset) {
		if lines := bytes.Count(f.source, []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines; a file has one subject and at most %d", f.path, lines, maxLines)
		}
		if mark := unfinished.Find(f.source); mark != nil {
			t.Errorf("%s holds the mark %s; finish the work or write it down elsewhere", f.path, mark)
		}
		if f.test {
			reportTestCalls(t, fset, f)
			continue
		}
		dir := filepath.Dir(f.path)
		commented[dir] = commented[dir] || f.syntax.Doc != nil
		if f.syntax.Name.Name != "main" {
			reportUndocumented(t, fset, f)
		}
	}
	for dir, ok := range commented {
		if !ok {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// unfinished matches the marks of work that somebody left for later.
var unfinished = regexp.MustCompile(`\b(TO[D]O|FIX[M]E|XX[X])\b`)

func goFiles(t *testing.T, fset *token.FileSet) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(fset, path, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		files = append(files, goFile{relative, source, syntax, strings.HasSuffix(name, "_test.go")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// reportTestCalls reports sleeping, which makes a test slow and still not sure, and skipping, which CI can't tell from passing.
func reportTestCalls(t *testing.T, fset *token.FileSet, f goFile) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		switch receiver, _ := fun.X.(*ast.Ident); {
		case receiver == nil:
		case receiver.Name == "time" && fun.Sel.Name == "Sleep":
			t.Errorf("%s: a test sleeps; wait for what it waits for, and inside testing/synctest for time.After", fset.Position(call.Pos()))
		case fun.Sel.Name == "Skip" || fun.Sel.Name == "Skipf" || fun.Sel.Name == "SkipNow":
			t.Errorf("%s: a test is skipped; make it run, or remove it", fset.Position(call.Pos()))
		}
		return true
	})
}

func reportUndocumented(t *testing.T, fset *token.FileSet, f goFile) {
	report := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		for _, doc := range docs {
			if doc != nil {
				return
			}
		}
		if name.IsExported() {
			t.Errorf("%s: %s has no doc comment", fset.Position(name.Pos()), name.Name)
		}
	}
	for _, decl := range f.syntax.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if receiver := receiverName(d); receiver == "" || token.IsExported(receiver) {
				report(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					report(s.Name, s.Doc, d.Doc)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						report(name, s.Doc, s.Comment, d.Doc)
					}
				}
			}
		}
	}
}

// receiverName returns the name of the type that d is a method of, "" for a function.
func receiverName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return "_"
		}
	}
}

package guide_test

import (
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/go/packages"
)

const root = "../.."

// goName matches a Go identifier in a document: `guard.Scope`, `data.Service.List`.
var goName = regexp.MustCompile("`([a-z]+)((?:\\.[A-Z][A-Za-z]*)+)`")

// TestDocumentsNameWhatExists finds every Go identifier of the documents in the packages of this module.
func TestDocumentsNameWhatExists(t *testing.T) {
	for document, atLeast := range map[string]int{"README.md": 2, "docs/from-mbc-cqrs-serverless.md": 100} {
		text, err := os.ReadFile(filepath.Join(root, document))
		if err != nil {
			t.Fatal(err)
		}
		names := goName.FindAllStringSubmatch(string(text), -1)
		if len(names) < atLeast {
			t.Errorf("%s names %d Go identifiers, fewer than %d: they are not found any more", document, len(names), atLeast)
		}
		module := load(t, names)
		for _, name := range names {
			if !declares(module[name[1]], strings.Split(name[2], ".")[1:]) {
				t.Errorf("%s names %s, which does not exist", document, name[0])
			}
		}
	}
}

// load returns the packages that names begin with, by name. Package tenantry stands in the module's root, the others beside it.
func load(t *testing.T, names [][]string) map[string]*types.Package {
	t.Helper()
	var paths []string
	for _, name := range names {
		path := "./" + strings.TrimPrefix(name[1], "tenantry")
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	loaded, err := packages.Load(&packages.Config{Context: t.Context(), Dir: root, Mode: packages.NeedName | packages.NeedTypes}, paths...)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*types.Package{}
	for _, p := range loaded {
		for _, err := range p.Errors {
			t.Errorf("package %s: %v", p.PkgPath, err)
		}
		byName[p.Name] = p.Types
	}
	return byName
}

// declares reports whether path is an identifier of pkg, or a field or method of one.
func declares(pkg *types.Package, path []string) bool {
	if pkg == nil {
		return false
	}
	object := pkg.Scope().Lookup(path[0])
	for _, name := range path[1:] {
		if object == nil {
			return false
		}
		object, _, _ = types.LookupFieldOrMethod(object.Type(), true, pkg, name)
	}
	return object != nil
}

// TestReadmeShowsTheProgram holds the library's quick start to the program that is tested.
func TestReadmeShowsTheProgram(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(root, "examples/products/main.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(readme), "```go\n")
	shown, _, found := strings.Cut(shown, "```\n")
	if !found || !strings.HasSuffix(string(program), shown) {
		t.Errorf("the Go code of README.md is not the end of examples/products/main.go:\n%s", shown)
	}
}

// TestSectionsHaveTheirExamples compares the table of README.md with the Examples of this package.
func TestSectionsHaveTheirExamples(t *testing.T) {
	declared := occurrences(t, "*_test.go", regexp.MustCompile(`(?m)^func (Example_\w+)\(`))
	listed := occurrences(t, "README.md", regexp.MustCompile("`(Example_\\w+)`"))
	if len(declared) == 0 {
		t.Fatal("this package has no Examples")
	}
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("Examples that are declared (-) and listed in README.md (+):\n%s", diff)
	}
}

// occurrences returns what the first group of pattern matches in the files of a glob, sorted.
func occurrences(t *testing.T, glob string, pattern *regexp.Regexp) (found []string) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range pattern.FindAllStringSubmatch(string(text), -1) {
			found = append(found, match[1])
		}
	}
	slices.Sort(found)
	return found
}

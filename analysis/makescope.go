package analysis

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
)

// makers are the functions of internal/scope that make a capability.
var makers = []string{"New", "NewSystem", "NewRoot"}

// MakeScope reports uses of the functions that make a capability outside the packages that allow.txt lists, imports of
// tenantrytest, which hands out capabilities, outside tests, and go:linkname directives, the one way around the compiler's
// own check of internal packages.
var MakeScope = newMakeScope(allowText)

func newMakeScope(allow string) *analysis.Analyzer {
	return &analysis.Analyzer{
		Name:     "makescope",
		Doc:      "report capabilities that are made outside the packages which analysis/allow.txt lists",
		Requires: []*analysis.Analyzer{inspect.Analyzer},
		Run: func(pass *analysis.Pass) (any, error) {
			allowances, err := parseAllowances(allow)
			if err != nil {
				return nil, err
			}
			reportMakers(pass, allowances)
			reportKit(pass)
			reportLinknames(pass)
			return nil, nil
		},
	}
}

func reportMakers(pass *analysis.Pass, allowances []Allowance) {
	path := strings.TrimSuffix(pass.Pkg.Path(), "_test")
	root := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).Root()
	for cur := range root.Preorder((*ast.Ident)(nil)) {
		obj := pass.TypesInfo.Uses[cur.Node().(*ast.Ident)]
		if declaringPath(obj) != scopePath || obj.Parent() != obj.Pkg().Scope() || !slices.Contains(makers, obj.Name()) {
			continue
		}
		test := inTest(pass, cur.Node())
		allowed := slices.ContainsFunc(allowances, func(a Allowance) bool {
			return slices.Contains(a.Functions, obj.Name()) && (a.Path == path || test && a.Path == path+"_test")
		})
		if !allowed {
			pass.ReportRangef(cur.Node(), "Package %s may not make a capability with scope.%s; take a guard.Scope or guard.System as an argument, or list the package with a reason in analysis/allow.txt.", pass.Pkg.Path(), obj.Name())
		}
	}
}

func reportKit(pass *analysis.Pass) {
	for _, file := range pass.Files {
		for _, spec := range file.Imports {
			if spec.Path.Value == strconv.Quote(kitPath) && !inTest(pass, spec) {
				pass.ReportRangef(spec, "Package tenantrytest gives any Scope to whoever asks; import it in tests only.")
			}
		}
	}
}

func reportLinknames(pass *analysis.Pass) {
	for _, file := range pass.Files {
		for _, group := range file.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname ") && strings.Contains(c.Text, scopePath+".") {
					pass.ReportRangef(c, "This directive reaches into internal/scope past the compiler; obtain capabilities from the guard.")
				}
			}
		}
	}
}

package analysis

import (
	"go/ast"
	"go/constant"
	"go/types"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/edge"
	"golang.org/x/tools/go/ast/inspector"
)

// ZeroScope reports zero capabilities: the literal guard.Scope{}, new(guard.Scope), and a variable that is read before
// it was assigned on every path. A zero value beside an error or beside false is what Go returns for "none" and is left
// alone, as are named results, struct fields, and test files, whose subject it may be that the zero value is refused.
var ZeroScope = &analysis.Analyzer{
	Name:     "zeroscope",
	Doc:      "report zero values of guard.Scope, guard.System and auth.Principal, which every operation refuses",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      runZeroScope,
}

const zeroAdvice = "is the zero value, which every operation refuses; obtain a real one from the guard, and test a Scope or System with its Check method"

func runZeroScope(pass *analysis.Pass) (any, error) {
	root := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).Root()
	for cur := range root.Preorder((*ast.CompositeLit)(nil), (*ast.CallExpr)(nil), (*ast.ValueSpec)(nil)) {
		if inTest(pass, cur.Node()) {
			continue
		}
		switch n := cur.Node().(type) {
		case *ast.CompositeLit:
			name := capability(pointee(pass.TypesInfo.TypeOf(n))) // a pointer in []*guard.Scope{{}}
			if name != "" && len(n.Elts) == 0 && !besideRefusal(pass.TypesInfo, cur) {
				pass.ReportRangef(n, "%s{} %s.", name, zeroAdvice)
			}
		case *ast.CallExpr:
			if name := newOf(pass.TypesInfo, n); name != "" {
				pass.ReportRangef(n, "new(%s) points to what %s.", name, zeroAdvice)
			}
		case *ast.ValueSpec:
			if len(n.Values) == 0 && n.Type != nil {
				checkVariables(pass, cur, n)
			}
		}
	}
	return nil, nil
}

// newOf returns the name of the capability T where call is new(T), else "".
func newOf(info *types.Info, call *ast.CallExpr) string {
	fun, ok := ast.Unparen(call.Fun).(*ast.Ident)
	if !ok || info.Uses[fun] != types.Universe.Lookup("new") || !info.Types[call.Args[0]].IsType() {
		return ""
	}
	return capability(info.TypeOf(call.Args[0]))
}

// besideRefusal reports whether the expression at cur is a result that is returned together with, as the last one,
// an error that is not the literal nil, or the constant false.
func besideRefusal(info *types.Info, cur inspector.Cursor) bool {
	if cur.ParentEdgeKind() != edge.ReturnStmt_Results {
		return false
	}
	results := cur.Parent().Node().(*ast.ReturnStmt).Results
	last := results[len(results)-1]
	tv := info.Types[last]
	if tv.Value != nil {
		return tv.Value.Kind() == constant.Bool && !constant.BoolVal(tv.Value)
	}
	errorType := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	return !tv.IsNil() && types.Implements(tv.Type, errorType)
}

// checkVariables reports the variables of spec, which are declared without a value, that hold a zero capability when they are read.
func checkVariables(pass *analysis.Pass, cur inspector.Cursor, spec *ast.ValueSpec) {
	name := capability(pass.TypesInfo.TypeOf(spec.Type))
	if name == "" {
		return
	}
	body, local := enclosingBody(cur)
	for _, ident := range spec.Names {
		v, ok := pass.TypesInfo.Defs[ident].(*types.Var)
		if !ok || ident.Name == "_" {
			continue
		}
		if !local {
			pass.ReportRangef(ident, "The package variable %s begins as the zero %s, which every operation refuses; pass capabilities as arguments.", ident.Name, name)
			continue
		}
		uses := usesOf(pass.TypesInfo, body, v)
		if len(uses.writes) == 0 {
			pass.ReportRangef(ident, "The variable %s of type %s is never assigned and %s.", ident.Name, name, zeroAdvice)
		} else if read := uses.earlyRead(body.Node().(*ast.BlockStmt), spec); read != nil {
			pass.ReportRangef(read, "The variable %s may still hold the zero %s here, which every operation refuses; assign it from the guard on every path that leads here.", ident.Name, name)
		}
	}
}

// enclosingBody returns the body of the innermost function around cur.
func enclosingBody(cur inspector.Cursor) (inspector.Cursor, bool) {
	for f := range cur.Enclosing((*ast.FuncDecl)(nil), (*ast.FuncLit)(nil)) {
		for body := range f.Children() {
			if _, ok := body.Node().(*ast.BlockStmt); ok {
				return body, true
			}
		}
	}
	return inspector.Cursor{}, false
}

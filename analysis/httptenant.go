package analysis

import (
	"go/ast"
	"go/constant"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
)

// HTTPTenant reports reads of a tenant from an HTTP request's header, path, query or form outside guard and httpapi:
// what a request mentions is a wish until the guard has compared it with the token. Responses, and test files, are left alone.
var HTTPTenant = &analysis.Analyzer{
	Name:     "httptenant",
	Doc:      "report reads of a tenant from an HTTP request that pass the guard by",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      runHTTPTenant,
}

// requestReaders are the methods that read a named value of a request.
var requestReaders = map[string]bool{
	"(net/http.Header).Get":             true,
	"(net/http.Header).Values":          true,
	"(net/url.Values).Get":              true,
	"(*net/http.Request).PathValue":     true,
	"(*net/http.Request).FormValue":     true,
	"(*net/http.Request).PostFormValue": true,
}

func runHTTPTenant(pass *analysis.Pass) (any, error) {
	if inPackage(pass, guardPath, httpPath) {
		return nil, nil
	}
	root := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).Root()
	for cur := range root.Preorder((*ast.CallExpr)(nil)) {
		call := cur.Node().(*ast.CallExpr)
		fun, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
		if !ok || len(call.Args) != 1 || inTest(pass, call) {
			continue
		}
		method, ok := pass.TypesInfo.Uses[fun.Sel].(*types.Func)
		if !ok || !requestReaders[method.FullName()] || ofResponse(pass.TypesInfo, fun.X) {
			continue
		}
		name := pass.TypesInfo.Types[call.Args[0]].Value
		if name != nil && name.Kind() == constant.String && strings.Contains(strings.ToLower(constant.StringVal(name)), "tenant") {
			pass.ReportRangef(call, "This takes a tenant from the request before the guard has compared it with the token; let the guard yield a guard.Scope, and ask that for its Tenant.")
		}
	}
	return nil, nil
}

// ofResponse reports whether x is the header or the trailer of an http.Response.
func ofResponse(info *types.Info, x ast.Expr) bool {
	sel, ok := ast.Unparen(x).(*ast.SelectorExpr)
	if !ok {
		return false
	}
	named, ok := types.Unalias(pointee(info.TypeOf(sel.X))).(*types.Named)
	return ok && declaringPath(named.Obj()) == "net/http" && named.Obj().Name() == "Response"
}

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

// CtxIdentity reports calls of context.Context's Value, outside package guard, with a key that stands for who is calling:
// its type is declared in guard, auth or internal/scope, or its type, its name or its text speaks of a tenant, a user and the like.
// A value in a context is whatever the last caller put there.
var CtxIdentity = &analysis.Analyzer{
	Name:     "ctxidentity",
	Doc:      "report reads of a tenant's or a user's identity from a context outside package guard",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      runCtxIdentity,
}

func runCtxIdentity(pass *analysis.Pass) (any, error) {
	if inPackage(pass, guardPath) {
		return nil, nil
	}
	root := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector).Root()
	for cur := range root.Preorder((*ast.CallExpr)(nil)) {
		call := cur.Node().(*ast.CallExpr)
		fun, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
		if !ok || fun.Sel.Name != "Value" || len(call.Args) != 1 || !isContext(pass.TypesInfo.TypeOf(fun.X)) {
			continue
		}
		if isIdentityKey(pass.TypesInfo, call.Args[0]) {
			pass.ReportRangef(call, "This reads who is calling from a context, which holds whatever the last caller put there; take a guard.Scope or the principal as an argument, or ask package guard.")
		}
	}
	return nil, nil
}

// isContext reports whether t has the methods of context.Context, as gin's and other frameworks' own contexts do.
func isContext(t types.Type) bool {
	for _, name := range []string{"Deadline", "Done", "Err", "Value"} {
		obj, _, _ := types.LookupFieldOrMethod(t, true, nil, name)
		if _, ok := obj.(*types.Func); !ok {
			return false
		}
	}
	return true
}

func isIdentityKey(info *types.Info, key ast.Expr) bool {
	key = ast.Unparen(key)
	tv := info.Types[key]
	if tv.Value != nil && tv.Value.Kind() == constant.String && namesIdentity(constant.StringVal(tv.Value)) {
		return true
	}
	switch k := key.(type) {
	case *ast.UnaryExpr:
		return isIdentityKey(info, k.X)
	case *ast.Ident:
		if namesIdentity(k.Name) {
			return true
		}
	case *ast.SelectorExpr:
		if namesIdentity(k.Sel.Name) {
			return true
		}
	}
	named, ok := types.Unalias(pointee(tv.Type)).(*types.Named)
	if !ok {
		return false
	}
	switch declaringPath(named.Obj()) {
	case guardPath, authPath, scopePath:
		return true
	}
	return namesIdentity(named.Obj().Name())
}

// namesIdentity reports whether text, in any case, holds a word for who is calling.
func namesIdentity(text string) bool {
	text = strings.ToLower(text)
	text = strings.NewReplacer("useragent", "", "user-agent", "", "user_agent", "").Replace(text)
	for _, word := range []string{"tenant", "scope", "principal", "claims", "identity", "user"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

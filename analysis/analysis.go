// Package analysis holds the analyzers that keep code inside the rules which the compiler can't check:
//
//   - zeroscope: no zero Scope, System or Principal is made where a real one is needed;
//   - makescope: no capability is made outside the packages that allow.txt lists, nor taken from the test kit;
//   - ctxidentity: nobody but package guard reads who is calling from a context;
//   - httptenant: nobody but the guard and the HTTP layer reads a tenant from a request.
//
// They run on the code of applications as well as on this module's own:
//
//	go install github.com/tenantry/tenantry/cmd/tenantry-vet@latest
//	go vet -vettool=$(go env GOPATH)/bin/tenantry-vet ./...
//
// A single analyzer is chosen as any of go vet's is: -zeroscope runs that one only, -zeroscope=false all others.
package analysis

import (
	"go/ast"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

const (
	modulePath = "github.com/tenantry/tenantry"
	scopePath  = modulePath + "/internal/scope"
	guardPath  = modulePath + "/guard"
	authPath   = modulePath + "/auth"
	httpPath   = modulePath + "/httpapi"
	kitPath    = modulePath + "/tenantrytest"
)

// Analyzers returns the analyzers of this package.
func Analyzers() []*analysis.Analyzer {
	return []*analysis.Analyzer{ZeroScope, MakeScope, CtxIdentity, HTTPTenant}
}

// capabilities are the types whose zero value is refused, by the names that they go by in users' code.
var capabilities = map[string]string{
	scopePath + ".Scope":    "guard.Scope",
	scopePath + ".System":   "guard.System",
	scopePath + ".Root":     "scope.Root",
	authPath + ".Principal": "auth.Principal",
}

// capability returns the name of t where it is a capability, else "".
func capability(t types.Type) string {
	named, ok := types.Unalias(t).(*types.Named)
	if !ok {
		return ""
	}
	return capabilities[declaringPath(named.Obj())+"."+named.Obj().Name()]
}

// pointee returns what t points to, and t where it is no pointer.
func pointee(t types.Type) types.Type {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		return p.Elem()
	}
	return t
}

// declaringPath returns the import path of the package that declares obj, "" for a predeclared one.
func declaringPath(obj types.Object) string {
	if obj == nil || obj.Pkg() == nil {
		return ""
	}
	return obj.Pkg().Path()
}

// inPackage reports whether the code under analysis is one of the packages paths, or the tests of one.
func inPackage(pass *analysis.Pass, paths ...string) bool {
	return slices.Contains(paths, strings.TrimSuffix(pass.Pkg.Path(), "_test"))
}

// inTest reports whether n stands in a _test.go file, or in a package that serves tests and is named so, as httptest is.
func inTest(pass *analysis.Pass, n ast.Node) bool {
	return strings.HasSuffix(pass.Fset.File(n.Pos()).Name(), "_test.go") || strings.HasSuffix(pass.Pkg.Name(), "test")
}

package archtest

import (
	"go/types"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

// textTenants lists where a tenant or a partition key may stand as text in the exported API, and why that reaches no data.
var textTenants = map[string]string{
	"record.SplitPK pk":                  "takes a text apart and gives access to nothing",
	"record.ParseKey pk":                 "refuses a key of another tenant than its Scope's",
	"record.Record.PK":                   "a row as it was read; requests name records by Key",
	"storage/dynamodb.Config.TenantRole": "names the role of all tenants' sessions, not a tenant",
	"record.Record.TenantCode":           "a row as it was read; requests name records by Key",
	"guard.Mentions.PKs":                 "what a request names, for the guard to compare with what its caller may use",
	"route.Operation.PathTenant":         "names a parameter of a path, not a tenant",
	"tenants.ParseRef pk":                "takes the path of a route apart and gives access to nothing",
	"storage/driver.Ref.PK":              "the engine seam, which only package storage holds",
	"storage/driver.Range.PK":            "the engine seam, which only package storage holds",
	"client.Which.PK":                    "what an operator names, for the server to compare with what waits",
	"storage/driver.Tx.As tenant":        "the engine seam, which only package storage hands out",

	"storage/dynamodb/changelog.Owns pk": "says whose the rows of a partition are and gives access to nothing",
}

// TestNoTenantAsText finds every exported function and method of the public packages that takes a tenant or a partition key
// as text, be it in a field of a struct: what touches data takes a Scope, and keys that were made from one.
func TestNoTenantAsText(t *testing.T) {
	cfg := &packages.Config{Mode: packages.NeedName | packages.NeedTypes, Dir: root, Context: t.Context()}
	loaded, err := packages.Load(cfg, "./...")
	if err != nil {
		t.Fatal(err)
	}
	found := make(texts)
	for _, pkg := range loaded {
		if len(pkg.Errors) > 0 {
			t.Fatal(pkg.Errors[0])
		}
		if isPublic(inModule(pkg.PkgPath)) {
			found.inPackage(pkg.Types)
		}
	}
	for place := range found {
		if textTenants[place] == "" {
			t.Errorf("%s is a tenant or a partition key as text; take a guard.Scope or a record.Key, or list it in textTenants with a reason", place)
		}
	}
	for place := range textTenants {
		if !found[place] {
			t.Errorf("textTenants lists %s, which no exported function takes; remove it", place)
		}
	}
}

// isPublic reports whether applications import the package.
func isPublic(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "internal", "cmd", "examples", "bench", "analysis":
			return false
		}
	}
	return true
}

// texts are the places where a tenant is taken as text: "record.ParseKey pk", "record.Record.PK".
type texts map[string]bool

func (found texts) inPackage(pkg *types.Package) {
	for _, name := range pkg.Scope().Names() {
		place := inModule(pkg.Path()) + "." + name
		switch obj := pkg.Scope().Lookup(name).(type) {
		case *types.Func:
			if obj.Exported() {
				found.inParameters(place, obj.Signature())
			}
		case *types.TypeName:
			if obj.Exported() {
				found.inMethods(place, obj.Type())
			}
		}
	}
}

// inMethods looks at all exported methods of t, promoted and interface ones included.
func (found texts) inMethods(place string, t types.Type) {
	if !types.IsInterface(t) {
		t = types.NewPointer(t)
	}
	for selection := range types.NewMethodSet(t).Methods() {
		if method := selection.Obj().(*types.Func); method.Exported() {
			found.inParameters(place+"."+method.Name(), method.Signature())
		}
	}
}

func (found texts) inParameters(place string, signature *types.Signature) {
	for parameter := range signature.Params().Variables() {
		if isTextTenant(parameter) {
			found[place+" "+parameter.Name()] = true
		}
		found.inFields(parameter.Type(), make(map[types.Type]bool))
	}
}

// inFields looks at the exported fields of a struct of this module, and of the structs in it.
func (found texts) inFields(t types.Type, seen map[types.Type]bool) {
	named, ok := types.Unalias(element(t)).(*types.Named)
	if !ok || seen[named] || named.Obj().Pkg() == nil || inModule(named.Obj().Pkg().Path()) == "" {
		return
	}
	seen[named] = true
	s, ok := named.Underlying().(*types.Struct)
	if !ok {
		return
	}
	for field := range s.Fields() {
		if !field.Exported() {
			continue
		}
		if isTextTenant(field) {
			found[inModule(named.Obj().Pkg().Path())+"."+named.Obj().Name()+"."+field.Name()] = true
		}
		found.inFields(field.Type(), seen)
	}
}

// isTextTenant reports whether v is named like a tenant or a partition key and holds text, one or several.
func isTextTenant(v *types.Var) bool {
	name := strings.ToLower(v.Name())
	if !strings.Contains(name, "tenant") && !strings.Contains(name, "partition") && name != "pk" && name != "pks" {
		return false
	}
	basic, ok := element(v.Type()).Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsString != 0
}

// element returns what t is one, a pointer to one, or a list of.
func element(t types.Type) types.Type {
	for {
		switch u := types.Unalias(t).(type) {
		case *types.Slice:
			t = u.Elem()
		case *types.Pointer:
			t = u.Elem()
		default:
			return t
		}
	}
}

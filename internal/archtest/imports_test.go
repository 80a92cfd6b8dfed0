package archtest

import (
	"encoding/json"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// layers lists the packages of the module from the ground up, as patterns of paths inside it: a package may import what
// stands on the lines above its own, nothing beside it and nothing below.
var layers = [][]string{
	{"fault"},
	{"tenant"},
	{"internal/scope", "cache"},
	{"record"},
	{"entity", "auth", "storage/driver", "storage/dynamodb/changelog", "storage/dynamodb/dynamodbtest"},
	{"guard", "storage", "storage/memory", "storage/sqlite", "storage/postgres", "storage/dynamodb"},
	{"storage/storagetest", "storage/postgres/postgrestest"},
	{"readmodel"},
	{"command", "data", "projection", "feed"},
	{"route"},
	{"audit", "jobs"},
	{"upkeep"},
	{"records", "tenants", "members", "settings", "events", "tenantsync", "report", "webhooks"},
	{"integrity", "transfer"},
	{"."},
	{"httpapi", "console", "client", "lambda", "internal/demo"},
	{"internal/cli", "tenantrytest", "internal/worldtest", "internal/proof"},
	{"internal/apitest"},
	{"internal/attacks", "bench/baseline", "bench/load"},
	{"cmd/tenantry", "cmd/tenantry-lambda", "examples/*", "bench", "bench/*"},

	{"analysis", "internal/archtest", "internal/check", "internal/crash", "internal/mutants"},
	{"internal/longrun"},
	{"cmd/tenantry-vet"},
}

// only lists the packages that may import less of the module than their layer lets them.
var only = map[string][]string{
	"auth":                {"fault", "tenant", "internal/scope", "record"},
	"guard":               {"fault", "tenant", "internal/scope", "record", "auth"},
	"storage":             {"fault", "tenant", "internal/scope", "record", "storage/driver"},
	"storage/storagetest": {"fault", "tenant", "internal/scope", "record", "storage/driver", "storage/memory"},
	"analysis":            {},
	"internal/archtest":   {},
	"internal/check":      {},
	"internal/mutants":    {},
	"cmd/tenantry-vet":    {"analysis"},
}

// An engine knows the seam and nothing above it; beside tests, only what puts a whole program together knows an engine.
var (
	engines         = []string{"storage/memory", "storage/sqlite", "storage/postgres", "storage/dynamodb"}
	engineMayImport = []string{"fault", "tenant", "record", "storage/driver", "storage/dynamodb/changelog"}
	mayImportEngine = []string{"storage/storagetest", "cmd/tenantry", "internal/cli", "tenantrytest", "internal/worldtest", "internal/apitest", "internal/crash", "internal/longrun", "examples/*", "bench", "bench/*"}
)

// ground lists the packages that import nothing but the standard library and each other.
var ground = []string{"fault", "tenant", "internal/scope"}

func TestImportsPointDown(t *testing.T) {
	for _, p := range listPackages(t) {
		own := layerOf(p.path)
		if own < 0 {
			t.Errorf("%s has no place in the layers; give it one", p.path)
			continue
		}
		allowed, restricted := only[p.path]
		if slices.Contains(engines, p.path) {
			allowed, restricted = engineMayImport, true
		}
		for _, imported := range p.inside {
			if layerOf(imported) >= own {
				t.Errorf("%s imports %s, which does not stand below it", p.path, imported)
			}
			if restricted && !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s; of this module it may import %q only", p.path, imported, allowed)
			}
			if slices.Contains(engines, imported) && !matchesAny(mayImportEngine, p.path) {
				t.Errorf("%s imports the engine %s; it takes a driver.Source from its caller", p.path, imported)
			}
		}
		if slices.Contains(ground, p.path) {
			for _, imported := range p.outside {
				if host, _, _ := strings.Cut(imported, "/"); strings.Contains(host, ".") {
					t.Errorf("%s imports %s; it may import the standard library only", p.path, imported)
				}
			}
		}
	}
}

// listedPackage is a package of the module and what its code, without tests, imports.
type listedPackage struct {
	path    string   // inside the module, "." for its root
	inside  []string // paths inside the module
	outside []string // import paths of other modules and of the standard library
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		listed := listedPackage{path: inModule(p.ImportPath)}
		for _, imported := range p.Imports {
			if inside := inModule(imported); inside != "" {
				listed.inside = append(listed.inside, inside)
			} else {
				listed.outside = append(listed.outside, imported)
			}
		}
		all = append(all, listed)
	}
	if len(all) < len(ground) {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

// inModule returns an import path as a path inside the module, "" for one outside it.
func inModule(importPath string) string {
	if importPath == modulePath {
		return "."
	}
	inside, found := strings.CutPrefix(importPath, modulePath+"/")
	if !found {
		return ""
	}
	return inside
}

// layerOf returns the line that pkg stands on, -1 for none.
func layerOf(pkg string) int {
	return slices.IndexFunc(layers, func(patterns []string) bool { return matchesAny(patterns, pkg) })
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		matched, err := path.Match(pattern, pkg)
		return matched && err == nil
	})
}

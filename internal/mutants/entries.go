package main

// mutants are the bugs, by the rule that they break.
var mutants = []mutant{
	{
		name: "any package makes a scope",
		file: "analysis/makescope.go",
		old:  `(a.Path == path || test && a.Path == path+"_test")`,
		new:  `(path != "" || test)`,
		test: []string{"-run", "TestMakeScope", "./analysis"},
	},
	{
		name: "a zero scope in a variable goes unseen",
		file: "analysis/assignment.go",
		old:  `if read != nil || written {`,
		new:  `if written {`,
		test: []string{"-run", "TestZeroScope", "./analysis"},
	},
	{
		name: "data is read by the tenant's name",
		file: "data/data.go",
		old:  "func notFound() error",
		new:  "func (s *Service) Of(tenantCode string) *Service { return s }\n\nfunc notFound() error",
		test: []string{"-run", "TestNoTenantAsText", "./internal/archtest"},
	},
	{
		name: "a store answers without a scope",
		file: "storage/store.go",
		old:  "// Engine returns the engine's name",
		new:  "func (s *Store) Get(context.Context, record.Key) (*record.Record, error) { return nil, nil }\n\n// Engine returns the engine's name",
		test: []string{"-run", "TestMisuse/unscoped_store", "./internal/archtest"},
	},
	{
		name: "the last segment of a PK names its tenant",
		file: "record/key.go",
		old:  "code, err := tenant.Parse(text)",
		new:  "_ = text\n\tcode, err := tenant.Parse(tail[strings.LastIndex(tail, Separator)+1:])",
		test: []string{"-run", "TestSplitPK", "./record"},
	},
	{
		name: "a scope takes another tenant's key",
		file: "record/key.go",
		old:  "if code != sc.Tenant() {",
		new:  "if code.IsZero() {",
		test: []string{"-run", "TestKeysOfAScope", "./record"},
	},
	{
		name: "a tenant code is lower-cased as Unicode",
		file: "tenant/tenant.go",
		old:  "\tif text == \"\" {",
		new:  "\ttext = strings.ToLower(text)\n\tif text == \"\" {",
		test: []string{"-run", "TestParse", "./tenant"},
	},
	{
		name: "a missing tenant is answered as a missing token",
		file: "fault/status.go",
		old:  "TenantRequired:       {http.StatusForbidden, 3},",
		new:  "TenantRequired:       {http.StatusUnauthorized, 3},",
		test: []string{"-run", "TestStatuses", "./fault"},
	},
}

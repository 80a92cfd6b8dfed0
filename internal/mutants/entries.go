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
}

// Package tenantry builds multi-tenant CQRS applications that keep every tenant's data apart by construction.
//
// An [App] is a store with the services over it. The tenant of a call comes from a verified token; the guard turns token and request
// into a [guard.Scope], and only a Scope reaches data. Every change is a versioned command in a log that is also the audit
// trail.
//
//	app, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At("data")})
//	…
//	handler, err := httpapi.New(app, httpapi.Config{})
//	http.ListenAndServe("127.0.0.1:8080", handler)
//
// A product team declares its entity types with [NewEntity], and reads and writes them through the typed [Repository] that
// goes with one. The program in examples/products is the shortest that is whole.
package tenantry

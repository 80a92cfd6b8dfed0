// Package tenantry builds multi-tenant CQRS applications that keep every tenant's data apart by construction.
//
// An [App] is a store with the services over it. The tenant of a call comes from a verified token; the guard turns token and request
// into a [guard.Scope], and only a Scope reaches data. Every change is a versioned command in a log that is also the audit
// trail.
//
//	app, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At("data")})
//	…
//	err = httpapi.ListenAndServe(ctx, app, "127.0.0.1:8080", httpapi.Config{})
//
// A product team declares its entity types with [NewEntity], and reads and writes them through the typed [Repository] that
// goes with one. The rest is in the [Config] too: Handlers (package projection) run after commands, Model (package readmodel)
// is tables that follow them, Jobs (package jobs) are work in the background, and Routes (package route) operations of its own. The
// example shows them together; examples/products is the shortest program that is whole. A program that serves by itself, with
// httpapi.New, begins all that with [App.Start].
package tenantry

//go:build misuse

// A store that is read without the view which a scope yields, and entered without a scope.
package main

import (
	"context"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

func read(ctx context.Context, store *storage.Store, key record.Key) {
	store.Get(ctx, key) // want: store\.Get undefined \(type \*storage\.Store has no field or method Get\)
}

func enter(store *storage.Store) {
	store.In()                // want: not enough arguments in call to store\.In
	store.In("acme")          // want: cannot use "acme" \(untyped string constant\) as scope\.Scope value in argument to store\.In
	store.In(tenant.Common()) // want: cannot use tenant\.Common\(\) \(value of struct type tenant\.Code\) as scope\.Scope value in argument to store\.In
}

func cross(ctx context.Context, store *storage.Store) {
	store.Across(ctx) // want: not enough arguments in call to store\.Across
}

func main() {}

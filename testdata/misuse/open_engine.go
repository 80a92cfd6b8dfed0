//go:build misuse

// An engine, which reaches every tenant, opened past package storage.
package main

import (
	"context"

	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/memory"
)

func open(ctx context.Context) {
	memory.New().Open(ctx)                               // want: not enough arguments in call to memory\.New\(\)\.Open
	memory.New().Open(ctx, nil)                          // want: cannot use nil as scope\.Root value in argument to memory\.New\(\)\.Open
	memory.New().Open(ctx, struct{ granted bool }{true}) // want: cannot use struct{granted bool}{…} \(value of type struct{granted bool}\) as scope\.Root value in argument to memory\.New\(\)\.Open
}

func reach(store *storage.Store) {
	store.engine.Close() // want: store\.engine undefined \(type \*storage\.Store has no field or method engine
}

func main() {}

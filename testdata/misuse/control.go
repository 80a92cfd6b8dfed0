//go:build misuse

// The positive control: the same calls as in the misuse programs, made the right way. It compiles.
package main

import (
	"context"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
)

func read(ctx context.Context, records *data.Service, sc guard.Scope, sk string) (*record.Record, error) {
	key, err := record.NewKey(sc, record.MustEntityType("PRODUCT"), sk)
	if err != nil {
		return nil, err
	}
	return records.Get(ctx, sc, key)
}

func open(ctx context.Context) (*storage.Store, error) {
	return storage.Open(ctx, memory.New(), storage.Options{})
}

func cover(sc guard.Scope, text string) bool {
	code, err := tenant.Parse(text)
	return err == nil && sc.Tenant() == code
}

func main() {}

//go:build misuse

// A read without a scope.
package main

import (
	"context"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/record"
)

func read(ctx context.Context, records *data.Service, key record.Key) {
	records.Get(ctx, key) // want: not enough arguments in call to records\.Get
}

func list(ctx context.Context, records *data.Service, q data.Query) {
	records.List(ctx, q) // want: not enough arguments in call to records\.List
}

func main() {}

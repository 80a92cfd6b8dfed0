package worldtest

import (
	"context"
	"testing"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// EachEngine runs a test once on a new store of each engine that needs no server.
func EachEngine(t *testing.T, test func(t *testing.T, src driver.Source)) {
	t.Run("memory", func(t *testing.T) { test(t, memory.New()) })
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite.At(t.TempDir())) })
}

// Wrapped is src with each of its engines wrapped: to see, delay, lose or spoil what passes.
func Wrapped(src driver.Source, wrap func(driver.Engine) driver.Engine) driver.Source {
	return driver.NewSource("wrapped "+src.Name(), func(ctx context.Context) (driver.Engine, error) {
		engine, err := src.Open(ctx, scope.NewRoot())
		if err != nil {
			return nil, err
		}
		return wrap(engine), nil
	})
}

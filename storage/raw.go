package storage

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Raw is Across that writes too: rows of any tenant, as they stand, past versions, handlers and pauses. It is for moving a store.
type Raw struct{ Across }

// Raw returns raw access. It needs the System capability, whose audit entry is durable by then, and a Root, which applications can't make:
// who may cross tenants may still not rewrite what they logged.
func (s *Store) Raw(ctx context.Context, root scope.Root, sys scope.System) (Raw, error) {
	if err := root.Check(); err != nil {
		return Raw{}, err
	}
	across, err := s.Across(ctx, sys)
	return Raw{across}, err
}

// BatchGet returns the rows at refs, in their order, nil where there is none. At most driver.MaxBatch refs.
func (r Raw) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	return r.store.engine.BatchGet(ctx, refs)
}

// Commit makes writes, and behind them those of keepers, all or none. It fails with *driver.Conflict.
func (r Raw) Commit(ctx context.Context, writes []driver.Write, kept ...SystemWrite) error {
	writes = slices.Clip(writes)
	for _, k := range kept {
		writes = append(writes, k.write)
	}
	began := r.store.began()
	_, err := r.store.engine.Commit(ctx, driver.Batch{Writes: writes})
	r.store.done("commit", began, err)
	return err
}

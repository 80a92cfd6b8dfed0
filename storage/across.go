package storage

import (
	"context"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Across is what crosses tenants: the change feed and whole collections. It needs the System capability.
type Across struct{ store *Store }

// Across returns access across tenants. It fails with fault.RoleRequired for the zero System, and where the
// audit entry can't be kept.
func (s *Store) Across(ctx context.Context, sys scope.System) (Across, error) {
	if err := sys.Note(ctx); err != nil {
		return Across{}, err
	}
	return Across{store: s}, nil
}

// Changes returns at most limit changes after a position, oldest first.
func (a Across) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	began := a.store.began()
	changes, err := a.store.engine.Changes(ctx, after, limit)
	a.store.done("changes", began, err)
	return changes, err
}

// End returns the position of the newest change.
func (a Across) End(ctx context.Context) (driver.Position, error) { return a.store.engine.End(ctx) }

// Scan returns at most limit rows of a collection after a ref, in the order of (PK, SK, Version).
func (a Across) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	return a.store.engine.Scan(ctx, c, after, limit)
}

// Get returns one row of any collection, nil where there is none.
func (a Across) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	return a.store.engine.Get(ctx, ref)
}

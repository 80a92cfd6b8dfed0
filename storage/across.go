package storage

import (
	"context"
	"strings"

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

// ChangedKeys looks at no more than limit changes after a position, and returns the keys of the commands on records of types, in
// their order, how many changes it looked at, and the position of the last of them.
func (a Across) ChangedKeys(ctx context.Context, after driver.Position, limit int, types map[string]bool) (keys []driver.Ref, looked int, last driver.Position, err error) {
	began := a.store.began()
	defer func() { a.store.done("changed_keys", began, err) }()
	if k, ok := a.store.engine.(driver.KeyFeed); ok {
		return k.ChangedKeys(ctx, after, limit, types)
	}
	changes, err := a.store.engine.Changes(ctx, after, limit)
	last = after
	for _, c := range changes {
		last = c.Position
		if typ, _, _ := strings.Cut(c.Command.PK, record.Separator); types[typ] {
			keys = append(keys, driver.RefOf(driver.Command, c.Command))
		}
	}
	return keys, len(changes), last, err
}

// End returns the position of the newest change.
func (a Across) End(ctx context.Context) (driver.Position, error) { return a.store.engine.End(ctx) }

// Advance returns the end of the feed once it shows everything that was committed before the call, which may take until ctx ends
// on an engine whose feed follows commits.
func (a Across) Advance(ctx context.Context) (driver.Position, error) {
	if engine, ok := a.store.engine.(driver.Advancer); ok {
		return engine.Advance(ctx)
	}
	return a.End(ctx)
}

// Scan returns at most limit rows of a collection after a ref, in the order of (PK, SK, Version).
func (a Across) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	return a.store.engine.Scan(ctx, c, after, limit)
}

// Get returns one row of any collection, nil where there is none.
func (a Across) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	return a.store.engine.Get(ctx, ref)
}

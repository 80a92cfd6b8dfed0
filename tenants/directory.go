package tenants

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// directorySize bounds how many tenants the Directory remembers, those that do not exist included.
const directorySize = 100_000

// Directory answers for every request whether its tenant exists and is active. It remembers, and forgets what changes: at
// once on the node that changed it, within 1 second of the commit on every other. It may be used concurrently.
type Directory struct {
	store *storage.Store
	cache *otter.Cache[tenant.Code, guard.State]
	turns atomic.Uint64 // counts what was forgotten, so that a read under way doesn't bring an older state back
	stale atomic.Bool   // the change feed can't be read: nothing is remembered
}

// NewDirectory returns a Directory over a store.
func NewDirectory(store *storage.Store) *Directory {
	return &Directory{store: store, cache: otter.Must(&otter.Options[tenant.Code, guard.State]{MaximumSize: directorySize})}
}

// Lookup returns the state of a tenant. It fails only where the store does.
func (d *Directory) Lookup(ctx context.Context, code tenant.Code) (guard.State, error) {
	if s, ok := d.cache.GetIfPresent(code); ok {
		return s, nil
	}
	turn := d.turns.Load()
	s, err := d.read(ctx, code)
	if err != nil || d.stale.Load() {
		return s, err
	}
	d.cache.Set(code, s)
	if d.turns.Load() != turn {
		d.cache.Invalidate(code)
	}
	return s, nil
}

func (d *Directory) read(ctx context.Context, code tenant.Code) (guard.State, error) {
	sc := scope.New(code, scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "directory"})
	key, err := record.NewKey(sc, EntityType(), Master)
	if err != nil {
		return guard.State{}, err
	}
	view, err := d.store.In(sc)
	if err != nil {
		return guard.State{}, err
	}
	rec, err := view.Get(ctx, key)
	if err != nil {
		return guard.State{}, err
	}
	if code.IsCommon() {
		return guard.State{Exists: true}, nil
	}
	if rec == nil || rec.IsDeleted {
		return guard.State{}, nil
	}
	return guard.State{Exists: true, Suspended: rec.Attributes.Member(suspendedMember) != nil, Born: rec.CreatedAt.Time()}, nil
}

// Forget drops what is remembered of a tenant.
func (d *Directory) Forget(code tenant.Code) {
	d.turns.Add(1)
	d.cache.Invalidate(code)
}

// Watch forgets what other processes change, until ctx ends. While the change feed can't be read, nothing is remembered.
func (d *Directory) Watch(ctx context.Context) error {
	across, err := d.store.Across(ctx, scope.NewSystem("", scope.Actor{UserID: "system"}, "watch tenants", nil))
	if err != nil {
		return err
	}
	signal, stop := d.store.Committed()
	defer stop()
	at, err := across.End(ctx)
	if err != nil {
		return err
	}
	d.turns.Add(1)
	d.cache.InvalidateAll()
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for ctx.Err() == nil {
		next, err := d.follow(ctx, across, at)
		d.stale.Store(err != nil)
		if err != nil {
			d.turns.Add(1)
			d.cache.InvalidateAll()
		}
		at = next
		select {
		case <-ctx.Done():
		case <-signal:
		case <-retry.C:
		}
	}
	return nil
}

func (d *Directory) follow(ctx context.Context, across storage.Across, at driver.Position) (driver.Position, error) {
	for {
		changes, err := across.Changes(ctx, at, 500)
		if err != nil {
			return at, err
		}
		for _, c := range changes {
			if t, code, _, err := record.SplitPK(c.Command.PK); err == nil && t == EntityType() {
				d.Forget(code)
			}
			at = c.Position
		}
		if len(changes) < 500 {
			return at, nil
		}
	}
}

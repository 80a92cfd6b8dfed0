package tenants

import (
	"context"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// directorySize bounds how many tenants the Directory remembers, those that do not exist included.
const directorySize = 100_000

// Directory answers for every request whether its tenant exists and is active. While Watch runs it remembers, and forgets
// what changes: at once on the node that changed it, within 1 second of the commit on every other. It may be used concurrently.
type Directory struct {
	store  *storage.Store
	epochs storage.Keeper
	cache  *otter.Cache[tenant.Code, guard.State]

	mu      sync.Mutex // held while what is remembered changes
	turns   uint64     // counts what was forgotten, so that a read under way doesn't bring an older state back
	watched bool       // changes of other processes are seen; else nothing is remembered
}

// NewDirectory returns a Directory over a store, with the keeper of epochs that Companion was given.
func NewDirectory(store *storage.Store, epochs storage.Keeper) *Directory {
	return &Directory{store: store, epochs: epochs, cache: otter.Must(&otter.Options[tenant.Code, guard.State]{MaximumSize: directorySize})}
}

// Lookup returns the state of a tenant. It fails only where the store does.
func (d *Directory) Lookup(ctx context.Context, code tenant.Code) (guard.State, error) {
	if s, ok := d.cache.GetIfPresent(code); ok {
		return s, nil
	}
	d.mu.Lock()
	turn := d.turns
	d.mu.Unlock()
	s, err := d.read(ctx, code)
	if err != nil {
		return s, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watched && d.turns == turn {
		d.cache.Set(code, s)
	}
	return s, nil
}

func (d *Directory) read(ctx context.Context, code tenant.Code) (guard.State, error) {
	if code.IsCommon() {
		return guard.State{Exists: true}, nil
	}
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
	if err != nil || rec == nil || rec.IsDeleted {
		return guard.State{}, err
	}
	return guard.State{Exists: true, Suspended: rec.Attributes.Member(suspendedMember) != nil, Born: rec.CreatedAt.Time()}, nil
}

// Forget drops what is remembered of a tenant.
func (d *Directory) Forget(code tenant.Code) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turns++
	d.cache.Invalidate(code)
}

func (d *Directory) forgetAll(watched bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turns++
	d.watched = watched
	d.cache.InvalidateAll()
}

// watchEvery is how often other processes' changes are looked for; they must be known everywhere within 1 second.
const watchEvery = 250 * time.Millisecond

// Watch forgets what other processes change, until ctx ends. It reads one row, the epoch, which every change of a tenant renews in
// its own commit. While that can't be read, nothing is remembered.
func (d *Directory) Watch(ctx context.Context) {
	defer d.forgetAll(false)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var seen *string // nil before the first look, and after one that failed
	for {
		row, err := d.epochs.Get(ctx, listingOwner, epochKey)
		epoch := string(row.Value)
		switch {
		case err != nil:
			seen = nil
			d.forgetAll(false)
		case seen == nil || *seen != epoch:
			seen = &epoch
			d.forgetAll(true)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// epochKey names the row that every change of a tenant renews.
const epochKey = "tenants"

// renew returns the write that renews the epoch.
func renew(epochs storage.Keeper) (storage.SystemWrite, error) {
	value, err := record.EncodeAttributes(map[string]string{"epoch": record.NewID()})
	return epochs.Set(storage.Row{Owner: listingOwner, SK: epochKey, Value: value}), err
}

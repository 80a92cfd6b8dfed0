package tenants

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/cache"
	"github.com/tenantry/tenantry/feed"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// directorySize bounds how many tenants the Directory remembers, those that do not exist included.
const directorySize = 100_000

// Directory answers for every request whether its tenant exists and is active. What changes counts at once on the node that
// changed it, within 1 second of the commit on every other. It may be used concurrently.
type Directory struct {
	store *storage.Store
	known *cache.Cache[tenantKey, guard.State]
}

type tenantKey struct{ code tenant.Code }

// Owner implements cache.Key.
func (k tenantKey) Owner() tenant.Code { return k.code }

// NewDirectory returns a Directory over a store, which remembers while tail is fresh. Observe is told of hits and misses; nil
// for nobody.
func NewDirectory(store *storage.Store, tail *feed.Tail, observe func(name string, hit bool)) *Directory {
	d := &Directory{store: store}
	d.known = cache.New(cache.Options[tenantKey, guard.State]{Name: "tenants", Size: directorySize, Load: d.read, Fresh: tail.Fresh, Observe: observe})
	tail.Follow([]record.EntityType{EntityType()}, func(pk, _ string) {
		if _, code, _, err := record.SplitPK(pk); err == nil {
			d.known.Forget(tenantKey{code})
		}
	}, d.known.ForgetAll)
	return d
}

// Lookup returns the state of a tenant. It fails only where the store does.
func (d *Directory) Lookup(ctx context.Context, code tenant.Code) (guard.State, error) {
	return d.known.Get(ctx, tenantKey{code})
}

func (d *Directory) read(ctx context.Context, key tenantKey) (guard.State, error) {
	if key.code.IsCommon() {
		return guard.State{Exists: true}, nil
	}
	rec, err := d.record(ctx, key.code)
	if err != nil || rec == nil || rec.IsDeleted {
		return guard.State{}, err
	}
	return guard.State{Exists: true, Suspended: rec.Attributes.Member(suspendedMember) != nil, Born: rec.CreatedAt.Time()}, nil
}

// record reads a tenant's own record, nil where there never was one.
func (d *Directory) record(ctx context.Context, code tenant.Code) (*record.Record, error) {
	sc := scope.New(code, scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "directory"})
	master, err := record.NewKey(sc, EntityType(), Master)
	if err != nil {
		return nil, err
	}
	view, err := d.store.In(sc)
	if err != nil {
		return nil, err
	}
	return view.Get(ctx, master)
}

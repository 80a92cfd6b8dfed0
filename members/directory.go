package members

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/cache"
	"github.com/tenantry/tenantry/feed"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// directorySize bounds how many memberships the Directory remembers, those that do not exist included.
const directorySize = 100_000

// Directory answers for every request what membership a user code has in a tenant. What changes counts at once on the node that
// changed it, within 1 second of the commit on every other. It may be used concurrently.
type Directory struct {
	store       *storage.Store
	crossTenant func(role string) bool
	known       *cache.Cache[memberKey, guard.Member]
}

type memberKey struct {
	code     tenant.Code
	userCode string
}

// Owner implements cache.Key.
func (k memberKey) Owner() tenant.Code { return k.code }

// NewDirectory returns a Directory over a store, which remembers while tail is fresh. CrossTenant reports the roles that count for
// nothing in a membership. Observe is told of hits and misses; nil for nobody.
func NewDirectory(store *storage.Store, tail *feed.Tail, crossTenant func(role string) bool, observe func(name string, hit bool)) *Directory {
	d := &Directory{store: store, crossTenant: crossTenant}
	d.known = cache.New(cache.Options[memberKey, guard.Member]{Name: "members", Size: directorySize, Load: d.read, Fresh: tail.Fresh, Observe: observe})
	tail.Follow([]record.EntityType{EntityType()}, func(_, sk string) {
		text, userCode, _ := strings.Cut(sk, record.Separator)
		if code, err := tenant.Parse(text); err == nil {
			d.known.Forget(memberKey{code, userCode})
		}
	}, d.known.ForgetAll)
	return d
}

// Membership implements guard.Members. It fails only where the store does.
func (d *Directory) Membership(ctx context.Context, code tenant.Code, userCode string) (guard.Member, error) {
	return d.known.Get(ctx, memberKey{code, userCode})
}

func (d *Directory) read(ctx context.Context, k memberKey) (guard.Member, error) {
	in := scope.New(tenant.Common(), scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "members"})
	key, err := record.NewKey(in, EntityType(), k.code.String()+record.Separator+k.userCode)
	if err != nil {
		return guard.Member{}, nil // no key, no record
	}
	view, err := d.store.In(in)
	if err != nil {
		return guard.Member{}, err
	}
	rec, err := view.Get(ctx, key)
	if err != nil || rec == nil {
		return guard.Member{}, err
	}
	a, err := read(rec)
	if err != nil {
		return guard.Member{}, err
	}
	m := guard.Member{Exists: true, Live: !rec.IsDeleted, Issuer: a.Issuer, UserID: a.UserID, Epoch: cmp.Or(a.Epoch, rec.CreatedAt.Time().UTC().Format(time.RFC3339Nano))}
	if role, err := auth.ParseRole(a.Role); err == nil && !d.crossTenant(role) {
		m.Role = role
	}
	return m, nil
}

package storage

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// A store, or tenants of it, can be paused: reads go on, no command is accepted. What says so are rows of PauseWord in the common
// tenant: PauseAnnounced, from which on every commit of every process carries the condition that it is not paused, and PauseOf, on which
// the condition is. So a pause is exact, whatever a process knew when it began a commit, and costs nothing while none is announced.
// PauseMoving is there while a copy from the store, or to it, is under way.
const (
	PauseWord      = "PAUSE"
	PauseAnnounced = "announced"
	PauseMoving    = "moving"
)

// PauseNotice is how long before a pause it must be announced: by then every process has looked.
const PauseNotice = time.Second

const pauseLook = 500 * time.Millisecond // between two looks of a process at what is announced

// PauseOf returns the sort key of the row that pauses a tenant, for the zero Code that of the whole store.
func PauseOf(code tenant.Code) string {
	if code.IsZero() {
		return "store"
	}
	return pauseOf(code.String())
}

func pauseOf(owner string) string { return "tenant" + record.Separator + owner }

// aboutTenants are the words of what stands in the common tenant and is, by the first segment of its sort key, about another.
var aboutTenants = []string{"USER_TENANT", "INVITATION", "MEMBER_OF", "TENANTS", "JOBS"}

// Owner returns the code of the tenant that a row is about: the second segment of its PK, or the first of its SK where it
// stands in the common tenant beside those of others. It is lower case; it is no valid code for rows that no Scope can name.
func Owner(row driver.Ref) string {
	word, rest, _ := strings.Cut(row.PK, record.Separator)
	owner, _, _ := strings.Cut(rest, record.Separator)
	owner = strings.ToLower(owner)
	if owner == tenant.Common().String() && slices.Contains(aboutTenants, word) {
		owner, _, _ = strings.Cut(row.SK, record.Separator)
	}
	return owner
}

// notice is what a process knows of announcements. It may be used concurrently.
type notice struct {
	seen    atomic.Pointer[noticed]
	looking atomic.Bool // somebody does
}

type noticed struct {
	at        time.Time
	announced bool
}

// announced reports whether a commit that begins now must carry the conditions of pauses: where a pause is announced, and where that
// can't be found out. In the second half of the time between two looks one of those who ask looks, and the others need not wait.
func (n *notice) announced(ctx context.Context, engine driver.Engine) bool {
	if seen := n.seen.Load(); seen != nil && time.Since(seen.at) < pauseLook {
		if time.Since(seen.at) < pauseLook/2 || !n.looking.CompareAndSwap(false, true) {
			return seen.announced
		}
		defer n.looking.Store(false)
	}
	at := time.Now()
	row, err := engine.Get(ctx, pauseRef(PauseAnnounced))
	if err != nil {
		return true
	}
	n.seen.Store(&noticed{at: at, announced: row != nil})
	return row != nil
}

func pauseRef(sk string) driver.Ref {
	return driver.Ref{Collection: driver.System, PK: PauseWord + record.Separator + tenant.Common().String(), SK: sk}
}

// unpaused returns the writes that are nothing but the conditions that neither the store nor a tenant that writes are about is paused; none
// while no pause is announced.
func (s *Store) unpaused(ctx context.Context, writes []driver.Write) []driver.Write {
	if !s.notice.announced(ctx, s.engine) {
		return nil
	}
	return noPause(writes)
}

// noPause returns the conditions that neither the store nor a tenant that writes are about is paused.
func noPause(writes []driver.Write) []driver.Write {
	sks := []string{PauseOf(tenant.Code{})}
	for _, w := range writes {
		if sk := pauseOf(Owner(driver.RefOf(w.Collection, w.Record))); !slices.Contains(sks, sk) {
			sks = append(sks, sk)
		}
	}
	checks := make([]driver.Write, len(sks))
	for i, sk := range sks {
		checks[i] = none(sk)
	}
	return checks
}

// none is the condition that a row of PauseWord is not there.
func none(sk string) driver.Write {
	ref := pauseRef(sk)
	return driver.Write{Collection: ref.Collection, Record: &record.Record{PK: ref.PK, SK: ref.SK}, Delete: true, If: driver.Condition{Kind: driver.IfAbsent}}
}

// unmoved returns the conditions that nothing is paused that writes are about, and that no copy is under way: what changes a row past the change feed,
// which the copy follows, would be lost on it.
func unmoved(writes []driver.Write) []driver.Write {
	return append(noPause(writes), none(PauseMoving))
}

func paused() error {
	return fault.New(fault.Unavailable, "storage.Commit", "writes are paused while the data is moved to another store; reads go on; retry")
}

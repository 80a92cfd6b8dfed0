package tenantsync_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenantsync"
)

// many has so many tenants beside the usual, and returns their codes.
func (w *world) many(n int) (codes []string) {
	for i := range n {
		code := fmt.Sprintf("many-%04d", i)
		w.set(code, guard.State{Exists: true})
		codes = append(codes, code)
	}
	return codes
}

// counting counts the commits of an engine.
type counting struct {
	driver.Engine
	commits *atomic.Int64
}

func (c counting) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	c.commits.Add(1)
	return c.Engine.Commit(ctx, b)
}

// Ordering, applying, cancelling and undoing cost one commit whatever the number of targets; each target is entered in the audit log before it is touched, in
// entries that stay small.
func TestManyTargets(t *testing.T) {
	var commits atomic.Int64
	w := worldOn(t, worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return counting{e, &commits} }), worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)))
	codes := w.many(250)
	w.put(w.acme, "1", `{}`)
	order := func(what string, do func() error) {
		t.Helper()
		commits.Store(0)
		w.must(do())
		if n := commits.Load(); n != 1 {
			t.Errorf("%s is %d commits", what, n)
		}
	}
	var id, undo string
	order("planning", func() (err error) {
		id, err = w.Plan(w.Context(), w.sys(), tenantsync.Request{Source: w.acme.Tenant(), All: true, EntityType: product}, tenantsync.Order{})
		return err
	})
	if st := w.status(id); st.Status != tenantsync.Planning || st.Digest != "" {
		t.Errorf("before any target is reached: %+v", st)
	}
	w.run()
	if st := w.status(id); st.Status != tenantsync.Planned || st.Total != 252 || len(st.PerTenant) != 252 {
		t.Errorf("%s, %d records", st.Status, st.Total)
	}
	order("applying", func() error { return w.Apply(w.Context(), w.sys(), id) })
	if st := w.status(id); st.Status != tenantsync.Applying {
		t.Errorf("ordered: %s", st.Status)
	}
	w.run()
	if st := w.status(id); st.Status != tenantsync.Applied || st.Synced != 252 {
		t.Errorf("%s, %d records", st.Status, st.Synced)
	}
	order("undoing", func() (err error) {
		undo, err = w.Undo(w.Context(), w.sys(), id, tenantsync.Order{Apply: true})
		return err
	})
	order("cancelling", func() error { return w.Cancel(w.Context(), w.sys(), undo) })
	w.run()
	if st := w.status(undo); st.Status != tenantsync.Cancelled || len(st.PerTenant) != 0 {
		t.Errorf("cancelled before any target was reached: %s, %d targets", st.Status, len(st.PerTenant))
	}
	order("resuming", func() error { return w.Resume(w.Context(), w.sys(), undo) })
	w.run()
	if st := w.status(undo); st.Status != tenantsync.Applied || st.Synced != 252 {
		t.Errorf("%s, %d records", st.Status, st.Synced)
	}
	for _, code := range codes {
		if len(w.crossed.named(code)) == 0 {
			t.Errorf("no entry names %s", code)
		}
	}
	for _, e := range w.crossed.named("acme") {
		if len(e.Tenants) > 102 {
			t.Errorf("an entry names %d tenants", len(e.Tenants))
		}
	}
}

// An order that changes while it spreads, and one whose spreading is done twice, reach every target once.
func TestSpreadingTwice(t *testing.T) {
	w := newWorld(t)
	w.many(150)
	w.put(w.acme, "1", `{}`)
	id, err := w.Plan(w.Context(), w.sys(), tenantsync.Request{Source: w.acme.Tenant(), All: true, EntityType: product}, tenantsync.Order{Apply: true})
	w.must(err)
	w.must(w.Resume(w.Context(), w.sys(), id))
	w.run()
	w.must(w.Spread(w.Context(), id))
	w.run()
	if st := w.status(id); st.Status != tenantsync.Applied || st.Synced != 152 || st.Failed != 0 {
		t.Errorf("%s, %d records, %d failed", st.Status, st.Synced, st.Failed)
	}
	if got := w.get(worldtest.Scope("many-0149"), "1"); got == nil || got.Version != 1 {
		t.Errorf("the copy is %+v", got)
	}
	w.must(w.Spread(w.Context(), "01M8J64XGY0WGYQ1S14VFTFHQW")) // one that is forgotten
}

// A plan that is cancelled is not applied before it is resumed.
func TestCancelAPlan(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{}`)
	id := w.plan(w.request("bravo"), tenantsync.Order{})
	w.must(w.Cancel(w.Context(), w.sys(), id))
	if st := w.status(id); st.Status != tenantsync.Cancelled {
		t.Errorf("cancelled: %s", st.Status)
	}
	if err := w.Apply(w.Context(), w.sys(), id); err == nil {
		t.Error("a cancelled plan is applied")
	}
	w.must(w.Resume(w.Context(), w.sys(), id))
	w.run()
	if st := w.status(id); st.Status != tenantsync.Planned {
		t.Errorf("resumed: %s", st.Status)
	}
	if st := w.apply(id); st.Status != tenantsync.Applied || st.Synced != 1 {
		t.Errorf("applied: %+v", st)
	}
}

// Undoing is of the life of a tenant that was written to.
func TestUndoInAnotherLife(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{}`)
	id := w.plan(w.request("bravo"), tenantsync.Order{Apply: true})
	w.set("bravo", guard.State{Exists: true, Born: time.Unix(2_000_000_000, 0)})
	if st := w.undo(id); st.Status != tenantsync.Failed || st.Total != 0 {
		t.Errorf("%+v", st)
	}
}

// Callers choose their request IDs. What a tenant wrote under that of a sync is its own all the same.
func TestRequestIDOfASync(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{}`)
	id := w.plan(w.request("bravo"), tenantsync.Order{})
	actor := worldtest.Actor()
	actor.RequestID = id
	w.put(worldtest.ScopeFor("bravo", actor), "1", `{"own":true}`)
	if st := w.apply(id); st.Synced != 0 || st.Failed != 1 {
		t.Errorf("%+v", st.Counts)
	}
	if st := w.undo(id); st.Synced != 0 {
		t.Errorf("undone: %+v", st.Counts)
	}
	if got := w.get(w.bravo, "1"); got.IsDeleted || string(got.Attributes) != `{"own":true}` {
		t.Errorf("the tenant has %+v", got)
	}
}

// Where the sync goes on while its undoing is planned, no page is gone over twice.
func TestUndoOfWhatGoesOn(t *testing.T) {
	w := newWorld(t)
	for n := range 14 {
		w.put(w.acme, fmt.Sprintf("p%02d", n), `{}`)
	}
	id := w.plan(w.request("bravo"), tenantsync.Order{})
	w.must(w.Apply(w.Context(), w.sys(), id))
	step := func() {
		task, sc, _ := w.next()
		_, err := w.Step(w.Context(), sc, task.Sync)
		w.must(err)
	}
	step()
	w.must(w.Cancel(w.Context(), w.sys(), id))
	undo, err := w.Undo(w.Context(), w.sys(), id, tenantsync.Order{})
	w.must(err)
	task, sc, _ := w.next()
	for range 2 {
		_, err := w.Step(w.Context(), sc, task.Sync)
		w.must(err)
	}
	w.must(w.Resume(w.Context(), w.sys(), id))
	w.run()
	w.must(w.Work(w.Context(), sc, undo))
	if diff := cmp.Diff([]string{"p03 delete written", "p02 delete written", "p01 delete written", "p00 delete written"}, w.items(undo, "bravo")); diff != "" {
		t.Error(diff)
	}
}

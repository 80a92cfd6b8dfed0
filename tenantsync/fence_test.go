package tenantsync_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenantsync"
)

// pause is where a process stands still: at a commit of a command, before it is made, until it is woken.
type pause struct {
	left   atomic.Int64 // commands until then; 0 or less for never
	stands chan struct{}
	wake   chan struct{}
}

// pausing is an engine of a process that stands still.
type pausing struct {
	driver.Engine
	at *pause
}

func (p pausing) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if b.Writes[0].Collection == driver.Command && p.at.left.Add(-1) == 0 {
		close(p.at.stands)
		<-p.at.wake
	}
	return p.Engine.Commit(ctx, b)
}

// pausedWorlds returns two processes on a store, the first of which stands still where it is told to.
func pausedWorlds(t *testing.T, store driver.Source) (paused, other *world, at *pause) {
	clock := worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC))
	at = &pause{stands: make(chan struct{}), wake: make(chan struct{})}
	paused = worldOn(t, worldtest.Wrapped(store, func(e driver.Engine) driver.Engine { return pausing{e, at} }), clock)
	return paused, worldOn(t, store, clock), at
}

// A process stands still at any commit of a step, is taken for dead, and wakes when the sync was undone: what it writes then would stay for good.
func TestUndoOfWhatAPausedProcessWrites(t *testing.T) {
	for n := range 4 { // a step is about four records
		t.Run(strconv.Itoa(n), func(t *testing.T) { testUndoOfWhatAPausedProcessWrites(t, memory.New(), n) })
	}
	eachEngine(t, func(t *testing.T, store driver.Source) { testUndoOfWhatAPausedProcessWrites(t, store, 1) })
}

func testUndoOfWhatAPausedProcessWrites(t *testing.T, store driver.Source, n int) {
	w, other, at := pausedWorlds(t, store)
	for _, sk := range []string{"1", "2", "3", "4", "5", "6"} {
		w.put(w.acme, sk, `{"n":1}`)
	}
	w.put(w.bravo, "2", `{"own":true}`)
	before := w.content("bravo")
	id := w.plan(w.request("bravo"), tenantsync.Order{})
	w.must(w.Apply(w.Context(), w.sys(), id))
	_, sc, _ := w.next()
	at.left.Store(int64(n) + 1)
	failed := make(chan error)
	go func() {
		_, err := w.Step(w.Context(), sc, id)
		failed <- err
	}()
	<-at.stands
	other.must(other.Cancel(other.Context(), other.sys(), id))
	if st := other.undo(id); st.Status != tenantsync.Applied || st.Failed != 0 {
		t.Errorf("%+v", st)
	}
	close(at.wake)
	if err := <-failed; fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("the step that stood still: %v", err)
	}
	if diff := cmp.Diff(before, w.content("bravo")); diff != "" {
		t.Errorf("undone, but not as before:\n%s", diff)
	}
	other.must(other.Resume(other.Context(), other.sys(), id)) // past the next fence
	other.run()
	if st := other.status(id); st.Status != tenantsync.Applied || other.content("bravo")["PRODUCT#bravo#6"] == "" {
		t.Errorf("resumed: %+v", st)
	}
}

// A process that follows the feed stands still, and wakes when the source said something and took it back: what it read is not what the source says.
func TestAPausedProcessFollows(t *testing.T) {
	w, other, at := pausedWorlds(t, memory.New())
	w.put(w.acme, "1", `{"n":1}`)
	rule := w.rule(w.request("bravo"), tenantsync.RuleOptions{})
	slow, quick := w.follower(), other.follower()
	w.look(slow)
	w.put(w.acme, "1", `{"n":2}`)
	at.left.Store(1)
	failed := make(chan error)
	go func() { failed <- slow.Look(w.Context()) }()
	<-at.stands
	other.put(other.acme, "1", `{"n":1}`)
	other.must(quick.Look(other.Context()))
	quick.Wait(time.Hour)
	other.look(quick)
	close(at.wake)
	if err := <-failed; err == nil {
		t.Error("the process that stood still took no notice")
	}
	other.look(quick)
	if got := string(w.get(w.bravo, "1").Attributes); got != `{"n":1}` {
		t.Errorf("the target has %s, and the source has not", got)
	}
	if got, err := w.Rule(w.Context(), w.sys(), rule); err != nil || len(got.Behind)+len(got.Errors) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

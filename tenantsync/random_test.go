package tenantsync_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenantsync"
)

// mortal is an engine of a process that dies at a commit, before or after it is made.
type mortal struct {
	driver.Engine
	life *life
}

// life is how many commits a process makes before it dies. Once dead it makes none.
type life struct {
	left  atomic.Int64
	after atomic.Bool // the commit at which it dies is made
}

const immortal = 1 << 40

func (m mortal) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	left := m.life.left.Add(-1)
	if left < 0 && !(left == -1 && m.life.after.Load()) {
		return "", dead()
	}
	position, err := m.Engine.Commit(ctx, b)
	if err == nil && left < 0 {
		return "", dead()
	}
	return position, err
}

func dead() error { return fault.New(fault.Unavailable, "mortal", "the process died") }

// change is something that a tenant does to one of its products.
type change struct {
	Tenant, SK int
	Do         int // 0 replaces it, 1 patches it, 2 deletes it
	N          int
}

// history is a random past and what is then asked for.
type history struct {
	Before, Between, Since []change // the first sync lies between the first two, the plan before the last
	Policy                 tenantsync.Policy
	Deletes                bool
	Deaths                 []death
}

type death struct {
	At    int64
	After bool
}

var codes = []string{"acme", "bravo", "charlie"}

func drawHistory(t *rapid.T) history {
	changes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) change {
		return change{rapid.IntRange(0, 2).Draw(t, "tenant"), rapid.IntRange(0, 9).Draw(t, "sk"), rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "do"), rapid.IntRange(0, 2).Draw(t, "n")}
	}), 0, 25)
	return history{changes.Draw(t, "before"), changes.Draw(t, "between"), rapid.SliceOfN(rapid.Custom(func(t *rapid.T) change {
		return change{rapid.IntRange(0, 2).Draw(t, "tenant"), rapid.IntRange(0, 9).Draw(t, "sk"), rapid.IntRange(0, 2).Draw(t, "do"), rapid.IntRange(3, 5).Draw(t, "n")}
	}), 0, 4).Draw(t, "since"), rapid.SampledFrom([]tenantsync.Policy{tenantsync.Overwrite, tenantsync.Skip, tenantsync.KeepLocal}).Draw(t, "policy"), rapid.Bool().Draw(t, "deletes"),
		rapid.SliceOfN(rapid.Custom(func(t *rapid.T) death {
			return death{rapid.Int64Range(0, 6).Draw(t, "at"), rapid.Bool().Draw(t, "after")}
		}), 1, 12).Draw(t, "deaths")}
}

// do makes changes; those that can't be made are none.
func (w *world) do(changes []change) {
	w.Helper()
	for _, c := range changes {
		sc := []guard.Scope{w.acme, w.bravo, w.charlie}[c.Tenant]
		sk, text := fmt.Sprintf("p%d", c.SK), fmt.Sprintf(`{"m%d":true,"n":%d}`, c.Tenant, c.N)
		switch now := w.get(sc, sk); {
		case c.Do == 0:
			w.put(sc, sk, text)
		case now == nil || now.IsDeleted:
		case c.Do == 1:
			_, err := w.Commands.PublishPartialUpdateSync(w.Context(), sc, command.Partial{Key: w.Key(sc, "PRODUCT", sk), Version: -1, Attributes: w.Attributes(text)})
			w.must(err)
		default:
			w.remove(sc, sk)
		}
	}
}

// outcome is what a sync leads to.
type outcome struct {
	Digest  string
	Content map[string]map[string]string
	Counts  tenantsync.Counts
}

// live has a history happen, with the deaths or without, and returns what it led to. What must hold on the way is checked.
func live(t *testing.T, rt rapid.TB, store driver.Source, h history, mortals bool) outcome {
	l := &life{}
	l.left.Store(immortal)
	w := worldOn(t, worldtest.Wrapped(store, func(e driver.Engine) driver.Engine { return mortal{e, l} }), worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)))
	defer w.Close()
	deaths := h.Deaths
	if !mortals {
		deaths = nil
	}
	w.do(h.Before)
	r := w.request("bravo", "charlie")
	r.OnConflict, r.Deletes = h.Policy, h.Deletes
	w.plan(w.request("bravo", "charlie"), tenantsync.Order{Apply: true})
	w.do(h.Between)

	rows := fmt.Sprint(len(w.Rows(driver.Command)), w.contents())
	id, err := w.Plan(w.Context(), w.sys(), r, tenantsync.Order{})
	w.must(err)
	deaths = w.survive(l, deaths)
	if now := fmt.Sprint(len(w.Rows(driver.Command)), w.contents()); now != rows {
		rt.Fatalf("planning wrote:\n%s\n%s", rows, now)
	}
	planned := w.status(id)
	want := w.expected(r)
	for _, c := range h.Since {
		w.do([]change{c})
	}
	since := w.contents()
	for _, c := range h.Since { // whoever changed it since keeps it
		record := fmt.Sprintf("PRODUCT#%s#p%d", codes[c.Tenant], c.SK)
		if said, ok := since[codes[c.Tenant]][record]; ok {
			want[codes[c.Tenant]][record] = said
		} else if rec := w.get([]guard.Scope{w.acme, w.bravo, w.charlie}[c.Tenant], fmt.Sprintf("p%d", c.SK)); rec != nil && c.Tenant > 0 && w.changedSince(id, codes[c.Tenant], rec) {
			delete(want[codes[c.Tenant]], record)
		}
	}
	want["acme"] = since["acme"]

	w.must(w.Apply(w.Context(), w.sys(), id))
	deaths = w.survive(l, deaths)
	applied := w.status(id)
	if applied.Status != tenantsync.Applied || applied.Digest != planned.Digest || applied.Total != planned.Total ||
		applied.Synced+applied.Unchanged+applied.Skipped+applied.Failed != applied.Total {
		rt.Fatalf("planned %+v, applied %+v", planned, applied)
	}
	got := w.contents()
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("not what was planned:\n%s", diff)
	}
	if again := w.status(w.plan(r, tenantsync.Order{Apply: true})); again.Synced > int64(len(h.Since)*2) {
		rt.Fatalf("a second run writes %+v", again.Counts)
	} else {
		w.undo(again.ID)
	}

	undo, err := w.Undo(w.Context(), w.sys(), id, tenantsync.Order{Apply: true})
	w.must(err)
	deaths = w.survive(l, deaths)
	if now := w.contents(); len(h.Since) == 0 {
		if diff := cmp.Diff(since, now); diff != "" {
			rt.Fatalf("undone by %s, but not as before:\n%s", undo, diff)
		}
	}
	if len(h.Since) == 0 { // planned and applied in one it comes to the same
		want := w.expected(r)
		id, err := w.Plan(w.Context(), w.sys(), r, tenantsync.Order{Apply: true})
		w.must(err)
		w.survive(l, deaths)
		if diff := cmp.Diff(want, w.contents()); diff != "" || w.status(id).Status != tenantsync.Applied {
			rt.Fatalf("in one it is another: %+v\n%s", w.status(id), diff)
		}
	}
	return outcome{applied.Digest, got, applied.Counts}
}

// changedSince reports whether a record is at another version than a plan saw; one that the plan doesn't have is.
func (w *world) changedSince(id, code string, rec *record.Record) bool {
	for cursor := ""; ; {
		page, err := w.Items(w.Context(), w.sys(), tenantsync.Task{Sync: id, Target: worldtest.Code(code)}, cursor)
		w.must(err)
		for _, it := range page.Items {
			if it.ID == rec.ID() {
				return it.At != rec.Version
			}
		}
		if cursor = page.Cursor; cursor == "" {
			return true
		}
	}
}

func (w *world) contents() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, code := range codes {
		all[code] = w.content(code)
	}
	return all
}

// survive does what is queued, each step by a new process; those that deaths name die at a commit, and are followed by another.
func (w *world) survive(l *life, deaths []death) []death {
	w.Helper()
	for id, ok := w.ordered(); ok; id, ok = w.ordered() {
		for done := false; !done; {
			deaths, done = w.mortally(l, deaths, func() error { return w.process().Spread(w.Context(), id) })
		}
	}
	for task, sc, ok := w.next(); ok; task, sc, ok = w.next() {
		for more := true; more; {
			var done bool
			deaths, done = w.mortally(l, deaths, func() (err error) {
				more, err = w.process().Step(w.Context(), sc, task.Sync)
				return err
			})
			more = more || !done
		}
	}
	return deaths
}

// mortally does what a process does, which dies as the first of deaths says, and returns those that are left, and whether it was done.
func (w *world) mortally(l *life, deaths []death, do func() error) ([]death, bool) {
	w.Helper()
	if len(deaths) > 0 {
		l.after.Store(deaths[0].After)
		l.left.Store(deaths[0].At)
	}
	err := do()
	died := l.left.Swap(immortal) < 0
	if died {
		deaths = deaths[1:]
	}
	if err != nil && !died {
		w.Fatal(err)
	}
	return deaths, err == nil
}

// expected is what the tenants say after r, by a reading of the documentation that shares nothing with the code.
func (w *world) expected(r tenantsync.Request) map[string]map[string]string {
	want := w.contents()
	rows := map[string]*record.Record{}
	for _, row := range w.Rows(driver.Data) {
		rows[row.ID()] = row
	}
	at := w.clock.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	for _, code := range codes[1:] {
		for n := range 10 {
			from, id := fmt.Sprintf("PRODUCT#acme#p%d", n), fmt.Sprintf("PRODUCT#%s#p%d", code, n)
			s, t := rows[from], rows[id]
			copied := t != nil && (t.Source == "sync")
			kept := r.OnConflict == tenantsync.KeepLocal && !copied
			there := t != nil && !t.IsDeleted
			switch {
			case s != nil && !s.IsDeleted:
				text := strings.Join([]string{s.Code, s.Name, s.Type, s.Seq, string(s.Attributes)}, "|")
				says := strings.HasPrefix(want[code][id], text+"|")
				if there && (says || r.OnConflict == tenantsync.Skip || kept) || t != nil && t.IsDeleted && kept {
					continue
				}
				want[code][id] = text + `|{"syncedAt":"` + at + `","syncedFrom":"` + from + `"}`
			case there && r.Deletes && strings.Contains(string(t.Metadata), `"`+from+`"`) && !kept:
				delete(want[code], id)
			}
		}
	}
	return want
}

// TestRandomWorlds lives random histories, with processes that die at any commit and without: applied is what was planned, a death changes
// nothing, undoing leads back, and planning writes nothing. With TENANTRY_LONG_RUN set it lives twenty times as many.
func TestRandomWorlds(t *testing.T) {
	rounds := 1
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		rounds = 20
	}
	lived := 0
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) {
			h := drawHistory(rt)
			if diff := cmp.Diff(live(t, rt, memory.New(), h, false), live(t, rt, memory.New(), h, true)); diff != "" {
				rt.Fatalf("with deaths it is another:\n%s", diff)
			}
			lived++
		})
	}
	t.Logf("measured: %d random worlds with syncs that die at commits: applied is planned, undone is before", lived)
}

// TestRandomWorldsOnEngines lives a few histories on each engine: what the memory engine leads to. With TENANTRY_LONG_RUN set it lives twenty times as many.
func TestRandomWorldsOnEngines(t *testing.T) {
	worlds := map[string]int{"sqlite": 5, "postgres": 5, "dynamodb": 2}
	histories := rapid.Custom(drawHistory)
	for name, n := range worlds {
		if os.Getenv("TENANTRY_LONG_RUN") != "" {
			n *= 20
		}
		t.Run(name, func(t *testing.T) {
			for seed := range n {
				h := histories.Example(seed)
				if diff := cmp.Diff(live(t, t, memory.New(), h, false), live(t, t, engines[name](t), h, true)); diff != "" {
					t.Fatalf("history %d is another than in memory:\n%s", seed, diff)
				}
			}
			t.Logf("measured: %d random worlds on %s with syncs that die at commits", n, name)
		})
	}
}

// refusing is an engine that takes no commands while it is told so.
type refusing struct {
	driver.Engine
	commands *atomic.Bool
}

func (r refusing) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if r.commands.Load() && b.Writes[0].Collection == driver.Command {
		return "", fault.New(fault.Unavailable, "refusing", "no commands are taken now")
	}
	return r.Engine.Commit(ctx, b)
}

// A task that fails is tried again; when its attempts are used up its target stands still with the reason, until the sync is resumed.
func TestGivesUp(t *testing.T) {
	var refuse atomic.Bool
	w := worldOn(t, worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return refusing{e, &refuse} }), worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)))
	for n := range 9 {
		w.put(w.acme, fmt.Sprintf("p%d", n), `{}`)
	}
	id, err := w.Plan(w.Context(), w.sys(), w.request("bravo"), tenantsync.Order{Apply: true})
	w.must(err)
	_, sc, _ := w.next()
	refuse.Store(true)
	kind, payload := w.Kinds()[0], w.Attributes(`{"sync":"`+id+`"}`)
	if err := kind.Run(w.Context(), sc, jobs.Job{Payload: payload, Attempts: 1}); fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("the first attempt: %v", err)
	}
	if st := w.status(id); st.Status != tenantsync.Applying {
		t.Errorf("after it: %+v", st)
	}
	w.must(kind.Run(w.Context(), sc, jobs.Job{Payload: payload, Attempts: kind.Attempts}))
	if st := w.status(id); st.Status != tenantsync.Failed || st.Errors[0].Code != fault.Unavailable || st.Synced != 0 {
		t.Errorf("after the last: %+v", st)
	}
	refuse.Store(false)
	w.must(w.Resume(w.Context(), w.sys(), id))
	w.run()
	if st := w.status(id); st.Status != tenantsync.Applied || st.Synced != 9 {
		t.Errorf("resumed: %+v", st)
	}
}

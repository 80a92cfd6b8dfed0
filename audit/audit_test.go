package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/audit"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenants"
)

// world is an App whose store can refuse to write audit entries.
type world struct {
	*tenantrytest.App
	t      *testing.T
	refuse *atomic.Value // the PK whose commits fail, "" for none
}

func newWorld(t *testing.T) *world {
	t.Helper()
	refuse := &atomic.Value{}
	refuse.Store("")
	store := worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return engine{e, refuse} })
	w := &world{App: tenantrytest.New(t, tenantry.Config{Store: store}), t: t, refuse: refuse}
	w.Tenant("alpha", "bravo")
	return w
}

type engine struct {
	driver.Engine
	refuse *atomic.Value
}

func (e engine) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	for _, w := range b.Writes {
		if w.Record.PK == e.refuse.Load() {
			return "", fault.New(fault.Unavailable, "test", "the disk is full")
		}
	}
	return e.Engine.Commit(ctx, b)
}

// log returns the entries in a tenant's log, newest first.
func (w *world) log(of string) []audit.Entry {
	w.t.Helper()
	page, err := w.Audit().List(w.t.Context(), w.Scope(of), 0, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return page.Items
}

// added returns the entries that do adds to a tenant's log, newest first.
func (w *world) added(of string, do func()) []audit.Entry {
	w.t.Helper()
	before := len(w.log(of))
	do()
	after := w.log(of)
	return after[:len(after)-before]
}

func (w *world) enter(sys guard.System, text string) guard.Scope {
	w.t.Helper()
	sc, err := sys.Enter(w.t.Context(), worldtest.Code(text), time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	return sc
}

// TestEntries checks what one use of a System leaves: one entry in each log, the system's naming all tenants in the order
// of first touch, each tenant's own naming itself alone.
func TestEntries(t *testing.T) {
	w := newWorld(t)
	use := func() {
		sys := w.System("moving house")
		for _, text := range []string{"bravo", "alpha", "bravo", "common", "alpha"} {
			w.enter(sys, text)
		}
	}
	want := audit.Entry{UserID: "tester", Issuer: "test", Role: "system_admin", Operation: "test", Reason: "moving house", RequestID: "test"}
	var ids []string
	for of, tenants := range map[string][]string{"common": {"bravo", "alpha", "common"}, "alpha": {"alpha"}, "bravo": {"bravo"}} {
		added := w.added(of, use)
		if len(added) != 1 {
			t.Fatalf("%s: %d entries; want 1", of, len(added))
		}
		got := added[0]
		id, err := ulid.ParseStrict(got.ID)
		if err != nil || got.At != record.At(ulid.Time(id.Time())) {
			t.Errorf("%s: the entry %q is of %v: %v", of, got.ID, got.At, err)
		}
		ids = append(ids, got.ID)
		want.ID, want.At, want.Tenants = got.ID, got.At, tenants
		if diff := cmp.Diff(want, got, equalTimes); diff != "" {
			t.Errorf("%s: %s", of, diff)
		}
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != 3 {
		t.Error("three uses left entries under one ID")
	}
	w.Tenant("charlie")
	if n := len(w.added("charlie", use)); n != 0 {
		t.Errorf("%d entries in the log of a tenant that was not touched", n)
	}
}

var equalTimes = cmp.Comparer(func(a, b record.Time) bool { return a == b })

// TestNote checks that reading across tenants leaves an entry that names none.
func TestNote(t *testing.T) {
	w := newWorld(t)
	added := w.added("common", func() {
		sys := w.System("counting")
		for range 2 {
			if err := sys.Note(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	if len(added) != 1 || added[0].Reason != "counting" || added[0].Tenants == nil || len(added[0].Tenants) != 0 {
		t.Errorf("entries %+v", added)
	}
	added = w.added("common", func() {
		sys := w.System("counting, then reading")
		if err := sys.Note(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.enter(sys, "alpha")
		if err := sys.Note(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if len(added) != 1 || !slices.Equal(added[0].Tenants, []string{"alpha"}) {
		t.Errorf("entries %+v", added)
	}
}

// TestConcurrentUse checks that the entry of a System that several goroutines use names what each of them touched.
func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	var codes []string
	for i := range 8 {
		codes = append(codes, fmt.Sprintf("t%d", i))
	}
	added := w.added("common", func() {
		sys := w.System("everywhere")
		var group sync.WaitGroup
		for i := range 4 * len(codes) {
			group.Go(func() {
				if _, err := sys.Enter(t.Context(), worldtest.Code(codes[i%len(codes)]), time.Time{}); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
	if len(added) != 1 {
		t.Fatalf("%d entries; want 1", len(added))
	}
	if got := slices.Sorted(slices.Values(added[0].Tenants)); !slices.Equal(got, codes) {
		t.Errorf("the entry names %v; want %v", got, codes)
	}
}

// TestEntryComesFirst checks that a tenant isn't entered before the entries that name it are in the store.
func TestEntryComesFirst(t *testing.T) {
	w := newWorld(t)
	for _, log := range []string{"alpha", "common"} {
		sys := w.System("hasty")
		added := w.added("alpha", func() {
			w.refuse.Store("AUDIT#" + log)
			sc, err := sys.Enter(t.Context(), worldtest.Code("alpha"), time.Time{})
			if !errors.Is(err, fault.Unavailable) || sc.Check() == nil {
				t.Errorf("%s refuses its entry, and alpha was entered: %v", log, err)
			}
			if err := sys.Note(t.Context()); log == "common" && !errors.Is(err, fault.Unavailable) {
				t.Errorf("%s refuses its entry, and all tenants were read: %v", log, err)
			}
			w.refuse.Store("")
			w.enter(sys, "alpha")
		})
		if len(added) != 1 || !slices.Equal(added[0].Tenants, []string{"alpha"}) {
			t.Errorf("%s: alpha's log after it was entered at last: %+v", log, added)
		}
		if newest := w.log("common")[0]; newest.Reason != "hasty" || !slices.Equal(newest.Tenants, []string{"alpha"}) {
			t.Errorf("%s: the system's log after alpha was entered at last: %+v", log, newest)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if sc, err := w.System("late").Enter(ended, worldtest.Code("alpha"), time.Time{}); err == nil || sc.Check() == nil {
		t.Errorf("a tenant was entered after the request ended: %v", err)
	}
	if _, err := (guard.System{}).Enter(t.Context(), worldtest.Code("alpha"), time.Time{}); !errors.Is(err, fault.RoleRequired) {
		t.Errorf("the zero System: %v", err)
	}
}

// crossed writes an entry of a moment, as a System that was issued then would.
func (w *world) crossed(at time.Time, reason string, codes ...string) {
	w.t.Helper()
	var id ulid.ULID
	if err := id.SetTime(ulid.Timestamp(at)); err != nil {
		w.t.Fatal(err)
	}
	c := scope.Crossing{ID: id.String(), Actor: guard.Actor{UserID: "tester", Source: "test"}, Reason: reason}
	for _, text := range codes {
		c.Tenants = append(c.Tenants, worldtest.Code(text))
		if err := w.Audit().Crossed(w.t.Context(), c); err != nil {
			w.t.Fatal(err)
		}
	}
}

func reasons(entries []audit.Entry) string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Reason)
	}
	return strings.Join(out, ", ")
}

// TestEarlierTenantsEntries checks that the admin of a tenant doesn't read what was done in an earlier one of the same code.
func TestEarlierTenantsEntries(t *testing.T) {
	w := newWorld(t)
	former := w.Clock.Now().Add(time.Hour)
	w.crossed(former, "former", "alpha", "bravo")
	w.Clock.Advance(2 * time.Hour)
	sys, ref := w.System("rebuild"), tenants.Ref{Tenant: worldtest.Code("alpha")}
	if _, err := w.Tenants().DeleteTenant(t.Context(), sys, ref); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tenants().CreateTenant(t.Context(), sys, tenants.Create{Code: ref.Tenant, Name: "Alpha again"}); err != nil {
		t.Fatal(err)
	}
	w.crossed(w.Clock.Now().Add(-time.Second), "a second early", "alpha")
	w.crossed(w.Clock.Now(), "punctual", "alpha")
	w.crossed(w.Clock.Now().Add(time.Hour), "later", "alpha")
	if got := reasons(w.log("alpha")); got != "later, punctual" {
		t.Errorf("the new alpha reads %s", got)
	}
	if got := reasons(w.log("bravo")); !strings.HasPrefix(got, "former") {
		t.Errorf("bravo, which was never deleted, reads %s", got)
	}
	if got := reasons(w.log("common")); !strings.HasPrefix(got, "later, punctual, a second early, former") {
		t.Errorf("the system reads %s", got)
	}
}

// TestPages walks a log by its cursors, which work for no other log.
func TestPages(t *testing.T) {
	w := newWorld(t)
	w.Clock.Advance(time.Minute)
	const n = 7
	for i := range n {
		w.crossed(w.Clock.Now().Add(time.Duration(i)*time.Millisecond), fmt.Sprint(i), "alpha", "bravo")
	}
	first, err := w.Audit().List(t.Context(), w.Scope("alpha"), 3, "")
	if err != nil {
		t.Fatal(err)
	}
	if reasons(first.Items) != "6, 5, 4" || first.Cursor == "" {
		t.Fatalf("the first page: %s, cursor %q", reasons(first.Items), first.Cursor)
	}
	w.crossed(w.Clock.Now().Add(time.Second), "meanwhile", "alpha")
	var rest []audit.Entry
	for cursor := first.Cursor; cursor != ""; {
		page, err := w.Audit().List(t.Context(), w.Scope("alpha"), 3, cursor)
		if err != nil {
			t.Fatal(err)
		}
		rest, cursor = append(rest, page.Items...), page.Cursor
	}
	if got := reasons(rest); !strings.HasPrefix(got, "3, 2, 1, 0") || strings.Contains(got, "meanwhile") {
		t.Errorf("the pages after the first: %s", got)
	}
	for _, of := range []string{"bravo", "common"} {
		if _, err := w.Audit().List(t.Context(), w.Scope(of), 3, first.Cursor); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("alpha's cursor in the log of %s: %v", of, err)
		}
	}
	for _, limit := range []int{-1, 1001} {
		if _, err := w.Audit().List(t.Context(), w.Scope("alpha"), limit, ""); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if _, err := w.Audit().List(t.Context(), guard.Scope{}, 0, ""); !errors.Is(err, fault.TenantRequired) {
		t.Errorf("the zero Scope: %v", err)
	}
}

// TestOperations checks who reads which log.
func TestOperations(t *testing.T) {
	want := map[string]guard.Policy{
		"/api/audit":       {Reach: guard.Tenant, Roles: []string{"admin"}},
		"/api/admin/audit": {Reach: guard.AllTenants},
	}
	for _, op := range newWorld(t).Audit().Operations() {
		if diff := cmp.Diff(want[op.Path], op.Policy); diff != "" {
			t.Errorf("%s: %s", op.Path, diff)
		}
		delete(want, op.Path)
	}
	if len(want) > 0 {
		t.Errorf("not served: %v", want)
	}
}

package upkeep_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/upkeep"
)

// parked returns what waits, without the key that all have.
func (w *world) parked(r *upkeep.Runner) (out []upkeep.Parked) {
	w.Helper()
	out, err := r.Parked(w.Context(), worldtest.System("look", nil))
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *world) key(code, sk string) record.Key { return w.Key(worldtest.Scope(code), "PRODUCT", sk) }

// TestParked follows a record that can't be applied: it and what comes behind it wait, with their reason, and nothing else does; it is tried
// as often as it may, then waits for an operator.
func TestParked(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		r := w.run(w.cfg)
		w.runner = r
		w.publish("acme", "bad", "good", false)
		w.publish("acme", "bad", "poison", false)
		w.publish("acme", "bad", "good again", false)
		w.publish("bravo", "bad", "panic", false)
		w.reach(r, w.publishSome(1, 100))
		w.until("all attempts", func() bool {
			return !slices.ContainsFunc(w.parked(r), func(p upkeep.Parked) bool { return !p.Next.IsZero() })
		})
		parked := w.parked(r)
		if len(parked) != 2 || parked[0].TenantCode != "acme" || parked[0].Version != 2 || parked[0].Latest != 3 || parked[0].Attempts != 3 || !strings.Contains(parked[0].Reason, "it is poison") ||
			parked[1].TenantCode != "bravo" || parked[1].Version != 1 || !strings.Contains(parked[1].Reason, "it panics") {
			t.Fatalf("parked: %+v", parked)
		}
		if got := w.query("SELECT version FROM product WHERE sk = 'bad'"); !slices.Equal(got, []string{"[true]"}) {
			t.Errorf("versions of records that wait: %v; want the first of one", got)
		}
		status, err := r.Status(t.Context(), worldtest.System("look", nil))
		if err != nil || len(status.Projections) != 1 || status.Projections[0].Parked != 2 || status.Projections[0].Aside != 0 {
			t.Errorf("status %+v, %v", status, err)
		}
		tenants, err := r.Tenants(t.Context(), worldtest.System("look", nil), worldtest.Code("acme-2"), 1)
		if err != nil || len(tenants) != 1 || tenants[0].TenantCode != "bravo" || tenants[0].Waiting != 1 || tenants[0].Errors != 1 || tenants[0].Applied == 0 {
			t.Errorf("tenants %+v, %v", tenants, err)
		}

		w.healed.Store(true)
		if err := r.Retry(t.Context(), "products", w.key("bravo", "bad")); err != nil {
			t.Fatal(err)
		}
		for range 2 { // of two operators who skip one command one does
			if err := w.runner.Skip(t.Context(), "products", w.key("acme", "bad"), 2); err != nil && fault.CodeOf(err) != fault.NotFound {
				t.Fatal(err)
			}
		}
		w.until("nothing waits", func() bool { return len(w.parked(r)) == 0 })
		w.check()
		if err := r.Retry(t.Context(), "products", w.key("acme", "bad")); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("retrying what does not wait: %v", err)
		}
	})
}

// TestManyFail has most of what one transaction would apply fail: what comes before a failure is applied, what comes behind it waits, of each record.
func TestManyFail(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	for n := range 30 {
		for _, name := range []string{"good", "poison", "better"} {
			w.publish("acme", fmt.Sprint("bad", n), name, false)
		}
		w.publish("bravo", fmt.Sprint("good", n), "good", false)
	}
	w.cfg.Attempts = 1
	r := w.run(w.cfg)
	w.reach(r, w.publish("bravo", "last", "good", false))
	parked := w.parked(r)
	for _, p := range parked {
		if p.Version != 2 || p.Latest != 3 {
			t.Errorf("parked: %+v", p)
		}
	}
	if rows := w.query("SELECT tenant_code FROM product WHERE version = 1"); len(parked) != 30 || len(rows) != 61 {
		t.Errorf("%d records are parked and %d rows are at the first version; want 30 and 61", len(parked), len(rows))
	}
	w.healed.Store(true)
	for _, p := range parked {
		if err := r.Retry(t.Context(), "products", w.key("acme", p.SK)); err != nil {
			t.Fatal(err)
		}
	}
	w.until("nothing waits", func() bool { return len(w.parked(r)) == 0 })
	w.check()
}

// TestRetried heals a record before its attempts are used up: it goes on by itself, with what came meanwhile.
func TestRetried(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	w.cfg.Attempts = 1_000_000
	r := w.run(w.cfg)
	w.publish("acme", "bad", "poison", false)
	w.until("it is tried", func() bool { p := w.parked(r); return len(p) == 1 && p[0].Attempts > 2 })
	w.reach(r, w.publish("acme", "bad", "good", false))
	w.healed.Store(true)
	w.until("it goes on", func() bool { return len(w.parked(r)) == 0 })
	w.check()
}

// TestAnotherProcess has a Runner that does not work tell the one that does.
func TestAnotherProcess(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	w.cfg.Term = 400 * time.Millisecond
	r := w.run(w.cfg)
	w.reach(r, w.publish("acme", "bad", "poison", false))
	w.until("all attempts", func() bool { p := w.parked(r); return len(p) == 1 && p[0].Next.IsZero() })
	other := upkeep.New(w.cfg)
	if err := other.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.healed.Store(true)
	if err := other.Retry(t.Context(), "products", w.key("acme", "bad")); err != nil {
		t.Fatal(err)
	}
	w.until("nothing waits", func() bool { return len(w.parked(r)) == 0 })
	w.check()
}

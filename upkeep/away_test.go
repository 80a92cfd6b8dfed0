package upkeep_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/upkeep"
)

// TestAway has a projection lack something that one tenant's rows need, for longer than its attempts: that tenant's records wait for it by
// themselves, and nobody else does.
func TestAway(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		w.publish("acme", "before", "good", false)
		w.publish("acme", "first", "away", false)
		for n := range 40 {
			w.publish("acme", fmt.Sprint("p", n), "away, too", false)
			w.publish("bravo", fmt.Sprint("p", n), "good", false)
		}
		r := w.run(w.cfg)
		w.runner = r
		w.reach(r, w.publish("acme", "first", "later", false))
		if got := w.query("SELECT tenant_code, sk FROM product WHERE tenant_code = 'acme'"); !slices.Equal(got, []string{"[acme before]"}) {
			t.Errorf("rows of the tenant: %v", got)
		}
		if got := w.query("SELECT sk FROM product WHERE tenant_code = 'bravo'"); len(got) != 40 {
			t.Errorf("%d rows of another tenant; want 40", len(got))
		}
		w.until("more attempts than there are of what is refused", func() bool {
			return slices.ContainsFunc(w.parked(r), func(p upkeep.Parked) bool { return p.Attempts > w.cfg.Attempts })
		})
		for _, p := range w.parked(r) {
			if p.TenantCode != "acme" || p.Next.IsZero() || !strings.Contains(p.Reason, "the price list is away") {
				t.Errorf("parked: %+v", p)
			}
		}
		_, waiting, err := r.Behind(t.Context())
		if want := map[string]upkeep.Waits{"products": {Aside: 41}}; err != nil || !cmp.Equal(waiting, want) {
			t.Errorf("what metrics say waits: %v, %v; want %v", waiting, err, want)
		}
		w.healed.Store(true)
		w.until("nothing waits", func() bool { return len(w.parked(r)) == 0 })
		w.check()
	})
}

// coded is a table whose codes are unique, and what a projection makes of commands that take no notice of that.
var coded = readmodel.Declare[attributes]("coded", readmodel.Options{})

// TestCodesThatMove lets codes go from one record to another inside one transaction, and a record want one that another has: it alone is
// parked, also by a projection that does not look at errors.
func TestCodesThatMove(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		m, err := readmodel.New([]readmodel.Declared{coded}, readmodel.Project("coded", product,
			func(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, a attributes) error {
				_ = coded.Put(ctx, tx, cmd, a)
				return nil
			}, coded))
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Model, w.cfg.Attempts = m, 1
		versions := map[string]int64{}
		var b driver.Batch
		put := func(sk, code string) {
			versions[sk]++
			b.Writes = append(b.Writes, driver.Write{Collection: driver.Command, If: driver.Condition{Kind: driver.IfAbsent}, Record: &record.Record{PK: "PRODUCT#acme", SK: sk,
				Code: code, Name: sk, TenantCode: "acme", Type: "PRODUCT", Version: versions[sk], CreatedAt: record.At(time.Now()), UpdatedAt: record.At(time.Now())}})
		}
		for _, each := range []string{"a x", "b y", "a z", "b x", "a y", "c y", "d v", "d w", "e v", "e y", "f z"} {
			sk, code, _ := strings.Cut(each, " ")
			put(sk, code)
		}
		last, err := w.Engine.Commit(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		r := w.run(w.cfg)
		w.reach(r, last)
		if diff := cmp.Diff([]string{"[a y]", "[b x]", "[d w]", "[e v]", "[f z]"}, w.query("SELECT sk, code FROM coded")); diff != "" {
			t.Errorf("codes: %s", diff)
		}
		var waits []string
		for _, p := range w.parked(r) {
			waits = append(waits, fmt.Sprint(p.SK, "@", p.Version, " ", strings.Contains(p.Reason, "same values in unique columns")))
		}
		if !slices.Equal(waits, []string{"c@1 true", "e@2 true"}) {
			t.Errorf("parked: %v", waits)
		}

		b.Writes = nil
		put("a", "u") // and gives its code up
		if last, err = w.Engine.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		w.reach(r, last)
		if err := r.Retry(t.Context(), "coded", w.key("acme", "e")); err != nil {
			t.Fatal(err)
		}
		w.until("the code is taken", func() bool { return len(w.parked(r)) == 1 })
		if diff := cmp.Diff([]string{"[a u]", "[b x]", "[d w]", "[e y]", "[f z]"}, w.query("SELECT sk, code FROM coded")); diff != "" {
			t.Errorf("codes: %s", diff)
		}
	})
}

// TestValuesThatAreSwapped has two records swap what is unique, directly: both are parked, and go on when one takes a third value in between.
func TestValuesThatAreSwapped(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		m, err := readmodel.New([]readmodel.Declared{coded}, readmodel.Project("coded", product,
			func(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, a attributes) error {
				return coded.Put(ctx, tx, cmd, a)
			}, coded))
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Model, w.cfg.Attempts = m, 1
		r := w.run(w.cfg)
		w.runner = r
		versions := map[string]int64{}
		put := func(sk, code string) {
			t.Helper()
			versions[sk]++
			last, err := w.Engine.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: driver.Command, If: driver.Condition{Kind: driver.IfAbsent}, Record: &record.Record{PK: "PRODUCT#acme", SK: sk,
				Code: code, Name: sk, TenantCode: "acme", Type: "PRODUCT", Version: versions[sk], CreatedAt: record.At(time.Now()), UpdatedAt: record.At(time.Now())}}}})
			if err != nil {
				t.Fatal(err)
			}
			w.reach(r, last)
		}
		for _, each := range []string{"a x", "b y", "a y", "b x"} {
			sk, code, _ := strings.Cut(each, " ")
			put(sk, code)
		}
		if p := w.parked(r); len(p) != 2 || p[0].Version != 2 || p[1].Version != 2 {
			t.Fatalf("parked: %+v", p)
		}
		if err := w.runner.Skip(t.Context(), "coded", w.key("acme", "a"), 2); err != nil {
			t.Fatal(err)
		}
		put("a", "z")
		if err := r.Retry(t.Context(), "coded", w.key("acme", "b")); err != nil {
			t.Fatal(err)
		}
		w.until("the other has its value", func() bool { return len(w.parked(r)) == 0 })
		put("a", "y")
		if diff := cmp.Diff([]string{"[a y]", "[b x]"}, w.query("SELECT sk, code FROM coded")); diff != "" || len(w.parked(r)) > 0 {
			t.Errorf("codes: %s", diff)
		}
	})
}

// TestWhatAProjectionKeeps checks that it can't write with a Tx in another's turn.
func TestWhatAProjectionKeeps(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		var kept *readmodel.Tx
		m, err := readmodel.New([]readmodel.Declared{coded}, readmodel.Project("coded", product,
			func(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, a attributes) error {
				if kept == nil {
					kept = tx
				}
				if tx.Tenant() == worldtest.Code("acme") {
					tx = kept
				}
				return coded.Put(ctx, tx, cmd, a)
			}, coded))
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Model, w.cfg.Attempts = m, 1
		w.publish("bravo", "1", "good", false)
		last := w.publish("acme", "1", "good", false)
		r := w.run(w.cfg)
		w.reach(r, last)
		if got := w.query("SELECT tenant_code FROM coded"); !slices.Equal(got, []string{"[bravo]"}) {
			t.Errorf("rows are of %v", got)
		}
		if p := w.parked(r); len(p) != 1 || p[0].TenantCode != "acme" || !strings.Contains(p[0].Reason, string(fault.TenantRequired)) {
			t.Errorf("parked: %+v", p)
		}
	})
}

// TestSlow has a projection wait for something that does not come: it gets the time of a turn, and others go on.
func TestSlow(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		r := upkeep.New(w.cfg)
		upkeep.LimitTurns(r, 20*time.Millisecond)
		if err := r.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := range 10 {
			w.publish("acme", fmt.Sprint("p", n), "slow", false)
			w.publish("bravo", fmt.Sprint("p", n), "good", false)
		}
		last := w.publish("bravo", "last", "good", false)
		r.Start(context.Background())
		defer r.Close()
		w.reach(r, last)
		if got := w.query("SELECT sk FROM product WHERE tenant_code = 'bravo'"); len(got) != 11 {
			t.Errorf("%d rows of another tenant; want 11", len(got))
		}
		if p := w.parked(r); len(p) != 10 || !strings.Contains(p[0].Reason, "took longer than 20ms") {
			t.Errorf("parked: %+v", p)
		}
		w.healed.Store(true)
		w.until("nothing waits", func() bool { return len(w.parked(r)) == 0 })
		w.check()
	})
}

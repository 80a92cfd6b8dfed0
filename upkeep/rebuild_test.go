package upkeep_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/upkeep"
)

// rebuild asks for rebuilds and waits for their end.
func (w *world) rebuild(r *upkeep.Runner, code tenant.Code, projection string, audit bool) {
	w.Helper()
	if n, err := r.Ask(w.Context(), worldtest.System("ask", nil), code, projection, "a test", audit); err != nil || n == 0 {
		w.Fatalf("asked for %d: %v", n, err)
	}
	w.settled(r)
}

func (w *world) settled(r *upkeep.Runner) {
	w.Helper()
	w.until("the rebuilds", func() bool {
		status, err := r.Status(w.Context(), worldtest.System("look", nil))
		if err != nil {
			w.Fatal(err)
		}
		return !slices.ContainsFunc(status.Rebuilds, func(b upkeep.Rebuild) bool { return b.State != "done" })
	})
}

func (w *world) differences(r *upkeep.Runner, code string) (out []upkeep.Difference) {
	w.Helper()
	all, err := r.Rebuilds(w.Context(), worldtest.Scope(code))
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range all {
		out = append(out, b.Differences...)
		if int64(len(b.Differences)) != b.Different {
			w.Errorf("%s of %s: %d of %d differences", b.Projection, code, len(b.Differences), b.Different)
		}
	}
	return out
}

// damage spoils rows of acme: one is changed, one is lost, one is too much, and a counter is wrong.
func (w *world) damage() []upkeep.Difference {
	w.Helper()
	for sk, name := range map[string]string{"changed": "right", "lost": "right"} {
		w.reach(w.runner, w.publish("acme", sk, name, false))
	}
	w.write("UPDATE product SET name = 'wrong', n = 77 WHERE sk = 'changed'")
	w.write("DELETE FROM product WHERE sk = 'lost'")
	w.write(`INSERT INTO product (tenant_code, pk, sk, code, name, version, is_deleted, created_by, updated_by, attributes, n)
		VALUES ('acme', 'PRODUCT#acme', 'extra', '', '', 1, false, '', '', '{}', 1)`)
	w.write("UPDATE upkeep_counter SET live = live + 1000 WHERE tenant_code = 'acme'")
	return []upkeep.Difference{
		{Table: "upkeep_counter", Key: []string{"PRODUCT"}, Columns: []string{"live"}, Kind: "different"},
		{Table: "product", Key: []string{"PRODUCT#acme", "changed"}, Columns: []string{"name", "n"}, Kind: "different"},
		{Table: "product", Key: []string{"PRODUCT#acme", "extra"}, Columns: []string{}, Kind: "extra"},
		{Table: "product", Key: []string{"PRODUCT#acme", "lost"}, Columns: []string{}, Kind: "missing"},
	}
}

// TestAudit finds every difference and changes nothing; a rebuild of the tenant then mends it, and of its tenant alone.
func TestAudit(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(1, 200))
		want := w.damage()
		before := w.query("SELECT * FROM product")
		w.rebuild(w.runner, worldtest.Code("acme"), "", true)
		if diff := cmp.Diff(want, w.differences(w.runner, "acme")); diff != "" {
			t.Errorf("what an audit finds: %s", diff)
		}
		if diff := cmp.Diff(before, w.query("SELECT * FROM product")); diff != "" {
			t.Errorf("an audit changed rows: %s", diff)
		}
		w.rebuild(w.runner, worldtest.Code("bravo"), "", false)
		if found := w.differences(w.runner, "bravo"); len(found) > 0 {
			t.Errorf("differences of another tenant: %v", found)
		}
		if diff := cmp.Diff(before, w.query("SELECT * FROM product")); diff != "" {
			t.Errorf("the rebuild of another tenant changed rows: %s", diff)
		}
		w.rebuild(w.runner, worldtest.Code("acme"), "", false)
		w.check()
		for _, table := range []string{"product_shadow", "upkeep_record_shadow", "upkeep_counter_shadow", "upkeep_created_shadow", "upkeep_parked_shadow"} {
			if left := w.query("SELECT * FROM " + table); len(left) > 0 {
				t.Errorf("%d rows are left in %s", len(left), table)
			}
		}
		if _, err := w.runner.Ask(t.Context(), worldtest.System("ask", nil), tenant.Code{}, "nothing", "a test", false); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("a projection that is none: %v", err)
		}
	})
}

// TestRebuildUnderLoad rebuilds one tenant and all while changes are published, readers read, and the Runner ends and is followed by another.
func TestRebuildUnderLoad(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(1, 300))
		w.damage()
		var publishing sync.WaitGroup
		publishing.Go(func() {
			for seed := range uint64(6) {
				w.publishSome(10+seed, 50)
			}
		})
		for _, code := range []tenant.Code{worldtest.Code("acme"), {}} {
			if _, err := w.runner.Ask(t.Context(), worldtest.System("ask", nil), code, "", "a test", false); err != nil {
				t.Fatal(err)
			}
			w.runner.Close() // at any step
			w.runner = w.run(w.cfg)
			w.settled(w.runner)
		}
		publishing.Wait()
		w.reach(w.runner, w.publishSome(2, 1))
		w.check()
	})
}

// TestEachStep ends the Runner after each transaction of a rebuild.
func TestEachStep(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	w.runner = w.run(w.cfg)
	w.reach(w.runner, w.publishSome(1, 300))
	w.damage()
	w.publish("acme", "bad", "poison", false)
	w.reach(w.runner, w.publish("acme", "bad", "good", false))
	if _, err := w.runner.Ask(t.Context(), worldtest.System("ask", nil), worldtest.Code("acme"), "", "a test", false); err != nil {
		t.Fatal(err)
	}
	w.runner.Close()
	w.healed.Store(true)
	steps := 0
	for upkeep.RebuildStep(t.Context(), upkeep.New(w.cfg)) {
		if w.publish("acme", fmt.Sprint("after", steps), "step", steps%3 == 0); steps%2 == 0 {
			upkeep.CatchUp(t.Context(), upkeep.New(w.cfg))
		}
		steps++
	}
	if steps < 12 {
		t.Errorf("a rebuild had %d steps; this proves little", steps)
	}
	upkeep.CatchUp(t.Context(), upkeep.New(w.cfg))
	w.check()
	if left := w.query("SELECT * FROM upkeep_parked"); len(left) > 0 {
		t.Errorf("what a rebuild applied is parked still: %v", left)
	}
}

// TestNewProjection begins a projection when there are commands, beside one that goes on, and one whose table has other columns than before.
func TestNewProjection(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(1, 300))
		w.runner.Close()
		w.cfg.Model = w.model(products, again)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(2, 20))
		w.settled(w.runner)
		w.check()
		if diff := cmp.Diff(w.query("SELECT pk, sk, name, version FROM product"), w.query("SELECT pk, sk, name, version FROM again")); diff != "" {
			t.Errorf("a new projection's rows: %s", diff)
		}

		w.runner.Close()
		w.cfg.Model = w.model(products) // and without it for a while
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(3, 20))
		w.runner.Close()
		w.cfg.Model = w.model(products, again)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(4, 20))
		w.settled(w.runner)
		if diff := cmp.Diff(w.query("SELECT pk, sk, name, version FROM product"), w.query("SELECT pk, sk, name, version FROM again")); diff != "" {
			t.Errorf("rows of a projection that was left out for a while: %s", diff)
		}

		w.runner.Close()
		wider := readmodel.Declare[struct {
			N        int64  `json:"n" db:"n"`
			Category string `json:"category" db:"category"`
		}]("again", readmodel.Options{EntityType: product, DuplicateCodes: true})
		w.cfg.Model = w.model(products, wider)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(5, 20))
		w.settled(w.runner)
		if diff := cmp.Diff(w.query("SELECT pk, sk, name, version, 'chairs' FROM product"), w.query("SELECT pk, sk, name, version, category FROM again")); diff != "" {
			t.Errorf("rows of a table that has a column more: %s", diff)
		}
	})
}

// TestDeclarationChangesMeanwhile changes a table's declaration at each step of a rebuild of one tenant, of all and of an audit: what the shadow
// lost is not put in place, and all is made anew in the end.
func TestDeclarationChangesMeanwhile(t *testing.T) {
	wider := readmodel.Declare[struct {
		N        int64  `json:"n" db:"n"`
		Category string `json:"category" db:"category"`
	}]("again", readmodel.Options{EntityType: product, DuplicateCodes: true})
	for steps := range 9 {
		w := newWorld(t, sqlite.At(t.TempDir()))
		w.cfg.Model = w.model(products, again)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(1, 200))
		code := worldtest.Code("acme")
		if steps%3 == 2 {
			code = tenant.Code{}
		}
		if _, err := w.runner.Ask(t.Context(), worldtest.System("ask", nil), code, "again", "a test", steps%3 == 1); err != nil {
			t.Fatal(err)
		}
		w.runner.Close()
		for range steps {
			upkeep.RebuildStep(t.Context(), upkeep.New(w.cfg))
		}
		w.publishSome(2, 5)
		w.cfg.Model = w.model(products, wider)
		for upkeep.RebuildStep(t.Context(), upkeep.New(w.cfg)) { // before it is asked for anew
		}
		upkeep.CatchUp(t.Context(), upkeep.New(w.cfg))
		if diff := cmp.Diff(w.query("SELECT pk, sk, name, version FROM product"), w.query("SELECT pk, sk, name, version FROM again")); diff != "" {
			t.Errorf("what is read, changed after %d steps: %s", steps, diff)
		}
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(3, 5))
		w.until("the table is as it is declared", func() bool {
			return len(w.query("SELECT name FROM readmodel_form WHERE NOT stale AND name = 'again'")) == 1
		})
		w.settled(w.runner)
		if diff := cmp.Diff(w.query("SELECT pk, sk, name, version, 'chairs' FROM product"), w.query("SELECT pk, sk, name, version, category FROM again")); diff != "" {
			t.Errorf("after %d steps: %s", steps, diff)
		}
	}
}

// TestSkipMeanwhile lets nobody give up a command that a rebuild may have passed.
func TestSkipMeanwhile(t *testing.T) {
	w := newWorld(t, sqlite.At(t.TempDir()))
	w.runner = w.run(w.cfg)
	w.publish("acme", "bad", "poison", false)
	w.reach(w.runner, w.publish("acme", "bad", "good", false))
	if _, err := w.runner.Ask(t.Context(), worldtest.System("ask", nil), worldtest.Code("acme"), "products", "a test", true); err != nil {
		t.Fatal(err)
	}
	w.runner.Close()
	refused := 0
	for more := true; more; more = upkeep.RebuildStep(t.Context(), upkeep.New(w.cfg)) {
		state := w.query("SELECT state FROM upkeep_rebuild")[0]
		if state != "[replay]" && state != "[held]" {
			continue
		}
		refused++
		if err := upkeep.New(w.cfg).Skip(t.Context(), "products", w.key("acme", "bad"), 1); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("a skip while the state is %s: %v", state, err)
		}
	}
	if err := upkeep.New(w.cfg).Skip(t.Context(), "products", w.key("acme", "bad"), 1); err != nil {
		t.Errorf("a skip behind it: %v", err)
	}
	if refused < 2 {
		t.Errorf("%d steps in which nothing is skipped: this proves little", refused)
	}
	if found := w.differences(w.runner, "acme"); len(found) > 0 {
		t.Errorf("an audit finds %v", found)
	}
}

// TestAuditFindsWhomNobodyKnows audits all tenants, one of which has rows and nothing else.
func TestAuditFindsWhomNobodyKnows(t *testing.T) {
	eachDatabase(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		w.runner = w.run(w.cfg)
		w.reach(w.runner, w.publishSome(1, 20))
		w.write("INSERT INTO product (tenant_code, pk, sk, version) VALUES ('nobody', 'PRODUCT#nobody', 'extra', 1)")
		w.rebuild(w.runner, tenant.Code{}, "products", true)
		want := []upkeep.Difference{{Table: "product", Key: []string{"PRODUCT#nobody", "extra"}, Columns: []string{}, Kind: "extra"}}
		if diff := cmp.Diff(want, w.differences(w.runner, "nobody"), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
		if _, err := w.runner.Rebuilds(t.Context(), worldtest.Scope("acme").Shared()); fault.CodeOf(err) != fault.TenantForbidden {
			t.Errorf("what differs of the common tenant, for one that reads what it shares: %v", err)
		}
	})
}

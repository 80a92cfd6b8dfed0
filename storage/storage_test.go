package storage_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	product  = record.MustEntityType("PRODUCT")
	template = record.MustEntityType("TEMPLATE") // shared
)

// world is a store and, beside it, an engine on the same data.
type world struct {
	testing.TB
	*storage.Store
	engine driver.Engine
}

func open(t testing.TB, src driver.Source, opts storage.Options) *world {
	t.Helper()
	if opts.Shared == nil {
		opts.Shared = func(et record.EntityType) bool { return et == template }
	}
	store, err := storage.Open(t.Context(), src, opts)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := src.Open(t.Context(), scope.NewRoot())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return &world{TB: t, Store: store, engine: engine}
}

func scopeOf(code string, access scope.Access) scope.Scope {
	parsed, err := tenant.Parse(code)
	if err != nil {
		panic(err)
	}
	return scope.New(parsed, access, time.Time{}, &scope.Actor{UserID: "tester"})
}

func (w *world) view(code string, access scope.Access) storage.View {
	w.Helper()
	v, err := w.In(scopeOf(code, access))
	if err != nil {
		w.Fatal(err)
	}
	return v
}

func (w *world) key(code string, t record.EntityType, sk string) record.Key {
	w.Helper()
	k, err := record.NewKey(scopeOf(code, scope.Full), t, sk)
	if err != nil {
		w.Fatal(err)
	}
	return k
}

// plant writes rows past the scopes, as another program would.
func (w *world) plant(c driver.Collection, recs ...*record.Record) {
	w.Helper()
	for _, r := range recs {
		if _, err := w.engine.Commit(w.Context(), driver.Batch{Writes: []driver.Write{{Collection: c, Record: r}}}); err != nil {
			w.Fatal(err)
		}
	}
}

// everything returns every row of the store.
func (w *world) everything() map[driver.Collection][]*record.Record {
	w.Helper()
	all := map[driver.Collection][]*record.Record{}
	for _, c := range driver.Collections() {
		rows, err := w.engine.Scan(w.Context(), c, driver.Ref{}, 10_000)
		if err != nil {
			w.Fatal(err)
		}
		all[c] = rows
	}
	return all
}

var equalTimes = cmp.Comparer(func(a, b record.Time) bool { return a == b })

// unchanged fails the test where do changes a row.
func (w *world) unchanged(what string, do func()) {
	w.Helper()
	before := w.everything()
	do()
	if diff := cmp.Diff(before, w.everything(), equalTimes); diff != "" {
		w.Errorf("%s changed the store: %s", what, diff)
	}
}

func (w *world) system() scope.System {
	return scope.NewSystem("", scope.Actor{UserID: "tester"}, "test", nil)
}

func row(pk, sk string, version int64) *record.Record {
	return &record.Record{PK: pk, SK: sk, Version: version, Name: pk + " " + sk, TenantCode: "planted"}
}

func change(key record.Key, version int64, replace *record.Record) storage.Change {
	r := &record.Record{PK: key.PK(), SK: key.SK(), Version: version, Name: "changed", TenantCode: key.Tenant().String()}
	return storage.Change{Command: r, Data: r, Replace: replace}
}

// refused fails the test unless err has the code.
func (w *world) refused(what string, err error, want fault.Code) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("%s: %v; want %s", what, err, want)
	}
}

func TestZeroCapabilitiesAreRefused(t *testing.T) {
	w := open(t, memory.New(), storage.Options{})
	_, err := w.In(scope.Scope{})
	w.refused("zero scope", err, fault.TenantRequired)
	_, err = w.In(scope.New(tenant.Common(), 0, time.Time{}, &scope.Actor{}))
	w.refused("a scope without access", err, fault.TenantRequired)
	_, err = w.In(scope.New(tenant.Common(), scope.Full, time.Time{}, nil))
	w.refused("a scope without an actor", err, fault.TenantRequired)
	_, err = w.Across(t.Context(), scope.System{})
	w.refused("zero system, across", err, fault.RoleRequired)
	w.refused("zero system, backup", w.Backup(t.Context(), scope.System{}, filepath.Join(t.TempDir(), "x")), fault.RoleRequired)
	_, err = w.Keeper(scope.Root{}, product)
	w.refused("zero root", err, fault.RoleRequired)
	_, err = storage.Open(t.Context(), driver.Source{}, storage.Options{})
	w.refused("no engine", err, fault.Unavailable)

	var zero storage.View
	_, err = zero.Get(t.Context(), w.key("acme", product, "1"))
	w.refused("zero view", err, fault.TenantForbidden)
	_, err = zero.List(t.Context(), storage.Query{Partition: w.key("acme", product, "1").Partition, Limit: 1})
	w.refused("zero view, list", err, fault.TenantForbidden)
}

// reads are all ways to read a record through a View.
func reads(ctx context.Context, v storage.View, k record.Key) map[string]func() error {
	return map[string]func() error{
		"get":       func() error { _, err := v.Get(ctx, k); return err },
		"command":   func() error { _, err := v.Command(ctx, k, 1); return err },
		"past":      func() error { _, err := v.Past(ctx, k, 1); return err },
		"batch get": func() error { _, err := v.BatchGet(ctx, []record.Key{k}); return err },
		"list":      func() error { _, err := v.List(ctx, storage.Query{Partition: k.Partition, Limit: 1}); return err },
		"versions": func() error {
			_, err := v.Versions(ctx, driver.History, &record.Record{PK: k.PK(), SK: k.SK()}, 1, 1)
			return err
		},
	}
}

func TestAViewIsItsTenants(t *testing.T) {
	w := open(t, memory.New(), storage.Options{})
	for _, code := range []string{"acme", "bravo"} {
		w.plant(driver.Data, row("PRODUCT#"+code, "1", 2))
		w.plant(driver.Command, row("PRODUCT#"+code, "1", 1), row("PRODUCT#"+code, "1", 2))
		w.plant(driver.History, row("PRODUCT#"+code, "1", 1))
	}
	acme, own, foreign := w.view("acme", scope.Full), w.key("acme", product, "1"), w.key("bravo", product, "1")
	for name, read := range reads(t.Context(), acme, foreign) {
		w.refused(name+" of another tenant", read(), fault.TenantForbidden)
	}
	_, err := acme.BatchGet(t.Context(), []record.Key{own, foreign})
	w.refused("batch with one foreign key", err, fault.TenantForbidden)
	_, err = acme.List(t.Context(), storage.Query{Limit: 1})
	w.refused("list of the zero partition", err, fault.TenantForbidden)
	for name, read := range reads(t.Context(), acme, own) {
		if err := read(); err != nil {
			t.Errorf("%s of the own tenant: %v", name, err)
		}
	}
	recs, err := acme.List(t.Context(), storage.Query{Partition: own.Partition, Limit: 10})
	if err != nil || len(recs) != 1 || recs[0].PK != "PRODUCT#acme" {
		t.Errorf("list: %v, %v", recs, err)
	}
}

func TestSharedReadReadsSharedTypesOnly(t *testing.T) {
	w := open(t, memory.New(), storage.Options{})
	w.plant(driver.Data, row("TEMPLATE#common", "1", 1), row("PRODUCT#common", "1", 1), row("PRODUCT#COMMON", "2", 1))
	v := w.view("common", scope.SharedRead)
	shared, hidden := w.key("common", template, "1"), w.key("common", product, "1")
	for name, read := range reads(t.Context(), v, shared) {
		if err := read(); err != nil {
			t.Errorf("%s of a shared type: %v", name, err)
		}
	}
	for name, read := range reads(t.Context(), v, hidden) {
		w.refused(name+" of a type that isn't shared", read(), fault.TenantForbidden)
	}
	w.unchanged("a scope that reads", func() {
		_, err := v.Commit(t.Context(), change(shared, 2, row("TEMPLATE#common", "1", 1)))
		w.refused("commit", err, fault.TenantForbidden)
		_, err = v.Finish(t.Context(), change(shared, 2, nil))
		w.refused("finish", err, fault.TenantForbidden)
		w.refused("discard", v.Discard(t.Context(), row("TEMPLATE#common", "1", 1), nil), fault.TenantForbidden)
	})
	// Without a declaration no type is shared.
	bare := open(t, memory.New(), storage.Options{Shared: func(record.EntityType) bool { return false }})
	_, err := bare.view("common", scope.SharedRead).Get(t.Context(), shared)
	w.refused("nothing is shared", err, fault.TenantForbidden)
}

// A Record is a struct that anyone fills in: nothing that it says leads out of the scope.
func TestNoRecordLeadsOutOfItsScope(t *testing.T) {
	w := open(t, memory.New(), storage.Options{})
	w.plant(driver.Data, row("PRODUCT#bravo", "1", 2), row("PRODUCT#acme", "1", 2), row("PRODUCT#ACME", "1", 2))
	w.plant(driver.Command, row("PRODUCT#bravo", "1", 1), row("PRODUCT#bravo", "1", 2), row("PRODUCT#bravo", "1", 3), row("PRODUCT#acme", "1", 3))
	w.plant(driver.History, row("PRODUCT#bravo", "1", 1), row("PRODUCT#acme", "1", 1))
	acme, own := w.view("acme", scope.Full), w.key("acme", product, "1")
	astray := func(pk, storedPK string) *record.Record {
		r := row(pk, "1", 2)
		r.StoredPK = storedPK
		return r
	}
	for name, rec := range map[string]*record.Record{
		"another tenant's pk":              astray("PRODUCT#bravo", ""),
		"stored at another tenant's":       astray("PRODUCT#acme", "PRODUCT#bravo"),
		"stored at common's":               astray("PRODUCT#acme", "PRODUCT#COMMON"),
		"stored at its own in upper case":  astray("PRODUCT#acme", "PRODUCT#ACME"),
		"its own pk in upper case":         astray("PRODUCT#ACME", ""),
		"stored at another type":           astray("PRODUCT#acme", "SECRET#acme"),
		"a pk that isn't one":              astray("PRODUCT", ""),
		"stored at another, own in pk too": astray("PRODUCT#bravo", "PRODUCT#acme"),
	} {
		if past, err := acme.Versions(t.Context(), driver.History, rec, 1, 1); err == nil {
			t.Errorf("%s: reads %v", name, past)
		}
		w.unchanged(name, func() {
			as := func(edit func(*storage.Change)) storage.Change {
				c := change(own, 3, row("PRODUCT#acme", "1", 2))
				edit(&c)
				return c
			}
			next := rec.Clone()
			next.Version = 3
			for what, c := range map[string]storage.Change{
				"replaced": as(func(c *storage.Change) { c.Replace = rec }),
				"command":  as(func(c *storage.Change) { c.Command = next }),
				"all":      as(func(c *storage.Change) { c.Command, c.Data, c.Replace = next, next, rec }),
			} {
				if _, err := acme.Commit(t.Context(), c); err == nil {
					t.Errorf("%s: commits as %s", name, what)
				}
				if _, err := acme.Finish(t.Context(), c); err == nil {
					t.Errorf("%s: finishes as %s", name, what)
				}
			}
			if err := acme.Discard(t.Context(), next, nil); err == nil {
				t.Errorf("%s: discards", name)
			}
			if rec.PK != "PRODUCT#acme" {
				if err := acme.Discard(t.Context(), row("PRODUCT#acme", "1", 3), rec); err == nil {
					t.Errorf("%s: discards as the current state", name)
				}
			}
		})
	}
	w.unchanged("rows of several records", func() {
		other := w.key("acme", product, "2")
		c := change(own, 3, row("PRODUCT#acme", "1", 2))
		c.Data = change(other, 3, nil).Data
		_, err := acme.Commit(t.Context(), c)
		w.refused("another data row", err, fault.Internal)
		c = change(own, 3, row("PRODUCT#acme", "2", 2))
		_, err = acme.Commit(t.Context(), c)
		w.refused("another row to replace", err, fault.Internal)
		c = change(own, 3, row("PRODUCT#acme", "1", 2))
		c.Data = row("PRODUCT#acme", "1", 4)
		_, err = acme.Commit(t.Context(), c)
		w.refused("another version", err, fault.Internal)
	})
}

// liar is an engine that answers with rows of another partition.
type liar struct {
	driver.Engine
	row *record.Record
}

func (l *liar) Get(context.Context, driver.Ref) (*record.Record, error) { return l.row, nil }

func (l *liar) BatchGet(_ context.Context, refs []driver.Ref) ([]*record.Record, error) {
	return slices.Repeat([]*record.Record{l.row}, len(refs)), nil
}

func (l *liar) Range(context.Context, driver.Range) ([]*record.Record, error) {
	return []*record.Record{l.row}, nil
}

func TestARowOfAnotherPartitionIsWithheld(t *testing.T) {
	for _, wrong := range []*record.Record{row("PRODUCT#bravo", "1", 1), row("PRODUCT#ACME", "1", 1), row("PRODUCT#acme#x", "1", 1)} {
		lying := driver.NewSource("liar", func(ctx context.Context) (driver.Engine, error) {
			engine, err := memory.New().Open(ctx, scope.NewRoot())
			return &liar{engine, wrong}, err
		})
		store, err := storage.Open(t.Context(), lying, storage.Options{})
		if err != nil {
			t.Fatal(err)
		}
		v, err := store.In(scopeOf("acme", scope.Full))
		if err != nil {
			t.Fatal(err)
		}
		key, err := record.NewKey(scopeOf("acme", scope.Full), product, "1")
		if err != nil {
			t.Fatal(err)
		}
		for name, read := range reads(t.Context(), v, key) {
			if err := read(); !errors.Is(err, fault.Internal) {
				t.Errorf("%s of %s: %v", name, wrong.PK, err)
			}
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestObserveIsToldOfEveryOperation(t *testing.T) {
	var seen []string
	w := open(t, memory.New(), storage.Options{Observe: func(op string, took time.Duration, err error) {
		if took < 0 || took > time.Minute {
			t.Errorf("%s took %v", op, took)
		}
		if err != nil {
			op += " failed"
		}
		seen = append(seen, op)
	}})
	v, key := w.view("acme", scope.Full), w.key("acme", product, "1")
	if _, err := v.Commit(t.Context(), change(key, 1, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Commit(t.Context(), change(key, 1, nil)); err == nil {
		t.Fatal("a second first version")
	}
	for _, name := range []string{"get", "batch get", "list"} {
		if err := reads(t.Context(), v, key)[name](); err != nil {
			t.Fatal(err)
		}
	}
	across, err := w.Across(t.Context(), w.system())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := across.Changes(t.Context(), "", 10); err != nil {
		t.Fatal(err)
	}
	want := []string{"commit", "commit failed", "get", "batch_get", "range", "changes"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestBackupNeedsAnEngineThatCan(t *testing.T) {
	w := open(t, memory.New(), storage.Options{})
	w.refused("memory", w.Backup(t.Context(), w.system(), filepath.Join(t.TempDir(), "x")), fault.InvalidRequest)
	if w.Engine() != "memory" {
		t.Errorf("the engine's name is %q", w.Engine())
	}
}

func TestKeeper(t *testing.T) {
	w := open(t, memory.New(), storage.Options{})
	k, err := w.Keeper(scope.NewRoot(), record.MustEntityType("RECEIPT"))
	if err != nil {
		t.Fatal(err)
	}
	value, err := record.EncodeAttributes(map[string]int{"n": 1})
	if err != nil {
		t.Fatal(err)
	}
	commit := func(writes ...storage.SystemWrite) error { return k.Commit(t.Context(), writes...) }
	get := func(sk string) storage.Row {
		r, err := k.Get(t.Context(), "acme", sk)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := get("a"); r.Version != 0 || r.Value != nil || r.Owner != "acme" || r.SK != "a" {
		t.Errorf("a row that isn't there: %+v", r)
	}
	if err := commit(k.Put(storage.Row{Owner: "acme", SK: "a", Value: value})); err != nil {
		t.Fatal(err)
	}
	first := get("a")
	if first.Version != 1 || string(first.Value) != `{"n":1}` {
		t.Errorf("after the first put: %+v", first)
	}
	if err := commit(k.Put(first)); err != nil || get("a").Version != 2 {
		t.Errorf("after the second put: %+v, %v", get("a"), err)
	}
	w.unchanged("a put that lost", func() {
		if _, lost := errors.AsType[*driver.Conflict](commit(k.Set(storage.Row{Owner: "acme", SK: "b"}), k.Put(first))); !lost {
			t.Error("a put of an older version is taken")
		}
		if _, lost := errors.AsType[*driver.Conflict](commit(k.Put(storage.Row{Owner: "acme", SK: "a"}))); !lost {
			t.Error("a put of a row that is there already is taken")
		}
	})
	if err := commit(k.Set(storage.Row{Owner: "acme", SK: "a"}), k.Set(storage.Row{Owner: "acme", SK: "b", Version: 7}), k.Set(storage.Row{Owner: "bravo", SK: "c"}),
		k.Set(storage.Row{Owner: "acme", SK: "old", Expires: time.Now().Add(-time.Hour).Unix()}), k.Set(storage.Row{Owner: "acme", SK: "new", Expires: time.Now().Add(time.Hour).Unix()})); err != nil {
		t.Fatal(err)
	}
	rows, err := k.List(t.Context(), "acme", "", "", 10)
	var names []string
	for _, r := range rows {
		names = append(names, r.SK)
	}
	if err != nil || cmp.Diff([]string{"a", "b", "new"}, names) != "" {
		t.Errorf("list: %v, %v", names, err)
	}
	if rows, err := k.List(t.Context(), "acme", "", "a", 1); err != nil || len(rows) != 1 || rows[0].SK != "b" || rows[0].Version != 7 {
		t.Errorf("list after a: %+v, %v", rows, err)
	}
	if err := commit(k.Delete(get("a")), k.Delete(storage.Row{Owner: "acme", SK: "nothing"})); err != nil || get("a").Version != 0 {
		t.Errorf("after deleting: %+v, %v", get("a"), err)
	}
	w.unchanged("removing an older version", func() {
		old := get("b")
		old.Version--
		if _, lost := errors.AsType[*driver.Conflict](commit(k.Remove(old))); !lost {
			t.Error("a row is removed as another version than it has")
		}
	})
	distinct := storage.Distinct([]storage.SystemWrite{k.Set(storage.Row{Owner: "acme", SK: "d", Version: 1}), k.Put(storage.Row{Owner: "acme", SK: "e"}), k.Set(storage.Row{Owner: "acme", SK: "d", Version: 2})})
	if err := commit(distinct...); err != nil || len(distinct) != 2 || get("d").Version != 2 || get("e").Version != 1 {
		t.Errorf("of two writes of one row: %d writes, %+v, %v", len(distinct), get("d"), err)
	}
	if err := commit(k.Remove(get("d"))); err != nil || get("d").Version != 0 {
		t.Errorf("after removing: %+v, %v", get("d"), err)
	}
	other, err := w.Keeper(scope.NewRoot(), record.MustEntityType("CODE"))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := other.Get(t.Context(), "acme", "b"); err != nil || r.Version != 0 {
		t.Errorf("another keeper sees the row: %+v, %v", r, err)
	}
}

package integrity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

func TestSoundStore(t *testing.T) {
	w := newWorld(t)
	w.populate()
	w.background()
	report := w.verify()
	expect(t, report)
	if want := []string{"NOTE#MixedCase", "PLAIN"}; !slices.Equal(report.Unreachable, want) || report.UnreachableCount != 2 {
		t.Errorf("unreachable are %q (%d), want %q", report.Unreachable, report.UnreachableCount, want)
	}
	for _, c := range report.Checks {
		if c.Checked == 0 {
			t.Errorf("nothing was checked for %v; a check that meets nothing can't fail", c.Kind)
		}
	}
	if text := report.String(); !strings.Contains(text, "the wrapped memory store is sound") || !strings.Contains(text, "NOTE#MixedCase") {
		t.Errorf("the report reads:\n%s", text)
	}
}

func TestEmptyStore(t *testing.T) {
	expect(t, newWorld(t).verify())
}

// TestPlanted plants one fault at a time and wants it found, and nothing else.
func TestPlanted(t *testing.T) {
	change := func(c driver.Collection, pk, sk string, version int64, f func(*record.Record)) func(*world) {
		return func(w *world) {
			rec := w.get(c, pk, sk, version)
			f(rec)
			w.put(c, rec)
		}
	}
	remove := func(c driver.Collection, pk, sk string, version int64) func(*world) {
		return func(w *world) { w.drop(c, w.get(c, pk, sk, version)) }
	}
	add := func(c driver.Collection, rec record.Record) func(*world) {
		return func(w *world) { w.put(c, &rec) }
	}
	const (
		products = "PRODUCT#acme"
		master   = "MASTER"

		ann      = "49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1" // the user code ann, hashed
		nobody   = "6382b3cc881412b77bfcaeed026001c00d9e3025e66c20f6e7e92f079851462a"
		ofAnn    = "MEMBER_OF#common#" + ann
		defaults = "DEFAULT_TENANT#common"
	)
	for _, tt := range []struct {
		name  string
		plant func(*world)
		want  []string
	}{
		{"a sort key that looks like a version", func(w *world) {
			rec := record.Record{PK: "NOTE#acme", SK: "bob@7", TenantCode: "acme", Version: 1, Status: record.StatusFinished}
			w.put(driver.Command, &rec)
			w.put(driver.Data, &rec)
		}, []string{"keys NOTE#acme#bob@7"}},
		{"a system row of nobody", add(driver.System, record.Record{PK: "lower", SK: "x", Version: 1}), []string{"keys lower#x"}},

		{"a command is missing", remove(driver.Command, products, "p1", 2), []string{"log PRODUCT#acme#p1@2"}},
		{"the first commands are missing", func(w *world) {
			remove(driver.Command, products, "p1", 1)(w)
			remove(driver.Command, products, "p1", 2)(w)
		}, []string{"log PRODUCT#acme#p1@1"}},
		{"a command has no version", add(driver.Command, record.Record{PK: products, SK: "p1"}), []string{"log PRODUCT#acme#p1@0"}},

		{"data says something else", change(driver.Data, products, "p1", 0, func(r *record.Record) { r.Name = "other" }), []string{"state PRODUCT#acme#p1"}},
		{"data has other attributes", change(driver.Data, products, "p1", 0, func(r *record.Record) { r.Attributes = record.Attributes(`{"n":9}`) }), []string{"state PRODUCT#acme#p1"}},
		{"data has other provenance", change(driver.Data, products, "p1", 0, func(r *record.Record) { r.UpdatedBy = "mallory" }), []string{"state PRODUCT#acme#p1"}},
		{"data has another time", change(driver.Data, products, "p1", 0, func(r *record.Record) { r.CreatedAt = record.At(r.CreatedAt.Time().Add(1e9)) }), []string{"state PRODUCT#acme#p1"}},
		{"data came back to life", change(driver.Data, "NOTE#acme", "gone", 0, func(r *record.Record) { r.IsDeleted = false }), []string{"state NOTE#acme#gone"}},
		{"data has no version", change(driver.Data, "NOTE#acme", "p1", 0, func(r *record.Record) { r.Version = 0 }), []string{"state NOTE#acme#p1", "interrupted NOTE#acme#p1@1"}},
		{"data is ahead of the log", func(w *world) {
			rec := w.get(driver.Command, products, "p1", 4)
			w.drop(driver.Command, rec)
		}, []string{"state PRODUCT#acme#p1"}},
		{"data never had a command", add(driver.Data, record.Record{PK: "NOTE#acme", SK: "new", Version: 1, TenantCode: "acme"}), []string{"state NOTE#acme#new"}},
		{"data lags by two", func(w *world) {
			for n := int64(3); n <= 4; n++ {
				rec := w.get(driver.Command, "NOTE#acme", "gone", 4)
				rec.Version = n + 2
				w.put(driver.Command, rec)
			}
		}, []string{"state NOTE#acme#gone"}},
		{"data is missing", remove(driver.Data, products, "p1", 0), []string{"state PRODUCT#acme#p1", "codes CODE#acme#PRODUCT#p1"}},
		{"the current command is not finished", change(driver.Command, products, "p1", 4, func(r *record.Record) { r.Status = "sync:STARTED" }), []string{"state PRODUCT#acme#p1"}},

		{"a command has no data row", func(w *world) {
			rec := w.get(driver.Command, products, "p1", 4)
			rec.Version, rec.Status = 5, ""
			w.put(driver.Command, rec)
		}, []string{"interrupted PRODUCT#acme#p1@5"}},
		{"a command has no data row, but its history", func(w *world) {
			rec := w.get(driver.Command, products, "p1", 4)
			rec.Version = 5
			w.put(driver.Command, rec)
			w.put(driver.History, w.get(driver.Data, products, "p1", 0))
		}, []string{"interrupted PRODUCT#acme#p1@5"}},
		{"a first command has no data row", add(driver.Command, record.Record{PK: "NOTE#bravo", SK: "new", TenantCode: "bravo", Version: 1}), []string{"interrupted NOTE#bravo#new@1"}},

		{"history lacks a version", remove(driver.History, products, "p1", 2), []string{"history PRODUCT#acme#p1@2"}},
		{"history lacks the newest version", remove(driver.History, products, "p1", 3), []string{"history PRODUCT#acme#p1@3"}},
		{"history says something else", change(driver.History, products, "p1", 2, func(r *record.Record) { r.Code = "other" }), []string{"history PRODUCT#acme#p1@2"}},
		{"history holds the current version", func(w *world) { w.put(driver.History, w.get(driver.Data, products, "p1", 0)) }, []string{"history PRODUCT#acme#p1@4"}},
		{"history holds a version to come", func(w *world) {
			rec := w.get(driver.History, products, "p1", 3)
			rec.Version = 7
			w.put(driver.History, rec)
		}, []string{"history PRODUCT#acme#p1@7"}},
		{"history has no version", add(driver.History, record.Record{PK: products, SK: "p1"}), []string{"history PRODUCT#acme#p1@0"}},

		{"attributes are not canonical", func(w *world) {
			for _, ref := range []driver.Ref{{Collection: driver.Command, Version: 1}, {Collection: driver.Data}} {
				change(ref.Collection, "NOTE#acme", "p1", ref.Version, func(r *record.Record) { r.Attributes = record.Attributes(`{"b":1,"a":1.0}`) })(w)
			}
		}, []string{"attributes NOTE#acme#p1@1"}},
		{"metadata is not an object", func(w *world) {
			for _, ref := range []driver.Ref{{Collection: driver.Command, Version: 1}, {Collection: driver.Data}} {
				change(ref.Collection, "NOTE#acme", "p1", ref.Version, func(r *record.Record) { r.Metadata = record.Attributes(`[]`) })(w)
			}
		}, []string{"attributes NOTE#acme#p1@1"}},
		{"attributes of data alone are not canonical", change(driver.Data, "NOTE#acme", "p1", 0, func(r *record.Record) {
			r.Attributes = record.Attributes(`{"text":"é", "n":0}`)
		}), []string{"attributes NOTE#acme#p1"}},

		{"a version is older than the one before", func(w *world) {
			for _, c := range []driver.Collection{driver.Command, driver.History} {
				change(c, products, "p1", 2, func(r *record.Record) { r.UpdatedAt = record.At(r.UpdatedAt.Time().Add(-1e12)) })(w)
			}
		}, []string{"times PRODUCT#acme#p1@2"}},

		{"a record of another tenant's code", func(w *world) {
			for _, ref := range []driver.Ref{{Collection: driver.Command, Version: 1}, {Collection: driver.Data}} {
				change(ref.Collection, "NOTE#acme", "p1", ref.Version, func(r *record.Record) { r.TenantCode = "bravo" })(w)
			}
		}, []string{"tenant NOTE#acme#p1@1"}},
		{"COMMON where it was never written", func(w *world) {
			for _, ref := range []driver.Ref{{Collection: driver.Command, Version: 1}, {Collection: driver.Data}} {
				change(ref.Collection, "NOTE#common", "p1", ref.Version, func(r *record.Record) { r.TenantCode = "COMMON" })(w)
			}
		}, []string{"tenant NOTE#common#p1@1"}},

		{"the directory lacks a tenant", remove(driver.System, "TENANTS#common", "acme", 0), []string{"directory TENANTS#common#acme"}},
		{"the directory is behind", change(driver.System, "TENANTS#common", "acme", 0, func(r *record.Record) { r.Version = 9 }), []string{"directory TENANTS#common#acme"}},
		{"the directory says something else", change(driver.System, "TENANTS#common", "acme", 0, func(r *record.Record) { r.Attributes = nil }), []string{"directory TENANTS#common#acme"}},
		{"the directory shows a tenant too many", add(driver.System, record.Record{PK: "TENANTS#common", SK: "zulu", Version: 1}), []string{"directory TENANTS#common#zulu"}},
		{"the directory shows what is no code", add(driver.System, record.Record{PK: "TENANTS#common", SK: "Zulu", Version: 1}), []string{"directory TENANTS#common#Zulu"}},

		{"a code is not held", remove(driver.System, "CODE#acme", "PRODUCT#p1", 0), []string{"codes CODE#acme#PRODUCT#p1"}},
		{"a code is held for nobody", add(driver.System, record.Record{PK: "CODE#acme", SK: "PRODUCT#zulu", Version: 1, Attributes: record.Attributes(`{"sk":"p1"}`)}), []string{"codes CODE#acme#PRODUCT#zulu"}},
		{"a code is held without saying for whom", add(driver.System, record.Record{PK: "CODE#acme", SK: "PRODUCT#zulu", Version: 1}), []string{"codes CODE#acme#PRODUCT#zulu"}},
		{"two records have one code", func(w *world) {
			change(driver.Command, products, "p3", 4, func(r *record.Record) { r.Code = "p1" })(w)
			change(driver.Data, products, "p3", 0, func(r *record.Record) { r.Code = "p1" })(w)
			remove(driver.System, "CODE#acme", "PRODUCT#p3", 0)(w)
		}, []string{"codes CODE#acme#PRODUCT#p1"}},

		{"a partition is not noted", remove(driver.System, "PARTITIONS#acme", "PRODUCT#acme", 0), []string{"partitions PARTITIONS#acme#PRODUCT#acme"}},
		{"a partition of segments is not noted", remove(driver.System, "PARTITIONS#acme", "NOTE#acme#2026-11", 0), []string{"partitions PARTITIONS#acme#NOTE#acme#2026-11"}},
		{"a partition of another tenant is noted", add(driver.System, record.Record{PK: "PARTITIONS#acme", SK: "NOTE#bravo", Version: 1}), []string{"partitions PARTITIONS#acme#NOTE#bravo"}},

		{"a membership is not among its user's", remove(driver.System, ofAnn, "acme", 0), []string{"members " + ofAnn + "#acme"}},
		{"a membership is ahead of its inverse", change(driver.System, ofAnn, "acme", 0, func(r *record.Record) { r.Version = 9 }), []string{"members " + ofAnn + "#acme"}},
		{"a user has a tenant too many", add(driver.System, record.Record{PK: ofAnn, SK: "bravo", Version: 1}), []string{"members " + ofAnn + "#bravo"}},
		{"nobody has a tenant", add(driver.System, record.Record{PK: "MEMBER_OF#common#" + nobody, SK: "acme", Version: 1}), []string{"members MEMBER_OF#common#" + nobody + "#acme"}},
		{"a user has what is no tenant", add(driver.System, record.Record{PK: ofAnn, SK: "Acme", Version: 1}), []string{"members " + ofAnn + "#Acme"}},
		{"a tenant is nobody's", add(driver.System, record.Record{PK: "MEMBER_OF#common", SK: "acme", Version: 1}), []string{"members MEMBER_OF#common#acme"}},
		{"another default is kept", change(driver.System, defaults, ann, 0, func(r *record.Record) { r.Attributes = record.Attributes(`{"tenantCode":"acme"}`) }),
			[]string{"members " + defaults + "#" + ann, "members " + defaults + "#" + ann}},
		{"no default is kept", change(driver.System, defaults, ann, 0, func(r *record.Record) { r.Attributes = record.Attributes(`{"tenantCode":""}`) }), []string{"members " + defaults + "#" + ann}},
		{"a default is kept of nobody", add(driver.System, record.Record{PK: defaults, SK: nobody, Version: 1, Attributes: record.Attributes(`{"tenantCode":"acme"}`)}), []string{"members " + defaults + "#" + nobody}},
		{"admins are counted wrongly", change(driver.System, "ADMINS#acme", "admins", 0, func(r *record.Record) { r.Attributes = record.Attributes(`{"admins":1}`) }), []string{"members ADMINS#acme#admins"}},
		{"admins are not counted", change(driver.System, "ADMINS#acme", "admins", 0, func(r *record.Record) { r.Attributes = nil }), []string{"members ADMINS#acme#admins"}},

		{"a receipt names what is not in the log", func(w *world) {
			w.put(driver.System, &record.Record{PK: "RECEIPT#acme", SK: "0f", Version: 1, Attributes: record.Attributes(`{"pk":"NOTE#acme","sk":"once","version":2}`)})
		}, []string{"receipts RECEIPT#acme#0f"}},
		{"a receipt says nothing", add(driver.System, record.Record{PK: "RECEIPT#acme", SK: "0f", Version: 1}), []string{"receipts RECEIPT#acme#0f"}},

		{"a checkpoint is not a position", add(driver.System, record.Record{PK: "CHECKPOINT#common", SK: "x", Version: 1, Attributes: record.Attributes(`{"position":"there"}`)}), []string{"checkpoints CHECKPOINT#common#x"}},
		{"a checkpoint says nothing", add(driver.System, record.Record{PK: "CHECKPOINT#common", SK: "x", Version: 1, Attributes: record.Attributes(`{"position":7}`)}), []string{"checkpoints CHECKPOINT#common#x"}},
		{"a parked record has another name", add(driver.System, record.Record{PK: "PARKED#common", SK: "x#NOTE#acme#p1", Version: 1,
			Attributes: record.Attributes(`{"handler":"x","pk":"NOTE#acme","sk":"p2","version":1}`)}), []string{"checkpoints PARKED#common#x#NOTE#acme#p1"}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			w := newWorld(t)
			w.populate()
			tt.plant(w)
			expect(t, w.verify(), tt.want...)
		})
	}
}

// faulty is an engine whose feed and scans a test falsifies.
type faulty struct {
	driver.Engine
	feed func([]driver.Change) []driver.Change
	scan func(driver.Collection, []*record.Record) error
}

func (f *faulty) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	changes, err := f.Engine.Changes(ctx, after, limit)
	if f.feed != nil {
		changes = f.feed(changes)
	}
	return changes, err
}

func (f *faulty) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	rows, err := f.Engine.Scan(ctx, c, after, limit)
	if err == nil && f.scan != nil {
		err = f.scan(c, rows)
	}
	return rows, err
}

// falsified returns the world's store over a faulty engine.
func (w *world) falsified(f *faulty) *storage.Store {
	w.t.Helper()
	store, err := storage.Open(w.t.Context(), worldtest.Wrapped(w.src, func(e driver.Engine) driver.Engine {
		f.Engine = e
		return f
	}), storage.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := store.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return store
}

func TestFeed(t *testing.T) {
	at := func(changes []driver.Change, version int64) int {
		return slices.IndexFunc(changes, func(c driver.Change) bool {
			return c.Command.PK == "PRODUCT#acme" && c.Command.SK == "p1" && c.Command.Version == version
		})
	}
	for _, tt := range []struct {
		name string
		feed func([]driver.Change) []driver.Change
		want []string
	}{
		{"whole", nil, nil},
		{"a command is missing", func(c []driver.Change) []driver.Change {
			if i := at(c, 2); i >= 0 {
				c = slices.Delete(c, i, i+1)
			}
			return c
		}, []string{"feed PRODUCT#acme#p1@2"}},
		{"a command comes twice", func(c []driver.Change) []driver.Change {
			if i := at(c, 2); i >= 0 {
				c = slices.Insert(c, i, c[i])
			}
			return c
		}, []string{"feed PRODUCT#acme#p1@2"}},
		{"a version comes too late", func(c []driver.Change) []driver.Change {
			if i, j := at(c, 2), at(c, 3); i >= 0 && j >= 0 {
				c[i].Command, c[j].Command = c[j].Command, c[i].Command
			}
			return c
		}, []string{"feed PRODUCT#acme#p1@2"}},
		{"the first version comes second", func(c []driver.Change) []driver.Change {
			if i, j := at(c, 1), at(c, 2); i >= 0 && j >= 0 {
				c[i].Command, c[j].Command = c[j].Command, c[i].Command
			}
			return c
		}, []string{"feed PRODUCT#acme#p1@1"}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			w := newWorld(t)
			w.populate()
			report, err := integrity.Verify(t.Context(), w.falsified(&faulty{feed: tt.feed}), w.System("test"), integrity.Options{})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, report, tt.want...)
		})
	}
}

func TestUnreadableRow(t *testing.T) {
	w := newWorld(t)
	w.populate()
	broken := fault.New(fault.Internal, "test", "broken")
	store := w.falsified(&faulty{scan: func(c driver.Collection, rows []*record.Record) error {
		if c == driver.History && slices.ContainsFunc(rows, func(r *record.Record) bool { return r.PK == "PRODUCT#acme" && r.SK == "p2" && r.Version == 3 }) {
			return broken
		}
		return nil
	}})
	report, err := integrity.Verify(t.Context(), store, w.System("test"), integrity.Options{})
	if !errors.Is(err, fault.Internal) || !errors.Is(err, broken) {
		t.Fatalf("got error %v, want one that wraps the engine's", err)
	}
	const want = `collection history after pk "PRODUCT#acme", sk "p2", version 2`
	if msg := fault.As(err).Msg; !strings.Contains(msg, want) {
		t.Errorf("the message is %q, want %q in it", msg, want)
	}
	if len(report.Checks) == 0 || report.Checks[integrity.State].Checked == 0 {
		t.Error("what was verified before the row is not reported")
	}
	if text := report.String(); report.Clean() || strings.Contains(text, "sound") || strings.HasPrefix(text, "ok") || !strings.Contains(text, "could not be read to its end") {
		t.Errorf("a store that was not read to its end is reported as\n%s", text)
	}
}

func TestReportIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.put(driver.Data, &record.Record{PK: "NOTE#acme", SK: fmt.Sprint("lost", i), Version: 1})
		w.put(driver.Data, &record.Record{PK: fmt.Sprint("NOTE#UPPER", i), SK: "x", Version: 1})
	}
	w.put(driver.System, &record.Record{PK: "PARTITIONS#acme", SK: "NOTE#acme", Version: 1})
	report, err := integrity.Verify(t.Context(), w.Store(), w.System("test"), integrity.Options{Limit: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) != 3 || report.ProblemCount != 7 || len(report.Unreachable) != 3 || report.UnreachableCount != 7 {
		t.Errorf("got %d problems of %d and %d unreachable of %d", len(report.Problems), report.ProblemCount, len(report.Unreachable), report.UnreachableCount)
	}
	if text := report.String(); strings.Count(text, "and 4 more") != 2 || !strings.Contains(text, "FAIL  state") {
		t.Errorf("the report reads:\n%s", text)
	}
}

func TestReportAsJSON(t *testing.T) {
	w := newWorld(t)
	w.put(driver.Command, &record.Record{PK: "NOTE#acme", SK: "new\x1b[2J", TenantCode: "acme", Version: 1})
	w.put(driver.Data, &record.Record{PK: "NOTE#acme", SK: "plain", TenantCode: "acme", Version: 1})
	report := w.verify()
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"store":"wrapped memory"`, `"kind":"interrupted"`, `"id":"NOTE#acme#plain"`, `"problemCount":4`, `"unreachable":[]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if strings.Contains(report.String(), "\x1b") {
		t.Error("a key reaches the terminal with its control characters")
	}
}

func TestVerifyNeedsASystem(t *testing.T) {
	w := newWorld(t)
	if _, err := integrity.Verify(t.Context(), w.Store(), guard.System{}, integrity.Options{}); !errors.Is(err, fault.RoleRequired) {
		t.Errorf("got %v, want %v", err, fault.RoleRequired)
	}
}

// TestVerifyBetweenWrites wants no false alarm where records change, codes move and tenants come after every page that is read.
func TestVerifyBetweenWrites(t *testing.T) {
	w := newWorld(t)
	w.populate()
	scopes := []guard.Scope{w.Scope("acme"), w.Scope("bravo")}
	n, bursts := 0, map[driver.Collection]int{}
	store := w.falsified(&faulty{scan: func(c driver.Collection, _ []*record.Record) error {
		if bursts[c]++; bursts[c] > 4 {
			return nil
		}
		for range 40 {
			n++
			w.churn(scopes[n%2], "p", n)
		}
		w.Tenant(fmt.Sprint("new", n))
		return nil
	}})
	for range 10 {
		clear(bursts) // a store that always changes faster than it is read is never verified
		report, err := integrity.Verify(t.Context(), store, w.System("test"), integrity.Options{Entities: w.Entities()})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, report)
		if report.Unsettled > 0 {
			t.Errorf("%d were not verified", report.Unsettled)
		}
	}
	expect(t, w.verify())
}

// churn creates, changes, deletes or recreates one of 50 records, with one of 70 codes.
func (w *world) churn(sc guard.Scope, prefix string, n int) {
	w.t.Helper()
	in := command.Input{Key: w.key(sc, product, fmt.Sprint(prefix, n%50)), Version: record.VersionLatest,
		Code: fmt.Sprint(prefix, n%70), Name: fmt.Sprint(n), IsDeleted: n%3 == 0}
	if _, err := w.Commands().PublishAsync(context.Background(), sc, in); err != nil && !errors.Is(err, fault.AlreadyExists) {
		w.t.Error(err)
	}
}

// TestVerifyBesideWriters is the same with writers of their own pace.
func TestVerifyBesideWriters(t *testing.T) {
	w := newWorld(t)
	w.populate()
	scopes := []guard.Scope{w.Scope("acme"), w.Scope("bravo")}
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for i := range 200 {
				w.churn(scopes[i%2], fmt.Sprint("w", n, "-"), i)
			}
		})
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		writers.Wait()
	}()
	for busy := true; busy; {
		select {
		case <-written:
			busy = false
		default:
		}
		expect(t, w.verify())
	}
}

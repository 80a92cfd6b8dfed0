package data_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// list reads all pages of a query.
func list(t interface {
	Helper()
	Fatal(...any)
}, w *worldtest.World, sc scope.Scope, q data.Query) (sks []string) {
	t.Helper()
	for {
		page, err := w.Data.List(w.Context(), sc, q)
		if err != nil {
			t.Fatal(err)
		}
		if limit, _ := data.CheckLimit(q.Limit); len(page.Items) > limit || page.Cursor != "" && len(page.Items) != limit {
			t.Fatal("a page of", len(page.Items), "for the limit", limit)
		}
		for _, r := range page.Items {
			sks = append(sks, r.SK)
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return sks
		}
	}
}

// Pages put together are what sorting and filtering by hand give.
func TestListIsTheModel(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		sc := worldtest.Scope(fmt.Sprint("t", n))
		deleted := map[string]bool{}
		for _, sk := range rapid.SliceOfDistinct(rapid.StringMatching(`[abAB#@é]{1,3}`), rapid.ID).Draw(rt, "records") {
			deleted[sk] = rapid.Bool().Draw(rt, "deleted")
			w.Publish(sc, command.Input{Key: w.Key(sc, "PRODUCT", sk), Name: sk, IsDeleted: deleted[sk]})
		}
		side := rapid.SampledFrom([]string{"", "", "", "A", "a", "b", "aé", "é", "é@"})
		q := data.Query{Partition: w.Key(sc, "PRODUCT", "x").Partition, Prefix: side.Draw(rt, "prefix"), From: side.Draw(rt, "from"), To: side.Draw(rt, "to"),
			Descending: rapid.Bool().Draw(rt, "descending"), IncludeDeleted: rapid.Bool().Draw(rt, "include deleted"), Limit: rapid.IntRange(1, 6).Draw(rt, "limit")}
		var want []string
		for sk, gone := range deleted {
			if (q.IncludeDeleted || !gone) && strings.HasPrefix(sk, q.Prefix) && sk >= q.From && (q.To == "" || sk < q.To) {
				want = append(want, sk)
			}
		}
		slices.Sort(want)
		if q.Descending {
			slices.Reverse(want)
		}
		if got := list(rt, w, sc, q); !slices.Equal(got, want) {
			rt.Fatalf("got %q; want %q", got, want)
		}
	})
}

// Prefix neighbours are not each other's: neither tenants nor entity types nor partitions.
func TestListIsOfOnePartition(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		var partitions []record.Partition
		scopes := map[string]scope.Scope{}
		for _, code := range []string{"alph", "alpha", "alpha2", "alpha-b"} {
			sc := worldtest.Scope(code)
			for _, entity := range []string{"PRODUCT", "PRODUCT_2", "PROD"} {
				for _, segments := range [][]string{nil, {"2026"}, {"2026", "11"}} {
					p, err := record.NewPartition(sc, record.MustEntityType(entity), segments...)
					if err != nil {
						t.Fatal(err)
					}
					key, err := p.Key("of " + p.PK())
					if err != nil {
						t.Fatal(err)
					}
					w.Publish(sc, command.Input{Key: key, Name: "n"})
					partitions, scopes[p.PK()] = append(partitions, p), sc
				}
			}
		}
		for _, p := range partitions {
			if got := list(t, w, scopes[p.PK()], data.Query{Partition: p, IncludeDeleted: true}); !slices.Equal(got, []string{"of " + p.PK()}) {
				t.Errorf("%s: %q", p.PK(), got)
			}
		}
	})
}

// While another writer inserts, a reader gets every record that was there exactly once.
func TestPagesWhileAnotherWrites(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme := worldtest.Scope("acme")
		publish := func(sk string) {
			if _, err := w.Commands.PublishSync(t.Context(), acme, command.Input{Key: w.Key(acme, "PRODUCT", sk), Version: -1, Name: record.NewID()}); err != nil {
				t.Error(err)
			}
		}
		const there = 60
		for i := range there {
			publish(fmt.Sprintf("%03d", i))
		}
		q := data.Query{Partition: w.Key(acme, "PRODUCT", "x").Partition, Limit: 7}
		for _, q.Descending = range []bool{false, true} {
			begin, stop := make(chan struct{}), make(chan struct{})
			var writing sync.WaitGroup
			writing.Go(func() {
				close(begin)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						publish(fmt.Sprintf("%03d-%d", i%there, i)) // inserts before, at and behind the reader
						publish(fmt.Sprintf("%03d", i%there))       // and changes what it reads
					}
				}
			})
			<-begin
			counts := map[string]int{}
			for range 3 {
				clear(counts)
				got := list(t, w, acme, q)
				for _, sk := range got {
					counts[sk]++
				}
				sorted := slices.Clone(got)
				slices.Sort(sorted)
				if q.Descending {
					slices.Reverse(sorted)
				}
				if !slices.Equal(sorted, got) {
					t.Error("the pages are out of order")
				}
				for i := range there {
					if sk := fmt.Sprintf("%03d", i); counts[sk] != 1 {
						t.Errorf("%s comes %d times", sk, counts[sk])
					}
				}
			}
			close(stop)
			writing.Wait()
		}
	})
}

func TestLimits(t *testing.T) {
	for limit, want := range map[int]int{0: data.DefaultLimit, 1: 1, 1000: 1000} {
		if got, err := data.CheckLimit(limit); err != nil || got != want {
			t.Errorf("%d: %d, %v", limit, got, err)
		}
	}
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	acme := worldtest.Scope("acme")
	key := w.Key(acme, "PRODUCT", "1")
	for _, limit := range []int{-1, 1001} {
		_, err := w.Data.List(t.Context(), acme, data.Query{Partition: key.Partition, Limit: limit})
		refused(t, "list", err, fault.ValidationFailed)
		_, err = w.Data.History(t.Context(), acme, key, limit, "")
		refused(t, "history", err, fault.ValidationFailed)
	}
}

// A cursor works for the tenant, the query and the use that it was made for.
func TestCursorsOfLists(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	acme, bravo := worldtest.Scope("acme"), worldtest.Scope("bravo")
	for _, sc := range []scope.Scope{acme, bravo} {
		for i := range 6 {
			key := w.Key(sc, "PRODUCT", fmt.Sprint(i))
			w.Publish(sc, command.Input{Key: key, Name: "a"})
			w.Publish(sc, command.Input{Key: key, Version: 1, Name: "b"})
		}
	}
	partition := func(sc scope.Scope, entity string) record.Partition { return w.Key(sc, entity, "x").Partition }
	base := data.Query{Partition: partition(acme, "PRODUCT"), From: "0", To: "9", Limit: 2}
	page, err := w.Data.List(t.Context(), acme, base)
	if err != nil {
		t.Fatal(err)
	}
	with := func(edit func(*data.Query)) data.Query {
		q := base
		q.Cursor = page.Cursor
		edit(&q)
		return q
	}
	if next, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.Limit = 3 })); err != nil || len(next.Items) != 3 || next.Items[0].SK != "2" {
		t.Errorf("another limit: %+v, %v", next, err)
	}
	later := worldtest.Actor()
	reborn := scope.New(acme.Tenant(), scope.Full, time.Unix(1, 0), &later)
	for name, read := range map[string]func() error{
		"another tenant": func() error {
			_, err := w.Data.List(t.Context(), bravo, with(func(q *data.Query) { q.Partition = partition(bravo, "PRODUCT") }))
			return err
		},
		"a later tenant of the same code": func() error { _, err := w.Data.List(t.Context(), reborn, with(func(*data.Query) {})); return err },
		"another type": func() error {
			_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.Partition = partition(acme, "ORDER") }))
			return err
		},
		"another prefix": func() error {
			_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.Prefix = "1" }))
			return err
		},
		"no from": func() error {
			_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.From = "" }))
			return err
		},
		"another to": func() error {
			_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.To = "8" }))
			return err
		},
		"another order": func() error {
			_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.Descending = true }))
			return err
		},
		"deleted ones too": func() error {
			_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.IncludeDeleted = true }))
			return err
		},
		"a history": func() error {
			_, err := w.Data.History(t.Context(), acme, w.Key(acme, "PRODUCT", "0"), 1, page.Cursor)
			return err
		},
		"garbage": func() error {
			_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.Cursor = "garbage" }))
			return err
		},
	} {
		refused(t, name, read(), fault.InvalidCursor)
	}
	sealed, err := base64.RawURLEncoding.DecodeString(page.Cursor)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		flipped := slices.Clone(sealed)
		flipped[i] ^= 1
		_, err := w.Data.List(t.Context(), acme, with(func(q *data.Query) { q.Cursor = base64.RawURLEncoding.EncodeToString(flipped) }))
		refused(t, fmt.Sprint("byte ", i, " flipped"), err, fault.InvalidCursor)
	}

	history, err := w.Data.History(t.Context(), acme, w.Key(acme, "PRODUCT", "0"), 1, "")
	if err != nil || history.Cursor == "" {
		t.Fatalf("%+v, %v", history, err)
	}
	_, err = w.Data.History(t.Context(), acme, w.Key(acme, "PRODUCT", "1"), 1, history.Cursor)
	refused(t, "another record's history", err, fault.InvalidCursor)
	_, err = w.Data.History(t.Context(), bravo, w.Key(bravo, "PRODUCT", "0"), 1, history.Cursor)
	refused(t, "another tenant's history", err, fault.InvalidCursor)
}

package data_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// versions is how many a record of these tests has: several batches of an engine, and pages that end within one.
const versions = 350

// chronicle publishes versions of a record, one a second from noon on; every tenth deletes it.
func chronicle(t *testing.T, src driver.Source) (*worldtest.World, record.Key) {
	clock := worldtest.NewClock(noon)
	w := worldtest.New(t, src, worldtest.Options{Now: clock.Now})
	acme := worldtest.Scope("acme")
	key := w.Key(acme, "PRODUCT", "1")
	for n := int64(1); n <= versions; n++ {
		clock.Set(noon.Add(time.Duration(n) * time.Second))
		w.Publish(acme, command.Input{Key: key, Version: -1, Name: fmt.Sprint("name ", n), IsDeleted: n%10 == 0, Attributes: w.Attributes(fmt.Sprintf(`{"n":%d,"half":%d}`, n, n/2))})
	}
	return w, key
}

func TestThePast(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w, key := chronicle(t, src)
		acme := worldtest.Scope("acme")
		for n := int64(-1); n <= versions+2; n++ {
			if n > 2 && n < versions-2 && n%50 > 1 && n%23 != 0 {
				continue // near the ends, where batches end, and now and then between
			}
			exists := n >= 1 && n <= versions
			rec, err := w.Data.GetVersion(t.Context(), acme, key, n)
			if exists && (err != nil || rec.Version != n || rec.Name != fmt.Sprint("name ", n)) || !exists && fault.CodeOf(err) != fault.NotFound {
				t.Fatalf("version %d: %+v, %v", n, rec, err)
			}
			for _, after := range []time.Duration{0, 999 * time.Millisecond} {
				moment := noon.Add(time.Duration(n)*time.Second + after)
				want := min(n, versions)
				rec, err := w.Data.GetAt(t.Context(), acme, key, moment, data.IncludeDeleted())
				if want >= 1 && (err != nil || rec.Version != want) || want < 1 && fault.CodeOf(err) != fault.NotFound {
					t.Fatalf("at %v: %+v, %v; want version %d", moment, rec, err, want)
				}
				_, err = w.Data.GetAt(t.Context(), acme, key, moment)
				if dead := want < 1 || want%10 == 0; dead != (fault.CodeOf(err) == fault.NotFound) {
					t.Fatalf("at %v, without deleted ones: %v", moment, err)
				}
			}
		}
		_, err := w.Data.GetVersion(t.Context(), acme, w.Key(acme, "PRODUCT", "none"), 1)
		refused(t, "a version of no record", err, fault.NotFound)
		_, err = w.Data.GetAt(t.Context(), acme, w.Key(acme, "PRODUCT", "none"), noon)
		refused(t, "the past of no record", err, fault.NotFound)
		_, err = w.Data.History(t.Context(), acme, w.Key(acme, "PRODUCT", "none"), 0, "")
		refused(t, "the history of no record", err, fault.NotFound)
	})
}

func TestHistory(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w, key := chronicle(t, src)
		acme := worldtest.Scope("acme")
		for _, limit := range []int{1, 7, 100, 101, versions - 1, versions, 1000} {
			entries := history(t, w, key, limit)
			if len(entries) != versions {
				t.Fatalf("limit %d: %d entries", limit, len(entries))
			}
			for i, e := range entries {
				n := int64(versions - i)
				before, err := w.Data.GetVersion(t.Context(), acme, key, max(1, n-1))
				if err != nil {
					t.Fatal(err)
				}
				if n == 1 {
					before = nil
				}
				after, err := w.Data.GetVersion(t.Context(), acme, key, n)
				if err != nil {
					t.Fatal(err)
				}
				want := data.Entry{Version: n, UpdatedAt: record.At(noon.Add(time.Duration(n) * time.Second)), UpdatedBy: "tester", UpdatedIP: "127.0.0.1",
					RequestID: "req-1", Source: "test", IsDeleted: n%10 == 0, Changes: record.Diff(before, after)}
				if diff := cmp.Diff(want, e, cmp.Comparer(func(a, b record.Time) bool { return a == b })); diff != "" {
					t.Fatalf("limit %d, version %d: %s", limit, n, diff)
				}
				if limit != 100 {
					break // the newest of each; one of them wholly
				}
			}
		}
	})
}

// history reads all pages.
func history(t *testing.T, w *worldtest.World, key record.Key, limit int) (entries []data.Entry) {
	t.Helper()
	for cursor := ""; ; {
		page, err := w.Data.History(t.Context(), worldtest.Scope("acme"), key, limit, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) > limit || page.Cursor != "" && len(page.Items) != limit {
			t.Fatalf("a page of %d for the limit %d", len(page.Items), limit)
		}
		entries = append(entries, page.Items...)
		if cursor = page.Cursor; cursor == "" {
			return entries
		}
	}
}

// Versions that another framework's crash left out are passed over: what changed is told against the state before.
func TestHistoryWithHoles(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	row := func(n int64) *record.Record {
		return &record.Record{PK: "PRODUCT#acme", SK: "1", Version: n, Name: fmt.Sprint(n), UpdatedAt: record.At(noon.Add(time.Duration(n) * time.Second))}
	}
	w.Plant(driver.Data, row(300))
	kept := []int64{299, 250, 149, 148, 3}
	for _, n := range kept {
		w.Plant(driver.History, row(n))
	}
	acme := worldtest.Scope("acme")
	key := w.Key(acme, "PRODUCT", "1")
	want := append([]int64{300}, kept...)
	for limit := 1; limit <= 7; limit++ {
		entries := history(t, w, key, limit)
		var got []int64
		for i, e := range entries {
			got = append(got, e.Version)
			before := &record.Record{}
			if i+1 < len(want) {
				before = row(want[i+1])
			}
			if diff := cmp.Diff(record.Diff(before, row(e.Version)), e.Changes); diff != "" {
				t.Errorf("limit %d, version %d: %s", limit, e.Version, diff)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
	for at, wantVersion := range map[int64]int64{300: 300, 299: 299, 298: 250, 250: 250, 200: 149, 100: 3, 3: 3} {
		rec, err := w.Data.GetAt(t.Context(), acme, key, noon.Add(time.Duration(at)*time.Second))
		if err != nil || rec.Version != wantVersion {
			t.Errorf("at %d: %+v, %v; want %d", at, rec, err, wantVersion)
		}
	}
	_, err := w.Data.GetAt(t.Context(), acme, key, noon.Add(2*time.Second))
	refused(t, "before the first", err, fault.NotFound)
	_, err = w.Data.GetVersion(t.Context(), acme, key, 200)
	refused(t, "a hole", err, fault.NotFound)
}

func TestDiffOfVersions(t *testing.T) {
	w, key := chronicle(t, memory.New())
	acme := worldtest.Scope("acme")
	got, err := w.Data.Diff(t.Context(), acme, key, 9, versions)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for _, d := range got {
		fields[d.Field] = string(d.From) + " to " + string(d.To)
	}
	want := map[string]string{"name": `"name 9" to "name 350"`, "isDeleted": "false to true", "attributes.n": "9 to 350", "attributes.half": "4 to 175"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	if same, err := w.Data.Diff(t.Context(), acme, key, 7, 7); err != nil || len(same) != 0 {
		t.Errorf("a version with itself: %v, %v", same, err)
	}
	for _, pair := range [][2]int64{{0, 1}, {1, versions + 1}} {
		_, err := w.Data.Diff(t.Context(), acme, key, pair[0], pair[1])
		refused(t, fmt.Sprint(pair), err, fault.NotFound)
	}
}

// A row of whole seconds, as older services wrote them, counts at its second's end.
func TestThePastOfWholeSeconds(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	row := func(n int64, at string) *record.Record {
		updated, err := record.ParseTime(at)
		if err != nil {
			t.Fatal(err)
		}
		return &record.Record{PK: "PRODUCT#acme", SK: "1", Version: n, UpdatedAt: updated}
	}
	w.Plant(driver.Data, row(3, "2026-11-23T12:00:02+00:00"))
	w.Plant(driver.History, row(1, "2026-11-23T12:00:01+00:00"), row(2, "2026-11-23T12:00:01+00:00"))
	acme := worldtest.Scope("acme")
	for at, want := range map[time.Duration]int64{500 * time.Millisecond: 0, 1998 * time.Millisecond: 0, 1999 * time.Millisecond: 2, 2 * time.Second: 2, 2998 * time.Millisecond: 2, 2999 * time.Millisecond: 3} {
		rec, err := w.Data.GetAt(t.Context(), acme, w.Key(acme, "PRODUCT", "1"), noon.Add(at))
		if want == 0 && fault.CodeOf(err) != fault.NotFound || want > 0 && (err != nil || rec.Version != want) {
			t.Errorf("at %v: %+v, %v; want %d", at, rec, err, want)
		}
	}
}

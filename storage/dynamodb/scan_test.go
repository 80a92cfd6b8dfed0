package dynamodb

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// TestScanGoesOn puts rows before, into and behind the partition that a scan has come to: those that stand behind its place are
// seen, and the PKs are read once for the whole pass.
func TestScanGoesOn(t *testing.T) {
	for _, c := range driver.Collections() {
		t.Run(c.String(), func(t *testing.T) {
			cfg := empty(t)
			var scans atomic.Int32
			cfg.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
				if op == "Scan" && bytes.Contains(body, []byte(`"ProjectionExpression":"pk"`)) {
					scans.Add(1)
				}
				return w.send(req, body)
			})
			e := opened(t, cfg)
			put := func(pk, sk string) {
				t.Helper()
				rec := &record.Record{PK: pk, SK: sk, Version: 1}
				if _, err := e.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: c, Record: rec}}}); err != nil {
					t.Fatal(err)
				}
			}
			for _, pk := range []string{"A#b", "A#d", "B#b"} {
				put(pk, "5")
			}
			var got []string
			after := driver.Ref{}
			next := func() bool {
				t.Helper()
				page, err := e.Scan(t.Context(), c, after, 1)
				if err != nil {
					t.Fatal(err)
				}
				for _, rec := range page {
					got = append(got, rec.ID())
					after = driver.RefOf(c, rec)
				}
				return len(page) == 1
			}
			next()
			for _, row := range [][2]string{{"A#a", "1"}, {"A#b", "4"}, {"A#b", "6"}, {"A#c", "1"}, {"A#d", "1"}, {"B#c", "1"}} {
				put(row[0], row[1])
			}
			for next() {
			}
			want := []string{"A#b#5", "A#b#6", "A#c#1", "A#d#1", "A#d#5", "B#b#5", "B#c#1"}
			if !slices.Equal(got, want) {
				t.Errorf("the scan returned %v, want %v", got, want)
			}
			tables := int32(2)
			if c == driver.System {
				tables = 1
			}
			if n := scans.Load(); n != tables {
				t.Errorf("%d tables were scanned for one pass, want %d", n, tables)
			}
		})
	}
}

// TestScanOfManyVersions has a partition whose keys and rows take several calls.
func TestScanOfManyVersions(t *testing.T) {
	e := opened(t, empty(t))
	for version := int64(1); version <= 250; {
		var b driver.Batch
		for range 50 {
			rec := &record.Record{PK: "A#acme", SK: "1", Version: version, Name: fmt.Sprint(version)}
			b.Writes = append(b.Writes, driver.Write{Collection: driver.History, Record: rec})
			version++
		}
		if _, err := e.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	recs, err := e.Scan(t.Context(), driver.History, driver.Ref{PK: "A#acme", SK: "1", Version: 3}, 230)
	if err != nil || len(recs) != 230 {
		t.Fatalf("%d rows, %v", len(recs), err)
	}
	for i, rec := range recs {
		if rec.Version != int64(i)+4 || rec.Name != fmt.Sprint(rec.Version) {
			t.Fatalf("row %d has version %d", i, rec.Version)
		}
	}
}

// TestRangePastDeletedRows has two rows stand behind hundreds that are left out: a page of a few rows is not asked for again and again.
func TestRangePastDeletedRows(t *testing.T) {
	cfg := empty(t)
	var queries atomic.Int32
	cfg.transport = through(func(w *wire, req *http.Request, op string, body []byte) (*http.Response, error) {
		if op == "Query" && bytes.Contains(body, []byte("-a-data")) {
			queries.Add(1)
		}
		return w.send(req, body)
	})
	e := opened(t, cfg)
	const deleted = 300
	for i := 0; i < deleted+2; {
		var b driver.Batch
		for ; i < deleted+2 && len(b.Writes) < driver.MaxBatch; i++ {
			rec := &record.Record{PK: "A#acme", SK: fmt.Sprintf("%03d", i), Version: 1, IsDeleted: i < deleted}
			b.Writes = append(b.Writes, driver.Write{Collection: driver.Data, Record: rec})
		}
		if _, err := e.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	recs, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 1})
	if err != nil || len(recs) != 1 || recs[0].SK != "300" {
		t.Errorf("the first row that is not deleted: %v, %v", recs, err)
	}
	if n := queries.Load(); n > 10 {
		t.Errorf("it took %d queries", n)
	}
}

// TestPartitions has partitions of a tenant stand in several tables and under several keys, beside those of tenants of similar names.
func TestPartitions(t *testing.T) {
	cfg := empty(t)
	cfg.term = 100 * time.Millisecond
	if err := Spread(t.Context(), cfg, Shards{Type: record.MustEntityType("B"), Count: 4}); err != nil {
		t.Fatal(err)
	}
	e := opened(t, cfg)
	want := []string{"A#acme", "A#acme#2026", "A#acme#2026#11", "B#acme"}
	for _, pk := range append([]string{"A#acme2", "A#bravo#acme", "A#COMMON", "A#ACME", "B#bravo"}, want...) {
		for n := range 6 {
			rec := &record.Record{PK: pk, SK: fmt.Sprint(n), Version: 1, IsDeleted: n == 1}
			if _, err := e.Commit(t.Context(), creates(rec)); err != nil {
				t.Fatal(err)
			}
		}
	}
	code, err := tenant.Parse("acme")
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Partitions(t.Context(), code)
	if slices.Sort(got); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

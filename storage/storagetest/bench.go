package storagetest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Records that the benchmarks of updates, gets and lists have, and how many a list returns.
const (
	benchRows = 5_000
	benchList = 100
)

// BenchPK is the partition that benchmarks write to.
const BenchPK = "PRODUCT#acme"

// BenchSK returns the sort key of the i-th record of a benchmark.
func BenchSK(i int) string { return fmt.Sprintf("01HX7MBJK3V9WQBZ7X%08d", i) }

// BenchRecord returns the i-th record of a benchmark, a document of about 640 bytes.
func BenchRecord(i int, version int64) *record.Record {
	return &record.Record{PK: BenchPK, SK: BenchSK(i), Version: version, Code: "code-" + BenchSK(i), Name: "a product",
		TenantCode: "acme", Type: "PRODUCT", Source: "POST /api/data/product", RequestID: "01HX7MBJK3V9WQBZ7XNDK5ZT2M",
		CreatedAt: benchTime, CreatedBy: "user-1", CreatedIP: "192.0.2.1",
		UpdatedAt: benchTime, UpdatedBy: "user-1", UpdatedIP: "192.0.2.1",
		Attributes: record.Attributes(`{"description":"` + strings.Repeat("word ", 46) + `","price":1990,"tags":["a","b"]}`)}
}

var benchTime = record.At(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))

// BenchCreate returns the batch that creates the i-th record.
func BenchCreate(i int) driver.Batch {
	state := BenchRecord(i, 1)
	command := state.Clone()
	command.Status, command.SyncMode = record.StatusFinished, record.SyncModeSync
	return driver.Batch{Writes: []driver.Write{add(driver.Command, command), add(driver.Data, state)}}
}

// BenchUpdate returns the batch that makes the next version of the i-th record, which has one.
func BenchUpdate(i int, version int64) driver.Batch {
	b := BenchCreate(i)
	for _, w := range b.Writes {
		w.Record.Version = version
	}
	was := BenchRecord(i, version-1)
	b.Writes[1] = swap(driver.Data, b.Writes[1].Record, version-1)
	b.Writes[1].Was = was
	b.Writes = append(b.Writes, add(driver.History, was))
	return b
}

// Bench runs the benchmarks that all engines have in common: creates by 1, 16 and 64 writers, each in a store of its own; and in one store, gets by
// one reader and by 8, lists of 100, and updates by 64 writers. On every engine it takes a minute or two:
//
//	go test ./storage/sqlite -run '^$' -bench '^Benchmark$' -benchtime 2000x
func Bench(b *testing.B, open Open) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("create/writers=%d", writers), func(b *testing.B) {
			s := start(b, open)
			Together(b, writers, func(i int) { s.mustCommit(b, BenchCreate(i)) })
		})
	}
	s := start(b, open)
	s.fill(b)
	for _, readers := range []int{1, 8} {
		b.Run(fmt.Sprintf("get/readers=%d", readers), func(b *testing.B) {
			Together(b, readers, func(i int) {
				if rec, err := s.Get(b.Context(), driver.Ref{Collection: driver.Data, PK: BenchPK, SK: BenchSK(i * 7919 % benchRows)}); rec == nil {
					b.Error("no row", err)
				}
			})
		})
	}
	b.Run("list", func(b *testing.B) {
		Together(b, 1, func(i int) {
			after := BenchSK(i * 7919 % (benchRows - benchList - 1))
			recs, err := s.Range(b.Context(), driver.Range{Collection: driver.Data, PK: BenchPK, After: after, Limit: benchList})
			if len(recs) != benchList {
				b.Error("not a full list", len(recs), err)
			}
		})
	})
	updated := 0
	b.Run("update/writers=64", func(b *testing.B) {
		before := updated
		updated += b.N
		Together(b, 64, func(i int) { s.mustCommit(b, BenchUpdate((before+i)%benchRows, int64((before+i)/benchRows)+2)) })
	})
}

func (s *store) mustCommit(b *testing.B, batch driver.Batch) {
	if _, err := s.Commit(b.Context(), batch); err != nil {
		b.Error(err)
	}
}

// fill creates benchRows records.
func (s *store) fill(b *testing.B) {
	for i := 0; i < benchRows; {
		var batch driver.Batch
		for range driver.MaxBatch / 2 {
			batch.Writes = append(batch.Writes, BenchCreate(i).Writes...)
			i++
		}
		s.mustCommit(b, batch)
	}
}

// Together calls f with 0 to b.N-1, each once, from n goroutines, and reports operations a second.
func Together(b *testing.B, n int, f func(i int)) {
	b.ReportAllocs()
	b.ResetTimer()
	Each(n, b.N, f)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// Each calls f with 0 to count-1, each once, from n goroutines.
func Each(n, count int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

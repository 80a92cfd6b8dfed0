package integrity_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// BenchmarkVerify verifies an SQLite store of records in 50 tenants, every third of which has three versions, and half of
// which have a receipt. It reports the time for each row and the most memory that was in use.
func BenchmarkVerify(b *testing.B) {
	for _, records := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(records), func(b *testing.B) {
			w := worldtest.New(b, sqlite.At(b.TempDir()), worldtest.Options{})
			rows := fill(b, w.Engine, records)
			peak := uint64(0)
			for b.Loop() {
				stop := watchHeap(&peak)
				report, err := integrity.Verify(b.Context(), w.Store, worldtest.System("verify", nil), integrity.Options{})
				stop()
				if err != nil || !report.Clean() {
					b.Fatalf("%v\n%s", err, report)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
			b.ReportMetric(float64(peak)/1e6, "MB-peak")
		})
	}
}

// watchHeap keeps the most bytes that the heap held in peak, until stop is called.
func watchHeap(peak *uint64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			*peak = max(*peak, m.HeapAlloc)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// fill writes a sound store past the services, many rows a commit, and returns how many.
func fill(b *testing.B, engine driver.Engine, records int) (rows int) {
	b.Helper()
	var writes []driver.Write
	put := func(c driver.Collection, r record.Record) {
		rows++
		if writes = append(writes, driver.Write{Collection: c, Record: &r}); len(writes) == driver.MaxBatch {
			if _, err := engine.Commit(b.Context(), driver.Batch{Writes: writes}); err != nil {
				b.Fatal(err)
			}
			writes = nil
		}
	}
	at := record.At(time.Date(2026, 1, 15, 9, 0, 0, 0, time.UTC))
	for i := range records {
		code := fmt.Sprint("tenant-", i%50)
		r := record.Record{PK: "NOTE#" + code, SK: fmt.Sprintf("%09d", i*7919%records), Type: "NOTE", TenantCode: code, Name: "A note", Version: 1,
			CreatedAt: at, CreatedBy: "tester", UpdatedAt: at, UpdatedBy: "tester", RequestID: fmt.Sprint("req-", i),
			Attributes: record.Attributes(fmt.Sprintf(`{"n":%d,"tags":["a","b"],"text":"Lorem ipsum dolor sit amet, consectetur adipiscing elit"}`, i))}
		r.Code = r.SK
		if i < 50 {
			put(driver.System, record.Record{PK: "PARTITIONS#" + code, SK: r.PK, Version: 1})
		}
		for versions := int64(1 + 2*(i%3/2)); ; r.Version++ {
			cmd := r
			cmd.Status, cmd.SyncMode = record.StatusFinished, record.SyncModeSync
			put(driver.Command, cmd)
			if r.Version == versions {
				break
			}
			put(driver.History, r)
		}
		put(driver.Data, r)
		if i%2 == 0 {
			put(driver.System, record.Record{PK: "RECEIPT#" + code, SK: fmt.Sprintf("%064x", i), Version: 1,
				Attributes: record.Attributes(fmt.Sprintf(`{"digest":"d","pk":%q,"sk":%q,"version":1}`, r.PK, r.SK))})
		}
	}
	if len(writes) > 0 {
		if _, err := engine.Commit(b.Context(), driver.Batch{Writes: writes}); err != nil {
			b.Fatal(err)
		}
	}
	return rows
}

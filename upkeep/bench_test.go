package upkeep_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/upkeep"
)

// plant puts commands into the log past everything else: n of them, on as many records of each of some tenants in turn.
func (w *world) plant(n, records, tenants int) (last driver.Position) {
	w.Helper()
	at := record.At(time.Now())
	for from := 0; from < n; from += driver.MaxBatch {
		var b driver.Batch
		for i := from; i < min(n, from+driver.MaxBatch); i++ {
			code, r := fmt.Sprint("t", i%tenants), i/tenants%records
			b.Writes = append(b.Writes, driver.Write{Collection: driver.Command, If: driver.Condition{Kind: driver.IfAbsent},
				Record: &record.Record{PK: "PRODUCT#" + code, SK: fmt.Sprintf("%026d", r), Code: fmt.Sprint("c", r), Name: fmt.Sprint("product ", i), TenantCode: code, Type: "PRODUCT",
					Version: int64(i/tenants/records + 1), Attributes: record.Attributes(fmt.Sprintf(`{"category":"chairs","n":%d,"text":"made of oak by hand, and of nothing else"}`, i)),
					CreatedAt: at, UpdatedAt: at, CreatedBy: "tester", UpdatedBy: "tester"}})
		}
		var err error
		if last, err = w.Engine.Commit(w.Context(), b); err != nil {
			w.Fatal(err)
		}
	}
	return last
}

// BenchmarkCatchUp applies 40,000 commands of 100 tenants, half of which create a record, to a table of SQLite and of PostgreSQL.
func BenchmarkCatchUp(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { catchUp(b, func() driver.Source { return sqlite.At(b.TempDir()) }) })
	b.Run("postgres", func(b *testing.B) {
		catchUp(b, func() driver.Source { return postgres.At(postgrestest.New(b), postgres.Options{}) })
	})
}

func catchUp(b *testing.B, src func() driver.Source) {
	const events = 40_000
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, src())
		last := w.plant(events, events/100/2, 100)
		r := upkeep.New(w.cfg)
		if err := r.Open(w.Context()); err != nil {
			b.Fatal(err)
		}
		began, used := time.Now(), processorTime(b)
		b.StartTimer()
		r.Start(context.Background())
		for w.position() != last {
			<-time.After(5 * time.Millisecond)
		}
		b.StopTimer()
		b.ReportMetric(events/time.Since(began).Seconds(), "events/s")
		b.ReportMetric(events/(processorTime(b)-used).Seconds(), "events/cpu-s")
		r.Close()
		w.Close()
		b.StartTimer()
	}
}

func processorTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// position is how far the read model is.
func (w *world) position() (at driver.Position) {
	w.Helper()
	err := w.db.Read(w.Context(), func(tx driver.Tx) error {
		if err := tx.As(w.Context(), driver.All); err != nil {
			return err
		}
		return tx.Query(w.Context(), func(row driver.Row) error {
			var text string
			err := row.Scan(&text)
			at = driver.Position(text)
			return err
		}, "SELECT position FROM upkeep_position")
	})
	if err != nil {
		w.Fatal(err)
	}
	return at
}

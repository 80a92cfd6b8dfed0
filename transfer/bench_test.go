package transfer_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/transfer"
)

// BenchmarkCopy copies records of 600 bytes, half of them of two versions, from SQLite.
func BenchmarkCopy(b *testing.B) {
	b.Run("100000 to sqlite", func(b *testing.B) {
		benchmark(b, 100_000, func() driver.Source { return sqlite.At(b.TempDir()) })
	})
	b.Run("10000 to postgres", func(b *testing.B) {
		benchmark(b, 10_000, func() driver.Source { return postgres.At(postgrestest.New(b), postgres.Options{}) })
	})
	b.Run("10000 to dynamodb", func(b *testing.B) { benchmark(b, 10_000, func() driver.Source { return tables(b) }) })
}

func benchmark(b *testing.B, count int, target func() driver.Source) {
	from := open(b, sqlite.At(b.TempDir()))
	from.tenant("acme")
	sc := worldtest.Scope("acme")
	text := record.Attributes(fmt.Sprintf(`{"text":"%0500d"}`, 0))
	var filling sync.WaitGroup
	for n := range 64 {
		filling.Go(func() {
			for i := n; i < count; i += 64 {
				for version := range int64(1 + i%2) {
					key, err := record.NewKey(sc, note, fmt.Sprintf("%08d", i))
					if err == nil {
						_, err = from.Commands().PublishAsync(b.Context(), sc, command.Input{Key: key, Version: version, Name: fmt.Sprint(version), Attributes: text})
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	filling.Wait()
	for b.Loop() {
		result := copyAll(b, from, open(b, target()), transfer.Options{})
		b.ReportMetric(float64(result.PauseMillis), "pause-ms")
		if _, err := transfer.Resume(b.Context(), from.side(), tenant.Code{}); err != nil {
			b.Fatal(err)
		}
	}
}

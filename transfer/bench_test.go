package transfer_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/transfer"
)

const benchRecords = 100_000

// BenchmarkCopy copies 100,000 records of 600 bytes, half of them of two versions, from SQLite to SQLite.
func BenchmarkCopy(b *testing.B) {
	from := open(b, sqlite.At(b.TempDir()))
	from.tenant("acme")
	sc := worldtest.Scope("acme")
	text := record.Attributes(fmt.Sprintf(`{"text":"%0500d"}`, 0))
	var filling sync.WaitGroup
	for n := range 64 {
		filling.Go(func() {
			for i := n; i < benchRecords; i += 64 {
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
		result := copyAll(b, from, open(b, sqlite.At(b.TempDir())), transfer.Options{})
		b.ReportMetric(float64(result.PauseMillis), "pause-ms")
		if _, err := transfer.Resume(b.Context(), from.side()); err != nil {
			b.Fatal(err)
		}
	}
}

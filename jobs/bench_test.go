package jobs_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// BenchmarkJobs orders and runs jobs of 100 tenants.
func BenchmarkJobs(b *testing.B) {
	for name, source := range map[string]func() driver.Source{"memory": memory.New, "sqlite": func() driver.Source { return sqlite.At(b.TempDir()) }} {
		b.Run(name, func(b *testing.B) {
			var left atomic.Int64
			done := make(chan struct{})
			w := newWorld(b, source(), patient, jobs.Kind{Name: "bench", Workers: 64, Run: func(context.Context, scope.Scope, jobs.Job) error {
				if left.Add(-1) == 0 {
					close(done)
				}
				return nil
			}})
			w.run()
			left.Store(int64(b.N))
			b.ReportAllocs()
			var ordering sync.WaitGroup
			for i := range 64 {
				ordering.Go(func() {
					for n := i; n < b.N; n += 64 {
						if _, err := w.Enqueue(b.Context(), worldtest.Scope(fmt.Sprint("t", n%100)), jobs.Order{Kind: "bench"}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			ordering.Wait()
			<-done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

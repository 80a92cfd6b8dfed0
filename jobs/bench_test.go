package jobs_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// BenchmarkNeighbours measures how long the jobs of 20 tenants that each order one every 20 ms wait, alone and beside one that orders 50 times as many.
func BenchmarkNeighbours(b *testing.B) {
	for _, noise := range []int{0, 50} {
		b.Run(fmt.Sprint("noise=", noise), func(b *testing.B) {
			var mu sync.Mutex
			var waits []time.Duration
			w := newWorld(b, sqlite.At(b.TempDir()), patient, jobs.Kind{Name: "bench", Run: func(_ context.Context, sc scope.Scope, j jobs.Job) error {
				if sc.Tenant().String() != "noisy" {
					mu.Lock()
					waits = append(waits, time.Since(j.CreatedAt))
					mu.Unlock()
				}
				return nil
			}})
			w.run()
			const every = 20 * time.Millisecond
			ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
			defer cancel()
			order := func(sc scope.Scope, pause time.Duration) {
				tick := time.NewTicker(pause)
				defer tick.Stop()
				for ctx.Err() == nil {
					if _, err := w.Enqueue(ctx, sc, jobs.Order{Kind: "bench"}); err != nil && ctx.Err() == nil {
						b.Error(err)
					}
					select {
					case <-ctx.Done():
					case <-tick.C:
					}
				}
			}
			for range b.N {
				var ordering sync.WaitGroup
				for n := range 20 {
					ordering.Go(func() { order(worldtest.Scope(fmt.Sprint("t", n)), every) })
				}
				for range noise {
					ordering.Go(func() { order(worldtest.Scope("noisy"), every) })
				}
				ordering.Wait()
			}
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

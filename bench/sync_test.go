package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenantsync"
)

const (
	synced  = 10_000 // records
	targets = 10     // tenants that they are copied to
	looped  = 2_000  // records that the loop copies, to one tenant
)

// BenchmarkSync copies records of one tenant to others, planning included. By publish is the same number of creates by 64 writers that have
// nothing to read or decide; by loop is the guide's syncMasterData, which copies one record after the other. An op is one record in one target.
func BenchmarkSync(b *testing.B) {
	b.Run("by=tenantry", func(b *testing.B) {
		copying(b, synced*targets, func(app *tenantrytest.App, source guard.Scope, to []guard.Scope) {
			r := tenantsync.Request{Source: source.Tenant(), EntityType: record.MustEntityType("PRODUCT")}
			for _, sc := range to {
				r.Targets = append(r.Targets, sc.Tenant())
			}
			sys := app.System("measure")
			id, err := app.Syncs().Plan(context.Background(), sys, r, tenantsync.Order{Apply: true})
			must(b, err)
			for {
				st, err := app.Syncs().Status(context.Background(), sys, id)
				must(b, err)
				if st.Status == tenantsync.Applied && st.Synced == synced*targets {
					return
				}
				if st.Failed > 0 || len(st.Errors) > 0 {
					b.Fatalf("%+v", st.Errors)
				}
				<-time.After(50 * time.Millisecond)
			}
		})
	})
	b.Run("by=publish", func(b *testing.B) {
		copying(b, synced*targets, func(app *tenantrytest.App, _ guard.Scope, to []guard.Scope) {
			var next atomic.Int64
			var writers sync.WaitGroup
			for range 64 {
				writers.Go(func() {
					for n := next.Add(1) - 1; n < synced*targets; n = next.Add(1) - 1 {
						if err := publish(b, app, to[n/synced], fmt.Sprintf("p%05d", n%synced)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			writers.Wait()
		})
	})
	b.Run("by=loop", func(b *testing.B) {
		copying(b, looped, func(app *tenantrytest.App, source guard.Scope, to []guard.Scope) {
			in, err := record.NewPartition(source, record.MustEntityType("PRODUCT"))
			must(b, err)
			for copied, q := 0, (data.Query{Partition: in, Limit: data.MaxLimit}); copied < looped; {
				page, err := app.Data().List(context.Background(), source, q)
				must(b, err)
				for _, r := range page.Items {
					metadata, err := record.EncodeAttributes(map[string]any{"syncedFrom": r.ID(), "syncedAt": record.At(time.Now())})
					must(b, err)
					_, err = app.Commands().PublishSync(context.Background(), to[0], command.Input{Key: product(b, to[0], r.SK), Code: r.Code, Name: r.Name, Type: r.Type,
						Attributes: r.Attributes, Metadata: metadata})
					must(b, err)
				}
				copied, q.Cursor = copied+len(page.Items), page.Cursor
			}
		})
	})
}

// copying measures run on a new store, whose first tenant has records and whose others have none.
func copying(b *testing.B, ops int64, run func(app *tenantrytest.App, source guard.Scope, to []guard.Scope)) {
	b.Helper()
	var took, worked time.Duration
	var done int64
	for b.Loop() {
		app := open(b, b.TempDir())
		source := app.Scope("acme")
		to := make([]guard.Scope, targets)
		for n := range to {
			to[n] = app.Scope(fmt.Sprintf("target%d", n))
		}
		var writers sync.WaitGroup
		for w := range 64 {
			writers.Go(func() {
				for n := w; n < synced; n += 64 {
					if err := publish(b, app, source, fmt.Sprintf("p%05d", n)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		writers.Wait()
		began, before := time.Now(), processorTime(b)
		run(app, source, to)
		took, worked, done = took+time.Since(began), worked+processorTime(b)-before, done+ops
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(done), "ns/op")
	b.ReportMetric(float64(worked.Nanoseconds())/float64(done), "cpu-ns/op")
	b.ReportMetric(float64(done)/took.Seconds(), "op/s")
}

// processorTime is how long the process has worked, on all processors together.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

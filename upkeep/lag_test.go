package upkeep_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// TestLagWhileRebuilding publishes in 99 tenants, in turn with nothing else and while the hundredth, which has most of the records, is rebuilt
// again and again. What that does to the others' lag is judged in a long run only, by the median of its runs.
func TestLagWhileRebuilding(t *testing.T) {
	runs, records, phase := 1, 500, 300*time.Millisecond
	long := os.Getenv("TENANTRY_LONG_RUN") != ""
	if long {
		runs, records, phase = 5, 20_000, 20*time.Second
	}
	w := newWorld(t, sqlite.At(t.TempDir()))
	last := w.plant(records, records, 1) // of t0
	w.runner = w.run(w.cfg)
	w.reach(w.runner, last)
	var quiet, loaded []time.Duration
	rebuilds := 0
	for range runs {
		quiet = append(quiet, w.lag(phase, nil))
		loaded = append(loaded, w.lag(phase, func(stop <-chan struct{}) {
			for {
				w.rebuild(w.runner, worldtest.Code("t0"), "", false)
				rebuilds++
				select {
				case <-stop:
					return
				default:
				}
			}
		}))
	}
	slices.Sort(quiet)
	slices.Sort(loaded)
	q, l := quiet[runs/2], loaded[runs/2]
	t.Logf("measured: p99 of the others' lag, median of %d runs: %v quiet, %v while %d rows were rebuilt %d times", runs, q.Round(time.Millisecond), l.Round(time.Millisecond), records, rebuilds)
	if rebuilds < runs {
		t.Errorf("%d rebuilds: this proves little", rebuilds)
	}
	if long && l > max(2*q, 100*time.Millisecond) {
		t.Errorf("the others' p99 is %v while one tenant is rebuilt, %v else", l, q)
	}
}

// lag publishes for a time, while beside goes on, and returns the 99th percentile of what it takes a commit to be in the read model.
func (w *world) lag(phase time.Duration, beside func(stop <-chan struct{})) time.Duration {
	stop := make(chan struct{})
	var going sync.WaitGroup
	if beside != nil {
		going.Go(func() { beside(stop) })
	}
	var mu sync.Mutex
	var all []time.Duration
	var publishing sync.WaitGroup
	end := time.Now().Add(phase)
	for n := range 4 {
		publishing.Go(func() {
			for i := n; time.Now().Before(end); i += 4 {
				code := fmt.Sprint("t", 1+i%99)
				at := w.publish(code, fmt.Sprint("p", i%1000), fmt.Sprint("n", time.Now().UnixNano()), false)
				began := time.Now()
				if err := w.runner.Wait(w.Context(), worldtest.Code(code), at); err != nil {
					w.Error(err)
					return
				}
				took := time.Since(began)
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
				<-time.After(10 * time.Millisecond)
			}
		})
	}
	publishing.Wait()
	close(stop)
	going.Wait()
	slices.Sort(all)
	if len(all) == 0 {
		w.Fatal("nothing was published")
	}
	return all[len(all)*99/100]
}

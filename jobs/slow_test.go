package jobs_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/storage/driver"
)

// hanging is work that hangs in some tenants, each job until it is let go.
type hanging struct {
	mu      sync.Mutex
	hangs   map[string]bool // by tenant
	running map[string]int
	done    map[string]int
	letGo   map[string]chan struct{}
}

func (h *hanging) run(ctx context.Context, sc scope.Scope, _ jobs.Job) error {
	code := sc.Tenant().String()
	h.mu.Lock()
	hangs, letGo := h.hangs[code], h.letGo[code]
	h.running[code]++
	h.mu.Unlock()
	if hangs {
		select {
		case <-letGo:
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running[code]--
	if ctx.Err() == nil {
		h.done[code]++
	}
	return ctx.Err()
}

func (h *hanging) set(code string, hangs bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hangs[code] = hangs
}

// counts returns how many jobs of a tenant run, and were done.
func (h *hanging) counts(code string) (running, done int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running[code], h.done[code]
}

// TestTenantsWhoseWorkHangsHoldUpNobody has more jobs hang than there are workers: those of other tenants are done meanwhile, and a tenant has one job that
// hangs, and as many as any once one was quick.
func TestTenantsWhoseWorkHangsHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers, slow = 3, 10
		h := &hanging{hangs: map[string]bool{}, running: map[string]int{}, done: map[string]int{}, letGo: map[string]chan struct{}{}}
		w := newWorld(t, driver.Source{}, nil, jobs.Kind{Name: "hangs", Workers: workers, PerTenant: 2, Quick: time.Second, Run: h.run})
		tenant := func(n int) string { return fmt.Sprint("slow", n) }
		order := func(code string, n int) {
			for range n {
				w.enqueue(worldtest.Scope(code), jobs.Order{Kind: "hangs"})
			}
		}
		for n := range slow {
			h.hangs[tenant(n)], h.letGo[tenant(n)] = true, make(chan struct{})
			order(tenant(n), 6)
		}
		w.run()
		all := func(what string, ok func(running, done int) bool) {
			t.Helper()
			until(t, what, func() bool {
				for n := range slow {
					if !ok(h.counts(tenant(n))) {
						return false
					}
				}
				return true
			})
		}
		all("each has a job that hangs", func(running, _ int) bool { return running > 0 })
		for n := range 20 {
			order(fmt.Sprint("quick", n), 3)
		}
		for n := range 20 {
			until(t, "the others' jobs are done", func() bool { _, done := h.counts(fmt.Sprint("quick", n)); return done == 3 })
		}
		all("nothing that hangs was ended for it", func(running, done int) bool { return running > 0 && done == 0 })

		<-time.After(10 * time.Second) // each has hung for longer than is quick
		for n := range slow {
			running, _ := h.counts(tenant(n))
			for range running {
				h.letGo[tenant(n)] <- struct{}{}
			}
		}
		all("each has another job that hangs", func(running, done int) bool { return done > 0 && running > 0 })
		<-time.After(10 * time.Second)
		synctest.Wait()
		all("one of each runs", func(running, _ int) bool { return running == 1 })

		h.set(tenant(0), false)
		h.letGo[tenant(0)] <- struct{}{}
		until(t, "all of a tenant that is quick again are done", func() bool { _, done := h.counts(tenant(0)); return done == 6 })
		h.set(tenant(0), true)
		order(tenant(0), 6)
		until(t, "two of it run", func() bool { running, _ := h.counts(tenant(0)); return running == 2 })
	})
}

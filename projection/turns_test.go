package projection_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// doors is a handler with a door for each tenant: commands pass one at a time, when the test says so, and are noted in their order.
type doors struct {
	mu    sync.Mutex
	calls []string
	doors map[string]chan struct{}
}

// closed returns doors that are shut for some tenants, and open for all others.
func closed(tenants ...string) *doors {
	d := &doors{doors: map[string]chan struct{}{}}
	for _, code := range tenants {
		d.doors[code] = make(chan struct{})
	}
	return d
}

func (d *doors) Up(ctx context.Context, sc scope.Scope, cmd *record.Record) error {
	if door := d.doors[sc.Tenant().String()]; door != nil {
		select {
		case <-door:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, fmt.Sprintf("%s/%s@%d", sc.Tenant(), cmd.SK, cmd.Version))
	return nil
}

func (d *doors) Down(context.Context, scope.Scope, *record.Record) error { return nil }

func (d *doors) handled(call string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.calls, call)
}

// plant puts n commands of a tenant into the feed, in turn on as many records.
func plant(w *worldtest.World, tenant string, n, records int) {
	w.Helper()
	for i := range n {
		w.Plant(driver.Command, &record.Record{PK: "PRODUCT#" + tenant, SK: fmt.Sprint("r", i%records), Version: int64(i/records + 1), Name: "n", TenantCode: tenant, Type: "PRODUCT"})
	}
}

// A tenant waits for those that are at work, never for what another has waiting: more than a page of the feed, more than a line has in memory
// of one tenant, and more than it has in memory.
func TestNobodyWaitsForAnothersBacklog(t *testing.T) {
	for _, backlog := range []int{300, 6000} {
		synctest.Test(t, func(t *testing.T) {
			d := closed("noisy")
			w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(d), Lanes: 1})
			plant(w, "noisy", backlog, 40)
			w.Start()
			synctest.Wait() // the lane stands before noisy's door
			for n := range 3 {
				quiet := fmt.Sprint("quiet", n)
				publish(w, quiet, "1")
				synctest.Wait()
				for range 2 { // the one under way, and the turn that was noisy's already
					d.doors["noisy"] <- struct{}{}
					synctest.Wait()
				}
				if !d.handled(quiet + "/1@1") {
					t.Fatalf("behind %d commands of another tenant, a command waits for more than two", backlog)
				}
			}
			<-time.After(time.Second) // the checkpoint is not moved for each of them
			if s := status(w); s.Position != "6" {
				t.Errorf("the checkpoint is %s; six of noisy's commands are done", s.Position)
			}
			close(d.doors["noisy"])
			synctest.Wait()
			if s := status(w); s.Position != string(end(w)) {
				t.Errorf("the handler stands at %s of %s", s.Position, end(w))
			}
			seen := map[string]int{} // the version that came last
			for _, call := range d.calls {
				var sk string
				var version int
				if n, _ := fmt.Sscanf(call, "noisy/r%d@%d", new(int), &version); n != 2 {
					continue
				}
				fmt.Sscanf(call, "noisy/%s", &sk)
				sk = sk[:len(sk)-len(fmt.Sprint("@", version))]
				if seen[sk]++; seen[sk] != version {
					t.Fatalf("version %d of %s came as number %d", version, sk, seen[sk])
				}
			}
			if total := len(d.calls) - 3; total != backlog {
				t.Errorf("%d of %d commands were handled", total, backlog)
			}
		})
	}
}

// Where the handler stands still for some tenants, the others find a lane.
func TestATenantTakesHalfTheLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := closed("a", "b", "c")
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(d), Lanes: 8})
		w.Start()
		for _, tenant := range []string{"a", "b", "c"} {
			plant(w, tenant, 20, 20)
		}
		synctest.Wait()
		publish(w, "quiet", "1")
		synctest.Wait()
		if !d.handled("quiet/1@1") {
			t.Error("three tenants for which the handler stands still have all lanes")
		}
	})
}

// A record that waits for another attempt keeps a lane while it is tried, and nothing else waits for it.
func TestAnAttemptHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		var attempts atomic.Int64
		h := sight(func(ctx context.Context, sc scope.Scope, cmd *record.Record) error {
			if sc.Tenant().String() != "noisy" {
				return nil
			}
			if attempts.Add(1) == 1 {
				return fmt.Errorf("fails at first")
			}
			select {
			case <-stuck:
			case <-ctx.Done():
			}
			return ctx.Err()
		})
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: []projection.Registration{{Name: "h", Module: "product", Handler: h}}, Backoff: backoff})
		w.Start()
		publish(w, "noisy", "1")
		<-time.After(1500 * time.Millisecond)
		publish(w, "noisy", "1") // while the attempt stands still
		w.Publish(worldtest.Scope("acme"), product(w, "1"))
		if s := status(w); attempts.Load() != 2 || s.Aside != 1 {
			t.Errorf("%d attempts, %+v", attempts.Load(), s)
		}
		close(stuck)
		synctest.Wait()
		if s := status(w); attempts.Load() != 3 || s.Aside != 0 || s.Position != string(end(w)) {
			t.Errorf("%d attempts, %+v", attempts.Load(), s)
		}
	})
}

package tenants_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenants"
)

// slow is an engine that holds one read of a tenant's record back after it was made: its reader knows an older state by then.
type slow struct {
	driver.Engine
	armed   *atomic.Bool
	release chan struct{}
}

func (s slow) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	rec, err := s.Engine.Get(ctx, ref)
	if ref.Collection == driver.Data && ref.SK == tenants.Master && s.armed.CompareAndSwap(true, false) {
		<-s.release
	}
	return rec, err
}

// TestAnOlderStateIsNotRemembered plants a state that was read before a change and comes back after it.
func TestAnOlderStateIsNotRemembered(t *testing.T) {
	for what, change := range map[string]func(here, there *node){
		"changed here": func(here, _ *node) { here.suspend("acme") },
		"changed elsewhere": func(_, there *node) {
			there.suspend("acme")
			<-time.After(time.Second)
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var armed atomic.Bool
				release := make(chan struct{})
				src := memory.New()
				there := newNode(t, src, false)
				here := newNode(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return slow{e, &armed, release} }), true)
				there.create("acme")
				<-time.After(time.Second) // here knows that

				armed.Store(true)
				var older guard.State
				var reading sync.WaitGroup
				reading.Go(func() { older = here.lookup("acme") })
				synctest.Wait()
				change(here, there)
				close(release)
				reading.Wait()
				if older.Suspended {
					t.Fatal("the held back read saw the change; nothing was planted")
				}
				if !here.lookup("acme").Suspended {
					t.Error("the older state is remembered")
				}
			})
		})
	}
}

package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// held is a kind whose jobs say that they began and run until they are let go, or their context ends.
func held(began chan<- jobs.Job, letGo <-chan struct{}, perTenant int) jobs.Kind {
	return jobs.Kind{Name: "held", PerTenant: perTenant, Workers: 4, Run: func(ctx context.Context, _ scope.Scope, j jobs.Job) error {
		began <- j
		select {
		case <-letGo:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// deaf is an engine that makes no commit once its process is dead.
type deaf struct {
	driver.Engine
	dead *atomic.Bool
}

func (e *deaf) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if e.dead.Load() {
		return "", fault.New(fault.Unavailable, "test", "the process is dead")
	}
	return e.Engine.Commit(ctx, b)
}

func TestAnotherProcessTakesOver(t *testing.T) {
	src := memory.New()
	began, letGo := make(chan jobs.Job, 10), make(chan struct{})
	dead := &atomic.Bool{}
	dying := newWorld(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return &deaf{e, dead} }), nil, held(began, nil, 1))
	dying.run()
	acme := worldtest.Scope("acme")
	j := dying.enqueue(acme, jobs.Order{Kind: "held", Payload: payload(1)})
	receive(t, began)
	next := newWorld(t, src, nil, held(began, letGo, 1))
	next.run()
	if len(began) > 0 {
		t.Fatal("the job runs twice while its process lives")
	}
	dead.Store(true) // nothing that it writes arrives any more
	if got := receive(t, began); got.ID != j.ID || got.Attempts != 2 {
		t.Errorf("taken over as %+v", got)
	}
	close(letGo)
	until(t, "the job is done", func() bool {
		_, err := next.Get(t.Context(), acme, j.ID)
		return errors.Is(err, fault.NotFound)
	})
}

func TestAProcessThatEndsGivesItsJobsBack(t *testing.T) {
	src := memory.New()
	began, letGo := make(chan jobs.Job, 10), make(chan struct{})
	ending, next := newWorld(t, src, nil, held(began, nil, 1)), newWorld(t, src, nil, held(began, letGo, 1))
	ending.run()
	ending.enqueue(worldtest.Scope("acme"), jobs.Order{Kind: "held", Unique: "u"})
	receive(t, began)
	ending.end()
	next.run()
	if got := receive(t, began); got.Attempts != 1 {
		t.Errorf("the attempt that was broken off counts: %+v", got)
	}
	close(letGo)
}

func TestCancelEndsAJobThatRuns(t *testing.T) {
	began := make(chan jobs.Job, 10)
	w := newWorld(t, driver.Source{}, nil, held(began, nil, 1))
	w.run()
	acme := worldtest.Scope("acme")
	first := w.enqueue(acme, jobs.Order{Kind: "held", Payload: payload(1)})
	receive(t, began)
	second := w.enqueue(acme, jobs.Order{Kind: "held", Payload: payload(2)})
	if _, err := w.Cancel(t.Context(), worldtest.Scope("bravo"), first.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("another tenant cancels it: %v", err)
	}
	if _, err := w.Cancel(t.Context(), acme, first.ID); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, began); got.ID != second.ID {
		t.Errorf("then began %+v", got)
	}
	if _, err := w.Cancel(t.Context(), acme, second.ID); err != nil {
		t.Fatal(err)
	}
}

// TestTenantsTakeTurns has one tenant order 200 jobs before others order one each, and behind another that does: these run among its first.
func TestTenantsTakeTurns(t *testing.T) {
	out := make(chan ran, 300)
	kind := reporting(out)
	kind.Workers, kind.PerTenant = 1, 1
	w := newWorld(t, driver.Source{}, nil, kind)
	w.enqueue(worldtest.Scope("early"), jobs.Order{Kind: "report", Payload: payload(0)})
	for n := range 200 {
		w.enqueue(worldtest.Scope("noisy"), jobs.Order{Kind: "report", Payload: payload(n)})
	}
	for _, code := range []string{"quiet", "silent", "still"} {
		w.enqueue(worldtest.Scope(code), jobs.Order{Kind: "report", Payload: payload(0)})
	}
	w.run()
	order := map[string]int{}
	noisy := 0
	for n := range 204 {
		got := receive(t, out)
		if got.Tenant == "noisy" {
			if got.N != noisy {
				t.Errorf("job %d of a tenant ran in place %d", got.N, noisy)
			}
			noisy++
			continue
		}
		order[got.Tenant] = n
	}
	for code, n := range order {
		if n > 8 {
			t.Errorf("%s waited for %d jobs", code, n)
		}
	}
}

// TestEveryTenantIsSeen has another process than the one that took the orders find the tenants in the directory, which has several pages of them.
func TestEveryTenantIsSeen(t *testing.T) {
	const many = 1100
	src, out := memory.New(), make(chan ran, many)
	orders, runs := newWorld(t, src, nil, reporting(out)), newWorld(t, src, nil, reporting(out))
	for n := range many {
		orders.enqueue(worldtest.Scope(fmt.Sprint("t", n)), jobs.Order{Kind: "report", Payload: payload(n)})
	}
	runs.run()
	seen := map[string]bool{}
	for range many {
		got := receive(t, out)
		if got.Tenant != fmt.Sprint("t", got.N) || seen[got.Tenant] {
			t.Errorf("job %d ran in %s", got.N, got.Tenant)
		}
		seen[got.Tenant] = true
	}
}

func TestAUniqueJobIsOrderedOnceWhileItWaits(t *testing.T) {
	began, letGo := make(chan jobs.Job, 10), make(chan struct{})
	w := newWorld(t, driver.Source{}, nil, held(began, letGo, 2))
	acme, bravo := worldtest.Scope("acme"), worldtest.Scope("bravo")
	o := jobs.Order{Kind: "held", Unique: "rule-1"}
	first := w.enqueue(acme, o)
	if again := w.enqueue(acme, o); again.ID != first.ID {
		t.Errorf("a second job %s beside %s", again.ID, first.ID)
	}
	w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "1"), Name: "Chair"}, w.Beside(o), w.Beside(jobs.Order{Kind: "held", Unique: "rule-2"}))
	if other := w.enqueue(bravo, o); other.ID == first.ID {
		t.Error("two tenants share a job")
	}
	w.run()
	for range 3 {
		receive(t, began)
	}
	next := w.enqueue(acme, o) // the first has begun and may not see what this one is for
	if next.ID == first.ID {
		t.Error("an order joins a job that has begun")
	}
	if waiting, err := w.Get(t.Context(), acme, next.ID); err != nil || waiting.State != jobs.Waiting {
		t.Errorf("the next one: %+v, %v", waiting, err)
	}
	letGo <- struct{}{}
	letGo <- struct{}{}
	letGo <- struct{}{}
	if got := receive(t, began); got.ID != next.ID {
		t.Errorf("then began %+v", got)
	}
	close(letGo)
}

func TestADelayedJobRunsWhenItIsDue(t *testing.T) {
	out := make(chan ran, 10)
	clock := worldtest.NewClock(time.Now())
	w := newWorld(t, driver.Source{}, func(c *jobs.Config) { c.Now = clock.Now }, reporting(out))
	w.run()
	acme := worldtest.Scope("acme")
	w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(2), At: clock.Now().Add(2 * time.Hour)})
	w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(1), After: time.Hour})
	w.enqueue(acme, jobs.Order{Kind: "report", Payload: payload(0)})
	for n := range 3 {
		if got := receive(t, out); got.N != n {
			t.Errorf("job %d ran in place %d", got.N, n)
		}
		if len(out) > 0 {
			t.Errorf("job %d ran before its time", (<-out).N)
		}
		clock.Advance(time.Hour)
	}
}

func TestAJobOfAnEarlierTenantOfTheSameCodeIsDropped(t *testing.T) {
	out := make(chan ran, 10)
	w := newWorld(t, driver.Source{}, nil, reporting(out))
	born := time.Now().Add(-time.Hour)
	w.tenants.set("acme", guard.State{Exists: true, Born: born})
	j := w.enqueue(worldtest.Scope("acme"), jobs.Order{Kind: "report", Payload: payload(1)})
	w.tenants.set("acme", guard.State{Exists: true, Born: born.Add(time.Minute)})
	w.run()
	until(t, "the job is dropped", func() bool {
		got, err := w.Get(t.Context(), worldtest.Scope("acme"), j.ID)
		return err == nil && got.State == jobs.Dropped
	})
	actor := worldtest.Actor()
	if _, err := w.Get(t.Context(), scope.New(worldtest.Code("acme"), scope.Full, born.Add(time.Minute), &actor), j.ID); !errors.Is(err, fault.NotFound) {
		t.Errorf("the later tenant sees it: %v", err)
	}
	if len(out) > 0 {
		t.Errorf("ran %+v", <-out)
	}
}

func TestOrdersThatAreNone(t *testing.T) {
	w := newWorld(t, driver.Source{}, nil, reporting(nil))
	for name, o := range map[string]jobs.Order{
		"no kind":         {},
		"an unknown kind": {Kind: "other"},
		"a large payload": {Kind: "report", Payload: append(append([]byte(`{"a":"`), make([]byte, jobs.MaxPayload)...), `"}`...)},
		"a long text":     {Kind: "report", Unique: string(make([]byte, 201))},
		"back in time":    {Kind: "report", After: -1},
		"two times":       {Kind: "report", After: 1, At: time.Now()},
		"a far time":      {Kind: "report", After: 200_000 * time.Hour},
	} {
		if _, err := w.Enqueue(t.Context(), worldtest.Scope("acme"), o); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Enqueue(t.Context(), scope.Scope{}, jobs.Order{Kind: "report"}); !errors.Is(err, fault.TenantRequired) {
		t.Errorf("no tenant: %v", err)
	}
	if _, err := w.Enqueue(t.Context(), worldtest.ReadingCommon(), jobs.Order{Kind: "report"}); !errors.Is(err, fault.TenantForbidden) {
		t.Errorf("a scope that reads: %v", err)
	}
	for _, k := range []jobs.Kind{{Name: "Upper", Run: reporting(nil).Run}, {Name: "report", Run: reporting(nil).Run}, {Name: "norun"}} {
		if err := w.Register(k); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("kind %q: %v", k.Name, err)
		}
	}
}

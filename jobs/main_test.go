package jobs_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a process with a queue over a store.
type world struct {
	*worldtest.World
	*jobs.Queue
	tenants *states
	stop    func() // ends Run; nil before
}

// states are the tenants of a test. Those that nobody named exist.
type states struct {
	mu     sync.Mutex
	states map[tenant.Code]guard.State
}

func (ts *states) lookup(_ context.Context, code tenant.Code) (guard.State, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if s, ok := ts.states[code]; ok {
		return s, nil
	}
	return guard.State{Exists: true}, nil
}

func (ts *states) set(code string, s guard.State) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.states[worldtest.Code(code)] = s
}

// term is short, so that takeovers are.
const term = 400 * time.Millisecond

// newWorld returns a process over the store that src names; change changes its configuration.
func newWorld(t testing.TB, src driver.Source, change func(*jobs.Config), kinds ...jobs.Kind) *world {
	t.Helper()
	if src.Name() == "" {
		src = memory.New()
	}
	w := &world{World: worldtest.New(t, src, worldtest.Options{}), tenants: &states{states: map[tenant.Code]guard.State{}}}
	cfg := jobs.Config{Store: w.Store, Jobs: w.Keeper("JOB"), Directory: w.Keeper("JOBS"), Workers: w.Keeper("WORKER"), Tenant: w.tenants.lookup,
		Term: term, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	w.Queue = jobs.New(cfg)
	if err := w.Register(kinds...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	return w
}

// run runs jobs until the test ends, or end is called.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	w.stop = func() { cancel(); running.Wait() }
}

func (w *world) end() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

func (w *world) enqueue(sc scope.Scope, o jobs.Order) jobs.Job {
	w.Helper()
	j, err := w.Enqueue(w.Context(), sc, o)
	if err != nil {
		w.Fatal(err)
	}
	return j
}

// payload returns {"n": n}.
func payload(n int) record.Attributes {
	a, err := record.EncodeAttributes(map[string]int{"n": n})
	if err != nil {
		panic(err)
	}
	return a
}

func number(j jobs.Job) int {
	var v struct {
		N int `json:"n"`
	}
	if err := j.Payload.Decode(&v); err != nil {
		panic(err)
	}
	return v.N
}

// receive returns what comes next, and fails the test where nothing does in time.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// until waits until ok, and fails the test where that takes too long.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("it did not come to pass: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

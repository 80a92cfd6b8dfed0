package proof_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/internal/proof"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// part is how much of the long run the tests run: a twentieth.
const (
	rounds     = 2_000 / 20
	operations = 20_000 / 20
)

func subject(t *testing.T, src driver.Source) proof.Subject {
	w := worldtest.New(t, src, worldtest.Options{})
	return proof.Subject{Commands: w.Commands, Data: w.Data, Scope: worldtest.Scope("acme")}
}

func seed(t *testing.T) uint64 {
	n := rand.Uint64()
	t.Logf("seed %d", n)
	return n
}

func TestRace(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		if err := proof.Race(t.Context(), subject(t, src), rounds, seed(t)); err != nil {
			t.Error(err)
		}
	})
}

func TestLinearizable(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		if err := proof.Linearizable(t.Context(), subject(t, src), operations, seed(t)); err != nil {
			t.Error(err)
		}
	})
}

// forgetful is an engine that now and then answers with the state before the current one.
type forgetful struct {
	driver.Engine
	mu   sync.Mutex
	gets int
}

func (f *forgetful) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	rec, err := f.Engine.Get(ctx, ref)
	if ref.Collection != driver.Data || rec == nil || rec.Version < 2 {
		return rec, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gets++; f.gets%50 != 0 {
		return rec, err
	}
	return f.Engine.Get(ctx, driver.Ref{Collection: driver.History, PK: ref.PK, SK: ref.SK, Version: rec.Version - 1})
}

func TestAStaleReadIsFound(t *testing.T) {
	src := memory.New()
	writes := subject(t, src)
	reads := subject(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return &forgetful{Engine: e} }))
	writes.Data = reads.Data
	if err := proof.Linearizable(t.Context(), writes, operations, seed(t)); !errors.Is(err, proof.ErrNotLinearizable) {
		t.Errorf("stale reads: %v", err)
	}
}

// careless is an engine that takes every command, whether its version is there already or not. Between reading and writing
// it lets others run.
type careless struct{ driver.Engine }

func (c careless) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	defer runtime.Gosched()
	return c.Engine.Get(ctx, ref)
}

func (c careless) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	loose := driver.Batch{Writes: make([]driver.Write, len(b.Writes))}
	for i, w := range b.Writes {
		w.If = driver.Condition{}
		loose.Writes[i] = w
	}
	return c.Engine.Commit(ctx, loose)
}

func TestALostUpdateIsFound(t *testing.T) {
	careless := func(e driver.Engine) driver.Engine { return careless{e} }
	if err := proof.Race(t.Context(), subject(t, worldtest.Wrapped(memory.New(), careless)), rounds, seed(t)); err == nil || !strings.Contains(err.Error(), "both won") {
		t.Errorf("racing without conditions: %v", err)
	}
	if err := proof.Linearizable(t.Context(), subject(t, worldtest.Wrapped(memory.New(), careless)), operations, seed(t)); !errors.Is(err, proof.ErrNotLinearizable) {
		t.Errorf("writing without conditions: %v", err)
	}
}

package settings_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/settings"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Service over a store in memory that follows the feed, with the tenants acme and bravo.
type world struct {
	*worldtest.World
	*settings.Service
	acme, bravo, common scope.Scope
	hits, misses        atomic.Int64
}

func newWorld(t testing.TB, d settings.Declaration) *world { return worldOn(t, memory.New(), d) }

func worldOn(t testing.TB, src driver.Source, d settings.Declaration) *world {
	t.Helper()
	w := &world{World: worldtest.New(t, src, worldtest.Options{Entities: append(settings.Declarations(), tenants.Declaration())}),
		acme: worldtest.Scope("acme"), bravo: worldtest.Scope("bravo"), common: worldtest.Scope("common")}
	var err error
	w.Service, err = settings.New(settings.Config{Commands: w.Commands, Data: w.Data, Cursors: w.Cursors, Groups: tenants.GroupsFor, State: exists, Declaration: d, Feed: w.Tail,
		Observe: func(_ string, hit bool) {
			if hit {
				w.hits.Add(1)
			} else {
				w.misses.Add(1)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	w.Follow()
	return w
}

// exists knows every tenant but ghost.
func exists(_ context.Context, code tenant.Code) (guard.State, error) {
	return guard.State{Exists: code.String() != "ghost"}, nil
}

func (w *world) update(sc scope.Scope, patch string) (settings.Settings, error) {
	w.Helper()
	s, _, err := w.Update(w.Context(), sc, w.Attributes(patch))
	return s, err
}

func (w *world) put(sc scope.Scope, ref settings.Ref, value string) settings.Setting {
	w.Helper()
	s, _, err := w.Put(w.Context(), sc, ref, settings.Value{Name: "Name", Value: w.Attributes(value)})
	if err != nil {
		w.Fatalf("put %+v: %v", ref, err)
	}
	return s
}

// groups sets the setting groups of a role in sc's tenant.
func (w *world) groups(sc scope.Scope, setting string) {
	w.Helper()
	key := w.Key(sc, "TENANT", "MASTER")
	_, err := w.Commands.Change(w.Context(), sc, key, record.VersionLatest, func(*record.Record) (*record.Record, error) {
		return &record.Record{Code: "MASTER", Name: "Acme", Attributes: w.Attributes(`{"setting":` + setting + `}`)}, nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// resolve returns the value and the level that holds, or the code of the failure.
func (w *world) resolve(sc scope.Scope, code string, who settings.Caller) string {
	w.Helper()
	s, err := w.Resolve(w.Context(), sc, code, who)
	if err != nil {
		return string(fault.CodeOf(err))
	}
	return string(s.Level) + s.GroupID + s.UserID + string(s.Value)
}

// fields returns the fields that a refusal names.
func fields(t *testing.T, err error) (names []string) {
	t.Helper()
	if fault.CodeOf(err) != fault.ValidationFailed {
		t.Errorf("%v is no refusal of a value", err)
		return nil
	}
	for _, f := range fault.As(err).Fields {
		names = append(names, f.Field)
	}
	return names
}

// broken is an engine that can't be read while it is down.
type broken struct {
	driver.Engine
	down *atomic.Bool
}

func (b broken) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if b.down.Load() {
		return nil, fault.New(fault.Unavailable, "test", "the store is down")
	}
	return b.Engine.Get(ctx, ref)
}

// within waits until ok returns true, for a second: a process sees by then what another committed.
func within(t *testing.T, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(time.Second); !ok(); <-poll.C {
		if time.Now().After(end) {
			t.Fatal("it is not seen a second later")
		}
	}
}

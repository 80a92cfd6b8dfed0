package storage_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
)

// stalling is an engine whose commits can be held up behind what their callers checked.
type stalling struct {
	driver.Engine
	stall atomic.Pointer[func()]
}

func (s *stalling) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if stall := s.stall.Swap(nil); stall != nil {
		(*stall)()
	}
	return s.Engine.Commit(ctx, b)
}

// TestAPauseIsExact has a commit that began before the pause reach the engine behind it.
func TestAPauseIsExact(t *testing.T) {
	src, slow := memory.New(), &stalling{}
	w := open(t, driver.NewSource("stalling", func(ctx context.Context) (driver.Engine, error) {
		engine, err := src.Open(ctx, scope.NewRoot())
		slow.Engine = engine
		return slow, err
	}), storage.Options{})
	pauses, err := w.Keeper(scope.NewRoot(), record.MustEntityType(storage.PauseWord))
	if err != nil {
		t.Fatal(err)
	}
	set := func(sk string) {
		t.Helper()
		if err := pauses.Commit(t.Context(), pauses.Set(storage.Row{Owner: "common", SK: sk})); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name      string
		pause, of tenant.Code
		refused   bool
	}{
		{"the store", tenant.Code{}, scopeOf("acme", scope.Full).Tenant(), true},
		{"the tenant", scopeOf("bravo", scope.Full).Tenant(), scopeOf("bravo", scope.Full).Tenant(), true},
		{"another tenant", scopeOf("cargo", scope.Full).Tenant(), scopeOf("carg", scope.Full).Tenant(), false},
	} {
		set(storage.PauseAnnounced)
		pause := func() { set(storage.PauseOf(c.pause)) }
		slow.stall.Store(&pause)
		v, key := w.view(c.of.String(), scope.Full), w.key(c.of.String(), product, c.name[:5])
		_, err := v.Commit(t.Context(), change(key, 1, nil))
		if c.refused {
			w.refused("a commit that the pause of "+c.name+" overtook", err, fault.Unavailable)
		} else if err != nil {
			t.Errorf("a commit while %s is paused: %v", c.name, err)
		}
		if got, err := v.Get(t.Context(), key); err != nil || (got == nil) != c.refused {
			t.Errorf("reading while %s is paused: %v, %v", c.name, got, err)
		}
		jobs, err := w.Keeper(scope.NewRoot(), record.MustEntityType("JOB"))
		if err != nil {
			t.Fatal(err)
		}
		row := jobs.Set(storage.Row{Owner: c.of.String(), SK: "x"})
		if err := jobs.CommitUnpaused(t.Context(), row); c.refused {
			w.refused("a commit of system rows in the pause of "+c.name, err, fault.Unavailable)
		} else if err != nil {
			t.Errorf("a commit of system rows while %s is paused: %v", c.name, err)
		}
		if err := pauses.Commit(t.Context(), pauses.Delete(storage.Row{Owner: "common", SK: storage.PauseOf(c.pause)})); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Commit(t.Context(), change(w.key(c.of.String(), product, "later"), 1, nil)); err != nil {
			t.Errorf("a commit after the pause of %s: %v", c.name, err)
		}
	}
}

func TestOwner(t *testing.T) {
	for _, c := range []struct{ pk, sk, want string }{
		{"LOG#acme#2026-11", "1", "acme"}, {"NOTE#COMMON", "acme#1", "common"}, {"USER_TENANT#common", "acme#9999#admin", "acme"},
		{"USER_TENANT#COMMON", "acme#ann", "acme"}, {"INVITATION#common", "acme#01HX", "acme"}, {"MEMBER_OF#common#ab12", "acme", "acme"},
		{"TENANTS#common", "acme", "acme"}, {"JOBS#common", "acme#mail", "acme"}, {"MASTER#common", "acme#x", "common"}, {"USER_TENANT#bravo", "acme#ann", "bravo"}, {"odd", "x", ""},
	} {
		if got := storage.Owner(driver.Ref{PK: c.pk, SK: c.sk}); got != c.want {
			t.Errorf("the owner of %s/%s is %q, want %q", c.pk, c.sk, got, c.want)
		}
	}
}

func TestRawNeedsBothRights(t *testing.T) {
	w := open(t, memory.New(), storage.Options{})
	_, err := w.Raw(t.Context(), scope.Root{}, w.system())
	w.refused("without a root", err, fault.RoleRequired)
	_, err = w.Raw(t.Context(), scope.NewRoot(), scope.System{})
	w.refused("without a system", err, fault.RoleRequired)
}

package transfer_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/transfer"
)

// stopHandlers closes the app when its handlers have come to the feed's end.
func (a *app) stopHandlers() {
	a.Helper()
	across, err := a.Store().Across(a.Context(), worldtest.System("look", nil))
	if err != nil {
		a.Fatal(err)
	}
	for {
		row, err := across.Get(a.Context(), driver.Ref{Collection: driver.System, PK: "CHECKPOINT#common", SK: "count"})
		if err != nil {
			a.Fatal(err)
		}
		var at struct {
			Position driver.Position `json:"position"`
		}
		if row != nil {
			if err := row.Attributes.Decode(&at); err != nil {
				a.Fatal(err)
			}
		}
		rest, err := across.Changes(a.Context(), at.Position, 1)
		if err != nil {
			a.Fatal(err)
		}
		if len(rest) == 0 {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	if err := a.Close(); err != nil {
		a.Fatal(err)
	}
}

// TestTenantsOneAfterAnother moves tenants into one store, which is served in between. Who moved stays paused in the source, whatever becomes of the copies behind.
func TestTenantsOneAfterAnother(t *testing.T) {
	acme, acme2 := transfer.Options{Tenant: worldtest.Code("acme")}, transfer.Options{Tenant: worldtest.Code("acme2")}
	dst := memory.New()
	served := func(code string, create bool) {
		t.Helper()
		to := started(t, dst)
		if create {
			to.tenant(code)
		}
		to.put(code, note, "served", "in the target")
		to.stopHandlers()
	}
	src := memory.New()
	from := started(t, src)
	from.fill()
	here := func(code string) error { return from.try(code, note, "late", fmt.Sprint(time.Now())) }
	served("bravo", true)
	copyAll(t, from, open(t, dst), acme)
	served("acme", false)
	pauses, err := from.Store().Keeper(scope.NewRoot(), record.MustEntityType(storage.PauseWord))
	if err != nil {
		t.Fatal(err)
	}
	announced := func(after string) {
		t.Helper()
		if row, err := pauses.Get(t.Context(), "common", storage.PauseAnnounced); err != nil || row.Version == 0 || row.Expires != 0 {
			t.Errorf("after %s, what was announced for the tenant that moved is %+v, %v; it is to stay", after, row, err)
		}
	}
	announced("its own copy")

	// One that fails, and one that dies and is taken back when its terms are over.
	used := open(t, memory.New())
	used.tenant("acme2")
	_, err = transfer.Copy(t.Context(), from.side(), used.side(), acme2)
	refused(t, "a copy into a store that has the tenant", err, fault.AlreadyExists)
	announced("a copy that was refused")
	var dead atomic.Bool
	died := open(t, strict(src, func(driver.Batch) error {
		if dead.Load() {
			return fault.New(fault.Unavailable, "test", "the process is dead")
		}
		return nil
	}))
	_, err = transfer.Copy(t.Context(), died.side(), open(t, memory.New()).side(), transfer.Options{Tenant: acme2.Tenant, Term: 3 * time.Second,
		Progress: func(p transfer.Progress) { dead.Store(p.Phase == transfer.Paused) }})
	refused(t, "a copier that dies", err, fault.Unavailable)
	announced("a copy that died")
	refused(t, "the tenant that moved, while another's copy is dead", here("acme"), fault.Unavailable)
	_, err = transfer.Resume(t.Context(), from.side(), acme.Tenant)
	refused(t, "taking one back while another is copied", err, fault.Unavailable)
	if _, err := transfer.Resume(t.Context(), from.side(), acme2.Tenant); err != nil {
		t.Fatal(err)
	}
	announced("a copy that was given up")
	if err := here("acme2"); err != nil {
		t.Errorf("a tenant whose copy was given up: %v", err)
	}

	// One that dies when the source is paused for good, and the target doesn't know yet that all has arrived.
	_, err = transfer.Copy(t.Context(), from.side(), open(t, strict(dst, func(b driver.Batch) error {
		if strings.Contains(string(b.Writes[0].Record.Attributes), `"done":true`) {
			return fault.New(fault.Unavailable, "test", "the process is dead")
		}
		return nil
	})).side(), acme2)
	refused(t, "a copier that dies at the end", err, fault.Unavailable)
	refused(t, "a write of the tenant whose copier died at the end", here("acme2"), fault.Unavailable)
	announced("a copy that died at its end")

	to := open(t, dst)
	copyAll(t, from, to, acme2)
	served("acme2", false)
	for _, code := range []string{"acme", "acme2"} {
		refused(t, "a write of "+code+", which moved", here(code), fault.Unavailable)
		if n := to.rows(driver.Data)[driver.Ref{Collection: driver.Data, PK: "NOTE#" + code, SK: "n1"}]; n == "" {
			t.Errorf("%s is not in the target", code)
		}
	}
	to.verify()
	from.tenant("cargo")
	for _, c := range []struct {
		what string
		opts transfer.Options
	}{{"a tenant that moved", acme}, {"the store of which tenants moved", transfer.Options{}}} {
		_, err = transfer.Copy(t.Context(), from.side(), open(t, memory.New()).side(), c.opts)
		refused(t, c.what, err, fault.AlreadyExists)
		refused(t, "a write of a tenant that moved", here("acme"), fault.Unavailable)
	}

	// They come back one by one.
	_, err = transfer.Resume(t.Context(), from.side(), tenant.Code{})
	refused(t, "taking back nobody in particular", err, fault.InvalidRequest)
	for n, of := range []tenant.Code{acme.Tenant, {}} {
		if lifted, err := transfer.Resume(t.Context(), from.side(), of); err != nil || !lifted {
			t.Fatal(lifted, err)
		}
		if err := here("acme"); err != nil {
			t.Errorf("a tenant that was taken back: %v", err)
		}
		if err := here("acme2"); (err == nil) != (n == 1) {
			t.Errorf("the other tenant, after %d were taken back: %v", n+1, err)
		}
	}
	for ref := range from.rows(driver.System) {
		if strings.HasPrefix(ref.PK, storage.PauseWord) {
			t.Errorf("%v is left", ref)
		}
	}
}

package transfer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
	"github.com/tenantry/tenantry/transfer"
)

// strict is a store that refuses batches which not every engine takes.
func strict(src driver.Source, commit func(driver.Batch) error) driver.Source {
	return worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return checked{e, commit} })
}

type checked struct {
	driver.Engine
	commit func(driver.Batch) error
}

func (c checked) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if err := c.commit(b); err != nil {
		return "", err
	}
	return c.Engine.Commit(ctx, b)
}

// TestBatchesStaySmall copies one tenant with as many rows in each commit as there can be, and the note of a partition of the common tenant.
func TestBatchesStaySmall(t *testing.T) {
	src := memory.New()
	from := open(t, src)
	from.fill()
	w := worldtest.New(t, src, worldtest.Options{})
	for n := range 100 {
		for version := range int64(2) {
			row := &record.Record{PK: "USER_TENANT#common", SK: fmt.Sprintf("acme#user%d", n), Version: version + 1, TenantCode: "common"}
			w.Plant(driver.Command, row)
			w.Plant(driver.History, row)
			w.Plant(driver.Data, row)
		}
	}
	largest := 0
	target := strict(memory.New(), func(b driver.Batch) error {
		if largest = max(largest, len(b.Writes)); len(b.Writes) > driver.MaxBatch {
			return fault.New(fault.TooLarge, "test", "a batch of %d", len(b.Writes))
		}
		return nil
	})
	copyAll(t, from, open(t, target), transfer.Options{Tenant: worldtest.Code("acme")})
	if largest < driver.MaxBatch/2 {
		t.Errorf("the largest batch was %d; the test shows nothing", largest)
	}
}

// TestTenantsMeanwhile creates, suspends and deletes tenants in every phase before the pause.
func TestTenantsMeanwhile(t *testing.T) {
	from, to := started(t, memory.New()), open(t, sqlite.At(t.TempDir()))
	from.fill()
	n := 0
	copyAll(t, from, to, transfer.Options{Progress: func(p transfer.Progress) {
		if n++; n > 12 || p.Phase == transfer.Paused || p.Phase == transfer.Done {
			return
		}
		code := fmt.Sprint("new", n)
		from.tenant(code)
		from.put(code, product, "p", "of a tenant that was not there")
		from.put("acme", note, "again", fmt.Sprint(n))
		_, err := from.Tenants().Suspend(t.Context(), from.system(), worldtest.Code(code), "unpaid", time.Now())
		if err == nil && n%2 == 0 {
			_, err = from.Tenants().DeleteTenant(t.Context(), from.system(), tenants.Ref{Tenant: worldtest.Code(code)})
		}
		if err != nil {
			t.Error(err)
		}
	}})
	if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
		t.Errorf("the stores differ (-source +target):\n%s", diff)
	}
	to.verify()
}

func TestLargeRecords(t *testing.T) {
	directions(t, func(t *testing.T, src, dst driver.Source) {
		from, to := open(t, src), open(t, dst)
		from.tenant("acme")
		sc := worldtest.Scope("acme")
		var writing sync.WaitGroup
		for n := range 12 {
			writing.Go(func() {
				key, err := record.NewKey(sc, note, fmt.Sprint(n))
				for version := range int64(2) {
					if err == nil {
						_, err = from.Commands().PublishAsync(t.Context(), sc, command.Input{Key: key, Version: version, Name: "large",
							Attributes: record.Attributes(fmt.Sprintf(`{"text":"%d%s"}`, version, strings.Repeat("x", 300<<10)))})
					}
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		writing.Wait()
		copyAll(t, from, to, transfer.Options{})
		if diff := cmp.Diff(from.rows(records...), to.rows(records...)); diff != "" {
			t.Error("the stores differ")
		}
	})
}

// TestATargetThatTakesNoWrites leaves the source as it was.
func TestATargetThatTakesNoWrites(t *testing.T) {
	from := started(t, memory.New())
	from.fill()
	readOnly := strict(memory.New(), func(driver.Batch) error { return fault.New(fault.Unavailable, "test", "the store is read-only") })
	_, err := transfer.Copy(t.Context(), from.side(), open(t, readOnly).side(), transfer.Options{})
	refused(t, "a target that takes no writes", err, fault.Unavailable)
	from.put("acme", note, "goes-on", "x")
	copyAll(t, from, open(t, memory.New()), transfer.Options{})
}

// TestRepairsWait has a repair, whose changes the feed doesn't tell, meet a copy.
func TestRepairsWait(t *testing.T) {
	src := memory.New()
	from, to := started(t, src), open(t, memory.New())
	from.fill()
	w := worldtest.New(t, src, worldtest.Options{})
	w.Plant(driver.Command, &record.Record{PK: "NOTE#acme", SK: "n1", Version: 2, TenantCode: "acme"}) // a writer of another framework died
	key, err := record.NewKey(worldtest.Scope("acme"), note, "n1")
	if err != nil {
		t.Fatal(err)
	}
	tried := false
	copyAll(t, from, to, transfer.Options{Progress: func(p transfer.Progress) {
		if p.Phase == transfer.Comparing {
			tried = true
			refused(t, "a repair meanwhile", from.Commands().Discard(t.Context(), worldtest.Scope("acme"), key, 2), fault.Unavailable)
		}
	}})
	if _, err := transfer.Resume(t.Context(), from.side(), tenant.Code{}); err != nil || !tried {
		t.Fatal(tried, err)
	}
	if err := from.Commands().Discard(t.Context(), worldtest.Scope("acme"), key, 2); err != nil {
		t.Errorf("a repair afterwards: %v", err)
	}
}

// TestWhatAsksForAnEntryIsUnavailable has an administrator of the system read while writes are paused: its audit entry is a write.
func TestWhatAsksForAnEntryIsUnavailable(t *testing.T) {
	from := started(t, memory.New())
	from.fill()
	pauses, err := from.Store().Keeper(scope.NewRoot(), record.MustEntityType(storage.PauseWord))
	if err != nil {
		t.Fatal(err)
	}
	copyAll(t, from, open(t, memory.New()), transfer.Options{})
	if row, err := pauses.Get(t.Context(), "common", "store"); err != nil || row.Version == 0 {
		t.Fatal("the source is not paused", err)
	}
	_, err = from.Store().Across(t.Context(), from.system())
	refused(t, "reading across tenants", err, fault.Unavailable)
}

// TestACommitThatStoodStill has a commit without the condition of the pause, as one is that began long before it, reach the source when
// the stores were compared already: where handlers are placed, which is the target's first commit in a pause that has nothing to copy.
func TestACommitThatStoodStill(t *testing.T) {
	src, dst := memory.New(), memory.New()
	from := open(t, src)
	from.fill()
	w := worldtest.New(t, src, worldtest.Options{})
	paused, late := false, false
	to := open(t, strict(dst, func(driver.Batch) error {
		if paused && !late {
			late = true
			row := &record.Record{PK: "NOTE#acme", SK: "late", Version: 1, TenantCode: "acme", Status: record.StatusFinished}
			w.Plant(driver.Command, row)
			w.Plant(driver.Data, row)
		}
		return nil
	}))
	_, err := transfer.Copy(t.Context(), from.side(), to.side(), transfer.Options{Progress: func(p transfer.Progress) { paused = p.Phase == transfer.Paused }})
	refused(t, "a copy whose source went on", err, fault.Unavailable)
	copyAll(t, from, to, transfer.Options{})
	if diff := cmp.Diff(from.rows(records...), to.rows(records...)); !late || diff != "" {
		t.Errorf("the stores differ (-source +target):\n%s", diff)
	}
}

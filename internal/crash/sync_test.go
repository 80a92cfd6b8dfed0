package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
	"github.com/tenantry/tenantry/tenantsync"
)

// childSync makes this test binary a child that does the jobs of the store in a directory.
const childSync = "TENANTRY_CRASH_SYNC"

// syncing does what is queued until it is killed.
func syncing(dir string) error {
	cfg, err := config(dir, sqlite.At(dir))
	if err != nil {
		return err
	}
	app, err := tenantry.Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	if err := app.Start(context.Background()); err != nil {
		return err
	}
	select {}
}

// TestKillSync kills the process that works on a sync, and on its undoing, again and again. At the end every target has every record at its
// first version, and then none.
func TestKillSync(t *testing.T) {
	records := 1_000
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		records = 40_000
	}
	dir, codes := t.TempDir(), []string{"acme", "bravo", "charlie"}
	sys := worldtest.System("kill", nil)
	var id string
	with := func(use func(app *tenantry.App) error) {
		t.Helper()
		cfg, err := config(dir, sqlite.At(dir))
		if err != nil {
			t.Fatal(err)
		}
		app, err := tenantry.Open(t.Context(), cfg) // not started: it does no jobs
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(use(app), app.Close()); err != nil {
			t.Fatal(err)
		}
	}
	with(func(app *tenantry.App) error {
		for _, code := range codes {
			if _, err := app.Tenants().CreateTenant(t.Context(), sys, tenants.Create{Code: worldtest.Code(code), Name: code}); err != nil {
				return err
			}
		}
		acme := worldtest.Scope("acme")
		var publishing errgroup.Group
		publishing.SetLimit(64)
		for n := range records {
			publishing.Go(func() error {
				key, err := record.NewKey(acme, note, fmt.Sprintf("n%05d", n))
				if err == nil {
					_, err = app.Commands().PublishAsync(t.Context(), acme, command.Input{Key: key, Name: "N"})
				}
				return err
			})
		}
		err := publishing.Wait()
		if err != nil {
			return err
		}
		id, err = app.Syncs().Plan(t.Context(), sys, tenantsync.Request{Source: acme.Tenant(), Targets: []tenant.Code{worldtest.Code("bravo"), worldtest.Code("charlie")}, EntityType: note}, tenantsync.Order{Apply: true})
		return err
	})
	kills := killUntilOver(t, dir, with, id)
	with(func(app *tenantry.App) error { return hasNotes(t, app, codes[1:], records) })
	with(func(app *tenantry.App) (err error) {
		id, err = app.Syncs().Undo(t.Context(), sys, id, tenantsync.Order{Apply: true})
		return err
	})
	kills += killUntilOver(t, dir, with, id)
	with(func(app *tenantry.App) error {
		if err := hasNotes(t, app, codes[1:], 0); err != nil {
			return err
		}
		report, err := integrity.Verify(t.Context(), app.Store(), sys, integrity.Options{})
		if err == nil && !report.Clean() {
			err = fmt.Errorf("the store is not sound: %+v", report)
		}
		return err
	})
	if kills < 2 {
		t.Errorf("%d kills only: this proves little", kills)
	}
	t.Logf("measured: %d kills of a sync of %d records to 2 tenants, and of its undoing", kills, records)
}

// killUntilOver starts a child and kills it after a while, until a sync is applied.
func killUntilOver(t *testing.T, dir string, with func(func(*tenantry.App) error), id string) (kills int) {
	t.Helper()
	for round := range 200 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childSync+"="+dir)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(150*round+rand.IntN(100)) * time.Millisecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		child.Wait()
		over := false
		with(func(app *tenantry.App) error {
			st, err := app.Syncs().Status(t.Context(), worldtest.System("kill", nil), id)
			if st.Failed > 0 || len(st.Errors) > 0 {
				return fmt.Errorf("failures: %+v", st.Errors)
			}
			over = st.Status == tenantsync.Applied
			return err
		})
		if over {
			return kills
		}
		kills++
	}
	t.Fatal("there is no end of it")
	return kills
}

// hasNotes returns what is wrong where tenants do not have so many live notes, each written once.
func hasNotes(t *testing.T, app *tenantry.App, codes []string, want int) error {
	for _, code := range codes {
		sc := worldtest.Scope(code)
		partition, err := record.NewPartition(sc, note)
		if err != nil {
			return err
		}
		got := 0
		for q := (data.Query{Partition: partition, Limit: data.MaxLimit}); ; {
			page, err := app.Data().List(t.Context(), sc, q)
			if err != nil {
				return err
			}
			for _, r := range page.Items {
				if got++; r.Version != 1 {
					return fmt.Errorf("%s is at version %d", r.ID(), r.Version)
				}
			}
			if q.Cursor = page.Cursor; q.Cursor == "" {
				break
			}
		}
		if got != want {
			return fmt.Errorf("%s has %d notes, want %d", code, got, want)
		}
	}
	return nil
}

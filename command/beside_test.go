package command_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// TestBesideIsPlannedAgain has what is kept beside a command lose to another commit: it is planned anew, and stands there with the command.
func TestBesideIsPlannedAgain(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldtest.New(t, src, worldtest.Options{})
		acme, k := worldtest.Scope("acme"), w.Keeper("JOB")
		plans := 0
		plan := func(ctx context.Context, sc scope.Scope) ([]storage.SystemWrite, error) {
			plans++
			row, err := k.Get(ctx, sc.Tenant().String(), "x")
			if plans == 1 { // another is first
				if err := k.Commit(ctx, k.Put(row)); err != nil {
					return nil, err
				}
			}
			return []storage.SystemWrite{k.Put(row)}, err
		}
		res := w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "1"), Name: "Chair"}, command.Beside(plan))
		row, err := k.Get(t.Context(), "acme", "x")
		if plans != 2 || res.Record.Version != 1 || err != nil || row.Version != 2 {
			t.Errorf("%d plans, version %d, the row has version %d, %v", plans, res.Record.Version, row.Version, err)
		}
		w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "1"), Version: record.VersionLatest, Name: "Chair"}, command.Beside(plan))
		if row, err := k.Get(t.Context(), "acme", "x"); plans != 2 || err != nil || row.Version != 2 {
			t.Errorf("a publish that changed nothing: %d plans, the row has version %d, %v", plans, row.Version, err)
		}
		failure := errors.New("no plan")
		in := command.Input{Key: w.Key(acme, "PRODUCT", "2"), Name: "Table"}
		unchanged(t, w, "a plan that failed", func() {
			_, err := w.Commands.PublishSync(t.Context(), acme, in, command.Beside(func(context.Context, scope.Scope) ([]storage.SystemWrite, error) { return nil, failure }))
			if !errors.Is(err, failure) {
				t.Errorf("got %v", err)
			}
		})
	})
}

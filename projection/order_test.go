package projection_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// Every command of every record comes, those of one record in their order, whoever else writes.
func TestCommandsComeInTheOrderOfTheirVersions(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		h := &recorder{}
		w := worldtest.New(t, src, worldtest.Options{Handlers: handlers(h)})
		w.Start()
		const writers, versions = 6, 20
		var writing sync.WaitGroup
		for n := range writers {
			writing.Go(func() {
				sc := worldtest.Scope(fmt.Sprint("t", n%2))
				for v := range versions {
					opts := []command.Option{command.Async()}
					if v == versions-1 {
						opts = nil // waits: then all before it was handled too
					}
					in := command.Input{Key: w.Key(sc, "PRODUCT", fmt.Sprint(n)), Version: int64(v), Name: fmt.Sprint(v)}
					if _, err := w.Commands.PublishSync(t.Context(), sc, in, opts...); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writing.Wait()
		for n := range writers {
			id := fmt.Sprintf("t%d/%d", n%2, n)
			var want []string
			for v := 1; v <= versions; v++ {
				want = append(want, fmt.Sprintf("up %s@%d", id, v))
			}
			h.expect(t, id, want...)
		}
	})
}

func TestHandlersSeeTheirModule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		products, orders, all := &recorder{}, &recorder{}, &recorder{}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: []projection.Registration{
			{Name: "products", Module: "product", Handler: products}, {Name: "orders", Module: "order", Handler: orders}, {Name: "all", Handler: all}}})
		w.Start()
		acme := worldtest.Scope("acme")
		w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "1"), Name: "n"})
		w.Publish(acme, command.Input{Key: w.Key(acme, "ORDER", "2"), Name: "n"})
		products.expect(t, "", "up acme/1@1")
		orders.expect(t, "", "up acme/2@1")
		all.expect(t, "", "up acme/1@1", "up acme/2@1")
	})
}

// sight is a handler that shows what it gets.
type sight func(ctx context.Context, sc scope.Scope, cmd *record.Record) error

func (f sight) Up(ctx context.Context, sc scope.Scope, cmd *record.Record) error {
	return f(ctx, sc, cmd)
}
func (f sight) Down(context.Context, scope.Scope, *record.Record) error { return nil }

// A handler gets a Scope of the command's tenant, and its actor names the handler and the request.
func TestAHandlerReachesItsTenantOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *worldtest.World
		h := sight(func(ctx context.Context, sc scope.Scope, cmd *record.Record) error {
			if actor := sc.Actor(); sc.Tenant().String() != cmd.TenantCode || actor.Source != "handler h" || actor.RequestID != "req-1" || actor.UserID != "system" {
				t.Errorf("%s: scope of %s, actor %+v", cmd.PK, sc.Tenant(), actor)
			}
			for _, code := range []string{"acme", "bravo", "common"} {
				_, err := w.Data.Get(ctx, sc, w.Key(worldtest.Scope(code), "PRODUCT", "1"))
				if own := code == cmd.TenantCode; own && err != nil || !own && !errors.Is(err, fault.TenantForbidden) {
					t.Errorf("the handler for %s reads %s: %v", cmd.PK, code, err)
				}
			}
			return nil
		})
		w = worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h)})
		w.Start()
		for _, code := range []string{"acme", "bravo", "common"} {
			sc := worldtest.Scope(code)
			w.Publish(sc, command.Input{Key: w.Key(sc, "PRODUCT", "1"), Name: "n"})
		}
	})
}

// Commands on older records of common come as records of common; rows that no scope reads don't come.
func TestOlderRecordsOfCommon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown []string
		h := sight(func(_ context.Context, sc scope.Scope, cmd *record.Record) error {
			shown = append(shown, fmt.Sprintf("%s %s %s@%d", sc.Tenant(), cmd.PK, cmd.SK, cmd.Version))
			return nil
		})
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Lanes: 1})
		for _, pk := range []string{"PRODUCT#COMMON", "PRODUCT#ACME", "PRODUCT#a@b", "nonsense"} {
			row := &record.Record{PK: pk, SK: "1", Version: 1, Name: "old"}
			w.Plant(driver.Data, row)
			w.Plant(driver.Command, row)
		}
		w.Start()
		common := worldtest.Scope("common")
		w.Publish(common, command.Input{Key: w.Key(common, "PRODUCT", "1"), Version: 1, Name: "new"}) // waits for its handler
		if got := fmt.Sprint(shown); got != "[common PRODUCT#common 1@1 common PRODUCT#common 1@2]" {
			t.Error(got)
		}
		synctest.Wait()
		if s := status(w); s.Position != string(end(w)) {
			t.Errorf("the handler stands at %s of %s", s.Position, end(w))
		}
	})
}

func TestARestartGoesOnBehindTheCheckpoint(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		first, second := &recorder{}, &recorder{}
		w := worldtest.New(t, src, worldtest.Options{Handlers: handlers(first)})
		w.Start()
		acme := worldtest.Scope("acme")
		in := func(w *worldtest.World, v int64) command.Input {
			return command.Input{Key: w.Key(acme, "PRODUCT", "1"), Version: v, Name: fmt.Sprint(v)}
		}
		w.Publish(acme, in(w, 0))
		w.Publish(acme, in(w, 1))
		w.Close() // waits until the checkpoint is kept or given up
		first.expect(t, "", "up acme/1@1", "up acme/1@2")
		position := status(w).Position

		w = worldtest.New(t, src, worldtest.Options{Handlers: handlers(second)})
		w.Publish(acme, in(w, 2), command.Async()) // while no handler runs
		w.Start()
		w.Publish(acme, in(w, 3))
		calls := second.seen("")
		if len(calls) < 2 || len(calls) > 4 || calls[len(calls)-2] != "up acme/1@3" || calls[len(calls)-1] != "up acme/1@4" {
			t.Errorf("after the restart: %q", calls)
		}
		if position == string(end(w)) {
			t.Error("the checkpoint was ahead of the feed")
		}
	})
}

// A process that dies between a handler and its checkpoint handles the commands again, in order.
func TestWhatWasNotNotedIsHandledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		before := &recorder{}
		// The store takes commands but no checkpoints.
		deaf := worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return refusing{e, "CHECKPOINT#common"} })
		w := worldtest.New(t, deaf, worldtest.Options{Handlers: handlers(before)})
		w.Start()
		for range 3 {
			publish(w, "acme", "1")
		}
		synctest.Wait()
		w.Close()
		again := before.seen("")
		if len(again) < 3 {
			t.Errorf("before: %q", again)
		}

		after := &recorder{}
		w = worldtest.New(t, src, worldtest.Options{Handlers: handlers(after)})
		w.Start()
		synctest.Wait()
		after.expect(t, "", "up acme/1@1", "up acme/1@2", "up acme/1@3")
	})
}

// refusing is an engine that can't write the rows of one PK.
type refusing struct {
	driver.Engine
	pk string
}

func (r refusing) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	for _, w := range b.Writes {
		if w.Record.PK == r.pk {
			return "", fault.New(fault.Unavailable, "test", "out of space")
		}
	}
	return r.Engine.Commit(ctx, b)
}

func count(calls []string, call string) (n int) {
	for _, c := range calls {
		if c == call {
			n++
		}
	}
	return n
}

func TestRegistrationsAreChecked(t *testing.T) {
	for name, regs := range map[string][]projection.Registration{
		"no name":     {{Handler: &recorder{}}},
		"upper case":  {{Name: "Handler", Handler: &recorder{}}},
		"a separator": {{Name: "a#b", Handler: &recorder{}}},
		"twice":       {{Name: "a", Handler: &recorder{}}, {Name: "b", Handler: &recorder{}}, {Name: "a", Handler: &recorder{}}},
	} {
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: regs})
		if err := w.Runner.Start(t.Context()); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package projection_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// gate is a handler that lets commands through when its test says so.
type gate chan struct{}

func (g gate) Up(ctx context.Context, _ scope.Scope, _ *record.Record) error {
	select {
	case <-g:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) Down(context.Context, scope.Scope, *record.Record) error { return nil }

// answered reports whether a channel of results has one.
func answered(results <-chan error) (err error, ok bool) {
	synctest.Wait()
	select {
	case err := <-results:
		return err, true
	default:
		return nil, false
	}
}

func product(w *worldtest.World, sk string) command.Input {
	return command.Input{Key: w.Key(worldtest.Scope("acme"), "PRODUCT", sk), Version: record.VersionLatest, Name: record.NewID()}
}

func TestSyncWaitsForItsHandlersAndAsyncDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, other := make(gate), make(gate), make(gate)
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: []projection.Registration{
			{Name: "one", Module: "product", Handler: one}, {Name: "two", Handler: two}, {Name: "other", Module: "order", Handler: other}}})
		w.Start()
		acme := worldtest.Scope("acme")
		if _, err := w.Commands.PublishAsync(t.Context(), acme, product(w, "a")); err != nil {
			t.Fatal(err)
		}
		one <- struct{}{}
		two <- struct{}{}
		results := make(chan error, 1)
		go func() {
			_, err := w.Commands.PublishSync(t.Context(), acme, product(w, "a"))
			results <- err
		}()
		if err, ok := answered(results); ok {
			t.Fatalf("answered before its handlers: %v", err)
		}
		// The record is readable meanwhile.
		if rec, err := w.Data.Get(t.Context(), acme, product(w, "a").Key); err != nil || rec.Version != 2 {
			t.Errorf("%+v, %v", rec, err)
		}
		one <- struct{}{}
		if err, ok := answered(results); ok {
			t.Fatalf("answered after one of two handlers: %v", err)
		}
		two <- struct{}{}
		if err, ok := answered(results); !ok || err != nil {
			t.Errorf("not answered after its handlers: %v, %v", err, ok)
		}
	})
}

// A handler whose line handles a command twice, because it could not note that it had, counts once.
func TestALineCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quick, slow := &recorder{}, make(gate)
		deaf := worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return refusing{e, "CHECKPOINT#common"} })
		w := worldtest.New(t, deaf, worldtest.Options{Handlers: []projection.Registration{{Name: "quick", Handler: quick}, {Name: "slow", Handler: slow}}})
		w.Start()
		results := make(chan error, 1)
		go func() {
			_, err := w.Commands.PublishSync(t.Context(), worldtest.Scope("acme"), product(w, "a"))
			results <- err
		}()
		<-time.After(5 * time.Second)
		if n := len(quick.seen("")); n < 3 {
			t.Fatalf("the quick handler ran %d times", n)
		}
		if err, ok := answered(results); ok {
			t.Errorf("answered for a handler that has not run: %v", err)
		}
		slow <- struct{}{}
		if err, ok := answered(results); !ok || err != nil {
			t.Errorf("not answered: %v, %v", err, ok)
		}
	})
}

// A publish that gives up waiting says that its command is accepted.
func TestATimeoutWhileHandlersRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(g)})
		w.Start()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		res, err := w.Commands.PublishSync(ctx, worldtest.Scope("acme"), product(w, "a"))
		if !errors.Is(err, fault.Timeout) || !errors.Is(err, context.DeadlineExceeded) || res.Record == nil || res.Record.Version != 1 || time.Since(began) != time.Second {
			t.Errorf("%+v, %v after %v", res, err, time.Since(began))
		}
		g <- struct{}{}
	})
}

// A record that steps aside, or is parked, keeps nobody waiting.
func TestSyncReturnsWhenItsRecordStepsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{fail: func(string) error { return errors.New("fails") }}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 3, Backoff: backoff})
		w.Start()
		began := time.Now()
		for range 2 { // the second command of a record that is aside already
			w.Publish(worldtest.Scope("acme"), product(w, "a"))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v", took)
		}
		h.expect(t, "", "up acme/a@1")
	})
}

func TestCloseReleasesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: []projection.Registration{{Name: "one", Handler: g}, {Name: "two", Handler: g}}})
		w.Start()
		results := make(chan error, 3)
		for _, sk := range []string{"a", "a", "b"} {
			go func() {
				_, err := w.Commands.PublishSync(t.Context(), worldtest.Scope("acme"), product(w, sk))
				results <- err
			}()
		}
		synctest.Wait()
		w.Runner.Close()
		for range cap(results) {
			if err, ok := answered(results); !ok || err != nil {
				t.Errorf("still waiting: %v, %v", err, ok)
			}
		}
		w.Publish(worldtest.Scope("acme"), product(w, "c")) // nobody handles it now
	})
}

// A handler that publishes, even to the record that it handles, does not wait for itself.
func TestAHandlerMayPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *worldtest.World
		h := sight(func(ctx context.Context, sc scope.Scope, cmd *record.Record) error {
			if cmd.Version > 2 || cmd.SK == "copy" {
				return nil
			}
			for _, sk := range []string{cmd.SK, "copy"} {
				in := command.Input{Key: w.Key(sc, "PRODUCT", sk), Version: record.VersionLatest, Name: "by the handler of version " + cmd.RequestID + record.NewID()}
				if _, err := w.Commands.PublishSync(ctx, sc, in); err != nil {
					return err
				}
			}
			return nil
		})
		w = worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h)})
		w.Start()
		w.Publish(worldtest.Scope("acme"), product(w, "a"))
		synctest.Wait()
		acme := worldtest.Scope("acme")
		for sk, want := range map[string]int64{"a": 3, "copy": 2} {
			rec, err := w.Data.Get(t.Context(), acme, w.Key(acme, "PRODUCT", sk))
			if err != nil || rec.Version != want || rec.UpdatedBy != "system" || rec.Source != "handler h" {
				t.Errorf("%s: %+v, %v", sk, rec, err)
			}
		}
		if s := status(w); s.Parked+s.Aside != 0 || s.Position != string(end(w)) {
			t.Errorf("%+v", s)
		}
	})
}

// A publish that loses its version waits for nothing and leaves nobody waiting.
func TestAConflictWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := make(gate)
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(g)})
		w.Start()
		in := product(w, "a")
		in.Version = 7
		if _, err := w.Commands.PublishSync(t.Context(), worldtest.Scope("acme"), in); !errors.Is(err, fault.VersionConflict) {
			t.Errorf("%v", err)
		}
	})
}

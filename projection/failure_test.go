package projection_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func backoff(attempt int) time.Duration { return time.Duration(attempt) * time.Second }

// A command whose handler fails is tried again after growing pauses; its record's next commands wait for it, others don't.
func TestAFailureIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaks("up acme/1@2")
		h := &recorder{fail: b.fail}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 5, Backoff: backoff})
		w.Start()
		began := time.Now()
		for range 3 {
			publish(w, "acme", "1")
		}
		publish(w, "acme", "2")
		publish(w, "bravo", "1")
		synctest.Wait()
		h.expect(t, "acme/1", "up acme/1@1", "up acme/1@2")
		h.expect(t, "acme/2", "up acme/2@1")
		h.expect(t, "bravo/1", "up bravo/1@1")
		if s := status(w); s.Aside != 1 || s.Parked != 0 || s.Position != string(end(w)) {
			t.Errorf("the line is held up: %+v, the feed ends at %s", s, end(w))
		}
		<-time.After(3500 * time.Millisecond) // attempts at 0, 1 and 3 seconds
		h.expect(t, "acme/1", "up acme/1@1", "up acme/1@2", "up acme/1@2", "up acme/1@2")
		b.set()
		<-time.After(3 * time.Second) // the fourth at 6
		h.expect(t, "acme/1", "up acme/1@1", "up acme/1@2", "up acme/1@2", "up acme/1@2", "up acme/1@2", "up acme/1@3")
		var at []time.Duration
		for i, call := range h.calls {
			if call == "up acme/1@2" {
				at = append(at, h.times[i].Sub(began))
			}
		}
		if diff := cmp.Diff([]time.Duration{0, time.Second, 3 * time.Second, 6 * time.Second}, at); diff != "" {
			t.Errorf("attempts: %s", diff)
		}
		if s := status(w); s.Aside != 0 || s.Parked != 0 {
			t.Errorf("the record is not back in line: %+v", s)
		}
		publish(w, "acme", "1")
		synctest.Wait()
		if calls := h.seen("acme/1"); calls[len(calls)-1] != "up acme/1@4" || count(calls, "up acme/1@3") != 1 {
			t.Errorf("back in line: %q", calls)
		}
	})
}

// What another version kept of a record and of an order, in forms that this one doesn't know, stops no other record.
func TestRowsOfAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Backoff: backoff})
		for word, sk := range map[string]string{"PARKED": "h#PRODUCT#acme@1", "LEASE": "h#01ARZ3NDEKTSV4RRFFQ69G5FAV"} {
			kept := w.Keeper(word)
			if err := kept.Commit(t.Context(), kept.Put(storage.Row{Owner: "common", SK: sk, Value: record.Attributes(`{"pk":{"of":"another form"}}`)})); err != nil {
				t.Fatal(err)
			}
		}
		publish(w, "acme", "1")
		publish(w, "acme", "2")
		publish(w, "bravo", "1")
		w.Start()
		synctest.Wait()
		h.expect(t, "acme/1")
		h.expect(t, "acme/2", "up acme/2@1")
		h.expect(t, "bravo/1", "up bravo/1@1")
		acme := worldtest.Scope("acme")
		waits, err := w.Runner.Parked(acme)
		if err != nil || len(waits) != 1 || waits[0].ID != "PRODUCT#acme#1" || !strings.Contains(waits[0].Reason, "another version") || !waits[0].Next.IsZero() {
			t.Errorf("parked: %+v, %v", waits, err)
		}
		if err := w.Runner.Retry(t.Context(), "h", w.Key(acme, "PRODUCT", "1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.expect(t, "acme/1", "up acme/1@1")
		if s := status(w); s.Parked+s.Aside != 0 {
			t.Errorf("it waits still: %+v", s)
		}
	})
}

// A record is parked when its attempts are used up, and waits there, over a restart too, until an operator acts.
func TestParking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		b := breaks("up acme/1@1")
		h := &recorder{fail: b.fail}
		opts := worldtest.Options{Handlers: handlers(h), Attempts: 3, Backoff: backoff}
		w := worldtest.New(t, src, opts)
		w.Start()
		publish(w, "acme", "1")
		acme := worldtest.Scope("acme")
		key := w.Key(acme, "PRODUCT", "1")
		command1, err := w.Data.Command(t.Context(), acme, key, 1)
		if err != nil {
			t.Fatal(err)
		}
		parked := func() projection.Parked {
			t.Helper()
			all, err := w.Runner.Parked(acme)
			if err != nil || len(all) != 1 {
				t.Fatalf("parked: %+v, %v", all, err)
			}
			return all[0]
		}
		synctest.Wait()
		if p := parked(); p.Next.IsZero() || p.Attempts != 1 || w.Runner.Waiting(command1) != "retrying" {
			t.Errorf("after the first attempt: %+v", p)
		}
		<-time.After(time.Minute)
		h.expect(t, "", "up acme/1@1", "up acme/1@1", "up acme/1@1")
		want := projection.Parked{Handler: "h", ID: "PRODUCT#acme#1", PK: "PRODUCT#acme", SK: "1", Version: 1, Attempts: 3, Reason: "up acme/1@1 fails"}
		if diff := cmp.Diff(want, parked(), cmp.Comparer(func(a, b record.Time) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
		if got := w.Runner.Waiting(command1); got != "parked" {
			t.Errorf("waiting: %q", got)
		}
		if others, err := w.Runner.Parked(worldtest.Scope("acme2")); err != nil || len(others) != 0 {
			t.Errorf("another tenant sees %+v, %v", others, err)
		}
		if _, err := w.Runner.Parked(scope.Scope{}); !errors.Is(err, fault.TenantRequired) {
			t.Errorf("the zero scope: %v", err)
		}
		for range 3 { // commands that come meanwhile wait
			publish(w, "acme", "1")
		}
		<-time.After(time.Hour)
		w.Close()

		w = worldtest.New(t, src, opts)
		w.Start()
		<-time.After(time.Hour)
		if diff := cmp.Diff(want, parked(), cmp.Comparer(func(a, b record.Time) bool { return a == b })); diff != "" {
			t.Errorf("after a restart: %s", diff)
		}
		h.expect(t, "", "up acme/1@1", "up acme/1@1", "up acme/1@1")
		if s := status(w); s.Parked != 1 || s.Aside != 0 || s.Position != string(end(w)) {
			t.Errorf("status %+v", s)
		}

		b.set()
		if err := w.Runner.Retry(t.Context(), "h", key); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.expect(t, "", "up acme/1@1", "up acme/1@1", "up acme/1@1", "up acme/1@1", "up acme/1@2", "up acme/1@3", "up acme/1@4")
		if all, err := w.Runner.Parked(acme); err != nil || len(all) != 0 || w.Runner.Waiting(command1) != "" {
			t.Errorf("still parked: %+v, %v", all, err)
		}
		w.Close()
		w = worldtest.New(t, src, opts)
		w.Start()
		synctest.Wait()
		if n := len(h.seen("")); n != 7 {
			t.Errorf("after another restart: %q", h.seen(""))
		}
	})
}

// A retry gives all attempts back.
func TestARetryThatFailsParksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{fail: breaks("up acme/1@1").fail}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 2, Backoff: backoff})
		w.Start()
		publish(w, "acme", "1")
		<-time.After(time.Minute)
		if err := w.Runner.Retry(t.Context(), "h", w.Key(worldtest.Scope("acme"), "PRODUCT", "1")); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		h.expect(t, "", "up acme/1@1", "up acme/1@1", "up acme/1@1", "up acme/1@1")
		if s := status(w); s.Parked != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{fail: breaks("up acme/1@2", "up acme/1@4").fail}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 1})
		w.Start()
		for range 5 {
			publish(w, "acme", "1")
		}
		key := w.Key(worldtest.Scope("acme"), "PRODUCT", "1")
		for range 2 {
			synctest.Wait()
			if err := w.Runner.Skip(t.Context(), "h", key); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		h.expect(t, "", "up acme/1@1", "up acme/1@2", "up acme/1@3", "up acme/1@4", "up acme/1@5")
		if s := status(w); s.Parked+s.Aside != 0 {
			t.Errorf("%+v", s)
		}
		if err := w.Runner.Skip(t.Context(), "h", key); !errors.Is(err, fault.NotFound) {
			t.Errorf("skipping what doesn't wait: %v", err)
		}
	})
}

// A replay takes back the newest first and carries out anew in order, what came meanwhile included.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaks("down acme/1@2")
		h := &recorder{fail: b.fail}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 2, Backoff: backoff})
		w.Start()
		for range 3 {
			publish(w, "acme", "1")
		}
		publish(w, "acme", "2")
		synctest.Wait()
		h.reset()
		key := w.Key(worldtest.Scope("acme"), "PRODUCT", "1")
		if err := w.Runner.Replay(t.Context(), "h", key, 2); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.expect(t, "", "down acme/1@3", "down acme/1@2")
		b.set()
		publish(w, "acme", "1")
		<-time.After(time.Minute)
		h.expect(t, "", "down acme/1@3", "down acme/1@2", "down acme/1@4", "down acme/1@3", "down acme/1@2", "up acme/1@2", "up acme/1@3", "up acme/1@4")

		h.reset()
		if err := w.Runner.Replay(t.Context(), "h", key, 4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.expect(t, "", "down acme/1@4", "up acme/1@4")
	})
}

// A replay of a record that waits begins no later than what it waits for; where taking back fails for good it can be skipped.
func TestReplayOfAParkedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaks("up acme/1@2")
		h := &recorder{fail: b.fail}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 1})
		w.Start()
		for range 4 {
			publish(w, "acme", "1")
		}
		synctest.Wait()
		b.set("down acme/1@3")
		key := w.Key(worldtest.Scope("acme"), "PRODUCT", "1")
		if err := w.Runner.Replay(t.Context(), "h", key, 4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := w.Runner.Skip(t.Context(), "h", key); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.expect(t, "", "up acme/1@1", "up acme/1@2", "down acme/1@4", "down acme/1@3", "up acme/1@2", "up acme/1@3", "up acme/1@4")
	})
}

func TestOperatorsAreToldWhatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(&recorder{})})
		key := w.Key(worldtest.Scope("acme"), "PRODUCT", "1")
		ways := map[string]func(handler string) error{
			"retry":  func(handler string) error { return w.Runner.Retry(t.Context(), handler, key) },
			"skip":   func(handler string) error { return w.Runner.Skip(t.Context(), handler, key) },
			"replay": func(handler string) error { return w.Runner.Replay(t.Context(), handler, key, 1) },
		}
		each := func(when, handler string, want fault.Code) {
			t.Helper()
			for name, way := range ways {
				if err := way(handler); fault.CodeOf(err) != want {
					t.Errorf("%s, %s: %v; want %q", when, name, err, want)
				}
			}
		}
		each("before the start", "h", fault.Unavailable)
		each("before the start", "nobody", fault.NotFound)
		w.Start()
		each("another handler", "nobody", fault.NotFound)
		delete(ways, "replay")
		each("a record that doesn't wait", "h", fault.NotFound)
		w.Runner.Close()
		each("after the end", "h", fault.Unavailable)
		if _, err := w.Runner.Status(t.Context(), scope.System{}); !errors.Is(err, fault.RoleRequired) {
			t.Errorf("status for nobody: %v", err)
		}
	})
}

// A panic is a failure like any other, in both directions.
func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics := map[string]bool{"up acme/1@1": true, "down acme/2@1": true}
		h := &recorder{fail: func(call string) error {
			if panics[call] {
				panic("no such luck")
			}
			return nil
		}}
		w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 1})
		w.Start()
		publish(w, "acme", "1")
		publish(w, "acme", "2")
		acme := worldtest.Scope("acme")
		synctest.Wait()
		if err := w.Runner.Replay(t.Context(), "h", w.Key(acme, "PRODUCT", "2"), 1); err != nil {
			t.Fatal(err)
		}
		publish(w, "acme", "3")
		synctest.Wait()
		h.expect(t, "acme/3", "up acme/3@1")
		all, err := w.Runner.Parked(acme)
		if err != nil || len(all) != 2 || !strings.Contains(all[0].Reason, "panicked: no such luck") || !strings.Contains(all[1].Reason, "no such luck") {
			t.Errorf("parked: %+v, %v", all, err)
		}
	})
}

// Whatever a handler says of its failure is kept, cut to what a row holds.
func TestReasons(t *testing.T) {
	for name, reason := range map[string]string{
		"long": strings.Repeat("x", 10_000), "cut inside a letter": strings.Repeat("é", 10_000), "cut inside a letter, again": "x" + strings.Repeat("é", 10_000),
		"not UTF-8": "a\xff\xfeb", "empty": "", "control characters": "\x00\n\"",
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &recorder{fail: func(string) error { return errors.New(reason) }}
			w := worldtest.New(t, memory.New(), worldtest.Options{Handlers: handlers(h), Attempts: 1})
			w.Start()
			publish(w, "acme", "1")
			synctest.Wait()
			all, err := w.Runner.Parked(worldtest.Scope("acme"))
			if err != nil || len(all) != 1 || len(all[0].Reason) > 500 || !strings.HasPrefix(strings.ToValidUTF8(reason, ""), all[0].Reason) {
				t.Errorf("%s: %+v, %v", name, all, err)
			}
			if rows := w.Rows(driver.System); len(rows) == 0 {
				t.Errorf("%s: nothing is kept", name)
			}
		})
	}
}

// Two records of one ID (their PKs and sort keys divide it differently) wait side by side.
func TestRecordsOfOneIDWaitApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		h := &recorder{fail: func(string) error { return errors.New("fails") }}
		opts := worldtest.Options{Handlers: []projection.Registration{{Name: "h", Handler: h}}, Attempts: 1}
		w := worldtest.New(t, src, opts)
		w.Start()
		acme := worldtest.Scope("acme")
		month, err := record.NewPartition(acme, record.MustEntityType("LOG"), "2026")
		if err != nil {
			t.Fatal(err)
		}
		inMonth, err := month.Key("x")
		if err != nil {
			t.Fatal(err)
		}
		plain := w.Key(acme, "LOG", "2026#x")
		if inMonth.ID() != plain.ID() {
			t.Fatal("the IDs differ")
		}
		w.Publish(acme, command.Input{Key: inMonth, Name: "n"})
		w.Publish(acme, command.Input{Key: plain, Name: "n"})
		w.Close()
		w = worldtest.New(t, src, opts)
		w.Start()
		if all, err := w.Runner.Parked(acme); err != nil || len(all) != 2 {
			t.Errorf("parked: %+v, %v", all, err)
		}
	})
}

// While failures can't be kept, the line stands still and tries again: nothing is passed over.
func TestALineStandsStillWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		h := &recorder{fail: breaks("up acme/1@1").fail}
		deaf := worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return refusing{e, "PARKED#common"} })
		w := worldtest.New(t, deaf, worldtest.Options{Handlers: handlers(h), Attempts: 1, Log: slog.New(slog.DiscardHandler)})
		w.Start()
		publish(w, "acme", "1")
		<-time.After(10 * time.Second)
		if calls := h.seen(""); len(calls) < 5 || len(calls) > 25 {
			t.Errorf("%d attempts in 10 seconds", len(calls))
		}
		if s := status(w); s.Position != "" {
			t.Errorf("the line moved on: %+v", s)
		}
		w.Close()
		w = worldtest.New(t, src, worldtest.Options{Handlers: handlers(h), Attempts: 1})
		w.Start()
		synctest.Wait()
		if s := status(w); s.Parked != 1 || s.Position != string(end(w)) {
			t.Errorf("after the store is well again: %+v", s)
		}
	})
}

// Closing while a handler runs is not a failure of the command: it comes again with the next start.
func TestClosingIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		entered := make(chan struct{})
		slow := sight(func(ctx context.Context, _ scope.Scope, cmd *record.Record) error {
			close(entered)
			<-ctx.Done()
			return fmt.Errorf("stopped: %w", ctx.Err())
		})
		w := worldtest.New(t, src, worldtest.Options{Handlers: handlers(slow), Attempts: 1})
		w.Start()
		publish(w, "acme", "1")
		<-entered
		w.Close()
		h := &recorder{}
		w = worldtest.New(t, src, worldtest.Options{Handlers: handlers(h)})
		w.Start()
		synctest.Wait()
		h.expect(t, "", "up acme/1@1")
		if s := status(w); s.Parked+s.Aside != 0 {
			t.Errorf("%+v", s)
		}
	})
}

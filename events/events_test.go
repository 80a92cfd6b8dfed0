package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/events"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store and a Hub that follows it.
type world struct {
	*worldtest.World
	hub *events.Hub
}

func newWorld(t *testing.T, src driver.Source) *world {
	t.Helper()
	w := &world{World: worldtest.New(t, src, worldtest.Options{Entities: []entity.Type{
		{Name: record.MustEntityType("TENANT"), Owned: true}, {Name: record.MustEntityType("SECRET"), Owned: true},
		{Name: record.MustEntityType("PAY"), ReadRoles: []string{"boss"}},
	}})}
	w.hub = events.New(events.Config{Store: w.Store, Entities: w.Entities, Cursors: w.Cursors,
		EndedBy: func(t record.EntityType, sk string) bool { return t.String() == "TENANT" && sk == "MASTER" }})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.hub.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return w
}

func everything(entity.Type) bool { return true }

func (w *world) open(sc scope.Scope, cursor string) *events.Stream {
	w.Helper()
	s, err := w.hub.Open(w.Context(), sc, cursor, everything)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Close)
	return s
}

func (w *world) put(sc scope.Scope, entityType, sk string) string {
	w.Helper()
	res := w.Publish(sc, command.Input{Key: w.Key(sc, entityType, sk), Version: record.VersionLatest, Name: record.NewID()})
	return res.Record.PK + "/" + record.VersionedSK(sk, res.Record.Version)
}

// event is one event as a client reads it.
type event struct{ id, name, record string }

func parse(t testing.TB, text []byte) (all []event) {
	t.Helper()
	for each := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n\n"), "\n\n") {
		var e event
		for line := range strings.Lines(each) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				var cmd struct{ PK, SK, TenantCode, Status string }
				if err := json.Unmarshal([]byte(value), &cmd); err != nil {
					t.Fatalf("%q: %v", value, err)
				}
				e.record = cmd.PK + "/" + cmd.SK
			default:
				t.Fatalf("a line that is no field: %q", line)
			}
		}
		all = append(all, e)
	}
	return all
}

// read returns the next n events of a stream.
func read(t testing.TB, s *events.Stream, n int) (all []event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for len(all) < n {
		text, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %d events of %d: %v", len(all), n, err)
		}
		all = append(all, parse(t, text)...)
	}
	return all
}

// silent fails the test where a stream has something to show: what comes first is what was put just now.
func (w *world) silent(s *events.Stream, sc scope.Scope) {
	w.Helper()
	mark := w.put(sc, "MARK", record.NewID())
	if got := read(w, s, 1); got[0].record != mark || len(got) > 1 {
		w.Errorf("got %v, want only %s", got, mark)
	}
}

// ended fails the test unless a stream has nothing more to show, for a reason.
func ended(t testing.TB, s *events.Stream, code fault.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if text, err := s.Next(ctx); !errors.Is(err, code) {
		t.Errorf("got %.200q %v, want %s", text, err, code)
	}
}

func records(all []event) (names []string) {
	for _, e := range all {
		names = append(names, e.record)
	}
	return names
}

// Each stream shows its own tenant's commands from its beginning on, in order, each once, whoever else writes.
func TestOwnOnly(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		alpha, alpha2, bravo := worldtest.Scope("alpha"), worldtest.Scope("alpha2"), worldtest.Scope("bravo")
		w.put(alpha, "PRODUCT", "before")
		streams := map[scope.Scope][]*events.Stream{}
		for range 3 {
			for _, sc := range []scope.Scope{alpha, alpha2, bravo} {
				streams[sc] = append(streams[sc], w.open(sc, ""))
			}
		}
		want := map[scope.Scope][]string{}
		for n := range 200 {
			sc := []scope.Scope{alpha, alpha2, bravo, worldtest.Scope("silent")}[n%4]
			want[sc] = append(want[sc], w.put(sc, []string{"PRODUCT", "ORDER"}[n/4%2], fmt.Sprint(n%8)))
			if n%10 == 0 {
				w.put(sc, "SECRET", "s") // a module's
			}
		}
		for sc, all := range streams {
			for _, s := range all {
				got := records(read(t, s, len(want[sc])))
				if diff := cmp.Diff(want[sc], got); diff != "" {
					t.Errorf("the stream of %s (-want +got):\n%s", sc.Tenant(), diff)
				}
			}
			mark := w.put(sc, "MARK", "m")
			for _, s := range all {
				if got := records(read(t, s, 1)); !slices.Equal(got, []string{mark}) {
					t.Errorf("a stream of %s then got %v, want %s alone", sc.Tenant(), got, mark)
				}
			}
		}
	})
}

// Cut off anywhere and connected again with the last event's ID, while others write, a reader sees each command once, in order.
func TestResume(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := newWorld(t, src)
		alpha := worldtest.Scope("alpha")
		keep := w.open(worldtest.Scope("bravo"), "") // the Hub goes on while alpha has no stream
		defer keep.Close()
		first := w.open(alpha, "")
		const writes = 1500 // more than a room holds, and than is read at once
		want := []string{w.put(alpha, "PRODUCT", "first")}
		seen := read(t, first, 1)
		first.Close()
		var writing sync.WaitGroup
		writing.Go(func() {
			for n := range writes - 1 {
				if n%3 == 0 {
					w.put(worldtest.Scope("bravo"), "PRODUCT", "b")
				}
				want = append(want, w.put(alpha, "PRODUCT", fmt.Sprint(n%7)))
			}
		})
		defer writing.Wait()
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		for len(seen) < writes {
			s := w.open(alpha, seen[len(seen)-1].id)
			for range r.IntN(5) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				text, err := s.Next(ctx)
				cancel()
				if errors.Is(err, fault.Behind) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if seen = append(seen, parse(t, text)...); len(seen) >= writes {
					break
				}
			}
			s.Close()
		}
		writing.Wait()
		if diff := cmp.Diff(want, records(seen)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A reader that does not read is cut off when its room has moved on; one beside it loses nothing.
func TestSlowReader(t *testing.T) {
	w := newWorld(t, memory.New())
	alpha := worldtest.Scope("alpha")
	slow, quick := w.open(alpha, ""), w.open(alpha, "")
	w.put(alpha, "PRODUCT", "a")
	seen := read(t, slow, 1)
	read(t, quick, 1)
	var want []string
	for n := range 300 {
		want = append(want, w.put(alpha, "PRODUCT", fmt.Sprint(n)))
		if got := records(read(t, quick, 1)); !slices.Equal(got, want[n:]) {
			t.Fatalf("the quick reader got %v, want %v", got, want[n:])
		}
	}
	ended(t, slow, fault.Behind)
	slow.Close()
	if got := records(read(t, w.open(alpha, seen[0].id), 300)); !slices.Equal(got, want) {
		t.Errorf("connected again it got %d events", len(got))
	}
}

// A room is bounded in bytes too.
func TestLargeCommands(t *testing.T) {
	w := newWorld(t, memory.New())
	alpha := worldtest.Scope("alpha")
	s, live := w.open(alpha, ""), w.open(alpha, "")
	w.put(alpha, "PRODUCT", "first")
	read(t, s, 1)
	read(t, live, 1)
	for n := range 4 {
		w.Publish(alpha, command.Input{Key: w.Key(alpha, "PRODUCT", fmt.Sprint(n)), Attributes: w.Attributes(`{"text":"` + strings.Repeat("x", 400_000) + `"}`)})
		read(t, live, 1)
	}
	ended(t, s, fault.Behind)
}

func TestCursors(t *testing.T) {
	w := newWorld(t, memory.New())
	alpha, bravo := worldtest.Scope("alpha"), worldtest.Scope("bravo")
	s := w.open(alpha, "")
	w.put(alpha, "PRODUCT", "a")
	id := read(t, s, 1)[0].id
	changed := "A" + id[1:]
	if changed == id {
		changed = "B" + id[1:]
	}
	born := worldtest.Actor()
	later := scope.New(worldtest.Code("alpha"), scope.Full, time.Now(), &born)
	list := w.Cursors.Seal(alpha, "1", "list")
	for what, open := range map[string]func() (*events.Stream, error){
		"another tenant's":        func() (*events.Stream, error) { return w.hub.Open(t.Context(), bravo, id, everything) },
		"a later tenant's":        func() (*events.Stream, error) { return w.hub.Open(t.Context(), later, id, everything) },
		"one that was changed":    func() (*events.Stream, error) { return w.hub.Open(t.Context(), alpha, changed, everything) },
		"a position in the clear": func() (*events.Stream, error) { return w.hub.Open(t.Context(), alpha, "1", everything) },
		"a list's":                func() (*events.Stream, error) { return w.hub.Open(t.Context(), alpha, list, everything) },
	} {
		if s, err := open(); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("%s: %v, %v", what, s, err)
		}
	}
	if _, err := w.hub.Open(t.Context(), scope.Scope{}, "", everything); !errors.Is(err, fault.TenantRequired) {
		t.Errorf("the zero scope: %v", err)
	}
}

// One who comes back after too much has happened is told so, and goes on.
func TestReset(t *testing.T) {
	w := newWorld(t, memory.New())
	w.hub.SetReplay(1000)
	alpha := worldtest.Scope("alpha")
	s := w.open(alpha, "")
	w.put(alpha, "PRODUCT", "a")
	id := read(t, s, 1)[0].id
	s.Close()
	for n := range 1600 {
		w.put(worldtest.Scope("bravo"), "PRODUCT", fmt.Sprint(n%3))
	}
	w.put(alpha, "PRODUCT", "missed")
	s = w.open(alpha, id)
	if got := read(t, s, 1); got[0].name != "reset" || got[0].id != "" || len(got) > 1 {
		t.Fatalf("got %v, want a reset", got)
	}
	w.silent(s, alpha)
}

// TestWhatTheRoomHasIsShownAtOnce comes back to a room that another reader keeps: what was missed is shown though nothing more comes.
func TestWhatTheRoomHasIsShownAtOnce(t *testing.T) {
	w := newWorld(t, memory.New())
	alpha := worldtest.Scope("alpha")
	s, other := w.open(alpha, ""), w.open(alpha, "")
	w.put(alpha, "PRODUCT", "a")
	id := read(t, s, 1)[0].id
	s.Close()
	missed := w.put(alpha, "PRODUCT", "b")
	read(t, other, 2) // it is in the room
	if got := records(read(t, w.open(alpha, id), 1)); !slices.Equal(got, []string{missed}) {
		t.Errorf("got %v, want %s", got, missed)
	}
}

// TestLargeReplay comes back to many large commands: they come a few at a time, each once, and no more is held for a reader that doesn't read.
func TestLargeReplay(t *testing.T) {
	const many, large = 40, 30_000
	w := newWorld(t, memory.New())
	alpha := worldtest.Scope("alpha")
	s := w.open(alpha, "")
	w.put(alpha, "PRODUCT", "a")
	id := read(t, s, 1)[0].id
	s.Close()
	var want []string
	for n := range many {
		w.put(worldtest.Scope("bravo"), "PRODUCT", fmt.Sprint(n))
		sk := fmt.Sprintf("large%02d", n)
		w.Publish(alpha, command.Input{Key: w.Key(alpha, "PRODUCT", sk), Name: "N", Attributes: w.Attributes(`{"text":"` + strings.Repeat("x", large) + `"}`)})
		want = append(want, "PRODUCT#alpha/"+sk+"@1")
	}
	s = w.open(alpha, id)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for len(got) < many {
		text, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 4*large {
			t.Errorf("%d bytes at once", len(text))
		}
		got = append(got, records(parse(t, text))...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.silent(s, alpha)
}

// What a caller may not read is not shown, and neither is what was not asked for.
func TestShow(t *testing.T) {
	w := newWorld(t, memory.New())
	alpha := worldtest.Scope("alpha")
	s, err := w.hub.Open(t.Context(), alpha, "", func(t entity.Type) bool { return len(t.ReadRoles) == 0 })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w.put(alpha, "PAY", "p")
	w.put(alpha, "SECRET", "p")
	w.silent(s, alpha)
	id := func() string { w.put(alpha, "PRODUCT", "x"); return read(t, s, 1)[0].id }()
	w.put(alpha, "PAY", "q")
	w.put(alpha, "SECRET", "q")
	again, err := w.hub.Open(t.Context(), alpha, id, func(t entity.Type) bool { return len(t.ReadRoles) == 0 })
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	w.silent(again, alpha)
}

// A change of the tenant ends its streams before anything behind it is shown; other tenants' go on.
func TestTenantChanges(t *testing.T) {
	w := newWorld(t, memory.New())
	alpha, bravo := worldtest.Scope("alpha"), worldtest.Scope("bravo")
	s, other := w.open(alpha, ""), w.open(bravo, "")
	last := w.put(alpha, "PRODUCT", "a")
	w.put(alpha, "TENANT", "MASTER")
	w.put(alpha, "PRODUCT", "b")
	if got := records(read(t, s, 1)); !slices.Equal(got, []string{last}) {
		t.Errorf("got %v, want %s", got, last)
	}
	ended(t, s, fault.Unavailable)
	w.silent(other, bravo)
	w.put(bravo, "TENANT", "inside") // a tenant inside the group is none of its own
	w.silent(other, bravo)

	actor := worldtest.Actor()
	reborn := scope.New(worldtest.Code("bravo"), scope.Full, time.Now(), &actor)
	w.open(reborn, "")
	ended(t, other, fault.Unavailable)
}

func TestBounds(t *testing.T) {
	w := newWorld(t, memory.New())
	alpha, bravo := worldtest.Scope("alpha"), worldtest.Scope("bravo")
	var all []*events.Stream
	for range events.MaxStreams {
		all = append(all, w.open(alpha, ""))
	}
	_, err := w.hub.Open(t.Context(), alpha, "", everything)
	if e := fault.As(err); e.Code != fault.RateLimited || e.Limit != "tenant" || e.RetryAfter == 0 {
		t.Errorf("one stream more: %v", err)
	}
	w.open(bravo, "").Close()
	all[0].Close()
	all[0].Close() // does no harm
	w.open(alpha, "").Close()
	for _, s := range all {
		s.Close()
	}
	if n := w.hub.Rooms(); n != 0 {
		t.Errorf("%d rooms are left", n)
	}
	s := w.open(alpha, "") // after nobody listened
	w.put(alpha, "PRODUCT", "a")
	read(t, s, 1)
}

// replaying is an engine whose feed stands still where it is read from the beginning, as those who come back after long do.
type replaying struct {
	driver.Engine
	entered chan struct{}
	letGo   chan struct{}
}

func (e replaying) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	if after == "" {
		e.entered <- struct{}{}
		select {
		case <-e.letGo:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return e.Engine.Changes(ctx, after, limit)
}

// TestReplaysTakeTurns has a whole tenant come back at once with old places: few of them read the feed at a time, and another tenant's readers
// don't wait for them.
func TestReplaysTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, letGo := make(chan struct{}, 100), make(chan struct{})
		w := newWorld(t, worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return replaying{e, entered, letGo} }))
		alpha, bravo := worldtest.Scope("alpha"), worldtest.Scope("bravo")
		first := w.put(alpha, "PRODUCT", "a")
		w.put(bravo, "PRODUCT", "b")
		old := w.Cursors.Seal(alpha, "", "events")
		var readers sync.WaitGroup
		for range 20 {
			s := w.open(alpha, old)
			readers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				text, err := s.Next(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if got := parse(t, text); got[0].record != first {
					t.Errorf("a replay begins with %v", got)
				}
			})
		}
		for range events.MaxReplays {
			<-entered
		}
		s := w.open(bravo, "")
		w.silent(s, bravo)
		synctest.Wait() // until nobody goes on by themselves
		if n := len(entered); n != 0 {
			t.Errorf("%d more than %d replays at a time", n, events.MaxReplays)
		}
		close(letGo)
		readers.Wait()
	})
}

// The end of the Hub ends its streams, and a done context only the call.
func TestEnds(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	hub := events.New(events.Config{Store: w.Store, Entities: w.Entities, Cursors: w.Cursors})
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		hub.Run(ctx)
		close(over)
	}()
	alpha := worldtest.Scope("alpha")
	s, err := hub.Open(t.Context(), alpha, "", everything)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a done context: %v", err)
	}
	w.Publish(alpha, command.Input{Key: w.Key(alpha, "PRODUCT", "a"), Name: "A"})
	read(t, s, 1)
	stop()
	<-over
	ended(t, s, fault.Unavailable)
	if _, err := hub.Open(t.Context(), alpha, "", everything); !errors.Is(err, fault.Unavailable) {
		t.Errorf("opened after the Hub: %v", err)
	}
}

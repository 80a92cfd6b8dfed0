package projection_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// process is a World with a handler of its own, which can be cut off from the store, as a process that dies or stands still.
type process struct {
	*worldtest.World
	h   *recorder
	off atomic.Bool
}

// start starts a process on a store.
func start(t *testing.T, src driver.Source, opts worldtest.Options, fail func(string) error) *process {
	t.Helper()
	p := &process{h: &recorder{fail: fail}}
	opts.Handlers = handlers(p.h)
	p.World = worldtest.New(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return remote{e, &p.off} }), opts)
	p.Start()
	return p
}

// handled returns the versions of a record that the processes handled, as each saw them.
func handled(record string, ps ...*process) (calls []string) {
	for _, p := range ps {
		calls = append(calls, p.h.seen(record)...)
	}
	return calls
}

// remote is an engine whose store can't be reached while off is set.
type remote struct {
	driver.Engine
	off *atomic.Bool
}

func (r remote) gone() error {
	if r.off.Load() {
		return fault.New(fault.Unavailable, "test", "cut off")
	}
	return nil
}

func (r remote) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if err := r.gone(); err != nil {
		return nil, err
	}
	return r.Engine.Get(ctx, ref)
}

func (r remote) Range(ctx context.Context, q driver.Range) ([]*record.Record, error) {
	if err := r.gone(); err != nil {
		return nil, err
	}
	return r.Engine.Range(ctx, q)
}

func (r remote) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	if err := r.gone(); err != nil {
		return nil, err
	}
	return r.Engine.Changes(ctx, after, limit)
}

func (r remote) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if err := r.gone(); err != nil {
		return "", err
	}
	return r.Engine.Commit(ctx, b)
}

// Of three processes that run one handler each change is handled by one, and those who publish elsewhere wait for it.
func TestEachChangeIsHandledByOneProcess(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		ps := []*process{start(t, src, worldtest.Options{}, nil), start(t, src, worldtest.Options{}, nil), start(t, src, worldtest.Options{}, nil)}
		const versions = 10
		var writing sync.WaitGroup
		for n, p := range ps {
			writing.Go(func() {
				for v := range versions {
					sc := worldtest.Scope("acme")
					in := command.Input{Key: p.Key(sc, "PRODUCT", fmt.Sprint(n)), Version: int64(v), Name: fmt.Sprint(v)}
					if _, err := p.Commands.PublishSync(t.Context(), sc, in); err != nil {
						t.Error(err)
					}
					if got := handled(fmt.Sprint("acme/", n), ps...); len(got) != v+1 {
						t.Errorf("a publish returned when %q was handled", got)
					}
				}
			})
		}
		writing.Wait()
		held := 0
		for _, p := range ps {
			if status(p.World).Held {
				held++
			}
		}
		if held != 1 {
			t.Errorf("%d processes run the handler", held)
		}
	})
}

// A process that dies is followed within the term and a quarter, one that ends within a moment.
func TestTakeover(t *testing.T) {
	for how, limit := range map[string]time.Duration{"dies": 5 * time.Second, "ends": 300 * time.Millisecond} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := memory.New()
				one := start(t, src, worldtest.Options{}, nil)
				synctest.Wait()
				two, three := start(t, src, worldtest.Options{}, nil), start(t, src, worldtest.Options{}, nil)
				publish(two.World, "acme", "1")
				<-time.After(10 * time.Second)
				one.h.expect(t, "", "up acme/1@1")
				one.off.Store(how == "dies")
				began := time.Now()
				if how == "ends" {
					one.Close()
				}
				w := two.World
				w.Publish(worldtest.Scope("acme"), product(w, "1"))
				if took := time.Since(began); took > limit {
					t.Errorf("taken over after %v", took)
				}
				if got := handled("acme/1", two, three); len(got) != 1 || got[0] != "up acme/1@2" {
					t.Errorf("the others handled %q", got)
				}
				one.off.Store(false)
				<-time.After(10 * time.Second)
				one.h.expect(t, "", "up acme/1@1")
			})
		})
	}
}

// TestAnIdleHolderWritesNothing counts what a process writes that runs a handler: nothing while nothing is published and nobody watches. One
// that then begins to watch takes the handler over when the first one dies, in the same time, also after it was taken for one that died.
func TestAnIdleHolderWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		var commits atomic.Int64
		counted := worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return counting{e, &commits} })
		one := start(t, counted, worldtest.Options{}, nil)
		publish(one.World, "acme", "1")
		<-time.After(10 * time.Second)
		before := commits.Load()
		<-time.After(time.Hour)
		if n := commits.Load() - before; n != 0 {
			t.Errorf("%d commits in an idle hour", n)
		}
		two := start(t, src, worldtest.Options{}, nil)
		for range 30 { // past the moments at which its row is removed, and made again
			<-time.After(7 * time.Second)
			if !status(one.World).Held || status(two.World).Held {
				t.Fatal("the handler was taken over from a process that lives")
			}
		}
		one.h.expect(t, "", "up acme/1@1")
		one.off.Store(true)
		began := time.Now()
		two.Publish(worldtest.Scope("acme"), product(two.World, "1"))
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("taken over after %v", took)
		}
		two.Close()
		one.off.Store(false)
		<-time.After(2 * time.Minute)
		before = commits.Load()
		<-time.After(time.Hour)
		if n := commits.Load() - before; n != 0 {
			t.Errorf("%d commits in an idle hour after another process ended", n)
		}
	})
}

// counting is an engine that counts commits.
type counting struct {
	driver.Engine
	commits *atomic.Int64
}

func (c counting) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	c.commits.Add(1)
	return c.Engine.Commit(ctx, b)
}

// delayed holds the first commit of a checkpoint, or of a record aside, after on is set back until late is closed. Unfenced, they lose their
// conditions too: the bug that fencing is for.
type delayed struct {
	remote   // which is cut off from then on
	on       *atomic.Bool
	store    driver.Engine
	pk       string
	late     chan struct{}
	arrived  chan error
	unfenced bool
}

func (d delayed) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	concerned := false
	for i := range b.Writes {
		concerned = concerned || b.Writes[i].Record.PK == d.pk
	}
	if !concerned || !d.on.Load() || d.off.Swap(true) {
		return d.remote.Commit(ctx, b)
	}
	if d.unfenced {
		b.Writes = append([]driver.Write(nil), b.Writes...)
		for i := range b.Writes {
			b.Writes[i].If = driver.Condition{}
		}
	}
	go func() {
		<-d.late
		_, err := d.store.Commit(context.WithoutCancel(ctx), b)
		d.arrived <- err
	}()
	<-ctx.Done()
	return "", ctx.Err()
}

// What a holder that stood still wrote while it was one moves nothing when it arrives after another process took over.
func TestWritesOfAnEarlierHolderAreRefused(t *testing.T) {
	for _, c := range []struct {
		pk       string
		unfenced bool
	}{{"CHECKPOINT#common", false}, {"PARKED#common", false}, {"CHECKPOINT#common", true}, {"PARKED#common", true}} {
		t.Run(fmt.Sprint(c.pk, " unfenced ", c.unfenced), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := memory.New()
				var on, off, healthy atomic.Bool
				d := delayed{pk: c.pk, on: &on, late: make(chan struct{}), arrived: make(chan error, 100), unfenced: c.unfenced}
				fails := func(call string) error {
					if c.pk == "PARKED#common" && strings.HasSuffix(call, "@2") && !healthy.Load() {
						return fmt.Errorf("%s fails", call)
					}
					return nil
				}
				old := &recorder{fail: fails}
				w := worldtest.New(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { d.store, d.remote = e, remote{e, &off}; return d }), worldtest.Options{Handlers: handlers(old), Attempts: 1})
				w.Start()
				writer := worldtest.New(t, src, worldtest.Options{})
				publish(writer, "acme", "1")
				synctest.Wait()
				on.Store(true)
				publish(writer, "acme", "1")
				synctest.Wait()
				old.expect(t, "", "up acme/1@1", "up acme/1@2")
				healthy.Store(true)
				next := start(t, src, worldtest.Options{Attempts: 1}, fails)
				for range 3 {
					publish(next.World, "acme", "1")
				}
				<-time.After(6 * time.Second)
				next.h.expect(t, "", "up acme/1@2", "up acme/1@3", "up acme/1@4", "up acme/1@5")
				close(d.late)
				refused := <-d.arrived
				rows := fmt.Sprint(kept(writer, "CHECKPOINT#common"), kept(writer, "PARKED#common"))
				sound := refused != nil && strings.Contains(rows, fmt.Sprintf("[{\"position\":%q}]", end(writer))) && strings.HasSuffix(rows, "[]")
				if sound == c.unfenced {
					t.Errorf("the late write: %v; kept: %s; the feed ends at %s", refused, rows, end(writer))
				}
			})
		})
	}
}

// kept returns what the system keeps under a PK.
func kept(w *worldtest.World, pk string) []string {
	w.Helper()
	out := []string{}
	for _, r := range w.Rows(driver.System) {
		if r.PK == pk {
			out = append(out, string(r.Attributes))
		}
	}
	return out
}

// A handler's context ends before another process may begin to run the handler.
func TestAHolderThatIsCutOffStopsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		stopped, begun := make(chan time.Time, 10), make(chan time.Time, 10)
		one, two := &process{}, &recorder{}
		slow := sight(func(ctx context.Context, _ scope.Scope, _ *record.Record) error {
			<-ctx.Done()
			stopped <- time.Now()
			return ctx.Err()
		})
		one.World = worldtest.New(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return remote{e, &one.off} }), worldtest.Options{Handlers: handlers(slow)})
		one.Start()
		publish(one.World, "acme", "1")
		synctest.Wait()
		two.fail = func(string) error { begun <- time.Now(); return nil }
		w := worldtest.New(t, src, worldtest.Options{Handlers: handlers(two)})
		w.Start()
		<-time.After(time.Minute) // renewed all the while
		synctest.Wait()
		if len(stopped)+len(begun) > 0 {
			t.Fatal("the lease was lost without a reason")
		}
		one.off.Store(true)
		if end, begin := <-stopped, <-begun; !end.Before(begin) {
			t.Errorf("the one stopped at %v, the other began at %v", end, begin)
		}
	})
}

// Whatever process is cut off and comes back, no version of a record is passed over.
func TestOrderAcrossTakeovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		src := memory.New()
		var mu sync.Mutex
		last, takeovers, by := map[string]int{}, 0, -1
		var ps []*process
		for n := range 3 {
			ps = append(ps, start(t, src, worldtest.Options{}, func(call string) error {
				name, text, _ := strings.Cut(call, "@")
				var v int
				fmt.Sscan(text, &v)
				mu.Lock()
				defer mu.Unlock()
				if v > last[name]+1 {
					t.Errorf("%s came after version %d", call, last[name])
				}
				last[name] = max(v, last[name])
				if by != n {
					by, takeovers = n, takeovers+1
				}
				return nil
			}))
		}
		reader := worldtest.New(t, src, worldtest.Options{})
		written := map[string]int{}
		for range 500 {
			sk := fmt.Sprint(random.IntN(5))
			publish(reader, "acme", sk)
			written["up acme/"+sk]++
			if random.IntN(5) == 0 {
				p := ps[random.IntN(len(ps))]
				p.off.Store(!p.off.Load())
			}
			<-time.After(time.Duration(random.IntN(2000)) * time.Millisecond)
		}
		for _, p := range ps {
			p.off.Store(false)
		}
		<-time.After(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(last) != fmt.Sprint(written) || takeovers < 5 {
			t.Errorf("handled up to %v, written %v, %d takeovers", last, written, takeovers)
		}
	})
}

// late is an engine that does not say where in the feed a commit is.
type late struct{ driver.Engine }

func (l late) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	_, err := l.Engine.Commit(ctx, b)
	return "", err
}

// A publish waits for the handler in another process, whether or not the store says where its command is, and over a takeover.
func TestSyncWaitsForAnotherProcess(t *testing.T) {
	for _, isLate := range []bool{false, true} {
		t.Run(fmt.Sprint("late ", isLate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := memory.New()
				if isLate {
					src = worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return late{e} })
				}
				g := make(gate)
				one := worldtest.New(t, src, worldtest.Options{Handlers: handlers(g)})
				one.Start()
				synctest.Wait()
				two := start(t, src, worldtest.Options{}, nil)
				results := make(chan error, 1)
				sync := func(sk string) {
					go func() {
						_, err := two.Commands.PublishSync(t.Context(), worldtest.Scope("acme"), product(two.World, sk))
						results <- err
					}()
				}
				for _, sk := range []string{"a", "b", "a"} {
					sync(sk)
					<-time.After(3 * time.Second)
					if err, ok := answered(results); ok {
						t.Fatalf("answered before its handler: %v", err)
					}
					g <- struct{}{}
					began := time.Now()
					if err := <-results; err != nil || time.Since(began) > 50*time.Millisecond {
						t.Errorf("answered %v after its handler: %v", time.Since(began), err)
					}
				}
				sync("c")
				<-time.After(time.Second)
				one.Close() // its handler has not run
				if err := <-results; err != nil {
					t.Error(err)
				}
				two.h.expect(t, "", "up acme/c@1")
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				two.Publish(worldtest.Scope("acme"), product(two.World, "d"))
				if ctx.Err() != nil {
					t.Error("the new holder is slow")
				}
			})
		})
	}
}

// A record that steps aside in another process keeps nobody waiting, and is seen aside then.
func TestSyncReturnsWhenARecordStepsAsideElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		start(t, src, worldtest.Options{Attempts: 1}, breaks("up acme/1@1").fail)
		synctest.Wait()
		two := start(t, src, worldtest.Options{Attempts: 1}, nil)
		res := two.Publish(worldtest.Scope("acme"), product(two.World, "1"))
		if got := two.Runner.Waiting(res.Command); got != "parked" {
			t.Errorf("waiting: %q", got)
		}
		if s := status(two.World); s.Held || s.Parked != 1 || s.Position != string(end(two.World)) {
			t.Errorf("%+v", s)
		}
	})
}

// What operators order in any process, the one that runs the handler does, or the one after it.
func TestOrdersReachTheProcessThatRunsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		b := breaks("up acme/1@1", "up acme/1@3")
		one := start(t, src, worldtest.Options{Attempts: 1}, b.fail)
		synctest.Wait()
		two := start(t, src, worldtest.Options{Attempts: 1}, nil)
		for range 4 {
			publish(two.World, "acme", "1")
		}
		<-time.After(2 * time.Second)
		one.h.expect(t, "", "up acme/1@1")
		key := two.Key(worldtest.Scope("acme"), "PRODUCT", "1")
		order := func(order func(context.Context, string, record.Key) error) {
			t.Helper()
			if err := order(t.Context(), "h", key); err != nil {
				t.Fatal(err)
			}
			<-time.After(1100 * time.Millisecond)
		}
		one.h.reset()
		b.set("up acme/1@3")
		order(two.Runner.Retry)
		one.h.expect(t, "", "up acme/1@1", "up acme/1@2", "up acme/1@3")
		one.h.reset()
		for range 2 { // of two operators who skip at once, one does
			if err := two.Runner.Skip(t.Context(), "h", key); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(1100 * time.Millisecond)
		one.h.expect(t, "", "up acme/1@4")
		one.h.reset()
		one.off.Store(true) // nobody is there to carry it out
		if err := two.Runner.Replay(t.Context(), "h", key, 4); err != nil {
			t.Fatal(err)
		}
		<-time.After(6 * time.Second)
		two.h.expect(t, "", "down acme/1@4", "up acme/1@4")
		if rows := kept(two.World, "LEASE#common"); len(rows) != 1 {
			t.Errorf("orders are left: %q", rows)
		}
	})
}

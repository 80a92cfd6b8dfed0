// Package worldtest puts the services of command, data and projection together over one store, for the tests of this module:
//
//	w := worldtest.New(t, memory.New(), worldtest.Options{})
//	acme := w.Scope("acme")
//	res, err := w.Commands.PublishSync(t.Context(), acme, command.Input{Key: w.Key(acme, "PRODUCT", "1"), Name: "Chair"})
//
// A second World on the same Source is another process on the same store.
package worldtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/feed"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Options configure a World. The zero value of each field is its default.
type Options struct {
	Entities []entity.Type
	Closed   bool // refuses entity types that are not declared

	// Companions is given a maker of keepers. Defaults to none.
	Companions func(keeper func(word string) storage.Keeper) map[record.EntityType][]command.Companion

	// Handlers, Attempts, Backoff, Lanes and Term are the projection's. The handlers run after Start.
	Handlers []projection.Registration
	Attempts int
	Backoff  func(attempt int) time.Duration
	Lanes    int
	Term     time.Duration

	Now func() time.Time // defaults to time.Now
	Log *slog.Logger     // defaults to nowhere
}

// World is the services over one store. It is closed with its test.
type World struct {
	testing.TB
	Store    *storage.Store
	Engine   driver.Engine // the same store past all scopes
	Entities *entity.Registry
	Commands *command.Service
	Data     *data.Service
	Runner   *projection.Runner
	Tail     *feed.Tail
	Cursors  *storage.Cursors

	following sync.WaitGroup
	stop      context.CancelFunc // ends Follow; nil before
	closing   sync.Once
}

// New returns a World over the store that src names.
func New(t testing.TB, src driver.Source, opts Options) *World {
	t.Helper()
	w := &World{TB: t}
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	var err error
	if w.Entities, err = entity.NewRegistry(opts.Closed, opts.Entities...); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background() // a store outlives the test's context, which ends before Close
	if w.Store, err = storage.Open(ctx, src, storage.Options{Shared: w.Entities.Shared}); err != nil {
		t.Fatal(err)
	}
	if w.Engine, err = src.Open(ctx, scope.NewRoot()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if w.Cursors, err = storage.NewCursors(bytes.Repeat([]byte{7}, storage.CursorKeySize)); err != nil {
		t.Fatal(err)
	}
	w.Runner = projection.New(projection.Config{Store: w.Store, Registrations: opts.Handlers, ModuleOf: w.moduleOf,
		Checkpoints: w.Keeper("CHECKPOINT"), Parked: w.Keeper("PARKED"), Leases: w.Keeper("LEASE"), Term: opts.Term, Attempts: opts.Attempts, Backoff: opts.Backoff, Lanes: opts.Lanes, Log: opts.Log, Now: opts.Now})
	w.Tail = feed.New(w.Store, opts.Log)
	cfg := command.Config{Store: w.Store, Entities: w.Entities, Handlers: w.Runner, Committed: w.Tail.Committed, Now: opts.Now,
		Receipts: w.Keeper("RECEIPT"), Codes: w.Keeper("CODE"), Partitions: w.Keeper("PARTITIONS")}
	if opts.Companions != nil {
		cfg.Companions = opts.Companions(w.Keeper)
	}
	w.Commands = command.New(cfg)
	w.Data = data.New(w.Store, w.Cursors)
	return w
}

func (w *World) moduleOf(t record.EntityType) string {
	typ, _ := w.Entities.Lookup(t)
	return typ.In()
}

// Start runs the handlers.
func (w *World) Start() {
	w.Helper()
	if err := w.Runner.Start(context.Background()); err != nil {
		w.Fatal(err)
	}
}

// Follow has Tail follow the change feed.
func (w *World) Follow() {
	w.Helper()
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	run, err := w.Tail.Start(ctx)
	if err != nil {
		w.Fatal(err)
	}
	w.following.Go(run)
}

// Close ends the handlers and closes the store: what a process does that ends. A second Close does nothing.
func (w *World) Close() {
	w.Helper()
	w.closing.Do(func() {
		if w.stop != nil {
			w.stop()
		}
		w.following.Wait()
		if w.Runner != nil {
			w.Runner.Close()
		}
		if err := errors.Join(w.Store.Close(), w.Engine.Close()); err != nil {
			w.Errorf("close: %v", err)
		}
	})
}

// Keeper returns the keeper of a word.
func (w *World) Keeper(word string) storage.Keeper {
	w.Helper()
	k, err := w.Store.Keeper(scope.NewRoot(), record.MustEntityType(word))
	if err != nil {
		w.Fatal(err)
	}
	return k
}

// Actor is who acts in the Scopes of a World.
func Actor() scope.Actor {
	return scope.Actor{Issuer: "test", UserID: "tester", UserCode: "tester", Role: "admin", RequestID: "req-1", SourceIP: "127.0.0.1", Source: "test"}
}

// Scope returns a Scope of a tenant, whether it exists or not, for Actor.
func Scope(code string) scope.Scope { return ScopeFor(code, Actor()) }

// ScopeFor returns a Scope of a tenant for an actor.
func ScopeFor(code string, actor scope.Actor) scope.Scope {
	return scope.New(Code(code), scope.Full, time.Time{}, &actor)
}

// ReadingCommon returns the Scope that reads the shared records of common.
func ReadingCommon() scope.Scope {
	actor := Actor()
	return scope.New(tenant.Common(), scope.SharedRead, time.Time{}, &actor)
}

// System returns the right to cross tenants, which tells auditor of each; nil for nobody.
func System(reason string, auditor scope.Auditor) scope.System {
	actor := Actor()
	actor.Role = "system_admin"
	return scope.NewSystem(record.NewID(), actor, reason, auditor)
}

// Code returns a tenant code; it panics for what isn't one.
func Code(text string) tenant.Code {
	code, err := tenant.Parse(text)
	if err != nil {
		panic(err)
	}
	return code
}

// Key returns the key of a record of sc's tenant.
func (w *World) Key(sc scope.Scope, entityType, sk string) record.Key {
	w.Helper()
	key, err := record.NewKey(sc, record.MustEntityType(entityType), sk)
	if err != nil {
		w.Fatal(err)
	}
	return key
}

// Attributes returns the attributes that a JSON text spells.
func (w *World) Attributes(text string) record.Attributes {
	w.Helper()
	a, err := record.ParseAttributes([]byte(text))
	if err != nil {
		w.Fatalf("%s: %v", text, err)
	}
	return a
}

// Publish publishes in and fails the test where that fails.
func (w *World) Publish(sc scope.Scope, in command.Input, opts ...command.Option) command.Result {
	w.Helper()
	res, err := w.Commands.PublishSync(w.Context(), sc, in, opts...)
	if err != nil {
		w.Fatalf("publish %s: %v", in.Key.ID(), err)
	}
	return res
}

// Plant writes a row past all scopes, as another program would.
func (w *World) Plant(c driver.Collection, rows ...*record.Record) {
	w.Helper()
	for _, r := range rows {
		if _, err := w.Engine.Commit(w.Context(), driver.Batch{Writes: []driver.Write{{Collection: c, Record: r}}}); err != nil {
			w.Fatal(err)
		}
	}
}

// Rows returns every row of a collection.
func (w *World) Rows(c driver.Collection) []*record.Record {
	w.Helper()
	var all []*record.Record
	for after := (driver.Ref{}); ; {
		rows, err := w.Engine.Scan(w.Context(), c, after, 1000)
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, rows...)
		if len(rows) < 1000 {
			return all
		}
		after = driver.RefOf(c, rows[len(rows)-1])
	}
}

// Clock is a clock that stands still until it is set. It may be used concurrently.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a Clock that stands at now.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Set moves the clock, forwards or back.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// Advance moves the clock by d.
func (c *Clock) Advance(d time.Duration) { c.Set(c.Now().Add(d)) }

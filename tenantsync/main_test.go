package tenantsync_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantsync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(served{m}) }

type served struct{ goleak.TestingM }

func (s served) Run() int {
	defer postgrestest.Stop()
	return s.TestingM.Run()
}

// engines make a new store of each engine.
var engines = map[string]func(testing.TB) driver.Source{
	"memory":   func(testing.TB) driver.Source { return memory.New() },
	"sqlite":   func(t testing.TB) driver.Source { return sqlite.At(t.TempDir()) },
	"postgres": func(t testing.TB) driver.Source { return postgres.At(postgrestest.New(t), postgres.Options{}) },
	"dynamodb": func(t testing.TB) driver.Source {
		srv := dynamodbtest.New(t)
		cfg := dynamodb.Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials, Log: slog.New(slog.DiscardHandler)}
		if _, err := dynamodb.CreateTables(t.Context(), cfg, product.String()); err != nil {
			t.Fatal(err)
		}
		return dynamodb.At(cfg)
	},
}

// eachEngine runs a test on a new store of each engine.
func eachEngine(t *testing.T, test func(t *testing.T, src driver.Source)) {
	for name, source := range engines {
		t.Run(name, func(t *testing.T) { test(t, source(t)) })
	}
}

var product = record.MustEntityType("PRODUCT")

// world is a Service over a store, with the tenants acme, bravo and charlie.
type world struct {
	*worldtest.World
	*tenantsync.Service
	acme, bravo, charlie scope.Scope
	clock                *worldtest.Clock
	crossed              crossings

	mu     sync.Mutex
	asked  int // how often a state was asked for
	states map[string]guard.State
	orders []string // to be spread
	queued []tenantsync.Task
	scopes map[tenantsync.Task]scope.Scope
}

// newWorld returns a world whose clock is ahead of the store's, by which rows of the system expire.
func newWorld(t testing.TB, types ...entity.Type) *world {
	t.Helper()
	return worldOn(t, memory.New(), worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)), types...)
}

// worldOn returns a process on the store that src names.
func worldOn(t testing.TB, src driver.Source, clock *worldtest.Clock, types ...entity.Type) *world {
	t.Helper()
	w := &world{World: worldtest.New(t, src, worldtest.Options{Now: clock.Now, Entities: append(types, entity.Type{Name: record.MustEntityType("SECRET_THING"), Owned: true})}),
		clock: clock, scopes: map[tenantsync.Task]scope.Scope{}, states: map[string]guard.State{}, acme: worldtest.Scope("acme"), bravo: worldtest.Scope("bravo"), charlie: worldtest.Scope("charlie")}
	for _, code := range []string{"acme", "bravo", "charlie"} {
		w.states[code] = guard.State{Exists: true}
	}
	w.Service = w.process()
	return w
}

// process returns a Service that knows nothing but what the store holds.
func (w *world) process() *tenantsync.Service {
	s := tenantsync.New(tenantsync.Config{Store: w.Store, Commands: w.Commands, Entities: w.Entities, Queue: queue{w}, Orders: w.Keeper("SYNC"), Parts: w.Keeper("SYNC_TARGET"),
		Pages: w.Keeper("SYNC_PAGE"), Rules: w.Keeper("SYNC_RULE"), Feed: w.Keeper("SYNC_FEED"), Fences: w.Keeper("SYNC_FENCE"), Partitions: w.Keeper("PARTITIONS"), State: w.state, Active: w.active, Auditor: &w.crossed, Now: w.clock.Now})
	tenantsync.SetPages(s, 2, 2)
	return s
}

func (w *world) state(_ context.Context, code tenant.Code) (guard.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if code.IsCommon() {
		return guard.State{Exists: true}, nil
	}
	return w.states[code.String()], nil
}

func (w *world) set(code string, s guard.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[code] = s
}

func (w *world) active(context.Context, scope.System) (codes []tenant.Code, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for code, state := range w.states {
		if state.Exists && !state.Suspended {
			codes = append(codes, worldtest.Code(code))
		}
	}
	slices.SortFunc(codes, tenant.Code.Compare)
	return codes, nil
}

// queue is the world's queue: run does what is queued.
type queue struct{ *world }

// Spread implements tenantsync.Queue.
func (q queue) Spread(_ context.Context, sc scope.Scope, sync string) ([]storage.SystemWrite, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !sc.Tenant().IsCommon() {
		q.Errorf("an order is spread in %s", sc.Tenant())
	}
	q.orders = append(q.orders, sync)
	return nil, nil
}

// Task implements tenantsync.Queue.
func (q queue) Task(_ context.Context, sc scope.Scope, sync string) ([]storage.SystemWrite, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := tenantsync.Task{Sync: sync, Target: sc.Tenant()}
	if q.scopes[t] = sc; !slices.Contains(q.queued, t) {
		q.queued = append(q.queued, t)
	}
	return nil, nil
}

// ordered takes an order from the queue that is to be spread.
func (w *world) ordered() (id string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.orders) == 0 {
		return "", false
	}
	id, w.orders = w.orders[0], w.orders[1:]
	return id, true
}

// next takes a task from the queue, when all orders are spread.
func (w *world) next() (t tenantsync.Task, sc scope.Scope, ok bool) {
	w.Helper()
	for id, ok := w.ordered(); ok; id, ok = w.ordered() {
		w.must(w.Service.Spread(w.Context(), id))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queued) == 0 {
		return t, sc, false
	}
	t, w.queued = w.queued[0], w.queued[1:]
	return t, w.scopes[t], true
}

// run does what is queued.
func (w *world) run() {
	w.Helper()
	for t, sc, ok := w.next(); ok; t, sc, ok = w.next() {
		if err := w.Work(w.Context(), sc, t.Sync); err != nil {
			w.Fatalf("%s of %s: %v", t.Sync, t.Target, err)
		}
	}
}

// sys returns the right to cross tenants.
func (w *world) sys() scope.System { return worldtest.System("test", &w.crossed) }

// request returns a request to copy products of acme.
func (w *world) request(targets ...string) tenantsync.Request {
	r := tenantsync.Request{Source: w.acme.Tenant(), EntityType: product}
	for _, code := range targets {
		r.Targets = append(r.Targets, worldtest.Code(code))
	}
	return r
}

// plan plans a request whole.
func (w *world) plan(r tenantsync.Request, then tenantsync.Order) string {
	w.Helper()
	id, err := w.Plan(w.Context(), w.sys(), r, then)
	w.must(err)
	w.run()
	return id
}

// apply applies a plan whole.
func (w *world) apply(id string) tenantsync.Status {
	w.Helper()
	w.must(w.Apply(w.Context(), w.sys(), id))
	w.run()
	return w.status(id)
}

// undo undoes a sync whole.
func (w *world) undo(id string) tenantsync.Status {
	w.Helper()
	undo, err := w.Undo(w.Context(), w.sys(), id, tenantsync.Order{Apply: true})
	w.must(err)
	w.run()
	return w.status(undo)
}

func (w *world) status(id string) tenantsync.Status {
	w.Helper()
	st, err := w.Status(w.Context(), w.sys(), id)
	w.must(err)
	return st
}

func (w *world) must(err error) {
	if err != nil {
		w.Helper()
		w.Fatal(err)
	}
}

// put makes a product what attributes say.
func (w *world) put(sc scope.Scope, sk, attributes string) command.Result {
	w.Helper()
	return w.Publish(sc, command.Input{Key: w.Key(sc, "PRODUCT", sk), Version: record.VersionLatest, Name: sk, Attributes: w.Attributes(attributes)})
}

// remove deletes a product.
func (w *world) remove(sc scope.Scope, sk string) {
	w.Helper()
	w.Publish(sc, command.Input{Key: w.Key(sc, "PRODUCT", sk), Version: record.VersionLatest, Name: sk, IsDeleted: true})
}

// get returns a product, nil for none; a deleted one too.
func (w *world) get(sc scope.Scope, sk string) *record.Record {
	w.Helper()
	view, err := w.Store.In(sc)
	w.must(err)
	rec, err := view.Get(w.Context(), w.Key(sc, "PRODUCT", sk))
	w.must(err)
	return rec
}

// content returns what the live records of a tenant say, by PK and SK.
func (w *world) content(code string) map[string]string {
	w.Helper()
	all := map[string]string{}
	for _, r := range w.Rows(driver.Data) {
		if owner := storage.Owner(driver.RefOf(driver.Data, r)); owner == code && !r.IsDeleted {
			all[r.ID()] = strings.Join([]string{r.Code, r.Name, r.Type, r.Seq, string(r.Attributes), string(r.Metadata)}, "|")
		}
	}
	return all
}

// items returns the plan of a sync for a target, a line for each record.
func (w *world) items(id, code string) (all []string) {
	w.Helper()
	for cursor := ""; ; {
		page, err := w.Items(w.Context(), w.sys(), tenantsync.Task{Sync: id, Target: worldtest.Code(code)}, cursor)
		w.must(err)
		for _, it := range page.Items {
			line := strings.TrimPrefix(it.ID, "PRODUCT#"+code+"#") + " " + string(it.Action) + " " + string(it.Reason)
			if it.Code != "" {
				line += " " + string(it.Code)
			}
			all = append(all, line)
		}
		if cursor = page.Cursor; cursor == "" {
			return all
		}
	}
}

// crossings keeps the audit entries.
type crossings struct {
	mu  sync.Mutex
	all map[string]scope.Crossing
}

// Crossed implements scope.Auditor.
func (c *crossings) Crossed(_ context.Context, one scope.Crossing) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]scope.Crossing{}
	}
	c.all[one.ID] = one
	return nil
}

// named returns the entries that name a tenant.
func (c *crossings) named(code string) (found []scope.Crossing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.all {
		if slices.Contains(one.Tenants, worldtest.Code(code)) {
			found = append(found, one)
		}
	}
	return found
}

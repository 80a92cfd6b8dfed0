package tenants_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenants"
)

// node is one process's tenants: the service and its directory.
type node struct {
	*worldtest.World
	service   *tenants.Service
	directory *tenants.Directory
	reads     atomic.Int64 // of tenants' records, from the store
}

// newNode returns a process on a store; watch has it follow the change feed until the test ends.
func newNode(t *testing.T, src driver.Source, watch bool) *node {
	n := &node{}
	counted := worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return &counting{e, &n.reads} })
	var listing storage.Keeper
	n.World = worldtest.New(t, counted, worldtest.Options{Companions: func(keeper func(string) storage.Keeper) map[record.EntityType][]command.Companion {
		listing = keeper("TENANTS")
		return map[record.EntityType][]command.Companion{tenants.EntityType(): {tenants.Companion(listing)}}
	}})
	n.directory = tenants.NewDirectory(n.Store, n.Tail, nil)
	n.service = tenants.New(tenants.Config{Commands: n.Commands, Data: n.Data, Directory: n.directory, Listing: listing, Partitions: n.Keeper("PARTITIONS"), Cursors: n.Cursors})
	if watch {
		n.Follow()
	}
	return n
}

type counting struct {
	driver.Engine
	reads *atomic.Int64
}

func (c *counting) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if ref.Collection == driver.Data && ref.SK == tenants.Master {
		c.reads.Add(1)
	}
	return c.Engine.Get(ctx, ref)
}

func (n *node) lookup(code string) guard.State {
	n.Helper()
	s, err := n.directory.Lookup(n.Context(), worldtest.Code(code))
	if err != nil {
		n.Fatal(err)
	}
	return s
}

func must(t testing.TB, res command.Result, err error) command.Result {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (n *node) create(code string) {
	n.Helper()
	res, err := n.service.CreateTenant(n.Context(), worldtest.System("test", nil), tenants.Create{Code: worldtest.Code(code), Name: code})
	must(n, res, err)
}

func (n *node) suspend(code string) {
	n.Helper()
	res, err := n.service.Suspend(n.Context(), worldtest.System("test", nil), worldtest.Code(code), "reason", time.Now())
	must(n, res, err)
}

func (n *node) resume(code string) {
	n.Helper()
	res, err := n.service.Resume(n.Context(), worldtest.System("test", nil), worldtest.Code(code))
	must(n, res, err)
}

func TestTheDirectoryFollowsItsOwnNodeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New(), true)
		synctest.Wait()
		born := time.Now().Truncate(time.Millisecond).UTC()
		if s := n.lookup("acme"); s != (guard.State{}) {
			t.Errorf("before: %+v", s)
		}
		n.create("acme")
		if s := n.lookup("acme"); s != (guard.State{Exists: true, Born: born}) {
			t.Errorf("created: %+v", s)
		}
		n.suspend("acme")
		if s := n.lookup("acme"); !s.Suspended || !s.Exists {
			t.Errorf("suspended: %+v", s)
		}
		n.resume("acme")
		if s := n.lookup("acme"); s.Suspended {
			t.Errorf("resumed: %+v", s)
		}
		res, err := n.service.DeleteTenant(t.Context(), worldtest.System("test", nil), tenants.Ref{Tenant: worldtest.Code("acme")})
		must(t, res, err)
		if s := n.lookup("acme"); s != (guard.State{}) {
			t.Errorf("deleted: %+v", s)
		}
		<-time.After(time.Hour)
		n.create("acme")
		if s := n.lookup("acme"); s != (guard.State{Exists: true, Born: born.Add(time.Hour)}) {
			t.Errorf("created again: %+v", s)
		}
		if s := n.lookup("common"); s != (guard.State{Exists: true}) {
			t.Errorf("common: %+v", s)
		}
	})
}

// What was asked once is remembered, tenants that do not exist too, and only while changes elsewhere are seen.
func TestTheDirectoryRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		n := newNode(t, src, true)
		n.create("acme")
		<-time.After(time.Second) // the change is noticed
		ask := func(n *node) int64 {
			before := n.reads.Load()
			for range 10 {
				n.lookup("acme")
				n.lookup("nobody")
			}
			return n.reads.Load() - before
		}
		if reads := ask(n); reads != 2 {
			t.Errorf("%d reads for two tenants", reads)
		}
		<-time.After(time.Hour)
		if reads := ask(n); reads != 0 {
			t.Errorf("%d reads an hour later", reads)
		}
		if reads := ask(newNode(t, src, false)); reads != 20 {
			t.Errorf("%d of 20 reads where nobody watches", reads)
		}
	})
}

// Other nodes know within a second.
func TestTheDirectoryFollowsOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		here, there := newNode(t, src, true), newNode(t, src, true)
		synctest.Wait()
		for _, step := range []struct {
			do   func()
			want func(guard.State) bool
		}{
			{func() { here.create("acme") }, func(s guard.State) bool { return s.Exists && !s.Suspended }},
			{func() { here.suspend("acme") }, func(s guard.State) bool { return s.Suspended }},
			{func() { here.resume("acme") }, func(s guard.State) bool { return s.Exists && !s.Suspended }},
		} {
			there.lookup("acme")
			step.do()
			<-time.After(999 * time.Millisecond)
			if s := there.lookup("acme"); !step.want(s) {
				t.Errorf("a second later: %+v", s)
			}
		}
	})
}

// While the feed can't be read nothing that is remembered is used, and afterwards what changed meanwhile is asked anew.
func TestTheDirectoryTrustsNothingItCannotFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		var broken atomic.Bool
		here := newNode(t, src, true)
		there := newNode(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return blind{e, &broken} }), true)
		here.create("acme")
		<-time.After(time.Second)
		there.lookup("acme")
		broken.Store(true)
		<-time.After(time.Second)
		here.suspend("acme")
		if s := there.lookup("acme"); !s.Suspended {
			t.Errorf("remembered while blind: %+v", s)
		}
		broken.Store(false)
		here.resume("acme")
		<-time.After(time.Second)
		if s := there.lookup("acme"); s.Suspended {
			t.Errorf("seeing again: %+v", s)
		}
		there.lookup("acme")
		before := there.reads.Load()
		there.lookup("acme")
		if there.reads.Load() != before {
			t.Error("seeing again, it doesn't remember")
		}
	})
}

// blind is an engine that can't read the feed while it is broken.
type blind struct {
	driver.Engine
	broken *atomic.Bool
}

func (b blind) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	if b.broken.Load() {
		return nil, fault.New(fault.Unavailable, "test", "the connection is lost")
	}
	return b.Engine.Changes(ctx, after, limit)
}

// However loads and changes meet: once a change has returned, every later answer knows of it.
func TestNoLoadBringsAnOlderStateBack(t *testing.T) {
	n := newNode(t, memory.New(), true)
	n.create("acme")
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := n.directory.Lookup(context.Background(), worldtest.Code("acme")); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 300 {
		n.suspend("acme")
		for range 20 {
			if !n.lookup("acme").Suspended {
				t.Fatal("an older state came back")
			}
		}
		n.resume("acme")
		if n.lookup("acme").Suspended {
			t.Fatal("an older state came back")
		}
	}
	close(stop)
	asking.Wait()
}

// The same over two processes on one SQLite store, in real time.
func TestTwoAppsOnOneStore(t *testing.T) {
	dir := t.TempDir()
	here := tenantrytest.New(t, tenantry.Config{Store: sqlite.At(dir), Now: time.Now})
	there := tenantrytest.New(t, tenantry.Config{Store: sqlite.At(dir), Now: time.Now})
	here.Tenant("acme")
	sys := here.System("test")
	for round := range 3 {
		suspended := round%2 == 0
		var err error
		if suspended {
			_, err = here.Tenants().Suspend(t.Context(), sys, worldtest.Code("acme"), "reason", time.Now())
		} else {
			_, err = here.Tenants().Resume(t.Context(), sys, worldtest.Code("acme"))
		}
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		poll := time.NewTicker(5 * time.Millisecond)
		for known := false; !known; {
			if took := time.Since(began); took > time.Second {
				t.Fatalf("round %d: not known after %v", round, took)
			}
			<-poll.C
			s, err := there.Tenants().State(t.Context(), worldtest.Code("acme"))
			if err != nil {
				t.Fatal(err)
			}
			known = s.Exists && s.Suspended == suspended
		}
		poll.Stop()
		t.Logf("round %d: known after %s", round, fmt.Sprint(time.Since(began).Round(time.Millisecond)))
	}
}

package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// patient gives processes the time that a busy machine takes.
func patient(c *jobs.Config) { c.Term = 4 * time.Second }

// work is what the jobs of a proof do, and what is known of them. Each tenant's jobs have numbers from 0.
type work struct {
	testing.TB
	each    int
	tenants []*share
	ended   atomic.Int64 // attempts, and jobs that were dropped
	midway  func()       // is called when a tenth of a tenant's jobs has begun, one that is to be deleted
}

// share is one tenant's part.
type share struct {
	code    string
	running atomic.Int32
	mu      sync.Mutex
	began   []int // how often each job began
	now     []int // how many of each run now
	done    []int // how often each came to its end
}

const (
	sharers   = 100
	perTenant = 2
)

func newWork(t testing.TB, each int) *work {
	w := &work{TB: t, each: each}
	for n := range sharers {
		w.tenants = append(w.tenants, &share{code: fmt.Sprintf("t%02d", n), began: make([]int, each), now: make([]int, each), done: make([]int, each)})
	}
	return w
}

type parcel struct {
	Tenant int `json:"tenant"`
	N      int `json:"n"`
}

// run is the jobs' Run. Some panic and some fail when they run first, some always.
func (w *work) run(ctx context.Context, sc scope.Scope, j jobs.Job) error {
	var p parcel
	if err := j.Payload.Decode(&p); err != nil {
		return err
	}
	s := w.tenants[p.Tenant]
	if got, who := sc.Tenant().String(), sc.Actor().UserID; got != s.code || who != "user-of-"+s.code {
		w.Errorf("a job of %s runs in %s for %s", s.code, got, who)
	}
	if n := s.running.Add(1); n > perTenant {
		w.Errorf("%d jobs of %s run at a time", n, s.code)
	}
	s.mu.Lock()
	s.began[p.N]++
	first := s.began[p.N] == 1
	if s.now[p.N]++; s.now[p.N] > 1 {
		w.Errorf("job %d of %s runs twice at a time", p.N, s.code)
	}
	s.mu.Unlock()
	if first && p.N == w.each/10 && p.Tenant == 3 {
		w.midway()
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now[p.N]--
		s.running.Add(-1)
	}()
	switch {
	case p.N%50 == 7 && first:
		panic("the first attempt")
	case p.N%50 == 13 && first:
		return errors.New("the first attempt")
	case w.dies(p.N):
		return jobs.Final(errors.New("each attempt"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[p.N]++
	return nil
}

func (w *work) dies(n int) bool { return n%500 == 29 }

// deleted reports whether a tenant is deleted while its jobs run.
func deleted(at int) bool { return at%20 == 3 }

// stands is how long no job may end while some wait: nothing is asked of how fast they do.
const stands = time.Minute

func (w *work) kind() jobs.Kind {
	return jobs.Kind{Name: "parcel", PerTenant: perTenant, Workers: 32, Backoff: func(int) time.Duration { return time.Millisecond }, Run: w.run}
}

// order orders the jobs of all tenants, interleaved.
func (w *work) order(queues ...*world) {
	var orderers sync.WaitGroup
	for i := range 16 {
		q := queues[i%len(queues)]
		orderers.Go(func() {
			for n := i; n < w.each; n += 16 {
				for at, s := range w.tenants {
					payload, err := record.EncodeAttributes(parcel{at, n})
					if err != nil {
						w.Error(err)
						return
					}
					actor := worldtest.Actor()
					actor.UserID = "user-of-" + s.code
					if _, err := q.Enqueue(w.Context(), worldtest.ScopeFor(s.code, actor), jobs.Order{Kind: "parcel", Payload: payload}); err != nil {
						w.Errorf("order %d of %s: %v", n, s.code, err)
					}
				}
			}
		})
	}
	orderers.Wait()
}

// check waits until no job waits, and checks that every one ended as it should.
func (w *work) check(q *world) (done, dead, dropped int) {
	w.Helper()
	for at, s := range w.tenants {
		sc := worldtest.Scope(s.code)
		for ended, since := w.ended.Load(), time.Now(); ; {
			waiting, _, err := q.List(w.Context(), sc, jobs.Query{Kind: "parcel", Limit: 1})
			if err != nil {
				w.Fatal(err)
			}
			if len(waiting) == 0 {
				break
			}
			if now := w.ended.Load(); now != ended {
				ended, since = now, time.Now()
			} else if time.Since(since) > stands {
				w.Fatalf("a job of %s waits, and none has ended for %v: %+v", s.code, stands, waiting[0])
			}
			<-time.After(5 * time.Millisecond)
		}
		ended := map[int]jobs.State{}
		for after := ""; ; {
			kept, next, err := q.List(w.Context(), sc, jobs.Query{Kind: "parcel", Kept: true, After: after, Limit: 1000})
			if err != nil {
				w.Fatal(err)
			}
			for _, j := range kept {
				var p parcel
				if err := j.Payload.Decode(&p); err != nil || p.Tenant != at {
					w.Fatalf("%s keeps a job of %d: %v", s.code, p.Tenant, err)
				}
				ended[p.N] = j.State
			}
			if after = next; next == "" {
				break
			}
		}
		s.mu.Lock()
		for n := range w.each {
			state := ended[n]
			switch {
			case s.done[n] > 0 && state == "":
				done++
			case s.done[n] == 0 && state == jobs.Dead && w.dies(n):
				dead++
			case s.done[n] == 0 && state == jobs.Dropped && deleted(at):
				dropped++
			default:
				w.Errorf("job %d of %s was done %d times, and its state is %q", n, s.code, s.done[n], state)
			}
		}
		s.mu.Unlock()
	}
	return done, dead, dropped
}

// long reports whether the proof is asked for in full; the tests do a twentieth.
func long() bool { return os.Getenv("TENANTRY_LONG_RUN") != "" }

// TestJobsOfManyTenants has two processes run the jobs of 100 tenants, with panics, failures and tenants that are deleted in the middle: none
// crosses, none is lost, none runs twice at a time, and no tenant has more at a time than it may.
func TestJobsOfManyTenants(t *testing.T) {
	part := 1
	if long() {
		part = 20
	}
	for _, on := range []struct {
		name string
		src  driver.Source
		each int
	}{{"memory", memory.New(), 500 * part}, {"sqlite", sqlite.At(t.TempDir()), 50 * part}} {
		t.Run(on.name, func(t *testing.T) {
			w := newWork(t, on.each)
			counting := func(c *jobs.Config) {
				patient(c)
				c.Observe = func(jobs.Outcome) { w.ended.Add(1) }
			}
			a, b := newWorld(t, on.src, counting, w.kind()), newWorld(t, on.src, counting, w.kind())
			w.midway = func() {
				for at, s := range w.tenants {
					if deleted(at) {
						a.tenants.set(s.code, guard.State{})
						b.tenants.set(s.code, guard.State{})
					}
				}
			}
			a.run()
			b.run()
			began := time.Now()
			w.order(a, b)
			done, dead, dropped := w.check(a)
			if dropped == 0 || dead == 0 {
				t.Errorf("%d were dropped and %d are dead; neither was tried", dropped, dead)
			}
			t.Logf("measured: %s: %d jobs done, %d dead, %d dropped with their tenant, in %v", on.name, done, dead, dropped, time.Since(began).Round(time.Millisecond))
		})
	}
}

// Package jobs is background work that keeps its tenant: a small queue on the same store.
//
// Each [Kind] of work is a queue of its own. A job is ordered through a Scope, by itself ([Queue.Enqueue]) or in the commit of a command
// ([Queue.Beside]), and is run with a Scope of the same tenant and of no other. Jobs of several tenants run in turn, whatever each one's
// backlog: one that has ordered a million holds up nobody. The job of a tenant that is suspended waits; that of one that was deleted is
// dropped, and kept as such.
//
// A job runs at least once. While a process that runs one is alive, no other process runs it; one that dies is followed after a term. One
// that fails is tried again after growing pauses; when its attempts are used up it is dead, and is kept with the reason until an operator
// has it tried again or drops it.
package jobs

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// Kind is a kind of work. Name and Run are required.
type Kind struct {
	Name string // [a-z][a-z0-9-]{0,62}; jobs are kept under it, so it must not change

	// Run does the work of j in sc, which covers the job's tenant only and acts for whoever ordered it. Its effect should be the same when it
	// runs twice. When the context ends Run should return soon: the process ends, or the job was taken away. A panic is a failure.
	Run func(ctx context.Context, sc scope.Scope, j Job) error

	// Attempts is how often a job is tried before it is dead. Defaults to 8.
	Attempts int

	// Backoff returns the pause behind an attempt, counted from 1. Defaults to a second doubled each time, at most an hour.
	Backoff func(attempt int) time.Duration

	// PerTenant is how many jobs of one tenant run at a time, in all processes together. Defaults to 2.
	PerTenant int

	// Workers is how many jobs run at a time in one process. Defaults to 8.
	Workers int

	// Timeout is how long one attempt may take. Defaults to an hour.
	Timeout time.Duration

	// Quick is how long an attempt keeps its worker. One that lasts longer goes on without, and its tenant is slow, until an attempt of its ends
	// sooner: one job of a slow tenant runs at a time, and slow tenants have as many workers of their own. So tenants whose work hangs hold up
	// nobody else. Of each, quick and slow, Workers × Timeout / Quick jobs may run at a time. Defaults to 0: a worker is kept until the attempt ends.
	Quick time.Duration
}

// Order asks for a job. Kind is required.
type Order struct {
	Kind    string
	Payload record.Attributes // what Run is given: at most MaxPayload bytes; nil for none

	// Unique makes orders of one tenant and kind under the same text one job for as long as it waits: once it has begun, the next order
	// makes another, which waits until the first is done. At most 200 bytes of printable UTF-8. Defaults to "": every order is a job.
	Unique string

	// At is when the job is due, and After how long from now, where At is zero. Default to at once.
	At    time.Time
	After time.Duration
}

// MaxPayload is the size of the largest payload, in bytes.
const MaxPayload = 64 << 10

// State says where a job stands.
type State string

// The states. A job that was done is not kept.
const (
	Waiting State = "waiting"
	Running State = "running"
	Dead    State = "dead"    // its attempts are used up; it waits for an operator
	Dropped State = "dropped" // its tenant was deleted
)

// Job is one job.
type Job struct {
	ID        string
	Kind      string
	State     State
	Payload   record.Attributes
	Unique    string
	Attempts  int       // begun so far, this one included while it runs
	Due       time.Time // when it is, or was, due
	CreatedAt time.Time
	CreatedBy string // who ordered it
	RequestID string // in which request
	Reason    string // why the last attempt failed, or the job was dropped; "" where none failed
	Shown     bool   // Reason was made to be shown to the tenant
}

// Outcome is what became of an attempt, for metrics.
type Outcome struct {
	Kind   string
	Result string        // done, failed (it is tried again), dead, dropped, released (the process ended), lost (the job was taken away)
	Took   time.Duration // of the attempt
	Waited time.Duration // from when the job was due to when the attempt began
}

// Config is what a Queue is made of. Every field is required but those that state a default.
type Config struct {
	Store *storage.Store

	// Jobs keeps each tenant's jobs, Directory which tenants have some, Workers which processes run some.
	Jobs, Directory, Workers storage.Keeper

	// Tenant answers whether a tenant exists and is active.
	Tenant func(context.Context, tenant.Code) (guard.State, error)

	// Term is after how long without a sign of life another process takes over the jobs that one runs. It is the same in all
	// processes. Defaults to 4 seconds.
	Term time.Duration

	// Keep is how long dead and dropped jobs are kept. Defaults to 30 days.
	Keep time.Duration

	// Observe is told of every attempt. Defaults to nobody.
	Observe func(Outcome)

	// Log defaults to slog.Default.
	Log *slog.Logger

	// Now defaults to time.Now.
	Now func() time.Time
}

// Queue takes jobs and runs them. It may be used concurrently, once all kinds are registered.
type Queue struct {
	cfg     Config
	lines   map[string]*line
	entropy io.Reader
	workers *workers
}

// New returns a Queue without kinds that does not run.
func New(cfg Config) *Queue {
	if cfg.Term == 0 {
		cfg.Term = 4 * time.Second
	}
	if cfg.Keep == 0 {
		cfg.Keep = 30 * 24 * time.Hour
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Outcome) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Queue{cfg: cfg, lines: map[string]*line{}, workers: newWorkers(cfg),
		entropy: &ulid.LockedMonotonicReader{MonotonicReader: ulid.Monotonic(rand.Reader, 0)}}
}

var kindName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Register adds kinds, before Run. It fails with fault.InvalidRequest for two kinds of one name, a name that is none, and a kind without Run.
func (q *Queue) Register(kinds ...Kind) error {
	for _, k := range kinds {
		if !kindName.MatchString(k.Name) || q.lines[k.Name] != nil || k.Run == nil {
			return fault.New(fault.InvalidRequest, "jobs.Register", "kind %q: a kind of jobs has a name of its own, a letter and up to 62 of a-z, 0-9 and -, and a Run", k.Name)
		}
		if k.Attempts == 0 {
			k.Attempts = 8
		}
		if k.Backoff == nil {
			k.Backoff = func(n int) time.Duration { return min(time.Hour, time.Second<<min(n-1, 12)) }
		}
		if k.PerTenant == 0 {
			k.PerTenant = 2
		}
		if k.Workers == 0 {
			k.Workers = 8
		}
		if k.Timeout == 0 {
			k.Timeout = time.Hour
		}
		q.lines[k.Name] = &line{queue: q, kind: k, turns: newTurns()}
	}
	return nil
}

// Run runs jobs until the context ends, and returns when those that were running have ended: they are given back, without the attempt.
func (q *Queue) Run(ctx context.Context) {
	var working sync.WaitGroup
	for _, l := range q.lines {
		working.Go(func() { l.run(ctx) })
	}
	stopped := make(chan struct{})
	var renewing sync.WaitGroup
	renewing.Go(func() { q.workers.keep(stopped) })
	q.follow(ctx)
	working.Wait()
	close(stopped)
	renewing.Wait()
}

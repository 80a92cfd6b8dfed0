// Package upkeep keeps a read model: it applies each command of the change feed to the tables of readmodel.Projections, once.
//
// The place in the feed stands in the read model's own database and moves in the transaction of what was applied, which only one
// transaction that began at that place can make. So the effect is exactly once whatever dies, and with any number of
// processes; the lease only keeps them from doing the same work. Beside the tables it keeps, in the same transaction, how many
// records each tenant has of each entity type ([Runner.Look]), and how far each tenant is ([Runner.Tenants]).
//
// A command that can't be applied is parked with its reason in the transaction that passes it, and so are later ones of its record;
// everything else goes on. It is tried again after growing pauses, then by an operator. What is kept of a tenant can be
// made anew from the log beside the live rows, compared and put in their place ([Runner.Rebuild]), or compared only ([Runner.Audit]).
//
// See docs/adr/0019-projections.md for why it is so.
package upkeep

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Counters is the name under which the counts of records are rebuilt and audited, as a projection is.
const Counters = "counters"

// Config is what a Runner is made of.
type Config struct {
	Store *storage.Store

	// Database holds the read model, and what the Runner keeps beside it.
	Database driver.Relational

	// Model is what is kept. Defaults to nothing: records are counted all the same.
	Model *readmodel.Model

	// Owners say whose the records of an entity type are, where they are counted. Defaults to the tenant of their PK.
	Owners map[record.EntityType]func(*record.Record) (tenant.Code, error)

	// Leases, Owner and Term say which process works, as for projection.Runner. Owner defaults to a new identifier, Term to 4 seconds.
	Leases storage.Keeper
	Owner  string
	Term   time.Duration

	// Attempts is how often a command is tried before it waits for an operator. Defaults to 8.
	Attempts int

	// Backoff returns the pause before an attempt, counted from 1. Defaults to 100 ms doubled each time, at most a minute.
	Backoff func(attempt int) time.Duration

	// Patience is how long Wait waits. Defaults to 5 seconds.
	Patience time.Duration

	// Log defaults to slog.Default.
	Log *slog.Logger

	// Now defaults to time.Now.
	Now func() time.Time
}

// Runner keeps a read model. Start it once; Close ends it. Its methods may be used concurrently.
type Runner struct {
	cfg         Config
	db          driver.Relational
	across      storage.Across
	lease       projection.Alone
	turnLimit   time.Duration
	projections []readmodel.Projection
	types       map[record.EntityType][]*readmodel.Projection
	names       map[string]*readmodel.Projection
	tables      map[string][]table // by projection
	stale       []string           // tables whose rows are not what their declarations say, since the Runner was opened
	wake        chan struct{}      // receives when there may be something to do

	size   int             // of the next batch; of who works
	busy   chan struct{}   // holds one while a live transaction is under way
	state  *state          // what the last one left, nil where that must be read; of who is busy
	pauses map[share]pause // of projections that lack something; of who is busy

	moving sync.Mutex
	moved  chan struct{} // closed, and replaced, when the position moves; guarded by moving

	stop   context.CancelFunc
	ending sync.WaitGroup
}

// New returns a Runner that is not running.
func New(cfg Config) *Runner {
	cfg.Owner = cmp.Or(cfg.Owner, record.NewID())
	cfg.Term = cmp.Or(cfg.Term, 4*time.Second)
	cfg.Attempts = cmp.Or(cfg.Attempts, 8)
	cfg.Patience = cmp.Or(cfg.Patience, 5*time.Second)
	if cfg.Backoff == nil {
		cfg.Backoff = projection.Backoff
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Runner{cfg: cfg, db: cfg.Database, size: batch, turnLimit: turnLimit, pauses: map[share]pause{}, wake: make(chan struct{}, 1), busy: make(chan struct{}, 1), moved: make(chan struct{}),
		lease: projection.Alone{Leases: cfg.Leases, Owner: cfg.Owner, Term: cfg.Term, Log: cfg.Log},
		types: map[record.EntityType][]*readmodel.Projection{}, names: map[string]*readmodel.Projection{}, tables: map[string][]table{}}
	if cfg.Model != nil {
		r.projections = cfg.Model.Projections()
	}
	for i := range r.projections {
		p := &r.projections[i]
		r.types[p.Type] = append(r.types[p.Type], p)
		r.names[p.Name] = p
		for _, name := range p.Tables {
			if form, ok := cfg.Model.Form(name); ok {
				r.tables[p.Name] = append(r.tables[p.Name], table{form.Name, form.Shadow, []string{`"pk"`, `"sk"`}, form.Columns})
			}
		}
	}
	return r
}

// Open makes the tables of the model and those that the Runner keeps. It fails with fault.InvalidRequest for a projection with the name Counters.
func (r *Runner) Open(ctx context.Context) (err error) {
	if r.names[Counters] != nil {
		return fault.New(fault.InvalidRequest, "upkeep.Open", "a projection has another name than %s, which is that of what is counted", Counters)
	}
	sys := scope.NewSystem("", scope.Actor{UserID: "system"}, "keep the read model", nil)
	if r.across, err = r.cfg.Store.Across(ctx, sys); err != nil {
		return err
	}
	name, err := r.define(ctx)
	if err == nil && r.cfg.Model != nil {
		r.stale, err = r.cfg.Model.Migrate(ctx, r.db, r.giveUp)
	}
	r.lease.Name = "READ_MODEL." + name // processes with databases of their own keep one each
	return err
}

// Start begins to follow the feed, in one of the processes that share the store, and carries out rebuilds there.
func (r *Runner) Start(ctx context.Context) {
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.ending.Go(func() { r.lease.Run(ctx, r.work) })
}

// Close ends what Start began, after the transaction that is under way.
func (r *Runner) Close() {
	if r.stop != nil {
		r.stop()
	}
	r.ending.Wait()
}

// work keeps the read model until ctx ends.
func (r *Runner) work(ctx context.Context) {
	var rebuilding sync.WaitGroup
	defer rebuilding.Wait()
	asked := make(chan struct{}, 1)
	rebuilding.Go(func() { r.rebuildAll(ctx, asked) })
	signal, stop := r.cfg.Store.Committed()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for ctx.Err() == nil {
		rest, err := r.round(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			r.cfg.Log.ErrorContext(ctx, "the read model stands still; it is tried again", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-time.After(pace): // what is committed meanwhile is one transaction
		}
		timer.Reset(rest)
		select {
		case <-ctx.Done():
		case <-signal:
		case <-timer.C:
		case <-r.wake:
			nudge(asked)
		}
	}
}

// pace is how long the read model rests between two rounds, so that it has no transaction of its own for each of many commits.
const pace = 5 * time.Millisecond

// round applies what the feed holds, tries what is due, and returns how long there is nothing to do but what comes.
func (r *Runner) round(ctx context.Context) (rest time.Duration, err error) {
	rest = r.cfg.Term / 4
	if err := r.register(ctx); err != nil {
		return rest, err
	}
	if len(r.stale) > 0 {
		if err := r.renew(ctx); err != nil {
			return rest, err
		}
	}
	if err := r.catchUp(ctx); err != nil {
		return rest, err
	}
	return r.retryDue(ctx, rest)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

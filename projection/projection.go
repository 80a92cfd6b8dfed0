// Package projection runs what follows commands: handlers that consume the change feed.
//
// A handler sees the commands of one record in the order of their versions, each at least once. One that fails is tried
// again after growing pauses; meanwhile its record waits aside and holds up nothing else. When the attempts are used up, the record
// is parked with the reason, until an operator retries or skips it.
package projection

import (
	"context"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Handler is what an application does after a command. Both methods get a Scope of the command's tenant and cannot
// reach another. They run at least once for a command, so their effect should be the same when they run twice. What they publish
// with their context is written at once, but they don't wait for its handlers.
type Handler interface {
	// Up carries a command's effect out.
	Up(ctx context.Context, sc scope.Scope, cmd *record.Record) error

	// Down takes a command's effect back, newest command first, when an operator replays a record. It is right too for a
	// command that Up carried out in part, or not yet.
	Down(ctx context.Context, sc scope.Scope, cmd *record.Record) error
}

// Registration is a handler with its name, which its checkpoint is kept under and which must not change, and its module.
type Registration struct {
	Name    string // [a-z][a-z0-9-]{0,62}
	Module  string // sees the commands of this module's entity types; "" sees all
	Handler Handler
}

// Config is what a Runner is made of.
type Config struct {
	Store         *storage.Store
	Registrations []Registration

	// ModuleOf returns the module of an entity type.
	ModuleOf func(record.EntityType) string

	// Checkpoints and Parked keep positions and parked records; Leases keeps which process runs a handler, and what operators
	// order.
	Checkpoints, Parked, Leases storage.Keeper

	// Owner is what this process is called in leases; no other process may have the same. Defaults to a new identifier.
	Owner string

	// Term is after how long without a renewal another process takes a lease: a holder that dies is followed within a quarter
	// more. It is the same in all processes. Defaults to 4 seconds.
	Term time.Duration

	// Attempts is how often a handler tries a command before its record is parked. Defaults to 8.
	Attempts int

	// Backoff returns the pause before an attempt, counted from 1. Defaults to 100 ms doubled each time, at most a minute.
	Backoff func(attempt int) time.Duration

	// Lanes is how many records one handler works on at a time, half of them of one tenant at most. Defaults to 16.
	Lanes int

	// Log defaults to slog.Default.
	Log *slog.Logger

	// Now defaults to time.Now.
	Now func() time.Time
}

// Backoff is the pause before an attempt, counted from 1, where nothing else is asked for: 100 ms doubled each time, at most a minute.
func Backoff(attempt int) time.Duration {
	return min(time.Minute, 100*time.Millisecond<<min(attempt-1, 16))
}

// Runner runs handlers, each in one of the processes that share a store. Start it once; Close ends it.
type Runner struct {
	cfg    Config
	lines  []*line
	stop   context.CancelFunc
	ending sync.WaitGroup

	mu      sync.Mutex
	running bool
	waiters map[recordKey][]*waiter
	early   bool // the store says a command's place in the feed when it commits
}

type recordKey struct{ pk, sk string }

// insideKey marks the context of a running handler.
type insideKey struct{}

func keyOf(r *record.Record) recordKey { return recordKey{r.PK, r.SK} }

// New returns a Runner that is not running.
func New(cfg Config) *Runner {
	if cfg.Attempts == 0 {
		cfg.Attempts = 8
	}
	if cfg.Backoff == nil {
		cfg.Backoff = Backoff
	}
	if cfg.Lanes == 0 {
		cfg.Lanes = 16
	}
	if cfg.Owner == "" {
		cfg.Owner = record.NewID()
	}
	if cfg.Term == 0 {
		cfg.Term = 4 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Runner{cfg: cfg, waiters: map[recordKey][]*waiter{}}
	for _, reg := range cfg.Registrations {
		r.lines = append(r.lines, newLine(r, reg))
	}
	return r
}

var handlerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Start begins to run the handlers, each after its checkpoint; one that never ran begins with the first command.
// It fails where a checkpoint can't be read, and with fault.InvalidRequest for two handlers of one name or a name that is none.
func (r *Runner) Start(ctx context.Context) error {
	names := map[string]bool{}
	for _, l := range r.lines {
		if name := l.reg.Name; names[name] || !handlerName.MatchString(name) {
			return fault.New(fault.InvalidRequest, "projection.Start", "handler %q: a handler has a name of its own, a letter and up to 62 of a-z, 0-9 and -", name)
		}
		names[l.reg.Name] = true
		if err := l.load(ctx, true); err != nil {
			return err
		}
	}
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	for _, l := range r.lines {
		r.ending.Go(func() { l.run(ctx) })
	}
	return nil
}

// Close ends the handlers, after those that are running, and releases those who wait for them.
func (r *Runner) Close() {
	if r.stop != nil {
		r.stop()
	}
	r.ending.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = false
	for _, ws := range r.waiters {
		for _, w := range ws {
			if len(w.lines) > 0 {
				close(w.done)
				clear(w.lines) // nobody is told twice
			}
		}
	}
	clear(r.waiters)
}

// Status is where one handler stands.
type Status struct {
	Name     string `json:"name"`
	Module   string `json:"module"`
	Held     bool   `json:"held"`     // this process runs it; what it says of another's is up to a second old
	Position string `json:"position"` // the last change that is wholly behind it
	Aside    int    `json:"aside"`    // records that wait for another attempt
	Parked   int    `json:"parked"`   // records that wait for an operator
}

// Status returns where each handler stands. It needs the System capability.
func (r *Runner) Status(ctx context.Context, sys scope.System) ([]Status, error) {
	if err := sys.Note(ctx); err != nil {
		return nil, err
	}
	out := make([]Status, len(r.lines))
	for i, l := range r.lines {
		out[i] = l.status()
	}
	return out, nil
}

// End returns the end of the change feed, which the positions of handlers come to.
func (r *Runner) End(ctx context.Context) (driver.Position, error) {
	across, err := r.cfg.Store.Across(ctx, scope.NewSystem("", scope.Actor{UserID: "system"}, "look how far the change feed goes", nil))
	if err != nil {
		return "", err
	}
	return across.End(ctx)
}

// Waiting says whether a version of a record waits for a handler that failed: "parked", "retrying", or "" where none
// failed for it.
func (r *Runner) Waiting(cmd *record.Record) string {
	state := ""
	for _, l := range r.lines {
		switch l.stateOf(keyOf(cmd), cmd.Version) {
		case "parked":
			return "parked"
		case "retrying":
			state = "retrying"
		}
	}
	return state
}

func (r *Runner) find(name string) (*line, error) {
	for _, l := range r.lines {
		if l.reg.Name == name {
			return l, nil
		}
	}
	return nil, fault.New(fault.NotFound, "projection", "there is no handler of this name")
}

// scopeOf returns a Scope of the tenant of a PK, for a handler. PKs that no Scope can name, which older services
// wrote, have none.
func scopeOf(pk, requestID, handler string) (scope.Scope, bool) {
	_, code, _, err := record.SplitPK(pk)
	if err != nil {
		return scope.Scope{}, false
	}
	actor := &scope.Actor{UserID: "system", Role: "system", RequestID: requestID, Source: "handler " + handler}
	return scope.New(code, scope.Full, time.Time{}, actor), true
}

package projection

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// Parked is a record whose handler failed, as an operator sees it.
type Parked struct {
	Handler  string      `json:"handler"`
	ID       string      `json:"id"`
	PK       string      `json:"pk"`
	SK       string      `json:"sk"`
	Version  int64       `json:"version"` // the command that failed; those after it wait
	Attempts int         `json:"attempts"`
	Reason   string      `json:"reason"`
	Next     record.Time `json:"next,omitzero"` // the next attempt; zero waits for an operator
}

// Parked returns the records of a tenant that wait for an attempt or an operator, ordered by ID.
func (r *Runner) Parked(sc scope.Scope) ([]Parked, error) {
	if err := sc.Check(); err != nil {
		return nil, err
	}
	return r.parkedIf(func(pk string) bool {
		_, code, _, err := record.SplitPK(pk)
		return err == nil && code == sc.Tenant()
	}), nil
}

// ParkedOfAll returns the records of all tenants that wait, ordered by ID. It needs the System capability.
func (r *Runner) ParkedOfAll(ctx context.Context, sys scope.System) ([]Parked, error) {
	if err := sys.Note(ctx); err != nil {
		return nil, err
	}
	return r.parkedIf(func(string) bool { return true }), nil
}

// parkedIf returns the records whose PK is wanted.
func (r *Runner) parkedIf(wanted func(pk string) bool) (out []Parked) {
	for _, l := range r.lines {
		out = append(out, l.parkedIf(wanted)...)
	}
	slices.SortFunc(out, func(a, b Parked) int { return strings.Compare(a.ID+a.Handler, b.ID+b.Handler) })
	return out
}

func (l *line) parkedIf(wanted func(pk string) bool) (out []Parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.aside {
		if !wanted(p.PK) {
			continue
		}
		shown := Parked{Handler: l.reg.Name, ID: p.PK + record.Separator + p.SK, PK: p.PK, SK: p.SK, Version: p.Version, Attempts: p.Attempts, Reason: p.Reason}
		if p.Next != 0 {
			shown.Next = record.At(time.UnixMilli(p.Next))
		}
		out = append(out, shown)
	}
	return out
}

// Count is how many records of each tenant wait for one handler: for another attempt, or for an operator.
type Count struct {
	Handler          string
	Retrying, Parked map[tenant.Code]int64
}

// Counts returns what waits for each handler. It is for metrics, which only operators see.
func (r *Runner) Counts() []Count {
	out := make([]Count, len(r.lines))
	for i, l := range r.lines {
		out[i] = l.count()
	}
	return out
}

func (l *line) count() Count {
	c := Count{l.reg.Name, map[tenant.Code]int64{}, map[tenant.Code]int64{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.aside {
		_, code, _, err := record.SplitPK(p.PK)
		switch {
		case err != nil: // nobody's
		case p.Next == 0:
			c.Parked[code]++
		default:
			c.Retrying[code]++
		}
	}
	return c
}

// order is what an operator wants of a handler. It is kept, so that the process that runs the handler carries it out, whoever took
// it, and carries it out once: the row goes in the commit of what it does.
type order struct {
	Do      string `json:"do"` // retry, skip or replay
	PK      string `json:"pk"`
	SK      string `json:"sk"`
	Version int64  `json:"version"` // the command that waits; with replay the first to take back
}

// Retry gives a parked record its attempts back and has it tried at once, within a second where another process runs the
// handler. It fails with fault.NotFound where the record does not wait for that handler, and with fault.Unavailable where
// the handlers don't run.
func (r *Runner) Retry(ctx context.Context, handler string, key record.Key) error {
	return r.amend(ctx, handler, "retry", key)
}

// Skip gives up the command that failed and goes on with the one after it; in a replay that can't take back, it gives up
// taking back and goes on with carrying out. Of two operators who skip one command, one does. It fails as Retry does.
func (r *Runner) Skip(ctx context.Context, handler string, key record.Key) error {
	return r.amend(ctx, handler, "skip", key)
}

func (r *Runner) amend(ctx context.Context, handler, do string, key record.Key) error {
	l, err := r.find(handler)
	if err != nil {
		return err
	}
	waiting, err := r.cfg.Parked.Get(ctx, owner, l.asideKey(recordKey{key.PK(), key.SK()}))
	if err != nil {
		return err
	}
	if waiting.Version == 0 && r.runs() {
		return fault.New(fault.NotFound, "projection", "this record does not wait for this handler")
	}
	return r.order(ctx, l, order{Do: do, PK: key.PK(), SK: key.SK(), Version: l.parkedOf(waiting).Version})
}

// Replay runs a handler anew for a record from a version on: Down for what was carried out, newest first, then Up in
// order. The record stands aside until that is done. It is for a handler whose defect was mended. It fails with fault.NotFound
// where there is no handler of the name, and with fault.Unavailable where the handlers don't run.
func (r *Runner) Replay(ctx context.Context, handler string, key record.Key, from int64) error {
	l, err := r.find(handler)
	if err != nil {
		return err
	}
	return r.order(ctx, l, order{Do: "replay", PK: key.PK(), SK: key.SK(), Version: max(1, from)})
}

func (r *Runner) runs() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

func (r *Runner) order(ctx context.Context, l *line, o order) error {
	if !r.runs() {
		return fault.New(fault.Unavailable, "projection", "the handlers don't run in this process")
	}
	value, err := record.EncodeAttributes(o)
	if err != nil {
		return err
	}
	row := storage.Row{Owner: owner, SK: l.orders() + record.NewID(), Value: value}
	if err := r.cfg.Leases.Commit(ctx, r.cfg.Leases.Put(row)); err != nil {
		return err
	}
	l.nudge()
	return nil
}

// orders is what the sort keys of a line's orders begin with.
func (l *line) orders() string { return l.reg.Name + record.Separator }

// obey has what operators ordered take its turn.
func (l *line) obey(ctx context.Context, t *turns) error {
	rows, err := l.runner.cfg.Leases.List(ctx, owner, l.orders(), "", batch)
	if err != nil {
		return err
	}
	for _, row := range rows {
		l.mu.Lock()
		under := l.obeying[row.SK]
		l.obeying[row.SK] = true
		l.mu.Unlock()
		if under {
			continue
		}
		var o order
		if err := row.Value.Decode(&o); err != nil {
			l.runner.cfg.Log.ErrorContext(ctx, "what an operator ordered has a form that this version does not know; a process of the version that took it carries it out", "handler", l.reg.Name, "order", row.SK)
			continue
		}
		_, code, _, _ := record.SplitPK(o.PK)
		t.beside(code, recordKey{o.PK, o.SK}, func(ctx context.Context) error {
			err := l.carryOut(ctx, o, l.runner.cfg.Leases.Delete(row))
			l.mu.Lock()
			delete(l.obeying, row.SK)
			l.mu.Unlock()
			return err
		})
	}
	return nil
}

// carryOut keeps what an order makes of a record aside, and with it that the order is done.
func (l *line) carryOut(ctx context.Context, o order, done storage.SystemWrite) error {
	next := parked{Handler: l.reg.Name, PK: o.PK, SK: o.SK, Version: o.Version, Undo: true}
	l.mu.Lock()
	waiting, ok := l.aside[next.key()]
	l.mu.Unlock()
	switch {
	case o.Do == "replay":
		if ok {
			next.Version = min(next.Version, waiting.Version)
		}
	case !ok || waiting.Version != o.Version: // it came back in line meanwhile
		return l.lease.commit(ctx, done)
	default:
		next = *waiting
		next.Attempts = 0
		if o.Do == "skip" {
			if !next.Undo {
				next.Version++
			}
			next.Undo = false
		}
	}
	next.Next = l.runner.cfg.Now().UnixMilli()
	return l.keep(ctx, &next, done)
}

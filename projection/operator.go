package projection

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
)

// Parked is a record whose handler failed, as an operator sees it.
type Parked struct {
	Handler  string      `json:"handler"`
	ID       string      `json:"id"`
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
	var out []Parked
	for _, l := range r.lines {
		out = append(out, l.parkedOf(sc)...)
	}
	slices.SortFunc(out, func(a, b Parked) int { return strings.Compare(a.ID+a.Handler, b.ID+b.Handler) })
	return out, nil
}

func (l *line) parkedOf(sc scope.Scope) (out []Parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.aside {
		if _, code, _, err := record.SplitPK(p.PK); err != nil || code != sc.Tenant() {
			continue
		}
		shown := Parked{Handler: l.reg.Name, ID: p.PK + record.Separator + p.SK, Version: p.Version, Attempts: p.Attempts, Reason: p.Reason}
		if p.Next != 0 {
			shown.Next = record.At(time.UnixMilli(p.Next))
		}
		out = append(out, shown)
	}
	return out
}

// Retry gives a parked record its attempts back and tries it at once. It fails with fault.NotFound where the record
// does not wait for that handler, and with fault.Unavailable where the handlers don't run.
func (r *Runner) Retry(ctx context.Context, handler string, key record.Key) error {
	return r.amend(ctx, handler, key, func(p *parked) { p.Attempts = 0 })
}

// Skip gives up the command that failed and goes on with the one after it; in a replay that can't take back, it gives up
// taking back and goes on with carrying out. It fails as Retry does.
func (r *Runner) Skip(ctx context.Context, handler string, key record.Key) error {
	return r.amend(ctx, handler, key, func(p *parked) {
		if !p.Undo {
			p.Version++
		}
		p.Attempts, p.Undo = 0, false
	})
}

func (r *Runner) amend(ctx context.Context, handler string, key record.Key, change func(*parked)) error {
	return r.ask(ctx, handler, func(ctx context.Context, l *line) error {
		waiting, ok := l.aside[recordKey{key.PK(), key.SK()}]
		if !ok {
			return fault.New(fault.NotFound, "projection", "this record does not wait for this handler")
		}
		next := *waiting
		change(&next)
		return l.tryNow(ctx, &next)
	})
}

// Replay runs a handler anew for a record from a version on: Down for what was carried out, newest first, then Up in
// order. The record stands aside until that is done. It is for a handler whose defect was mended. It fails with fault.NotFound
// where there is no handler of the name, and with fault.Unavailable where the handlers don't run.
func (r *Runner) Replay(ctx context.Context, handler string, key record.Key, from int64) error {
	return r.ask(ctx, handler, func(ctx context.Context, l *line) error {
		p := &parked{Handler: handler, PK: key.PK(), SK: key.SK(), Version: max(1, from), Undo: true}
		if waiting, ok := l.aside[p.key()]; ok {
			p.Version = min(p.Version, waiting.Version)
		}
		return l.tryNow(ctx, p)
	})
}

// ask has a handler's line do something between its other work, and returns what came of it.
func (r *Runner) ask(ctx context.Context, handler string, do func(context.Context, *line) error) error {
	l, err := r.find(handler)
	if err != nil {
		return err
	}
	r.mu.Lock()
	running := r.running
	r.mu.Unlock()
	stopped := fault.New(fault.Unavailable, "projection", "the handlers don't run in this process")
	if !running {
		return stopped
	}
	ask := request{do: func(ctx context.Context) error { return do(ctx, l) }, done: make(chan error, 1)}
	select {
	case l.requests <- ask:
		return <-ask.done
	case <-l.ended:
		return stopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tryNow keeps a record aside for an attempt at once.
func (l *line) tryNow(ctx context.Context, p *parked) error {
	p.Next = l.runner.cfg.Now().UnixMilli()
	return l.keep(ctx, p)
}

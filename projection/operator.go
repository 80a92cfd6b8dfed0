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
// does not wait for that handler.
func (r *Runner) Retry(ctx context.Context, handler string, key record.Key) error {
	return r.amend(ctx, handler, key, func(p *parked) { p.Attempts = 0 })
}

// Skip gives up the command that failed and goes on with the one after it. It fails as Retry does.
func (r *Runner) Skip(ctx context.Context, handler string, key record.Key) error {
	return r.amend(ctx, handler, key, func(p *parked) { p.Version, p.Attempts, p.Undo = p.Version+1, 0, false })
}

func (r *Runner) amend(ctx context.Context, handler string, key record.Key, change func(*parked)) error {
	l, err := r.find(handler)
	if err != nil {
		return err
	}
	l.mu.Lock()
	p, ok := l.aside[recordKey{key.PK(), key.SK()}]
	l.mu.Unlock()
	if !ok {
		return fault.New(fault.NotFound, "projection", "this record does not wait for this handler")
	}
	next := *p
	change(&next)
	return l.tryNow(ctx, &next)
}

// Replay runs a handler anew for a record from a version on: Down for what was carried out, newest first, then Up in
// order. The record stands aside until that is done. It is for a handler whose defect was mended.
func (r *Runner) Replay(ctx context.Context, handler string, key record.Key, from int64) error {
	l, err := r.find(handler)
	if err != nil {
		return err
	}
	return l.tryNow(ctx, &parked{Handler: handler, PK: key.PK(), SK: key.SK(), Version: max(1, from), Undo: true})
}

func (l *line) tryNow(ctx context.Context, p *parked) error {
	p.Next = l.runner.cfg.Now().UnixMilli()
	if err := l.keep(ctx, p); err != nil {
		return err
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

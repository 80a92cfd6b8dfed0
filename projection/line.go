package projection

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// batch is how many changes a line takes from the feed at a time.
const batch = 256

// line is one handler's way along the change feed.
type line struct {
	runner *Runner
	reg    Registration

	lease  *lease
	wake   chan struct{}   // receives when somebody waits, or an operator ordered something
	sought driver.Position // commands that are waited for and have no place yet come after it; of the line's goroutine
	read   driver.Position // what was taken from the feed; of the line's goroutine
	noted  time.Time       // when the checkpoint was moved last, and operators' orders were looked for; of the line's goroutine
	obeyed time.Time

	mu         sync.Mutex // the line's goroutine and its lanes write, others read
	held       bool       // this process runs the handler
	position   driver.Position
	checkpoint storage.Row
	aside      map[recordKey]*parked
	caught     map[recordKey]int64 // versions handled ahead of the feed, when a record came back in line
	trying     map[recordKey]bool  // records aside whose attempt has its turn to come, or is under way
	obeying    map[string]bool     // orders, by sort key, of which the same is true
}

func newLine(r *Runner, reg Registration) *line {
	return &line{runner: r, reg: reg, wake: make(chan struct{}, 1), aside: map[recordKey]*parked{}, caught: map[recordKey]int64{},
		trying: map[recordKey]bool{}, obeying: map[string]bool{}, lease: newLease(r.cfg.Leases, reg.Name, r.cfg.Owner, r.cfg.Term)}
}

type checkpointValue struct {
	Position string `json:"position"`
}

const owner = "common"

// run runs the line until the context ends: in this process while it has the line's lease, following what another does else.
func (l *line) run(ctx context.Context) {
	sys := scope.NewSystem("", scope.Actor{UserID: "system"}, "run handler "+l.reg.Name, nil)
	across, err := l.runner.cfg.Store.Across(ctx, sys)
	if err != nil {
		l.runner.cfg.Log.ErrorContext(ctx, "a handler can't read the change feed", "handler", l.reg.Name, "error", err)
		return
	}
	defer l.lease.endWatch(ctx)
	for ctx.Err() == nil {
		held, lose := context.WithCancel(ctx)
		if l.standBy(ctx, across, lose) {
			l.hold(held, lose, across)
		}
		lose()
	}
}

// hold runs the handler until the context ends, which losing the lease does, and lets the lease go.
func (l *line) hold(ctx context.Context, lose func(), across storage.Across) {
	err := l.lease.hold(ctx, lose, func(ctx context.Context) {
		l.setHeld(true)
		defer l.setHeld(false)
		l.runner.cfg.Log.InfoContext(ctx, "this process runs a handler now", "handler", l.reg.Name)
		l.work(ctx, across)
	})
	if err != nil {
		l.runner.cfg.Log.WarnContext(ctx, "a handler's lease was lost or could not be let go; another process takes it when its term is over",
			"handler", l.reg.Name, "error", err)
	}
}

func (l *line) work(ctx context.Context, across storage.Across) {
	signal, stop := l.runner.cfg.Store.Committed()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var t *turns // nil where the line begins at its checkpoint
	nudged := true
	for ctx.Err() == nil {
		if t == nil {
			t = newTurns(l.runner.cfg.Lanes, func(one *task) error { return l.carry(ctx, one) })
			nudged = true
			if err := l.takeOver(ctx, across); err != nil {
				t.failed = err
			}
		}
		rest, err := l.round(ctx, across, t, nudged)
		nudged = false
		if err != nil {
			if ctx.Err() == nil {
				l.runner.cfg.Log.ErrorContext(ctx, "a handler's line stands still and tries again", "handler", l.reg.Name, "error", err)
			}
			t.going.Wait()
			t, rest = nil, l.lease.term/4
		}
		timer.Reset(rest)
		select {
		case <-ctx.Done():
		case <-signal:
		case <-l.wake:
			nudged = true
		case <-t.moved():
		case <-timer.C:
		}
	}
	if t != nil {
		t.going.Wait()
	}
}

// round reads the feed on, has the lanes work, notes how far they are, and returns how long there is nothing to do but what comes. Orders says that
// an operator may have ordered something.
func (l *line) round(ctx context.Context, across storage.Across, t *turns, orders bool) (rest time.Duration, err error) {
	if err := t.err(); err != nil {
		return 0, err
	}
	more, err := l.advance(ctx, across, t)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	if orders || !now.Before(l.obeyed.Add(l.lease.term/4)) {
		if err := l.obey(ctx, t); err != nil {
			return 0, err
		}
		l.obeyed = now
	}
	l.retryDue(t)
	t.start()
	rest = l.untilNext()
	position, all := t.behind(l.read)
	if !all {
		rest = min(rest, lookEvery)
	}
	if position != l.position && (all || !now.Before(l.noted.Add(lookEvery))) {
		if err := l.moveTo(ctx, position); err != nil {
			return 0, err
		}
		l.noted = now
	}
	if more {
		rest = 0
	}
	return rest, nil
}

// advance reads the feed on, for the line and for the tenants that lag. More is true where it may hold more that there is room for.
func (l *line) advance(ctx context.Context, across storage.Across, t *turns) (more bool, err error) {
	if t.room() {
		changes, err := across.Changes(ctx, l.read, batch)
		if err != nil {
			return false, err
		}
		for _, c := range changes {
			if code, cmd := l.shown(c); cmd != nil {
				t.take(code, cmd, l.read)
			}
			l.read = c.Position
		}
		more = len(changes) == batch && t.room()
	}
	for code, since := range t.lagging() {
		changes, err := across.Changes(ctx, since, batch)
		if err != nil {
			return false, err
		}
		t.catchUp(code, changes, len(changes) < batch, l.read, l.shown)
	}
	return more || len(t.lagging()) > 0, nil
}

// shown returns the command of a change, and its tenant; nil where it is not the handler's.
func (l *line) shown(c driver.Change) (tenant.Code, *record.Record) {
	cmd, ok := storage.Shown(c.Command)
	if !ok {
		return tenant.Code{}, nil
	}
	t, code, _, err := record.SplitPK(cmd.PK)
	if err != nil || l.reg.Module != "" && l.runner.cfg.ModuleOf(t) != l.reg.Module {
		return tenant.Code{}, nil
	}
	return code, cmd
}

// carry does a piece of work. It fails only where what became of a command can't be kept.
func (l *line) carry(ctx context.Context, one *task) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if one.beside != nil {
		return one.beside(ctx)
	}
	cmd := one.cmd
	if !l.skips(cmd) {
		if err := l.up(ctx, cmd); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			p := &parked{Handler: l.reg.Name, PK: cmd.PK, SK: cmd.SK, Version: cmd.Version}
			if err := l.failed(ctx, p, err); err != nil {
				return err
			}
		}
	}
	l.runner.settled(l, keyOf(cmd), cmd.Version)
	return nil
}

// skips reports whether a command is not the feed's to handle: its record waits aside, or it was handled when the
// record came back in line.
func (l *line) skips(cmd *record.Record) bool {
	key := keyOf(cmd)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, aside := l.aside[key]; aside {
		return true
	}
	caught, ok := l.caught[key]
	if ok && cmd.Version >= caught {
		delete(l.caught, key)
	}
	return ok && cmd.Version <= caught
}

// up runs the handler for one command; a panic is a failure like any other.
func (l *line) up(ctx context.Context, cmd *record.Record) (err error) {
	defer recovered(&err)
	if sc, ok := scopeOf(cmd.PK, cmd.RequestID, l.reg.Name); ok {
		return l.reg.Handler.Up(context.WithValue(ctx, insideKey{}, true), sc, cmd)
	}
	return nil
}

func (l *line) down(ctx context.Context, cmd *record.Record) (err error) {
	defer recovered(&err)
	if sc, ok := scopeOf(cmd.PK, cmd.RequestID, l.reg.Name); ok {
		return l.reg.Handler.Down(context.WithValue(ctx, insideKey{}, true), sc, cmd)
	}
	return nil
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the handler panicked: %v", p)
	}
}

// moveTo moves the checkpoint.
func (l *line) moveTo(ctx context.Context, position driver.Position) error {
	value, err := record.EncodeAttributes(checkpointValue{Position: string(position)})
	if err != nil {
		return err
	}
	row := l.checkpoint
	row.Version++
	row.Value = value
	if err := l.lease.commit(ctx, l.runner.cfg.Checkpoints.Set(row)); err != nil {
		return err
	}
	l.mu.Lock()
	l.checkpoint, l.position, l.sought = row, position, position
	l.mu.Unlock()
	l.runner.passed(l, position)
	return nil
}

// untilNext is how long the line may rest: until the next attempt of a record aside, or the next look for orders.
func (l *line) untilNext() time.Duration {
	rest := l.lease.term / 4
	now := l.runner.cfg.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.aside {
		if p.Next != 0 && !l.trying[p.key()] {
			rest = min(rest, max(time.Millisecond, time.Duration(p.Next-now)*time.Millisecond))
		}
	}
	return rest
}

func (l *line) setHeld(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
}

func (l *line) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Name: l.reg.Name, Module: l.reg.Module, Position: string(l.position), Held: l.held}
	for _, p := range l.aside {
		if p.Next == 0 {
			s.Parked++
		} else {
			s.Aside++
		}
	}
	return s
}

package projection

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
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

	mu         sync.Mutex // the line's goroutine and its lanes write, others read
	held       bool       // this process runs the handler
	position   driver.Position
	checkpoint storage.Row
	aside      map[recordKey]*parked
	caught     map[recordKey]int64 // versions handled ahead of the feed, when a record came back in line
}

func newLine(r *Runner, reg Registration) *line {
	return &line{runner: r, reg: reg, wake: make(chan struct{}, 1), aside: map[recordKey]*parked{}, caught: map[recordKey]int64{},
		lease: newLease(r.cfg.Leases, reg.Name, r.cfg.Owner, r.cfg.Term)}
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
	taken, nudged := false, true
	var obey time.Time // when orders are looked for next, unless somebody says that there are some
	for ctx.Err() == nil {
		var more bool
		var err error
		if !taken {
			err = l.takeOver(ctx, across)
			taken = err == nil
		}
		if taken {
			more, err = l.advance(ctx, across)
			if now := time.Now(); nudged || !now.Before(obey) {
				err = errors.Join(err, l.obey(ctx))
				obey = now.Add(l.lease.term / 4)
			}
			l.retryDue(ctx)
		}
		nudged = false
		if err != nil && ctx.Err() == nil {
			l.runner.cfg.Log.ErrorContext(ctx, "a handler's line stands still and tries again", "handler", l.reg.Name, "error", err)
		}
		rest := l.untilNext()
		if more && err == nil {
			rest = 0
		}
		timer.Reset(rest)
		select {
		case <-ctx.Done():
		case <-signal:
		case <-l.wake:
			nudged = true
		case <-timer.C:
		}
	}
}

// advance handles one batch of changes and moves the checkpoint behind it. More is true where the feed may hold more.
func (l *line) advance(ctx context.Context, across storage.Across) (more bool, err error) {
	changes, err := across.Changes(ctx, l.position, batch)
	if err != nil || len(changes) == 0 {
		return false, err
	}
	lanes := make([][]*record.Record, l.runner.cfg.Lanes)
	for _, c := range changes {
		if cmd, ok := storage.Shown(c.Command); ok && l.concerns(cmd) {
			n := l.laneOf(cmd, len(lanes))
			lanes[n] = append(lanes[n], cmd)
		}
	}
	var working sync.WaitGroup
	failed := make([]error, len(lanes))
	for n, cmds := range lanes {
		if len(cmds) > 0 {
			working.Go(func() { failed[n] = l.walk(ctx, cmds) })
		}
	}
	working.Wait()
	for _, err := range failed {
		if err != nil {
			return false, err
		}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return len(changes) == batch, l.moveTo(ctx, changes[len(changes)-1].Position)
}

func (l *line) laneOf(cmd *record.Record, lanes int) int {
	return int(maphash.Comparable(l.runner.seed, keyOf(cmd)) % uint64(lanes))
}

func (l *line) concerns(cmd *record.Record) bool {
	t, _, _, err := record.SplitPK(cmd.PK)
	return err == nil && (l.reg.Module == "" || l.runner.cfg.ModuleOf(t) == l.reg.Module)
}

// walk handles the commands of one lane in their order. It fails only where a failure can't be kept.
func (l *line) walk(ctx context.Context, cmds []*record.Record) error {
	for _, cmd := range cmds {
		if ctx.Err() != nil {
			return ctx.Err()
		}
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
	}
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
		if p.Next != 0 {
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

package projection

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
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

	requests chan request  // of operators
	ended    chan struct{} // closed when the line has come to its end

	mu         sync.Mutex // the line's goroutine and its lanes write, others read
	position   driver.Position
	checkpoint storage.Row
	aside      map[recordKey]*parked
	caught     map[recordKey]int64 // versions handled ahead of the feed, when a record came back in line
}

// request is what an operator asks of a line, carried out by its own goroutine between its other work.
type request struct {
	do   func(context.Context) error
	done chan error
}

func newLine(r *Runner, reg Registration) *line {
	return &line{runner: r, reg: reg, requests: make(chan request), ended: make(chan struct{}),
		aside: map[recordKey]*parked{}, caught: map[recordKey]int64{}}
}

// parked is a record whose handler failed. Commands from Version on wait. It is not changed once it is kept.
type parked struct {
	row      storage.Row
	Handler  string `json:"handler"`
	PK       string `json:"pk"`
	SK       string `json:"sk"`
	Version  int64  `json:"version"`  // the command that failed
	Attempts int    `json:"attempts"` // so far
	Reason   string `json:"reason"`
	Next     int64  `json:"next"` // Unix milliseconds of the next attempt; 0 waits for an operator
	Undo     bool   `json:"undo"` // commands from Version on are taken back, newest first, before they are carried out
}

type checkpointValue struct {
	Position string `json:"position"`
}

const owner = "common"

// load reads the checkpoint and the records aside.
func (l *line) load(ctx context.Context) error {
	if err := l.loadCheckpoint(ctx); err != nil {
		return err
	}
	for after := ""; ; {
		rows, err := l.runner.cfg.Parked.List(ctx, owner, l.reg.Name+record.Separator, after, 500)
		if err != nil {
			return err
		}
		for _, row := range rows {
			p := &parked{}
			if err := row.Value.Decode(p); err != nil {
				return err
			}
			p.row = row
			l.aside[p.key()] = p
		}
		if len(rows) < 500 {
			return nil
		}
		after = rows[len(rows)-1].SK
	}
}

func (l *line) loadCheckpoint(ctx context.Context) error {
	row, err := l.runner.cfg.Checkpoints.Get(ctx, owner, l.reg.Name)
	if err != nil {
		return err
	}
	var v checkpointValue
	if err := row.Value.Decode(&v); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checkpoint, l.position = row, driver.Position(v.Position)
	return nil
}

func (l *line) run(ctx context.Context) {
	defer close(l.ended)
	signal, stop := l.runner.cfg.Store.Committed()
	defer stop()
	sys := scope.NewSystem("", scope.Actor{UserID: "system"}, "run handler "+l.reg.Name, nil)
	across, err := l.runner.cfg.Store.Across(ctx, sys)
	if err != nil {
		l.runner.cfg.Log.ErrorContext(ctx, "a handler can't read the change feed", "handler", l.reg.Name, "error", err)
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		more, err := l.advance(ctx, across)
		if err != nil && ctx.Err() == nil {
			l.runner.cfg.Log.ErrorContext(ctx, "a handler's line stands still and tries again", "handler", l.reg.Name, "error", err)
		}
		l.retryDue(ctx)
		rest := l.untilNext(err != nil)
		if more && err == nil {
			rest = 0
		}
		timer.Reset(rest)
		select {
		case <-ctx.Done():
		case <-signal:
		case ask := <-l.requests:
			ask.done <- ask.do(ctx)
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

// failed keeps a failure: the record steps aside until its next attempt, or is parked when the attempts are used up.
func (l *line) failed(ctx context.Context, p *parked, cause error) error {
	p.Attempts++
	p.Reason = cause.Error()
	p.Reason = strings.ToValidUTF8(p.Reason[:min(len(p.Reason), 500)], "")
	p.Next = 0
	level := slog.LevelError
	if p.Attempts < l.runner.cfg.Attempts {
		p.Next = l.runner.cfg.Now().Add(l.runner.cfg.Backoff(p.Attempts)).UnixMilli()
		level = slog.LevelWarn
	}
	_, code, _, _ := record.SplitPK(p.PK)
	l.runner.cfg.Log.Log(ctx, level, "a handler failed", "handler", l.reg.Name, "tenantCode", code.String(), "id", p.PK+"#"+p.SK,
		"version", p.Version, "attempt", p.Attempts, "parked", p.Next == 0, "error", cause)
	return l.keep(ctx, p)
}

func (l *line) keep(ctx context.Context, p *parked) error {
	value, err := record.EncodeAttributes(p)
	if err != nil {
		return err
	}
	row := storage.Row{Owner: owner, SK: l.asideKey(p), Value: value}
	if err := l.runner.cfg.Parked.Commit(ctx, l.runner.cfg.Parked.Set(row)); err != nil {
		return err
	}
	p.row = row
	l.mu.Lock()
	l.aside[p.key()] = p
	l.mu.Unlock()
	return nil
}

func (p *parked) key() recordKey { return recordKey{p.PK, p.SK} }

func (l *line) asideKey(p *parked) string {
	return l.reg.Name + record.Separator + p.PK + "@" + p.SK // a PK holds no @
}

func (l *line) moveTo(ctx context.Context, position driver.Position) error {
	value, err := record.EncodeAttributes(checkpointValue{Position: string(position)})
	if err != nil {
		return err
	}
	row := l.checkpoint
	row.Value = value
	err = l.runner.cfg.Checkpoints.Commit(ctx, l.runner.cfg.Checkpoints.Put(row))
	if _, moved := errors.AsType[*driver.Conflict](err); moved { // another process runs the handler too: go on where it came to
		return l.loadCheckpoint(ctx)
	}
	if err != nil {
		return err
	}
	row.Version++
	l.mu.Lock()
	l.checkpoint, l.position = row, position
	l.mu.Unlock()
	return nil
}

// retryDue gives the records aside whose time has come another attempt.
func (l *line) retryDue(ctx context.Context) {
	now := l.runner.cfg.Now().UnixMilli()
	l.mu.Lock()
	var due []*parked
	for _, p := range l.aside {
		if p.Next != 0 && p.Next <= now {
			due = append(due, p)
		}
	}
	l.mu.Unlock()
	for _, p := range due {
		if ctx.Err() != nil {
			return
		}
		if err := l.catchUp(ctx, p); err != nil && ctx.Err() == nil {
			l.runner.cfg.Log.ErrorContext(ctx, "a record that waits aside could not be tried", "handler", l.reg.Name, "error", err)
		}
	}
}

// catchUp runs the handler for the commands of a record aside, from the one that failed to the current one, and lets
// the record back in line. It returns an error only where the store fails.
func (l *line) catchUp(ctx context.Context, p *parked) error {
	sc, ok := scopeOf(p.PK, "", l.reg.Name)
	if !ok {
		return l.release(ctx, p, p.Version)
	}
	key, err := record.ParseKey(sc, p.PK, p.SK)
	if err != nil {
		return l.release(ctx, p, p.Version)
	}
	view, err := l.runner.cfg.Store.In(sc)
	if err != nil {
		return err
	}
	current, err := view.Get(ctx, key)
	if err != nil {
		return err
	}
	if current == nil {
		return l.release(ctx, p, p.Version)
	}
	next := *p
	run := func(version int64, handle func(context.Context, *record.Record) error) (done bool, err error) {
		cmd, err := view.Command(ctx, key, version)
		if err != nil || cmd == nil {
			return err == nil, err
		}
		if err := handle(ctx, cmd); err != nil {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			return false, l.failed(ctx, &next, err)
		}
		return true, nil
	}
	if next.Undo {
		for n := current.Version; n >= next.Version; n-- {
			if done, err := run(n, l.down); !done {
				return err
			}
		}
		next.Undo = false
	}
	for ; next.Version <= current.Version; next.Version++ {
		if done, err := run(next.Version, l.up); !done {
			return err
		}
		next.Attempts = 0
	}
	return l.release(ctx, p, current.Version)
}

// release lets a record back in line, its commands up to version handled.
func (l *line) release(ctx context.Context, p *parked, version int64) error {
	if err := l.runner.cfg.Parked.Commit(ctx, l.runner.cfg.Parked.Delete(p.row)); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.aside, p.key())
	l.caught[p.key()] = version
	l.mu.Unlock()
	return nil
}

// untilNext is how long the line may rest: until the next attempt of a record aside, at most a second after a failure.
func (l *line) untilNext(failed bool) time.Duration {
	rest := time.Minute
	if failed {
		rest = time.Second
	}
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

func (l *line) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Name: l.reg.Name, Module: l.reg.Module, Position: string(l.position)}
	for _, p := range l.aside {
		if p.Next == 0 {
			s.Parked++
		} else {
			s.Aside++
		}
	}
	return s
}

// stateOf says whether a version of a record waits: "parked", "retrying", or "" where the line knows nothing of it.
func (l *line) stateOf(key recordKey, version int64) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.aside[key]
	switch {
	case !ok || version < p.Version:
		return ""
	case p.Next == 0:
		return "parked"
	default:
		return "retrying"
	}
}

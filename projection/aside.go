package projection

import (
	"context"
	"log/slog"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

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

func (p *parked) key() recordKey { return recordKey{p.PK, p.SK} }

func (l *line) asideKey(key recordKey) string {
	return l.reg.Name + record.Separator + key.pk + "@" + key.sk // a PK holds no @
}

// readAside reads the records aside.
func (l *line) readAside(ctx context.Context) (map[recordKey]*parked, error) {
	aside := map[recordKey]*parked{}
	for after := ""; ; {
		rows, err := l.runner.cfg.Parked.List(ctx, owner, l.reg.Name+record.Separator, after, 500)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			p := l.parkedOf(row)
			aside[p.key()] = p
		}
		if len(rows) < 500 {
			return aside, nil
		}
		after = rows[len(rows)-1].SK
	}
}

// parkedOf returns the record aside that a row holds. One of a form that this version doesn't know waits for an operator: which command failed isn't known then,
// so a retry begins with the first.
func (l *line) parkedOf(row storage.Row) *parked {
	p := &parked{}
	if row.Value.Decode(p) != nil {
		pk, sk, _ := strings.Cut(strings.TrimPrefix(row.SK, l.reg.Name+record.Separator), "@")
		*p = parked{Handler: l.reg.Name, PK: pk, SK: sk, Version: 1, Reason: "what is kept of it has a form that this version does not know: another version of Tenantry wrote it; retry it with that version, or from its first command with this one"}
	}
	p.row = row
	return p
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

// keep keeps a record aside, with writes beside it.
func (l *line) keep(ctx context.Context, p *parked, beside ...storage.SystemWrite) error {
	value, err := record.EncodeAttributes(p)
	if err != nil {
		return err
	}
	row := storage.Row{Owner: owner, SK: l.asideKey(p.key()), Value: value}
	if err := l.lease.commit(ctx, append(beside, l.runner.cfg.Parked.Set(row))...); err != nil {
		return err
	}
	p.row = row
	l.mu.Lock()
	l.aside[p.key()] = p
	l.mu.Unlock()
	return nil
}

// retryDue has the records aside whose time has come take their turn for another attempt.
func (l *line) retryDue(t *turns) {
	now := l.runner.cfg.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, p := range l.aside {
		if p.Next == 0 || p.Next > now || l.trying[key] {
			continue
		}
		l.trying[key] = true
		_, code, _, _ := record.SplitPK(key.pk)
		t.beside(code, key, func(ctx context.Context) error {
			l.retry(ctx, key)
			return nil
		})
	}
}

// retry gives a record aside another attempt. What goes wrong in the store is tried again.
func (l *line) retry(ctx context.Context, key recordKey) {
	l.mu.Lock()
	p, waits := l.aside[key]
	l.mu.Unlock()
	if waits && p.Next != 0 {
		if err := l.catchUp(ctx, p); err != nil && ctx.Err() == nil {
			l.runner.cfg.Log.ErrorContext(ctx, "a record that waits aside could not be tried", "handler", l.reg.Name, "error", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.trying, key)
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
	if err := l.lease.commit(ctx, l.runner.cfg.Parked.Delete(p.row)); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.aside, p.key())
	l.caught[p.key()] = version
	l.mu.Unlock()
	return nil
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

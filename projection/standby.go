package projection

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// lookEvery is how often a line that another process runs is looked at while somebody waits for it.
const lookEvery = 20 * time.Millisecond

// standBy follows what another process does with the line, until this one has the lease. It returns false when the context ends.
func (l *line) standBy(ctx context.Context, across storage.Across, lose func()) bool {
	var take, look time.Time // when each is due next
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for ctx.Err() == nil {
		now, waited := time.Now(), l.runner.awaits(l)
		var err error
		if !now.Before(take) {
			var taken bool
			if taken, err = l.lease.take(ctx, lose); taken {
				return true
			}
			take = now.Add(l.lease.term / 16)
		}
		if thorough := !now.Before(look); err == nil && (thorough || waited) {
			if err = l.follow(ctx, across, thorough); thorough {
				look = now.Add(l.lease.term / 4)
			}
		}
		if err != nil && !failing && ctx.Err() == nil {
			l.runner.cfg.Log.ErrorContext(ctx, "a handler that another process runs can't be followed", "handler", l.reg.Name, "error", err)
		}
		failing = err != nil
		rest := l.lease.term / 16
		if waited {
			rest = lookEvery
		}
		timer.Reset(rest)
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer.C:
		}
	}
	return false
}

// takeOver reads what the holder before left.
func (l *line) takeOver(ctx context.Context, across storage.Across) error {
	l.mu.Lock()
	clear(l.caught)
	clear(l.trying)
	clear(l.obeying)
	l.mu.Unlock()
	err := l.follow(ctx, across, true)
	l.read = l.position
	return err
}

// follow reads the checkpoint and, where it moved or thorough asks for it, the records aside; and tells those who wait for
// what is behind it. The checkpoint is read first, so that a record that the line passed because it stepped aside is seen aside.
func (l *line) follow(ctx context.Context, across storage.Across, thorough bool) error {
	if err := l.load(ctx, thorough); err != nil {
		return err
	}
	if err := l.seek(ctx, across); err != nil {
		return err
	}
	l.runner.passed(l, l.position)
	if l.position.Compare(l.sought) > 0 && !l.runner.lacksPlace(l) {
		l.sought = l.position
	}
	return nil
}

func (l *line) load(ctx context.Context, thorough bool) error {
	row, err := l.runner.cfg.Checkpoints.Get(ctx, owner, l.reg.Name)
	if err != nil {
		return err
	}
	var v checkpointValue
	if err := row.Value.Decode(&v); err != nil {
		return err
	}
	aside, position := l.aside, driver.Position(v.Position)
	if position != l.position || thorough {
		if aside, err = l.readAside(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checkpoint, l.position, l.aside = row, position, aside
	return nil
}

// seek reads the feed on, as long as somebody waits for a command whose place is not known: on a store that does not say it
// when it commits. Who began to wait before a change was read waits for one that comes after it.
func (l *line) seek(ctx context.Context, across storage.Across) error {
	for l.runner.lacksPlace(l) {
		changes, err := across.Changes(ctx, l.sought, batch)
		if err != nil || len(changes) == 0 {
			return err
		}
		l.sought = changes[len(changes)-1].Position
		l.runner.place(changes, l)
	}
	return nil
}

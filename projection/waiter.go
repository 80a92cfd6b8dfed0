package projection

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// waiter waits for the lines of a command's module. A line that this process runs says itself when it is done with the command;
// of one that another process runs, the checkpoint says so when it has come to the command's place.
type waiter struct {
	version int64
	place   driver.Position // in the feed, "" while it isn't known; guarded by Runner.mu
	lines   map[*line]bool  // that are not done with the command; guarded by Runner.mu
	done    chan struct{}
}

func (w *waiter) settled(l *line) {
	if w.lines[l] {
		delete(w.lines, l)
		if len(w.lines) == 0 {
			close(w.done)
		}
	}
}

// behind tells w that a line has come to a position.
func (w *waiter) behind(l *line, position driver.Position) {
	if w.place != "" && w.place.Compare(position) <= 0 {
		w.settled(l)
	}
}

// Expect is command.Handlers' side: wait blocks until every handler of module has handled cmd, or set its record aside, in
// whichever process. It returns nothing where there is no such handler, and where the Runner doesn't run.
func (r *Runner) Expect(module string, cmd *record.Record) (wait func(context.Context, driver.Position) error, cancel func()) {
	concerned := func(l *line) bool { return l.reg.Module == "" || l.reg.Module == module }
	if !slices.ContainsFunc(r.lines, concerned) {
		return nil, nil
	}
	w := &waiter{version: cmd.Version, lines: map[*line]bool{}, done: make(chan struct{})}
	for _, l := range r.lines {
		if concerned(l) {
			w.lines[l] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running {
		return nil, nil
	}
	key := keyOf(cmd)
	r.waiters[key] = append(r.waiters[key], w)
	wait = func(ctx context.Context, place driver.Position) error {
		if ctx.Value(insideKey{}) != nil { // a handler that waited for its own line would wait for ever
			return nil
		}
		r.placed(w, place)
		select {
		case <-w.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return wait, func() { r.forget(key, w) }
}

// placed notes the place that a commit returned, and wakes the lines that w waits for.
func (r *Runner) placed(w *waiter, place driver.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if place != "" {
		w.place, r.early = place, true
	}
	for l := range w.lines {
		at, held := l.at()
		if w.behind(l, at); !held {
			l.nudge()
		}
	}
}

func (r *Runner) forget(key recordKey, gone *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.waiters[key][:0]
	for _, w := range r.waiters[key] {
		if w != gone {
			kept = append(kept, w)
		}
	}
	if len(kept) == 0 {
		delete(r.waiters, key)
		return
	}
	r.waiters[key] = kept
}

// settled tells those who wait for a version of a record that a line is done with it.
func (r *Runner) settled(l *line, key recordKey, version int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiters[key] {
		if w.version == version {
			w.settled(l)
		}
	}
}

// passed tells all who wait that a line has come to a position.
func (r *Runner) passed(l *line, position driver.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ws := range r.waiters {
		for _, w := range ws {
			w.behind(l, position)
		}
	}
}

// place tells those who wait the places of their commands.
func (r *Runner) place(changes []driver.Change, l *line) {
	at, _ := l.at()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		cmd, ok := storage.Shown(c.Command)
		if !ok {
			continue
		}
		for _, w := range r.waiters[keyOf(cmd)] {
			if w.version == cmd.Version && w.place == "" {
				w.place = c.Position
				w.behind(l, at)
			}
		}
	}
}

// awaits reports whether somebody waits for a line.
func (r *Runner) awaits(l *line) bool {
	return r.anyone(func(w *waiter) bool { return w.lines[l] })
}

// lacksPlace reports whether somebody waits for a line, or is about to, to come to a place that a look at the feed must find.
func (r *Runner) lacksPlace(l *line) bool {
	return r.anyone(func(w *waiter) bool { return !r.early && w.lines[l] && w.place == "" })
}

func (r *Runner) anyone(is func(*waiter) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ws := range r.waiters {
		for _, w := range ws {
			if is(w) {
				return true
			}
		}
	}
	return false
}

// at returns the line's checkpoint, and whether this process runs it.
func (l *line) at() (position driver.Position, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.position, l.held
}

// nudge has the line look now.
func (l *line) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

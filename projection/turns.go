package projection

import (
	"context"
	"slices"
	"sync"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// How many commands a line has in memory: of one tenant, and in all. A tenant that has more lags: the line passes its commands over and
// comes back for them, so that nobody else waits until they are handled.
const (
	mostOfOne = 256
	mostOfAll = 4096
)

// turns is what a line has to do, and who does it. Tenants take turns: one piece of work each, then the next tenant. What a tenant waits for
// is what the others do at the time, never what they have waiting. The work on one record is done in its order, one piece after the other.
type turns struct {
	lanes int
	do    func(*task) error
	ended chan struct{} // receives when there may be something to do for the line: a lane ended, or room was made
	going sync.WaitGroup

	mu      sync.Mutex
	tenants map[tenant.Code]*standing
	queue   []*standing // that have a record whose turn may come, in the order of their turns
	busy    int         // lanes at work
	size    int         // commands that were taken and are not done
	failed  error       // what stopped the lanes
}

// standing is how a tenant stands in turns.
type standing struct {
	code    tenant.Code
	records map[recordKey]*pending
	ready   []*pending // none of whose work is under way
	queued  bool
	busy    int             // lanes
	taken   []*task         // its commands in the order of the feed, from the first that is not done
	lags    bool            // commands behind since were passed over
	since   driver.Position // with lags
}

// pending is the work on one record, in its order. The first is under way, or the record is ready.
type pending struct {
	key   recordKey
	tasks []*task
}

// task is one piece of work on a record: a command, or what else is done for a record that stands aside.
type task struct {
	cmd    *record.Record
	after  driver.Position             // the place before the command's
	beside func(context.Context) error // nil for a command
	done   bool
}

func newTurns(lanes int, do func(*task) error) *turns {
	return &turns{lanes: lanes, do: do, ended: make(chan struct{}, 1), tenants: map[tenant.Code]*standing{}}
}

// of returns how a tenant stands. The caller holds mu.
func (t *turns) of(code tenant.Code) *standing {
	s := t.tenants[code]
	if s == nil {
		s = &standing{code: code, records: map[recordKey]*pending{}}
		t.tenants[code] = s
	}
	return s
}

// room reports whether the feed may be read on.
func (t *turns) room() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.size <= mostOfAll-batch
}

// take takes a command of the feed, which stands behind after. Where its tenant lags, or has enough waiting, it is passed over.
func (t *turns) take(code tenant.Code, cmd *record.Record, after driver.Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of(code)
	if !s.lags && len(s.taken) >= mostOfOne {
		s.lags, s.since = true, after
	}
	if !s.lags {
		t.accept(s, cmd, after)
	}
}

// accept is take for a command that is not passed over. The caller holds mu.
func (t *turns) accept(s *standing, cmd *record.Record, after driver.Position) {
	one := &task{cmd: cmd, after: after}
	s.taken = append(s.taken, one)
	t.size++
	t.push(s, keyOf(cmd), one)
}

// beside has something done for a record of a tenant, after what is to be done for it already.
func (t *turns) beside(code tenant.Code, key recordKey, do func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.push(t.of(code), key, &task{beside: do})
}

func (t *turns) push(s *standing, key recordKey, one *task) {
	p := s.records[key]
	if p == nil {
		p = &pending{key: key}
		s.records[key] = p
		t.ready(s, p)
	}
	p.tasks = append(p.tasks, one)
}

// ready puts a record into its tenant's queue, and the tenant into that of all.
func (t *turns) ready(s *standing, p *pending) {
	s.ready = append(s.ready, p)
	if !s.queued {
		s.queued = true
		t.queue = append(t.queue, s)
	}
}

// start has lanes begin to work, as many as there is work for. One tenant has half of them at most, two have three quarters: where the
// handler stands still for some, the others find a lane.
func (t *turns) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.failed == nil {
		u, ok := t.next()
		if !ok {
			return
		}
		t.going.Go(func() { t.work(u) })
	}
}

// turn is the first piece of work on a record of a tenant, for which there is a lane.
type turn struct {
	of     *standing
	record *pending
	task   *task
}

// next takes the next turn; ok is false where there is none. The caller holds mu.
func (t *turns) next() (u turn, ok bool) {
	for i, s := range t.queue {
		if t.lanes-t.busy <= s.busy {
			continue // its turn comes when a lane ends
		}
		if i == 0 {
			t.queue = t.queue[1:]
		} else {
			t.queue = slices.Delete(t.queue, i, i+1)
		}
		p := s.ready[0]
		s.ready = s.ready[1:]
		if s.queued = len(s.ready) > 0; s.queued {
			t.queue = append(t.queue, s)
		}
		s.busy++
		t.busy++
		return turn{s, p, p.tasks[0]}, true
	}
	return turn{}, false
}

// work does the work of a turn, and takes the next one for as long as there is one.
func (t *turns) work(u turn) {
	for more := true; more; {
		err := t.do(u.task)
		t.mu.Lock()
		u.of.busy--
		t.busy--
		if err != nil && t.failed == nil {
			t.failed = err
		}
		if more = t.failed == nil; more {
			t.finish(u)
			u, more = t.next()
		}
		t.mu.Unlock()
	}
	t.nudge()
}

// finish notes that the work of a turn is done. The caller holds mu.
func (t *turns) finish(u turn) {
	s, p, one := u.of, u.record, u.task
	if p.tasks = p.tasks[1:]; len(p.tasks) > 0 {
		t.ready(s, p)
	} else {
		delete(s.records, p.key)
	}
	if one.cmd != nil {
		one.done = true
		t.size--
	}
	for len(s.taken) > 0 && s.taken[0].done {
		s.taken = s.taken[1:]
	}
	if one.cmd == nil || s.lags && len(s.taken) == mostOfOne/2 || t.size == mostOfAll-batch {
		t.nudge() // the record may stand otherwise, or there is room
	}
	t.forget(s)
}

// forget lets a tenant go that has nothing to do. The caller holds mu.
func (t *turns) forget(s *standing) {
	if len(s.records) == 0 && !s.lags {
		delete(t.tenants, s.code)
	}
}

func (t *turns) nudge() {
	select {
	case t.ended <- struct{}{}:
	default:
	}
}

// moved receives when there may be something to do for the line; nil is never.
func (t *turns) moved() <-chan struct{} {
	if t == nil {
		return nil
	}
	return t.ended
}

// lagging returns the tenants that lag and have room for more, with the places since when.
func (t *turns) lagging() map[tenant.Code]driver.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[tenant.Code]driver.Position{}
	for code, s := range t.tenants {
		if s.lags && len(s.taken) <= mostOfOne/2 {
			out[code] = s.since
		}
	}
	return out
}

// catchUp takes the commands of a tenant that lags from what the feed holds behind the place since when it does, up to the place where the
// line is. Whole says that there is nothing behind changes.
func (t *turns) catchUp(code tenant.Code, changes []driver.Change, whole bool, line driver.Position, of func(driver.Change) (tenant.Code, *record.Record)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of(code)
	for _, c := range changes {
		if c.Position.Compare(line) > 0 {
			whole = true
			break
		}
		owner, cmd := of(c)
		if cmd != nil && owner == code {
			if len(s.taken) >= mostOfOne {
				return
			}
			t.accept(s, cmd, s.since)
		}
		s.since = c.Position
	}
	s.lags = !whole && s.since.Compare(line) < 0
	t.forget(s)
}

// behind returns the place up to which all is done, where the line has read up to a place; and whether that is everything.
func (t *turns) behind(line driver.Position) (done driver.Position, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	done = line
	for _, s := range t.tenants {
		first := line
		switch {
		case len(s.taken) > 0:
			first = s.taken[0].after
		case s.lags:
			first = s.since
		}
		if first.Compare(done) < 0 {
			done = first
		}
	}
	return done, done == line
}

// err returns what stopped the lanes.
func (t *turns) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

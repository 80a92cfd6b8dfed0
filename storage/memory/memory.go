// Package memory is an engine that keeps everything in the process's memory: for tests, for trying things out, and as the
// oracle that storagetest compares other engines with. It is written to be obviously right, not to be fast: one mutex, one
// sorted slice a collection. Nothing survives the process.
package memory

import (
	"context"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// New returns a new, empty store. Opening the Source again, after Close or beside an engine that is still open, gives
// another engine on the same store: so a test restarts a process, or runs two.
func New() driver.Source {
	s := &store{watchers: make(map[chan struct{}]struct{})}
	return driver.NewSource("memory", func(ctx context.Context) (driver.Engine, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return &engine{store: s}, nil
	})
}

// store is what the engines of one Source share.
type store struct {
	mu       sync.Mutex
	tables   [4]table
	feed     feed
	watchers map[chan struct{}]struct{}
}

func (s *store) table(c driver.Collection) *table { return &s.tables[c-1] }

// engine is one opening of a store.
type engine struct {
	*store
	closed bool // guarded by mu
}

// enter locks the store for one operation; the caller unlocks it when there is no error.
func (e *engine) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return fault.New(fault.Unavailable, "memory", "the store is closed; open it again")
	}
	return nil
}

func (e *engine) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	return e.get(ref, time.Now()), nil
}

func (e *engine) get(ref driver.Ref, now time.Time) *record.Record {
	if r := e.table(ref.Collection).find(ref); r != nil && !r.expired(now) {
		return clone(r.rec)
	}
	return nil
}

func (e *engine) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	now, recs := time.Now(), make([]*record.Record, len(refs))
	for i, ref := range refs {
		recs[i] = e.get(ref, now)
	}
	return recs, nil
}

func (e *engine) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	var recs []*record.Record
	now := time.Now()
	for row := range e.table(r.Collection).within(r) {
		if row.expired(now) || row.rec.IsDeleted && !r.IncludeDeleted {
			continue
		}
		if recs = append(recs, clone(row.rec)); len(recs) == r.Limit {
			break
		}
	}
	return recs, nil
}

func (e *engine) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	var recs []*record.Record
	now := time.Now()
	for row := range e.table(c).after(after) {
		if row.expired(now) {
			continue
		}
		if recs = append(recs, clone(row.rec)); len(recs) == limit {
			break
		}
	}
	return recs, nil
}

func (e *engine) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if err := e.enter(ctx); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	now := time.Now()
	for i, w := range b.Writes {
		if found := e.get(refOf(w), now); !holds(w.If, found) {
			c := &driver.Conflict{Write: i, Found: found != nil}
			if found != nil {
				c.Actual = found.Version
			}
			return "", c
		}
	}
	var last driver.Position
	for _, w := range b.Writes {
		if w.Delete {
			e.delete(refOf(w))
		} else if at := e.put(refOf(w), clone(w.Record)); at > 0 {
			last = driver.PositionAt(at)
		}
	}
	for signal := range e.watchers {
		select {
		case signal <- struct{}{}:
		default: // one is waiting to be received already
		}
	}
	return last, nil
}

func refOf(w driver.Write) driver.Ref { return driver.RefOf(w.Collection, w.Record) }

func holds(c driver.Condition, found *record.Record) bool {
	switch c.Kind {
	case driver.IfAbsent:
		return found == nil
	case driver.IfVersion:
		return found != nil && found.Version == c.Version
	default:
		return true
	}
}

// put makes rec the row at ref and returns its place in the feed, 0 for a row that isn't a command. A command that
// is replaced keeps its place.
func (s *store) put(ref driver.Ref, rec *record.Record) int64 {
	if old := s.table(ref.Collection).find(ref); old != nil {
		old.rec = rec
		return old.position
	}
	r := &row{ref: ref, rec: rec}
	if ref.Collection == driver.Command {
		s.feed.append(r)
	}
	s.table(ref.Collection).insert(r)
	return r.position
}

func (s *store) delete(ref driver.Ref) {
	if r := s.table(ref.Collection).delete(ref); r != nil && r.position > 0 {
		s.feed.delete(r)
	}
}

func (e *engine) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.mu.Unlock()
	from, err := after.Number()
	if err != nil {
		return nil, err
	}
	var changes []driver.Change
	for _, r := range e.feed.after(from) {
		if len(changes) == limit {
			break
		}
		changes = append(changes, driver.Change{Position: driver.PositionAt(r.position), Command: clone(r.rec)})
	}
	return changes, nil
}

func (e *engine) End(ctx context.Context) (driver.Position, error) {
	if err := e.enter(ctx); err != nil {
		return "", err
	}
	defer e.mu.Unlock()
	return driver.PositionAt(e.feed.end()), nil
}

func (e *engine) Committed() (<-chan struct{}, func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	signal := make(chan struct{}, 1)
	if !e.closed {
		e.watchers[signal] = struct{}{}
	}
	return signal, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watchers, signal)
	}
}

func (e *engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

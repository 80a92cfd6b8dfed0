package sqlite

import (
	"context"
	"runtime"
	"time"

	"github.com/tenantry/tenantry/storage/driver"
)

// Limits of a group: how many batches, and how many bytes of their documents, share a transaction.
const (
	groupBatches = 256
	groupBytes   = 8 << 20
)

// writer is the one goroutine that writes. It puts all batches that were queued during the last fsync into one
// transaction and answers them after its COMMIT. Batches are applied while the queue is drained.
type writer struct {
	connect func() (*conn, error)
	name    string // of the file, for messages
	queue   chan *request
	rest    time.Duration // between two looks for expired rows when there was none
	notify  func()        // called after every commit

	checkpoints *checkpointer
	conn        *conn // nil after an error that it may not have survived
	group       []*request
	done        chan struct{}
}

// run serves the queue until it is closed and empty.
func (w *writer) run() {
	defer close(w.done)
	sweep := time.NewTimer(w.rest)
	defer sweep.Stop()
	for {
		select {
		case r, open := <-w.queue:
			if !open {
				if w.conn != nil {
					w.conn.close()
				}
				return
			}
			w.serve(r)
		case <-sweep.C:
			sweep.Reset(w.sweep())
		}
	}
}

// serve commits first and what queues up meanwhile, and answers them all.
func (w *writer) serve(first *request) {
	w.group = w.group[:0]
	w.join(first)
	w.checkpoints.gate.Lock()
	err := w.transaction()
	w.checkpoints.gate.Unlock()
	if err != nil {
		for w.more() { // they would wait for the same error, one after the other
		}
		err = translate(context.Background(), err, "sqlite.Commit", w.name)
	} else {
		w.notify()
	}
	for i, r := range w.group {
		if err != nil { // also where a condition did not hold: what it found was never committed
			r.err = err
		}
		r.done <- struct{}{}
		w.group[i] = nil
	}
}

// more moves a queued request to the group and reports whether there was one, and room for it.
func (w *writer) more() bool {
	if len(w.group) == groupBatches {
		return false
	}
	if len(w.queue) == 0 {
		runtime.Gosched() // lets those who were just answered come again
	}
	select {
	case r, open := <-w.queue:
		if open {
			w.join(r)
		}
		return open
	default:
		return false
	}
}

// join adds a request to the group. Whether its caller still waits is asked here only: a group that is done again
// must be the same.
func (w *writer) join(r *request) {
	r.err = r.ctx.Err()
	w.group = append(w.group, r)
}

// transaction commits the group, several publishes by one statement where it can. Requests whose conditions do not hold have
// their err set and take no part. Where something was written of such a request, or of one beside it, all is rolled back and done
// again without it, one by one, and from then on the conditions of a batch are looked at before its first write, so that a group
// is done again at most once.
func (w *writer) transaction() error {
	if err := w.begin(); err != nil {
		return err
	}
	now := time.Now().Unix()
	careful, size := false, 0
	single := 0 // the requests before it are made one by one
	for i := 0; i < len(w.group) || size < groupBytes && w.more(); {
		var run []*request
		if !careful && i >= single {
			run = w.alike(i)
		}
		begun, partial, err := false, false, error(nil)
		if len(run) > 0 {
			if begun, partial, err = w.together(run, now); !begun {
				single = i + len(run)
			}
		}
		if !begun && err == nil {
			run = w.group[i : i+1]
			if run[0].err == nil {
				partial, err = w.apply(run[0], now, careful)
			}
		}
		if err != nil {
			return w.abort(err)
		}
		if partial {
			w.conn.rollback()
			if err := w.begin(); err != nil {
				return err
			}
			if begun {
				for _, r := range run { // what it found may be of a later one of them
					r.err = nil
				}
			}
			careful, size, i = true, 0, 0
			continue
		}
		for _, r := range run {
			size += r.size
		}
		i += len(run)
	}
	if err := w.conn.exec("COMMIT"); err != nil {
		return w.abort(err)
	}
	return nil
}

func (w *writer) begin() error {
	if w.conn == nil {
		c, err := w.connect()
		if err != nil {
			return err
		}
		w.checkpoints.follow(c)
		w.conn = c
	}
	if err := w.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return w.abort(err)
	}
	return nil
}

// abort undoes the transaction and returns err, its reason. Closing a connection rolls back what is open on it.
func (w *writer) abort(err error) error {
	if broken(err) || !w.conn.GetAutocommit() {
		w.conn.close()
		w.conn = nil
	}
	return err
}

// apply makes the writes of r. Where a condition does not hold it sets r.err; partial reports that earlier writes of r
// are made. With careful there are none.
func (w *writer) apply(r *request, now int64, careful bool) (partial bool, err error) {
	if careful {
		for i := range r.writes {
			found, err := w.conn.conflict(i, &r.writes[i], now)
			if err != nil {
				return false, err
			}
			if found != nil {
				r.err = found
				return false, nil
			}
		}
	}
	r.position = 0
	return w.writeFrom(r, 0, now)
}

// writeFrom makes the writes of r from the k-th on, as apply does.
func (w *writer) writeFrom(r *request, k int, now int64) (partial bool, err error) {
	for i := k; i < len(r.writes); i++ {
		held, position, err := w.conn.write(&r.writes[i], now)
		if err != nil {
			return false, err
		}
		if !held {
			found, err := w.conn.conflict(i, &r.writes[i], now)
			if found == nil {
				found = &driver.Conflict{Write: i}
			}
			r.err = found
			return i > 0, err
		}
		if position > 0 {
			r.position = position
		}
	}
	return false, nil
}

// A sweep removes at most sweepRows expired rows of the system collection.
const (
	sweepRows  = 200
	sweepQuery = `DELETE FROM system WHERE rowid IN
		(SELECT rowid FROM system WHERE expires BETWEEN 1 AND unixepoch() - 1 LIMIT 200)`
)

// sweep removes some expired rows and returns when to look again. An error is not reported: the next commit
// meets it too.
func (w *writer) sweep() time.Duration {
	w.checkpoints.gate.Lock()
	defer w.checkpoints.gate.Unlock()
	if w.begin() != nil {
		return w.rest
	}
	err := w.conn.exec(sweepQuery)
	removed := w.conn.Changes()
	if err == nil {
		err = w.conn.exec("COMMIT")
	}
	if err != nil {
		w.abort(err)
		return w.rest
	}
	if removed == sweepRows {
		return w.rest / 1000
	}
	return w.rest
}

// Commit is carried out by the writer. When ctx is done before it was acknowledged, it may still be made.
func (e *engine) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if err := e.enter(ctx, "sqlite.Commit"); err != nil {
		return "", err
	}
	defer e.leave()
	if len(b.Writes) == 0 {
		return "", nil
	}
	r := e.requests.Get().(*request)
	r.encode(ctx, b)
	select {
	case e.writer.queue <- r:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case <-r.done:
	case <-ctx.Done(): // r stays the writer's
		return "", ctx.Err()
	}
	at, err := driver.PositionAt(r.position), r.err
	r.ctx = nil
	e.requests.Put(r)
	if err != nil {
		return "", err
	}
	return at, nil
}

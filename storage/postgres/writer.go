package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/storage/driver"
)

// writer is the one goroutine that writes. It puts all batches that were queued during the last commit into one group and
// answers them when the server has committed it. Two batches that name the same row come into successive groups.
type writer struct {
	queue   chan *request
	rest    time.Duration // between two looks for expired rows when there was none
	findOut time.Duration // how long to try to learn of a commit whose answer was lost
	notify  func()        // called after every commit

	session  session
	group    *group
	waiting  []*request    // for the next group
	crowd    int           // how many callers there were at the last commit
	patience time.Duration // with those of them who don't come again
	done     chan struct{}
}

func newWriter(cfg *pgx.ConnConfig, opts Options, t tuning) *writer {
	return &writer{
		queue: make(chan *request, groupBatches), done: make(chan struct{}), group: newGroup(), patience: mostPatience,
		rest: t.rest, findOut: t.findOut,
		session: session{cfg: cfg, numbering: t.numbering, limit: opts.roundTrip(), statements: make(map[shape]string)},
	}
}

// run serves the queue until it is closed and empty.
func (w *writer) run() {
	defer close(w.done)
	defer w.session.end()
	sweep := time.NewTimer(w.rest)
	defer sweep.Stop()
	for {
		if len(w.waiting) > 0 {
			w.serve()
			continue
		}
		select {
		case r, open := <-w.queue:
			if !open {
				return
			}
			w.waiting = append(w.waiting, r)
			w.serve()
		case <-sweep.C:
			sweep.Reset(w.sweep())
		}
	}
}

// serve commits those that wait and what queues up meanwhile, and answers them.
func (w *writer) serve() {
	w.gather()
	if len(w.group.requests) == 0 {
		return
	}
	err := w.transaction()
	if err != nil {
		for w.more() { // they would wait for the same error, one after the other
		}
		w.answer(w.waiting, err)
		w.waiting = w.waiting[:0]
	} else {
		w.notify()
	}
	w.crowd = len(w.group.requests) + len(w.waiting) + len(w.queue)
	w.answer(w.group.requests, err)
	w.group.reset()
}

func (w *writer) answer(requests []*request, err error) {
	for _, r := range requests {
		if err != nil {
			r.err = err
		}
		r.done <- struct{}{}
	}
}

// gather makes the next group. Whether callers still wait is asked here only.
func (w *writer) gather() {
	left := w.waiting[:0]
	for i := 0; i < len(w.waiting) || w.more(); i++ {
		r := w.waiting[i]
		switch {
		case r.ctx.Err() != nil:
			r.err = r.ctx.Err()
			r.done <- struct{}{}
		case w.group.full() || !w.group.join(r):
			left = append(left, r)
		}
	}
	clear(w.waiting[len(left):])
	w.waiting = left
}

// more moves a queued request to those that wait and reports whether there was one, and room for it.
func (w *writer) more() bool {
	if w.group.full() || len(w.waiting) >= 2*groupBatches {
		return false
	}
	if len(w.queue) == 0 && len(w.group.requests) < w.crowd {
		w.linger()
	}
	select {
	case r, open := <-w.queue:
		if open {
			w.waiting = append(w.waiting, r)
		}
		return open
	default:
		return false
	}
}

// A commit costs about as much as lingerBelow batches do: a group that is larger gains nothing by waiting for more. Who was answered
// and comes again at once does so within mostPatience.
const (
	lingerBelow  = 32
	mostPatience = 20 * time.Microsecond
)

// linger lets those who were just answered come again. Where they don't, it has less patience the next time.
func (w *writer) linger() {
	for began := time.Now(); ; {
		runtime.Gosched()
		switch {
		case len(w.queue) > 0:
			w.patience = mostPatience
			return
		case len(w.group.requests) >= lingerBelow:
			return
		case time.Since(began) >= w.patience:
			w.patience /= 2
			return
		}
	}
}

// attempts is how often a group is sent to a server that answers and can't commit it.
const attempts = 20

// transaction commits the group and sets its requests' results. It returns the error of those that have none.
func (w *writer) transaction() error {
	ctx := context.Background() // a group is many callers'; the session has limits of its own
	for attempt := 1; ; attempt++ {
		answer, err := w.session.commit(ctx, w.group)
		if errors.Is(err, errUnknown) {
			answer, err = w.ask(ctx, err)
		}
		switch {
		case err == nil:
			w.group.settle(answer)
			return nil
		case !w.group.careful && has(err, uniqueViolation, divisionByZero):
			w.group.careful = true // some condition doesn't hold
		case attempt < attempts && errors.Is(err, errFenced):
		case attempt < attempts && again(err):
			<-time.After(rand.N(time.Millisecond << min(attempt, 7))) // not in step with those it collided with
		default:
			return w.explain(err)
		}
	}
}

func (w *writer) explain(err error) error {
	if errors.Is(err, errUnknown) {
		return unknown(err)
	}
	return translate(context.Background(), err, "postgres.Commit")
}

// ask finds out about a commit whose answer was lost for the reason given. It returns the answer, errFenced where the commit was not
// made and never will be, or the reason where the server can't be asked.
func (w *writer) ask(ctx context.Context, reason error) ([][]int64, error) {
	number := w.session.number
	limit := time.NewTimer(w.findOut)
	defer limit.Stop()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		made, answer, err := w.session.outcome(ctx, number)
		switch {
		case err == nil && made:
			return answer, nil
		case err == nil:
			return nil, errFenced
		}
		select {
		case <-time.After(pause):
		case <-limit.C:
			return nil, reason
		}
	}
}

// A sweep removes at most sweepRows expired rows of the system collection, and sessions of processes that are long gone.
const (
	sweepRows  = 200
	sweepQuery = `DELETE FROM system t USING (SELECT pk, sk FROM system WHERE expires > 0 AND expires < $1 ORDER BY expires LIMIT 200) AS old
		WHERE t.pk = old.pk AND t.sk = old.sk AND t.expires > 0 AND t.expires < $1`
	sessionsQuery = "DELETE FROM session WHERE used < now() - interval '1 day' AND id <> $1"
)

// sweep removes some expired rows, says that the session is there, and returns when to look again. An error is not reported: the next
// commit meets it too.
func (w *writer) sweep() time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), w.session.limit)
	defer cancel()
	if w.session.connect(ctx) != nil {
		return w.rest
	}
	b := named(everyone)
	b.Queue(w.session.numbering.lock)
	b.Queue("UPDATE session SET used = now() WHERE id = $1", w.session.id)
	b.Queue(letGo)
	b.Queue(hold, w.session.id).Exec(taken(&w.session.holds))
	b.Queue(meet)
	b.Queue(sessionsQuery, w.session.id)
	var removed int64
	b.Queue(sweepQuery, time.Now().Unix()).Exec(func(tag pgconn.CommandTag) error {
		removed = tag.RowsAffected()
		return nil
	})
	w.session.conn.SendBatch(ctx, b).Close()
	if w.session.conn.IsClosed() {
		w.session.conn = nil // with nothing under way, nothing is lost
	}
	if removed == sweepRows {
		return w.rest / 1000
	}
	return w.rest
}

// Commit is carried out by the writer. When ctx is done before it was acknowledged, it may still be made.
func (e *engine) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if err := e.enter(ctx, "postgres.Commit"); err != nil {
		return "", err
	}
	defer e.leave()
	if len(b.Writes) == 0 {
		return "", nil
	}
	r := newRequest(ctx, b)
	select {
	case e.writer.queue <- r:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case <-r.done:
		return r.position, r.err
	case <-ctx.Done(): // r stays the writer's
		return "", ctx.Err()
	}
}

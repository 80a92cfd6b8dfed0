package jobs

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// maxReason bounds what is kept of an error, in bytes.
const maxReason = 500

// errTaken ends a job that was cancelled, or that another process took over.
var errTaken = errors.New("the job was taken away")

type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Final marks a failure that trying again does not mend: the job is dead at once. Final of nil is nil.
func Final(err error) error {
	if err == nil {
		return nil
	}
	return final{err}
}

// serve runs a job that this process has claimed, and keeps what became of it. Leave lets its worker go.
func (l *line) serve(ctx context.Context, e *entry, leave func()) {
	q := l.queue
	defer q.workers.leave(e.holder)
	began := time.Now()
	out := Outcome{Kind: l.kind.Name, Waited: max(0, q.cfg.Now().Sub(timeOf(e.place())))}

	running, line := guard.WithLine(context.WithoutCancel(ctx), e.RequestID)
	sc := e.scope()
	line.Set(sc.Actor(), sc.Tenant())
	running, cancel := context.WithCancelCause(running)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Canceled) })()
	defer context.AfterFunc(e.holder.running, func() { cancel(errLost) })()
	attempt, end := context.WithTimeout(running, l.kind.Timeout)
	defer end()

	var watching sync.WaitGroup
	watching.Go(func() { l.watch(attempt, e, cancel) })
	ended := l.clock(e.owner, leave)
	err := l.attempt(attempt, sc, e.job())
	ended()
	out.Took = time.Since(began)
	cause := context.Cause(running)
	end()
	watching.Wait()
	out.Result = l.settle(ctx, running, e, err, cause)
	q.cfg.Observe(out)
}

// clock makes a tenant slow, and its worker free for others, when its attempt has lasted for Kind.Quick. The caller calls ended when the attempt has.
func (l *line) clock(owner tenant.Code, leave func()) (ended func()) {
	if l.kind.Quick == 0 {
		return func() {}
	}
	timer := time.AfterFunc(l.kind.Quick, func() {
		l.turns.judge(owner, true)
		leave()
	})
	return func() {
		if timer.Stop() {
			l.turns.judge(owner, false)
		}
	}
}

// attempt runs the job; a panic is a failure like any other, and so is an end of its goroutine, which is one of its own.
func (l *line) attempt(ctx context.Context, sc scope.Scope, j Job) error {
	err := errors.New("the job ended its goroutine")
	var running sync.WaitGroup
	running.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("the job panicked: %v\n%s", p, debug.Stack())
			}
		}()
		err = l.kind.Run(ctx, sc, j)
	})
	running.Wait()
	return err
}

// rest returns the pause behind an attempt. A Backoff that panics is one of an hour: the job is to blame, not the process.
func (l *line) rest(attempt int) (d time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			l.queue.cfg.Log.Error("a Backoff panicked", "kind", l.kind.Name, "attempt", attempt, "error", p)
			d = time.Hour
		}
	}()
	return min(max(0, l.kind.Backoff(attempt)), farthest)
}

// watch ends an attempt whose claim is gone: the job was cancelled.
func (l *line) watch(ctx context.Context, e *entry, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(l.queue.cfg.Term / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if row, err := l.queue.cfg.Jobs.Get(ctx, e.row.Owner, e.row.SK); err == nil && row.Version != e.row.Version {
			cancel(errTaken)
			return
		}
	}
}

// settle keeps what became of an attempt, and returns the word for it. Cause is why its context ended before it returned, nil where it did not.
func (l *line) settle(ctx, logged context.Context, e *entry, failure, cause error) string {
	q := l.queue
	logged = context.WithoutCancel(logged)
	log := q.cfg.Log.With("kind", l.kind.Name, "job", e.ID, "attempt", e.Attempts)
	result, next := "done", *e
	var plan func() ([]storage.SystemWrite, error)
	switch {
	case failure == nil:
		plan = func() ([]storage.SystemWrite, error) { return q.gone(e), nil }
	case errors.Is(cause, errLost), errors.Is(cause, errTaken):
		log.WarnContext(logged, "a job was taken away while it ran", "error", cause)
		return "lost"
	case errors.Is(cause, context.Canceled):
		result = "released"
		next.Attempts--
		plan = func() ([]storage.SystemWrite, error) { return q.again(e, &next, q.cfg.Now()) }
	case e.Attempts < l.kind.Attempts && !errors.As(failure, new(final)):
		result = "failed"
		next.Reason, next.Shown = reasonOf(failure)
		at := q.cfg.Now().Add(l.rest(e.Attempts))
		plan = func() ([]storage.SystemWrite, error) { return q.again(e, &next, at) }
		log.WarnContext(logged, "a job failed; it is tried again", "at", at, "error", failure)
	default:
		result = "dead"
		next.Reason, next.Shown = reasonOf(failure)
		plan = func() ([]storage.SystemWrite, error) { return q.keep(e, &next, Dead) }
		log.ErrorContext(logged, "a job failed and is dead: it waits for an operator", "error", failure)
	}
	if err := l.commit(ctx, e, plan); err != nil {
		log.ErrorContext(logged, "what became of a job could not be kept; it runs again", "result", result, "error", err)
		return "lost"
	}
	return result
}

// commit makes the writes that end a claim, and tries again until the store has an answer. Once the claim is lost, or the process must end,
// half a term is left for it: the writes want the claim as it was made, so whoever took the job over is not disturbed.
func (l *line) commit(ctx context.Context, e *entry, plan func() ([]storage.SystemWrite, error)) error {
	until, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for _, end := range []context.Context{ctx, e.holder.running} {
		defer context.AfterFunc(end, func() {
			timer := time.AfterFunc(l.queue.cfg.Term/2, cancel)
			context.AfterFunc(until, func() { timer.Stop() })
		})()
	}
	unsure := false
	for rest := 10 * time.Millisecond; ; rest = min(2*rest, pause) {
		writes, err := plan()
		if err != nil {
			return err
		}
		err = l.queue.cfg.Jobs.CommitUnpaused(until, writes...)
		lost, first := errors.AsType[*driver.Conflict](err)
		switch {
		case err == nil, first && unsure:
			return nil // an earlier try was made after all, or another process has the job
		case first && lost.Write == 0:
			return errTaken
		case first: // another job waits under its unique text by now, and does what this one would
			plan = func() ([]storage.SystemWrite, error) { return l.queue.gone(e), nil }
			continue
		case fault.CodeOf(err) != fault.Unavailable && until.Err() == nil:
			return err
		}
		unsure = true
		timer := time.NewTimer(rest)
		select {
		case <-until.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

func reasonOf(err error) (reason string, shown bool) {
	reason = err.Error()
	if f, ok := errors.AsType[*fault.Error](err); ok {
		reason, shown = f.Msg, true
	}
	reason, _, _ = strings.Cut(reason, "\n")
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], ""), shown
}

// gone returns the writes that end a job. The first is the one that must find the claim.
func (q *Queue) gone(e *entry) []storage.SystemWrite {
	writes := []storage.SystemWrite{q.cfg.Jobs.Remove(e.row)}
	if e.place() != e.ID {
		writes = append(writes, q.cfg.Jobs.Delete(e.at(moved, e.ID)))
	}
	return writes
}

type movedValue struct {
	Place string `json:"place"`
}

// again returns the writes that make next of a job that stands as e: one that waits, due at a time.
func (q *Queue) again(e, next *entry, at time.Time) ([]storage.SystemWrite, error) {
	place, err := q.newPlace(at)
	if err != nil {
		return nil, err
	}
	next.Worker, next.State, next.row = "", "", next.at(due, place)
	row, err := next.with()
	if err != nil {
		return nil, err
	}
	where := next.at(moved, next.ID)
	where.Value, err = record.EncodeAttributes(movedValue{Place: place})
	writes := []storage.SystemWrite{q.cfg.Jobs.Remove(e.row), q.cfg.Jobs.Put(row), q.cfg.Jobs.Set(where), q.noted(next.owner, next.kind)}
	if next.Unique != "" {
		writes = append(writes, q.cfg.Jobs.Put(next.uniqueRow()))
	}
	return writes, err
}

// keep returns the writes that keep a job that is not run any more.
func (q *Queue) keep(e, next *entry, state State) ([]storage.SystemWrite, error) {
	next.Worker, next.State = "", state
	next.row = next.at(kept, next.ID)
	next.row.Value, next.row.Expires = e.row.Value, q.cfg.Now().Add(q.cfg.Keep).Unix()
	row, err := next.with()
	writes := append(q.gone(e), q.cfg.Jobs.Set(row))
	if e.Unique != "" && e.Worker == "" && e.State == "" && e.own() {
		writes = append(writes, q.cfg.Jobs.Delete(e.uniqueRow()))
	}
	return writes, err
}

// put keeps a job, which nobody runs, as one that is not run any more.
func (l *line) put(ctx context.Context, e *entry, state State, reason string) error {
	q, next := l.queue, *e
	next.Reason, next.Shown = reason, true
	writes, err := q.keep(e, &next, state)
	if err != nil {
		return err
	}
	err = q.cfg.Jobs.CommitUnpaused(ctx, writes...)
	if _, first := errors.AsType[*driver.Conflict](err); first {
		return nil
	}
	if err == nil {
		q.cfg.Log.WarnContext(ctx, "a job is not run any more", "kind", e.kind, "job", e.ID, "tenantCode", e.owner.String(), "state", state, "reason", reason)
		q.cfg.Observe(Outcome{Kind: e.kind, Result: string(state)})
	}
	return err
}

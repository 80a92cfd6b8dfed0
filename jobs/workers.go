package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// workers is which processes run jobs: a row for each of them, whose version rises every quarter of a term while it runs some. A claim
// names its worker, and holds for as long as there is the row. As with the leases of handlers, no clocks of two processes are compared: who
// has seen one version for a whole term removes the row, and a worker ends its jobs when its last renewal began three quarters of a
// term ago. A worker's name is never used again.
type workers struct {
	keeper storage.Keeper
	term   time.Duration
	log    *slog.Logger

	mu      sync.Mutex
	own     *worker // nil while this process runs no job
	entered chan struct{}
	seen    map[string]sighting
}

// worker is one life of this process as a worker.
type worker struct {
	id      string
	row     storage.Row
	jobs    int // that run, or are being claimed
	running context.Context
	end     context.CancelCauseFunc
	alarm   *time.Timer
	ended   bool // takes no further job
}

type sighting struct {
	version int64
	since   time.Time
}

// errLost ends the jobs of a worker that could not show that it lives.
var errLost = errors.New("the process could not show in time that it is alive; another one takes its jobs over")

func newWorkers(cfg Config) *workers {
	return &workers{keeper: cfg.Workers, term: cfg.Term, log: cfg.Log, entered: make(chan struct{}, 1), seen: map[string]sighting{}}
}

// enter returns this process as a worker with one job more. The caller leaves.
func (ws *workers) enter(ctx context.Context) (*worker, error) {
	select {
	case ws.entered <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-ws.entered }()
	ws.mu.Lock()
	if w := ws.own; w != nil && !w.ended {
		w.jobs++
		ws.mu.Unlock()
		return w, nil
	}
	ws.mu.Unlock()
	w := &worker{id: record.NewID(), jobs: 1}
	w.row = storage.Row{Owner: common, SK: w.id}
	w.running, w.end = context.WithCancelCause(context.Background())
	began := time.Now()
	if err := ws.keeper.Commit(ctx, ws.keeper.Put(w.row)); err != nil {
		return nil, err // a row that was written after all is removed by those who watch it
	}
	w.row.Version = 1
	w.alarm = time.AfterFunc(ws.patience()-time.Since(began), func() { ws.lose(w) })
	ws.mu.Lock()
	ws.own = w
	ws.mu.Unlock()
	return w, nil
}

func (ws *workers) patience() time.Duration { return ws.term * 3 / 4 }

// lose ends the jobs of a worker, which takes no further ones.
func (ws *workers) lose(w *worker) {
	ws.mu.Lock()
	w.ended = true
	ws.mu.Unlock()
	w.end(errLost)
}

func (ws *workers) leave(w *worker) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.jobs--
}

// alive reports whether a claim of a worker holds.
func (ws *workers) alive(ctx context.Context, id string) (bool, error) {
	ws.mu.Lock()
	_, known := ws.seen[id]
	known = known || ws.own != nil && ws.own.id == id
	ws.mu.Unlock()
	if known {
		return true, nil
	}
	row, err := ws.keeper.Get(ctx, common, id)
	return row.Version > 0, err
}

// keep shows that this process lives, and watches the others, until stop is closed; then it lets go.
func (ws *workers) keep(stop <-chan struct{}) {
	tick := time.NewTicker(ws.term / 4)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			ws.mu.Lock()
			w := ws.own
			ws.mu.Unlock()
			if w != nil {
				ws.retire(w)
			}
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), ws.term/4)
		err := errors.Join(ws.renew(ctx), ws.watch(ctx))
		cancel()
		if err != nil {
			ws.log.Error("a process that runs jobs can't show that it lives, or see whether others do", "error", err)
		}
	}
}

// renew raises the version of the own row, and removes it where nothing runs.
func (ws *workers) renew(ctx context.Context) error {
	ws.mu.Lock()
	w := ws.own
	idle := w != nil && w.jobs == 0
	if idle {
		w.ended, ws.own = true, nil
	}
	ws.mu.Unlock()
	switch {
	case w == nil:
		return nil
	case idle:
		ws.retire(w)
		return nil
	}
	for {
		began := time.Now()
		err := ws.keeper.Commit(ctx, ws.keeper.Put(w.row))
		if err == nil {
			w.row.Version++
			w.alarm.Reset(ws.patience() - time.Since(began))
			return nil
		}
		if _, first := errors.AsType[*driver.Conflict](err); !first {
			return err
		}
		row, err := ws.keeper.Get(ctx, common, w.id)
		if err != nil {
			return err
		}
		if row.Version == 0 {
			ws.lose(w)
			return fault.New(fault.Unavailable, "jobs", "another process took this one for dead and takes its jobs over")
		}
		w.row = row // an earlier renewal was made after all
	}
}

// retire removes the row of a worker that runs nothing. Where that fails, others do.
func (ws *workers) retire(w *worker) {
	w.alarm.Stop()
	w.end(nil)
	ctx, cancel := context.WithTimeout(context.Background(), ws.term/4)
	defer cancel()
	if err := ws.keeper.Commit(ctx, ws.keeper.Delete(w.row)); err != nil {
		ws.log.Warn("a process that ran jobs could not say that it ended; the others find out", "error", err)
	}
}

// watch looks at all workers, and removes those that have shown nothing new for a whole term.
func (ws *workers) watch(ctx context.Context) error {
	seen := map[string]sighting{}
	for after := ""; ; {
		rows, err := ws.keeper.List(ctx, common, "", after, 500)
		if err != nil {
			return err
		}
		now := time.Now() // after the answer: what it shows is at least as old
		for _, row := range rows {
			after = row.SK
			s := sighting{row.Version, now}
			ws.mu.Lock()
			before, known := ws.seen[row.SK]
			own := ws.own != nil && ws.own.id == row.SK
			ws.mu.Unlock()
			if known && before.version == row.Version {
				s.since = before.since
			}
			if own || now.Sub(s.since) < ws.term {
				seen[row.SK] = s
				continue
			}
			err := ws.keeper.Commit(ctx, ws.keeper.Remove(row))
			if _, lost := errors.AsType[*driver.Conflict](err); lost {
				seen[row.SK] = sighting{0, now}
			} else if err != nil {
				seen[row.SK] = s
				return err
			}
		}
		if len(rows) < 500 {
			break
		}
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.seen = seen
	return nil
}

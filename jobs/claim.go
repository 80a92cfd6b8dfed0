package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// line is the queue of one kind.
type line struct {
	queue *Queue
	kind  Kind
	turns *turns
}

// pause is how long a line rests where the store fails, and how often what nobody tells of is looked at.
const pause = time.Second

// run gives turns to tenants until the context ends, and returns when all that they began has ended.
func (l *line) run(ctx context.Context) {
	var working sync.WaitGroup
	for _, from := range []*fifo{&l.turns.quick, &l.turns.slow} {
		working.Go(func() { l.give(ctx, from, &working) })
	}
	working.Wait()
}

// give gives turns to some tenants, each with a worker, which runs the job that is found.
func (l *line) give(ctx context.Context, from *fifo, working *sync.WaitGroup) {
	workers := make(chan struct{}, l.kind.Workers)
	for {
		workers <- struct{}{}
		owner, version, ok := l.turns.next(ctx, from)
		if !ok {
			return
		}
		leave := sync.OnceFunc(func() { <-workers })
		working.Go(func() {
			defer leave()
			l.turn(ctx, owner, version, leave)
		})
	}
}

// turn looks at a tenant once, and runs what it claims. Leave lets its worker go.
func (l *line) turn(ctx context.Context, owner tenant.Code, version int64, leave func()) {
	e, f, err := l.look(ctx, owner, version)
	if err != nil && ctx.Err() == nil {
		l.queue.cfg.Log.ErrorContext(ctx, "jobs can't be looked at; it is tried again", "kind", l.kind.Name, "tenantCode", owner.String(), "error", err)
	}
	if err != nil {
		f = found{poll: true}
	}
	l.turns.done(owner, f)
	if e != nil {
		l.serve(ctx, e, leave)
		l.turns.wake(owner)
	}
}

// look claims the first job of a tenant that may run. Version is that of the tenant's row in the directory, read before; 0 where it was not.
func (l *line) look(ctx context.Context, owner tenant.Code, version int64) (*entry, found, error) {
	q := l.queue
	state, err := q.cfg.Tenant(ctx, owner)
	if err != nil {
		return nil, found{}, err
	}
	if state.Exists && state.Suspended {
		return nil, found{poll: true}, nil
	}
	w, err := l.window(ctx, owner)
	if err != nil {
		return nil, found{}, err
	}
	if len(w.due) == 0 {
		return nil, l.forget(ctx, owner, version), nil
	}
	atOnce := l.kind.PerTenant
	if l.turns.isSlow(owner) {
		atOnce = 1
	}
	if len(w.running) >= atOnce {
		return nil, found{poll: true}, nil
	}
	born := int64(0)
	if !state.Born.IsZero() {
		born = state.Born.Unix()
	}
	for _, e := range w.due {
		switch at := timeOf(e.place()); {
		case slices.ContainsFunc(w.running, func(r *entry) bool { return r.ID == e.ID || e.Unique != "" && r.Unique == e.Unique }):
			continue
		case at.After(q.cfg.Now()):
			return nil, found{at: at, poll: len(w.running) > 0}, nil
		case !e.own():
			return nil, found{more: true}, l.put(ctx, e, Dropped, "it was ordered in another tenant; run tenantry verify")
		case !state.Exists || born != 0 && e.Born != 0 && e.Born != born:
			return nil, found{more: true}, l.put(ctx, e, Dropped, "the tenant that it was ordered for was deleted")
		case e.unread:
			return nil, found{more: true}, l.put(ctx, e, Dead, unknownForm)
		case e.Worker != "" && e.Attempts >= l.kind.Attempts:
			return nil, found{more: true}, l.put(ctx, e, Dead, "the process that ran it died, each time")
		}
		claimed, err := l.claim(ctx, w, e)
		if _, lost := errors.AsType[*driver.Conflict](err); lost {
			return nil, found{more: true}, nil
		}
		return claimed, found{more: err == nil}, err
	}
	return nil, found{poll: true}, nil
}

// forget removes a tenant without jobs from the directory, unless some came since its row there had the version.
func (l *line) forget(ctx context.Context, owner tenant.Code, version int64) found {
	if version == 0 {
		return found{}
	}
	row := directoryRow(owner, l.kind.Name)
	row.Version = version
	if err := l.queue.cfg.Directory.Commit(ctx, l.queue.cfg.Directory.Remove(row)); err != nil {
		return found{} // what came since makes the directory say something new
	}
	return found{gone: true}
}

// window is what a look reads: the jobs that are due first, enough to find one that may run, and those that run.
type window struct {
	claims  storage.Row
	due     []*entry
	running []*entry
}

type claimsValue struct {
	Running []string `json:"running"` // the places of the jobs that ran when one was last claimed, and of that
}

func (l *line) window(ctx context.Context, owner tenant.Code) (*window, error) {
	q := l.queue
	size := 2*l.kind.PerTenant + 2 // the row of claims, those that run, as many that wait for one of them to end, and one
	rows, err := q.cfg.Jobs.List(ctx, owner.String(), l.kind.Name+record.Separator, "", size)
	if err != nil {
		return nil, err
	}
	w := &window{claims: storage.Row{Owner: owner.String(), SK: key(l.kind.Name, claims)}}
	seen := map[string]*entry{}
	for _, row := range rows {
		if row.SK == w.claims.SK {
			w.claims = row
		}
		if !strings.HasPrefix(row.SK, key(l.kind.Name, due, "")) {
			continue
		}
		e := entryOf(l.kind.Name, owner, row)
		w.due = append(w.due, e)
		seen[e.place()] = e
	}
	var v claimsValue
	if err := w.claims.Value.Decode(&v); err != nil {
		return nil, err
	}
	for _, place := range v.Running {
		e := seen[place]
		if e == nil && len(rows) == size && len(w.due) > 0 && place > w.due[len(w.due)-1].place() { // clocks differ: it may stand behind what was read
			row, err := q.cfg.Jobs.Get(ctx, owner.String(), key(l.kind.Name, due, place))
			if err != nil {
				return nil, err
			}
			if row.Version > 0 {
				e = entryOf(l.kind.Name, owner, row)
			}
		}
		if e == nil || e.Worker == "" {
			continue
		}
		alive, err := q.workers.alive(ctx, e.Worker)
		if err != nil {
			return nil, err
		}
		if alive {
			w.running = append(w.running, e)
		}
	}
	return w, nil
}

// claim makes e a job that this process runs. It fails with *driver.Conflict where another was first.
func (l *line) claim(ctx context.Context, w *window, e *entry) (*entry, error) {
	q := l.queue
	worker, err := q.workers.enter(ctx)
	if err != nil {
		return nil, err
	}
	v := claimsValue{Running: []string{e.place()}}
	for _, r := range w.running {
		v.Running = append(v.Running, r.place())
	}
	w.claims.Value, err = record.EncodeAttributes(v)
	if err != nil {
		q.workers.leave(worker)
		return nil, err
	}
	claimed := *e
	claimed.Worker, claimed.holder = worker.id, worker
	claimed.Attempts++
	writes := []storage.SystemWrite{q.cfg.Jobs.Put(w.claims)}
	if e.Unique != "" && e.Worker == "" {
		writes = append(writes, q.cfg.Jobs.Delete(e.uniqueRow()))
	}
	row, err := claimed.with()
	if err == nil {
		err = q.cfg.Jobs.CommitUnpaused(ctx, append(writes, q.cfg.Jobs.Put(row))...)
	}
	if err != nil {
		q.workers.leave(worker)
		return nil, err
	}
	claimed.row = row
	claimed.row.Version++
	return &claimed, nil
}

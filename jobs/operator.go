package jobs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Get returns a job of sc's tenant. It fails with fault.NotFound where there is none: one that is done is not kept.
func (q *Queue) Get(ctx context.Context, sc scope.Scope, id string) (Job, error) {
	e, err := q.get(ctx, sc, id)
	if err != nil {
		return Job{}, err
	}
	return e.job(), nil
}

func (q *Queue) get(ctx context.Context, sc scope.Scope, id string) (*entry, error) {
	if err := sc.Check(); err != nil {
		return nil, err
	}
	kind, short, _ := strings.Cut(id, idSeparator)
	if q.lines[kind] == nil || record.CheckSortKey(short) != nil || strings.Contains(short, record.Separator) {
		return nil, noJob()
	}
	e, err := q.find(ctx, sc.Tenant(), kind, short)
	if err == nil && (e == nil || !e.livesIn(sc)) {
		err = noJob()
	}
	return e, err
}

func noJob() error {
	return fault.New(fault.NotFound, "jobs", "there is no such job; one that is done is not kept")
}

// livesIn reports whether the job was ordered for the tenant that sc covers, and not for an earlier one of the same code.
func (e *entry) livesIn(sc scope.Scope) bool {
	return e.own() && (e.Born == 0 || sc.Born() == 0 || e.Born == sc.Born())
}

// find returns the job of an ID, nil where there is none.
func (q *Queue) find(ctx context.Context, owner tenant.Code, kind, id string) (*entry, error) {
	at := func(part, place string) (storage.Row, error) {
		return q.cfg.Jobs.Get(ctx, owner.String(), key(kind, part, place))
	}
	row, err := at(due, id)
	if err == nil && row.Version == 0 {
		var where storage.Row
		var v movedValue
		if where, err = at(moved, id); err == nil && where.Version > 0 {
			if err = where.Value.Decode(&v); err == nil {
				row, err = at(due, v.Place)
			}
		}
	}
	if err == nil && row.Version == 0 {
		row, err = at(kept, id)
	}
	if err != nil || row.Version == 0 {
		return nil, err
	}
	return entryOf(kind, owner, row), nil
}

// Query asks for jobs of one tenant.
type Query struct {
	Kind  string // "" for all kinds, one after the other
	Kept  bool   // those that are dead or were dropped, by ID, in place of those that wait or run, by when they are due
	After string // the Next of the page before; "" begins
	Limit int    // at least 1
}

// List returns at most Limit jobs of sc's tenant. Next is the place behind them, "" where there are no more. It fails with
// fault.ValidationFailed for a kind that is not registered.
func (q *Queue) List(ctx context.Context, sc scope.Scope, in Query) (jobs []Job, next string, err error) {
	if err := sc.Check(); err != nil {
		return nil, "", err
	}
	kinds := slices.Sorted(maps.Keys(q.lines))
	if in.Kind != "" {
		if q.lines[in.Kind] == nil {
			return nil, "", fault.Invalid("jobs.List", fault.Field{Field: "kind", Problem: "is not one that this application registered"})
		}
		kinds = []string{in.Kind}
	}
	afterKind, after, _ := strings.Cut(in.After, idSeparator)
	for _, kind := range kinds {
		if kind < afterKind {
			continue
		}
		if kind > afterKind {
			after = ""
		}
		found, place, err := q.listKind(ctx, sc, kind, in.Kept, after, in.Limit-len(jobs))
		if err != nil {
			return nil, "", err
		}
		if jobs = append(jobs, found...); place != "" {
			return jobs, kind + idSeparator + place, nil
		}
		if len(jobs) == in.Limit { // where the next kind has some is found out by asking for them
			return jobs, kind + idSeparator + last, nil
		}
	}
	return jobs, "", nil
}

// last is behind every place.
const last = "~"

// listKind returns at most limit jobs of one kind. Next is the place of the last, "" where there are no more.
func (q *Queue) listKind(ctx context.Context, sc scope.Scope, kind string, dead bool, after string, limit int) (jobs []Job, next string, err error) {
	part := due
	if dead {
		part = kept
	}
	prefix := key(kind, part, "")
	if after != "" {
		after = prefix + after
	}
	for {
		rows, err := q.cfg.Jobs.List(ctx, sc.Tenant().String(), prefix, after, limit+1)
		if err != nil {
			return nil, "", err
		}
		for _, row := range rows {
			after = row.SK
			e := entryOf(kind, sc.Tenant(), row)
			if !e.livesIn(sc) {
				continue
			}
			if len(jobs) == limit {
				return jobs, next, nil
			}
			jobs, next = append(jobs, e.job()), e.place()
		}
		if len(rows) <= limit {
			return jobs, "", nil
		}
	}
}

// Retry has a job of sc's tenant that is dead, or was dropped, tried again at once, with all its attempts. It fails with fault.NotFound, with
// fault.AlreadyExists where another waits under its unique text, and with fault.InvalidRequest for one that waits or runs, or that another
// version wrote in a form that this one doesn't know.
func (q *Queue) Retry(ctx context.Context, sc scope.Scope, id string) (Job, error) {
	e, err := q.get(ctx, sc, id)
	if err != nil {
		return Job{}, err
	}
	if e.State == "" {
		return Job{}, fault.New(fault.InvalidRequest, "jobs.Retry", "the job waits or runs; only one that is dead, or was dropped, is tried again")
	}
	if e.unread {
		return Job{}, fault.New(fault.InvalidRequest, "jobs.Retry", "another version of Tenantry wrote the job, in a form that this one does not know; have it tried again by that version, or drop it")
	}
	next := *e
	next.Attempts = 0
	writes, err := q.again(e, &next, q.cfg.Now())
	if err != nil {
		return Job{}, err
	}
	if err := q.cfg.Jobs.CommitUnpaused(ctx, writes...); err != nil {
		return Job{}, refused(err, "another job waits under the same unique text; drop this one")
	}
	q.lines[e.kind].turns.wake(e.owner)
	return next.job(), nil
}

// Cancel removes a job of sc's tenant, whatever its state. The context of one that runs ends within a quarter of a term, and what it does until
// then stands. It fails with fault.NotFound.
func (q *Queue) Cancel(ctx context.Context, sc scope.Scope, id string) (Job, error) {
	for range attempts {
		e, err := q.get(ctx, sc, id)
		if err != nil {
			return Job{}, err
		}
		writes := q.gone(e)
		if e.Unique != "" && e.Worker == "" && e.State == "" {
			writes = append(writes, q.cfg.Jobs.Delete(e.uniqueRow()))
		}
		err = q.cfg.Jobs.CommitUnpaused(ctx, writes...)
		if _, lost := errors.AsType[*driver.Conflict](err); lost {
			continue
		}
		return e.job(), err
	}
	return Job{}, fault.New(fault.Unavailable, "jobs.Cancel", "the job changes too often to be cancelled now; retry")
}

// refused returns what a commit failed with; where the last of its conditions does not hold, fault.AlreadyExists.
func refused(err error, held string) error {
	lost, first := errors.AsType[*driver.Conflict](err)
	switch {
	case first && lost.Write == 0:
		return noJob()
	case first:
		return fault.New(fault.AlreadyExists, "jobs", "%s", held)
	}
	return err
}

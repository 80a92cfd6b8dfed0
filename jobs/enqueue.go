package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// attempts bounds how often an order is planned again after another was first.
const attempts = 64

// Enqueue orders a job in sc's tenant and returns it: the one that waits already under the order's Unique, where there is one. When it
// returns, the order survives the death of the process. It fails with fault.ValidationFailed for an order that is none, and with
// fault.TenantRequired and fault.TenantForbidden.
func (q *Queue) Enqueue(ctx context.Context, sc scope.Scope, o Order) (Job, error) {
	for range attempts {
		e, writes, err := q.plan(ctx, sc, o)
		if err != nil {
			return Job{}, err
		}
		err = q.cfg.Jobs.Commit(ctx, writes...)
		if _, lost := errors.AsType[*driver.Conflict](err); lost {
			continue
		}
		if err != nil {
			return Job{}, err
		}
		if l := q.lines[o.Kind]; e.place() == e.ID && !timeOf(e.ID).After(q.cfg.Now()) {
			l.turns.wake(e.owner)
		}
		return e.job(), nil
	}
	return Job{}, fault.New(fault.Unavailable, "jobs.Enqueue", "the job of this unique text changes too often to be ordered now; retry")
}

// Beside makes a publish order a job of its tenant in the command's own commit: there is the command with the job, or neither. A publish
// that changes nothing orders nothing. The publish fails as Enqueue does.
func (q *Queue) Beside(o Order) command.Option {
	return command.Beside(func(ctx context.Context, sc scope.Scope) ([]storage.SystemWrite, error) {
		_, writes, err := q.Writes(ctx, sc, o)
		return writes, err
	})
}

// Writes returns a job as Enqueue does, and the writes that order it, for a commit of the caller's. Where that fails with *driver.Conflict, they
// must be asked for anew. It fails as Enqueue does.
func (q *Queue) Writes(ctx context.Context, sc scope.Scope, o Order) (Job, []storage.SystemWrite, error) {
	e, writes, err := q.plan(ctx, sc, o)
	if err != nil {
		return Job{}, nil, err
	}
	return e.job(), writes, nil
}

// plan returns the job that an order makes or joins, and the writes for it. Where a condition of theirs does not hold, it is planned again.
func (q *Queue) plan(ctx context.Context, sc scope.Scope, o Order) (*entry, []storage.SystemWrite, error) {
	e, err := q.entry(ctx, sc, o)
	if err != nil {
		return nil, nil, err
	}
	var writes []storage.SystemWrite
	if o.Unique != "" {
		row := e.uniqueRow()
		there, err := q.cfg.Jobs.Get(ctx, row.Owner, row.SK)
		if err != nil {
			return nil, nil, err
		}
		if there.Version > 0 {
			// The job waits. That it still does when this is committed is what raising the row's version asks for: a claim removes it.
			waits, err := q.joined(ctx, e, there)
			return waits, []storage.SystemWrite{q.cfg.Jobs.Put(there)}, err
		}
		writes = append(writes, q.cfg.Jobs.Put(row))
	}
	row, err := e.with()
	return e, append(writes, q.cfg.Jobs.Put(row), q.noted(e.owner, e.kind)), err
}

// joined returns the job that a row of unique names: e as it would be under that ID, where it began or moved since.
func (q *Queue) joined(ctx context.Context, e *entry, there storage.Row) (*entry, error) {
	var v value
	if err := there.Value.Decode(&v); err != nil {
		return nil, err
	}
	waits, err := q.find(ctx, e.owner, e.kind, v.ID)
	if err == nil && waits == nil {
		e.ID = v.ID
		return e, nil
	}
	return waits, err
}

// entry returns the job that an order asks for.
func (q *Queue) entry(ctx context.Context, sc scope.Scope, o Order) (*entry, error) {
	if err := sc.Check(); err != nil {
		return nil, err
	}
	if !sc.Writable() {
		return nil, fault.New(fault.TenantForbidden, "jobs.Enqueue", "this scope reads shared records only")
	}
	if err := q.check(o); err != nil {
		return nil, err
	}
	payload, err := o.Payload.Canonical()
	if err != nil {
		return nil, err
	}
	born := sc.Born()
	if born == 0 { // not of a request: the life that the tenant has now
		state, err := q.cfg.Tenant(ctx, sc.Tenant())
		if err != nil {
			return nil, err
		}
		if !state.Born.IsZero() {
			born = state.Born.Unix()
		}
	}
	now := q.cfg.Now()
	at := now.Add(max(0, o.After))
	if o.At.After(now) {
		at = o.At
	}
	id, err := q.newPlace(at)
	if err != nil {
		return nil, err
	}
	a := sc.Actor()
	e := &entry{kind: o.Kind, owner: sc.Tenant(), value: value{ID: id, Tenant: sc.Tenant().String(), Payload: jsontext.Value(payload), Unique: o.Unique, Created: now.UnixMilli(), Born: born, Issuer: a.Issuer,
		UserID: a.UserID, UserCode: a.UserCode, ActIssuer: a.ActIssuer, ActUserID: a.ActUserID, RequestID: a.RequestID, SourceIP: a.SourceIP}}
	e.row = e.at(due, id)
	return e, nil
}

func (q *Queue) check(o Order) error {
	var problems []fault.Field
	if q.lines[o.Kind] == nil {
		problems = append(problems, fault.Field{Field: "kind", Problem: "is not one that this application registered"})
	}
	if len(o.Payload) > MaxPayload {
		problems = append(problems, fault.Field{Field: "payload", Problem: "is at most 65536 bytes; keep a record and name it"})
	}
	if o.Unique != "" && record.CheckText(o.Unique, 200) != nil {
		problems = append(problems, fault.Field{Field: "unique", Problem: "is at most 200 bytes of printable UTF-8"})
	}
	if o.After < 0 || !o.At.IsZero() && o.After != 0 {
		problems = append(problems, fault.Field{Field: "after", Problem: "is 0 or more, and stands without at"})
	}
	if at := o.At; !at.IsZero() && at.After(q.cfg.Now().Add(farthest)) || o.After > farthest {
		problems = append(problems, fault.Field{Field: "at", Problem: "is within ten years"})
	}
	if problems != nil {
		return fault.Invalid("jobs.Enqueue", problems...)
	}
	return nil
}

const farthest = 10 * 365 * 24 * time.Hour

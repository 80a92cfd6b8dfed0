package upkeep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// batch is how many changes one transaction applies at most: on SQLite others wait to commit while it runs. After an error it is half as many,
// because a transaction that takes too long is ended.
const batch = 1024

// event is a command of the feed that a View shows.
type event struct {
	position driver.Position
	tenant   tenant.Code
	owner    tenant.Code // whose the record is, where it is counted
	kind     record.EntityType
	cmd      *record.Record
}

// eventOf returns the event of a change; ok is false for a command that no View shows.
func (r *Runner) eventOf(c driver.Change) (e event, ok bool) {
	cmd, ok := storage.Shown(c.Command)
	if !ok {
		return event{}, false
	}
	e = event{position: c.Position, cmd: cmd}
	var err error
	e.kind, e.tenant, _, err = record.SplitPK(cmd.PK)
	e.owner = e.tenant
	if of := r.cfg.Owners[e.kind]; of != nil && err == nil {
		if owner, err := of(cmd); err == nil {
			e.owner = owner
		}
	}
	return e, err == nil
}

// failure is the error of a projection, or its panic.
type failure struct {
	share share
	event event
	err   error
}

func (f *failure) Error() string {
	return fmt.Sprintf("projection %s, version %d of %s: %v", f.share.projection, f.event.cmd.Version, f.event.cmd.ID(), f.err)
}

func (f *failure) Unwrap() error { return f.err }

// read is what a look at the feed found.
type read struct {
	changes []driver.Change
	err     error
}

// catchUp applies what the feed holds, a batch in a transaction, and reads on meanwhile.
func (r *Runner) catchUp(ctx context.Context) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	s, err := r.current(ctx)
	r.leave()
	if err != nil {
		return err
	}
	position, size := s.position, max(1, r.size)
	changes, err := r.across.Changes(ctx, position, size)
	for err == nil && len(changes) > 0 {
		last := changes[len(changes)-1].Position
		following := make(chan read, 1)
		go func() {
			var f read
			if len(changes) == size {
				f.changes, f.err = r.across.Changes(ctx, last, size)
			}
			following <- f
		}()
		err = r.pass(ctx, position, changes)
		f := <-following
		if err == nil {
			err = f.err
		}
		position, changes = last, f.changes
	}
	if r.size = min(batch, 2*size); err != nil {
		r.size = size / 2
	}
	return err
}

// pass applies changes, which stand behind from, if that is where the read model is.
func (r *Runner) pass(ctx context.Context, from driver.Position, changes []driver.Change) error {
	events := make([]event, len(changes)) // those that no View shows stay empty
	for i, c := range changes {
		if e, ok := r.eventOf(c); ok {
			events[i] = e
		}
		events[i].position = c.Position
	}
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.leave()
	s, err := r.current(ctx)
	if err != nil {
		return err
	}
	if s.position != from {
		return errOvertaken
	}
	return r.apply(ctx, events)
}

// apply applies events, which end where the position goes, in one transaction, or more where one fails. The caller is busy.
func (r *Runner) apply(ctx context.Context, events []event) error {
	return isolate(events, nil, func(events []event, failed []*failure) error {
		err := r.step(ctx, events[len(events)-1].position, func(tx driver.Tx, next *state) error {
			if err := r.onto(ctx, tx, next.waiting, readmodel.Live, next.takes, events, failed); err != nil {
				return err
			}
			return r.arrive(ctx, tx, events, failed)
		})
		if err == nil {
			for _, f := range failed {
				r.logFailure(ctx, f)
			}
		}
		return err
	})
}

// isolate has do apply events together. Where one fails with *failure, all are tried again with it as one that failed, and where several did,
// each half by itself.
func isolate(events []event, failed []*failure, do func(events []event, failed []*failure) error) error {
	if len(events) == 0 {
		return nil
	}
	err := do(events, failed)
	f, ok := failureOf(err)
	switch {
	case !ok:
		return err
	case len(failed) < fewFailures || len(events) == 1:
		return isolate(events, append(failed, f), do)
	}
	half := len(events) / 2
	behind := events[half-1].position
	first, second := []*failure{}, []*failure{}
	for _, f := range append(failed, f) {
		if f.event.position.Compare(behind) <= 0 {
			first = append(first, f)
		} else {
			second = append(second, f)
		}
	}
	if err := isolate(events[:half], first, do); err != nil {
		return err
	}
	return isolate(events[half:], second, do)
}

// fewFailures is how many events of one transaction may fail.
const fewFailures = 4

// failureOf returns the *failure that err is of. Ok is false where the transaction itself is at fault: no space, no connection, no time.
func failureOf(err error) (f *failure, ok bool) {
	f, ok = errors.AsType[*failure](err)
	return f, ok && !errors.Is(err, fault.Unavailable)
}

// takes reports whether a share's events are applied now.
func (s *state) takes(of share) bool {
	_, held := s.held[of]
	_, all := s.held[share{projection: of.projection}]
	return !held && !all
}

// shareOf returns whose rows of a projection an event makes: the tenant's of its PK where the projection does not know.
func shareOf(p *readmodel.Projection, e event) share {
	if code, err := p.Tenant(e.cmd); err == nil {
		return share{code, p.Name}
	}
	return share{e.tenant, p.Name}
}

// put applies events to the tables of a place, for the shares that take has, and counts them there. It fails with *failure where a projection fails.
func (r *Runner) put(ctx context.Context, tx driver.Tx, not waiting, where readmodel.Place, events []event, take func(share) bool) error {
	if err := r.project(ctx, tx, not, where, events, take); err != nil {
		return err
	}
	counted := make([]event, 0, len(events))
	for _, e := range events {
		if e.cmd != nil && take(share{e.owner, Counters}) {
			counted = append(counted, e)
		}
	}
	return count(ctx, tx, where, counted)
}

// project applies events share by share, in their order; those of not are left out.
func (r *Runner) project(ctx context.Context, tx driver.Tx, not waiting, where readmodel.Place, events []event, take func(share) bool) error {
	order, groups := []share{}, map[share][]int{}
	for i, e := range events {
		if e.cmd == nil {
			continue
		}
		for _, p := range r.types[e.kind] {
			s := shareOf(p, e)
			if !take(s) {
				continue
			}
			if groups[s] == nil {
				order = append(order, s)
			}
			groups[s] = append(groups[s], i)
		}
	}
	later := map[place]*parked{}
	for _, s := range order {
		p := r.names[s.projection]
		bound, err := p.Begin(ctx, tx, s.scope(), where)
		if err != nil {
			return err
		}
		for _, i := range groups[s] {
			e := events[i]
			at := place{s, e.cmd.PK, e.cmd.SK}
			if waits, ok := not.parked[at]; ok && e.cmd.Version >= waits.Version {
				if waits.Latest < e.cmd.Version {
					waits = waits.until(e.cmd.Version)
					not.parked[at], later[at] = waits, waits
				}
				continue
			}
			if not.skipped[skip{at, e.cmd.Version}] {
				continue
			}
			if err := applyOne(ctx, p, bound, e); err != nil {
				return err
			}
		}
	}
	if err := tx.As(ctx, driver.All); err != nil {
		return err
	}
	for _, p := range later {
		if err := p.put(ctx, tx, where); err != nil {
			return err
		}
	}
	return nil
}

// scope returns the Scope that a share's rows are written with.
func (s share) scope() scope.Scope {
	return scope.New(s.tenant, scope.Full, time.Time{}, &scope.Actor{UserID: "system", Role: "system", Source: "projection " + s.projection})
}

// applyOne applies one command. What it fails with is a *failure, a panic too, but where the database or the context is at fault.
func applyOne(ctx context.Context, p *readmodel.Projection, tx *readmodel.Tx, e event) error {
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("the projection panicked: %v", v)
			}
		}()
		if _, err := p.Tenant(e.cmd); err != nil {
			return err
		}
		return p.Apply(ctx, tx, e.cmd)
	}()
	if err == nil || ctx.Err() != nil || errors.Is(err, fault.Unavailable) {
		return err
	}
	return &failure{share: shareOf(p, e), event: e, err: err}
}

// arrive keeps how far each tenant of events is: where it stands in the feed, when it came there, and how long that took.
func (r *Runner) arrive(ctx context.Context, tx driver.Tx, events []event, failed []*failure) error {
	type arrived struct {
		last            event
		applied, errors int64
	}
	order, tenants := []tenant.Code{}, map[tenant.Code]*arrived{}
	for _, e := range events {
		if e.cmd == nil {
			continue
		}
		a := tenants[e.tenant]
		if a == nil {
			a = &arrived{}
			tenants[e.tenant], order = a, append(order, e.tenant)
		}
		a.last = e
		a.applied++
	}
	for _, f := range failed {
		tenants[f.event.tenant].errors++
	}
	now := r.cfg.Now()
	rows := make([][]any, len(order))
	for i, code := range order {
		a := tenants[code]
		lag := max(0, now.Sub(a.last.cmd.UpdatedAt.Time())/time.Millisecond)
		rows[i] = []any{code.String(), string(a.last.position), now.UnixMilli(), int64(lag), a.applied, a.errors}
	}
	return insert(ctx, tx, "upkeep_tenant", []string{"tenant_code", "position", "applied_at", "lag", "applied", "errors"}, rows,
		`ON CONFLICT (tenant_code) DO UPDATE SET position = excluded.position, applied_at = excluded.applied_at, lag = excluded.lag,
			applied = upkeep_tenant.applied + excluded.applied, errors = upkeep_tenant.errors + excluded.errors`)
}

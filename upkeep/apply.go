package upkeep

import (
	"cmp"
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
// because a transaction that takes too long is ended, and batchGrowth more after each that was made.
const (
	batch       = 1024
	batchGrowth = 16
)

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

// failure is the error of a projection, its panic, or what a statement of its failed with.
type failure struct {
	share share
	event event
	err   error
}

// away reports whether what failed is not the command, but something that the projection needs and that may come back.
func (f *failure) away() bool { return errors.Is(f.err, fault.Unavailable) }

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
	position, size := s.position, r.size
	changes, err := r.across.Changes(ctx, position, size)
	for err == nil && len(changes) > 0 {
		last := changes[len(changes)-1].Position
		larger := min(batch, size+batchGrowth)
		following := make(chan read, 1)
		go func() {
			var f read
			if len(changes) == size {
				f.changes, f.err = r.across.Changes(ctx, last, larger)
			}
			following <- f
		}()
		err = r.pass(ctx, position, changes)
		f := <-following
		if err != nil {
			r.size = max(1, len(changes)/2)
			return err
		}
		err, r.size = f.err, larger
		position, changes, size = last, f.changes, larger
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
	return isolate(task{events: events, where: readmodel.Live}, func(t task) error {
		err := r.step(ctx, t.end(), func(tx driver.Tx, next *state) error {
			t.not, t.take = next.waiting, next.takes
			if err := r.put(ctx, tx, t); err != nil {
				return err
			}
			return r.arrive(ctx, tx, t)
		})
		if err == nil {
			r.note(ctx, t.failed)
		}
		return err
	})
}

// task is events that one transaction applies to the tables of a place.
type task struct {
	events  []event
	failed  []*failure // of the events, in earlier attempts: these are parked
	careful bool       // it is looked after each event whether it failed
	where   readmodel.Place
	not     waiting
	take    func(share) bool // whose events are applied
}

// end is the position of the last event.
func (t task) end() driver.Position { return t.events[len(t.events)-1].position }

// errUnclear is the error of a task that is not careful, one of whose statements failed: its answer came after others were sent.
var errUnclear = errors.New("a statement of a projection failed")

// isolate has do apply a task. Where an event fails, all are tried again with it as one that failed, and where several did, each half by itself.
func isolate(t task, do func(task) error) error {
	if len(t.events) == 0 {
		return nil
	}
	err := do(t)
	f, ok := errors.AsType[*failure](err)
	switch {
	case errors.Is(err, errUnclear):
		t.careful = true
		return isolate(t, do)
	case !ok:
		return err
	case len(t.failed) < fewFailures || len(t.events) == 1:
		t.failed = append(t.failed, f)
		return isolate(t, do)
	}
	first, second := t, t
	half := len(t.events) / 2
	first.events, second.events = t.events[:half], t.events[half:]
	first.failed, second.failed = nil, nil
	for _, f := range append(t.failed, f) {
		if f.event.position.Compare(first.end()) <= 0 {
			first.failed = append(first.failed, f)
		} else {
			second.failed = append(second.failed, f)
		}
	}
	if err := isolate(first, do); err != nil {
		return err
	}
	return isolate(second, do)
}

// fewFailures is how many events of one transaction may fail.
const fewFailures = 4

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

// put parks those events of a task that failed, applies the others and counts all. It fails with *failure, or errUnclear, where a projection fails.
func (r *Runner) put(ctx context.Context, tx driver.Tx, t task) error {
	for _, f := range t.failed {
		if err := r.park(ctx, tx, t, f); err != nil {
			return err
		}
	}
	if err := r.project(ctx, tx, t); err != nil {
		return err
	}
	counted := make([]event, 0, len(t.events))
	for _, e := range t.events {
		if e.cmd != nil && t.take(share{e.owner, Counters}) {
			counted = append(counted, e)
		}
	}
	return count(ctx, tx, t.where, counted)
}

// project applies the events of a task share by share, in their order; those that wait are left out.
func (r *Runner) project(ctx context.Context, tx driver.Tx, t task) (err error) {
	defer func() {
		broken := tx.Settle(ctx)
		if err = cmp.Or(err, broken); broken != nil && !t.careful && !atFault(ctx, broken) {
			err = errUnclear
		}
	}()
	order, groups := []share{}, map[share][]int{}
	for i, e := range t.events {
		if e.cmd == nil {
			continue
		}
		for _, p := range r.types[e.kind] {
			s := shareOf(p, e)
			if !t.take(s) {
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
		if err := r.projectShare(ctx, tx, t, s, groups[s], later); err != nil {
			return err
		}
	}
	if err := tx.As(ctx, driver.All); err != nil {
		return err
	}
	for _, p := range later {
		if err := p.put(ctx, tx, t.where); err != nil {
			return err
		}
	}
	return nil
}

// projectShare applies those events of a task that are a share's. Records that wait for one more get into later.
func (r *Runner) projectShare(ctx context.Context, tx driver.Tx, t task, s share, own []int, later map[place]*parked) error {
	away := r.awayIn(t, s)
	turn, err := r.turn(ctx, tx, s, t.where)
	if err != nil {
		return err
	}
	defer turn.end()
	for _, i := range own {
		e := t.events[i]
		at := place{s, e.cmd.PK, e.cmd.SK}
		waits, ok := t.not.parked[at]
		switch {
		case ok && e.cmd.Version >= waits.Version:
			if waits.Latest < e.cmd.Version {
				waits = waits.until(e.cmd.Version)
				t.not.parked[at], later[at] = waits, waits
			}
		case t.not.skipped[skip{at, e.cmd.Version}]:
		case away != nil && e.position.Compare(away.event.position) >= 0:
			err = r.park(ctx, tx, t, &failure{share: s, event: e, err: away.err})
		default:
			err = turn.apply(ctx, e, t.careful)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scope returns the Scope that a share's rows are written with.
func (s share) scope() scope.Scope {
	return scope.New(s.tenant, scope.Full, time.Time{}, &scope.Actor{UserID: "system", Role: "system", Source: "projection " + s.projection})
}

// turn is a projection's turn in a transaction, with one tenant's rows. It is ended.
type turn struct {
	projection *readmodel.Projection
	tx         driver.Tx
	bound      *readmodel.Tx
	ctx        context.Context // of the projection
	end        func()
}

// turnLimit is how long a share's commands of one transaction may take, which has to end some time after that.
const turnLimit = 5 * time.Second

func (r *Runner) turn(ctx context.Context, tx driver.Tx, s share, where readmodel.Place) (turn, error) {
	p := r.names[s.projection]
	bound, err := p.Begin(ctx, tx, s.scope(), where)
	if err != nil {
		return turn{}, err
	}
	within, cancel := context.WithTimeoutCause(ctx, r.turnLimit, fault.New(fault.Unavailable, "upkeep", "the projection took longer than %v", r.turnLimit))
	return turn{p, tx, bound, within, func() { cancel(); bound.End() }}, nil
}

// apply applies one command. It fails with *failure where the projection does or panics. What the transaction failed with is asked
// of the transaction, not of the projection: one that takes no notice of a statement that failed has failed, if it was looked carefully, and one
// that is unavailable doesn't make the database so.
func (t turn) apply(ctx context.Context, e event, careful bool) error {
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("the projection panicked: %v", v)
			}
		}()
		if _, err := t.projection.Tenant(e.cmd); err != nil {
			return err
		}
		return t.projection.Apply(t.ctx, t.bound, e.cmd)
	}()
	if err == nil && !careful {
		return nil
	}
	if err != nil && t.ctx.Err() != nil {
		err = context.Cause(t.ctx)
	}
	broken := t.tx.Settle(ctx)
	switch {
	case broken != nil && !careful, atFault(ctx, broken):
		return broken
	case broken == nil && err == nil:
		return nil
	}
	return &failure{share: shareOf(t.projection, e), event: e, err: cmp.Or(err, broken)}
}

// atFault reports whether the transaction itself is at fault for what its statements failed with: no space, no connection, no time.
func atFault(ctx context.Context, err error) bool {
	return err != nil && (ctx.Err() != nil || errors.Is(err, fault.Unavailable))
}

// arrive keeps how far each tenant of events is: where it stands in the feed, when it came there, and how long that took.
func (r *Runner) arrive(ctx context.Context, tx driver.Tx, t task) error {
	type arrived struct {
		last            event
		applied, errors int64
	}
	order, tenants := []tenant.Code{}, map[tenant.Code]*arrived{}
	for _, e := range t.events {
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
	for _, f := range t.failed {
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

package tenantsync

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// Work does what the task of a sync in sc's tenant has to do now, step by step: planning, and applying where that is ordered. It returns nil
// where nothing is left to do, also because the sync was cancelled or its target stands still, and an error where it may be called again,
// later. It is for the Queue.
func (s *Service) Work(ctx context.Context, sc scope.Scope, sync string) error {
	run := s.run(sc, sync)
	for {
		more, err := run(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// Step does one page of what Work does, and says whether more is left. A step that was interrupted is done again by the next one, without doing
// anything twice.
func (s *Service) Step(ctx context.Context, sc scope.Scope, sync string) (more bool, err error) {
	return s.run(sc, sync)(ctx)
}

// run returns the steps of a task, one for each call. They read the source by one System, so that a run is one entry in its audit log.
func (s *Service) run(sc scope.Scope, sync string) func(context.Context) (more bool, err error) {
	var sys scope.System
	return func(ctx context.Context) (bool, error) {
		o, err := s.order(ctx, sync)
		if fault.CodeOf(err) == fault.NotFound {
			return false, nil // it is over, and forgotten
		}
		if err != nil {
			return false, err
		}
		if sys.Check() != nil {
			sys = s.crossing(o)
		}
		return s.step(ctx, sc, o, sys)
	}
}

// crossing returns the System by which the tenants of an order are touched, in the name of who ordered it.
func (s *Service) crossing(o *order) scope.System {
	return scope.NewSystem(record.NewID(), o.By.acting(o.ID, bySync), "sync "+o.EntityType, s.cfg.Auditor)
}

// GiveUp has the target of a task stand still, with what its last attempt failed with. It is for the Queue.
func (s *Service) GiveUp(ctx context.Context, sc scope.Scope, sync string, failure error) error {
	o, err := s.order(ctx, sync)
	if err != nil {
		return unless(err, fault.NotFound)
	}
	p, err := s.part(ctx, Task{sync, sc.Tenant()})
	if err != nil || p == nil {
		return err
	}
	e := fault.As(failure)
	p.Code, p.Message = e.Code, e.Msg
	var with []storage.SystemWrite
	if o.Rule != "" {
		if with, err = s.follows(ctx, o.Rule, p); err != nil {
			return err
		}
	}
	if err := s.savePart(ctx, p, with...); !lost(err) {
		return err
	}
	return nil // somebody goes on with it
}

// stride is one step of a task.
type stride struct {
	*Service
	copying
	order *order
	part  *part
	from  storage.View // of the source; not of an undo
	into  storage.View // of the target
	rule  string       // the rule that it is for; "" for a sync
	fence fence        // that its writes pass
}

func (s *Service) step(ctx context.Context, sc scope.Scope, o *order, sys scope.System) (more bool, err error) {
	p, err := s.part(ctx, Task{o.ID, sc.Tenant()})
	if err != nil || p == nil || p.Code != "" || o.Cancelled || p.Phase == applied || p.Phase == planned && o.Applied.IsZero() {
		return false, err
	}
	w := &stride{Service: s, order: o, part: p, fence: s.fence(p)}
	if w.request, err = o.request(); err != nil {
		return false, err
	}
	w.at = o.Applied
	if err := w.enter(ctx, sc, sys); err != nil || p.Code != "" {
		return false, err
	}
	switch {
	case !o.Applied.IsZero() && p.Next < p.Pages:
		err = w.apply(ctx)
	case p.Phase == planned:
		err = w.finish(ctx)
	case o.Undoes != "":
		err = w.planBack(ctx)
	default:
		err = w.plan(ctx)
	}
	return err == nil, err
}

// enter opens the tenants that the step is about. Where one of them can't be worked with, the part says so and stands still.
func (w *stride) enter(ctx context.Context, sc scope.Scope, sys scope.System) error {
	state, err := w.cfg.State(ctx, sc.Tenant())
	if err != nil {
		return err
	}
	if w.part.stopUnless(state); w.part.Code != "" {
		return w.savePart(ctx, w.part)
	}
	if w.into, err = w.cfg.Store.In(sc.WithSource(bySync)); err != nil || w.order.Undoes != "" {
		return err
	}
	if err := w.sourceIsThere(ctx); err != nil || w.part.Code != "" {
		return err
	}
	w.from, err = w.enterAs(ctx, sys, w.request.Source, w.order.Born)
	return err
}

// sourceIsThere has the part stand still where the source is gone.
func (w *stride) sourceIsThere(ctx context.Context) error {
	source, err := w.cfg.State(ctx, w.request.Source)
	if err != nil || source.Exists && born(source) == w.order.Born {
		return err
	}
	w.part.Code, w.part.Message = fault.NotFound, "the source is gone"
	return w.savePart(ctx, w.part)
}

// partition returns the partition of the entity type in a view's tenant with segments after the tenant.
func (w *stride) partition(v storage.View, segments string) (record.Partition, error) {
	var list []string
	if segments != "" {
		list = strings.Split(segments, record.Separator)
	}
	return record.NewPartition(v.Scope(), w.request.EntityType, list...)
}

// key returns the key, in a view's tenant, of the record that has segments and a sort key.
func (w *stride) key(v storage.View, segments, sk string) (record.Key, error) {
	p, err := w.partition(v, segments)
	if err != nil {
		return record.Key{}, err
	}
	return p.Key(sk)
}

// twins returns the states, in a view's tenant, of the records that correspond to items, nil where there never was one.
func (w *stride) twins(ctx context.Context, v storage.View, items []item) ([]*record.Record, error) {
	near, err := w.near(ctx, v, items)
	if err != nil {
		return nil, err
	}
	found := make([]*record.Record, len(items))
	var keys []record.Key
	var at []int
	for i, it := range items {
		rec, looked := near.look(it)
		if found[i] = rec; looked {
			continue
		}
		key, err := w.key(v, it.Partition, it.SK)
		if err != nil {
			return nil, err
		}
		keys, at = append(keys, key), append(at, i)
	}
	recs, err := v.BatchGet(ctx, keys)
	for n, rec := range recs {
		found[at[n]] = rec
	}
	return found, err
}

// nearby are the records of a stretch of one partition.
type nearby struct {
	partition string
	first     string // of the stretch; "" for none
	last      string
	found     map[string]*record.Record
}

// look returns the record that corresponds to an item, looked false where it is not in the stretch.
func (n nearby) look(it item) (rec *record.Record, looked bool) {
	if n.first == "" || it.Partition != n.partition || it.SK < n.first || it.SK > n.last {
		return nil, false
	}
	return n.found[it.SK], true
}

// near reads the stretch that items are in with one query: those of a page are neighbours, as a rule. Where many others are between
// them, the stretch ends early. Items of several partitions, or a few, have none.
func (w *stride) near(ctx context.Context, v storage.View, items []item) (nearby, error) {
	if len(items) < fewItems {
		return nearby{}, nil
	}
	n := nearby{partition: items[0].Partition, first: items[0].SK, last: items[0].SK, found: make(map[string]*record.Record, len(items))}
	for _, it := range items {
		if it.Partition != n.partition {
			return nearby{}, nil
		}
		n.first, n.last = min(n.first, it.SK), max(n.last, it.SK)
	}
	p, err := w.partition(v, n.partition)
	if err != nil {
		return nearby{}, err
	}
	limit := 2 * len(items)
	recs, err := v.List(ctx, storage.Query{Partition: p, From: n.first, To: n.last + " ", IncludeDeleted: true, Limit: limit}) // no sort key is between the last and that
	if err != nil {
		return nearby{}, err
	}
	for _, r := range recs {
		n.found[r.SK] = r
	}
	if len(recs) == limit {
		n.last = recs[limit-1].SK
	}
	return n, nil
}

// fewItems are read one by one.
const fewItems = 3

package tenantsync

import (
	"context"
	"slices"
	"sort"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// named is how many tenants one audit entry of a crossing names at most, beside the source: an entry is written anew for each of them.
const named = 100

// begin writes a new order, and what goes with it, and has it spread.
func (s *Service) begin(ctx context.Context, sys scope.System, o *order, with ...storage.SystemWrite) error {
	spreading, err := s.spreading(ctx, sys, o)
	if err != nil {
		return err
	}
	return s.saveOrder(ctx, o, append(with, spreading...)...)
}

// spreading has an order begin to spread, and returns the writes of that which go with the order's.
func (s *Service) spreading(ctx context.Context, sys scope.System, o *order) ([]storage.SystemWrite, error) {
	sc, err := sys.Enter(ctx, tenant.Common(), bornAt(0))
	if err != nil {
		return nil, err
	}
	o.Spread = &spread{}
	return s.cfg.Queue.Spread(ctx, sc, o.ID)
}

// Spread has the targets of a sync worked on, one after the other, those too that stood still. It returns nil where that is done, or the sync was cancelled, and an
// error where it may be called again, later: it goes on where it was. It is for the Queue.
func (s *Service) Spread(ctx context.Context, sync string) error {
	var targets []target
	for {
		o, err := s.order(ctx, sync)
		if err != nil || o.Spread == nil || o.Cancelled {
			return unless(err, fault.NotFound)
		}
		sys := s.crossing(o)
		if targets == nil {
			if targets, err = s.targets(ctx, sys, o); err != nil {
				return err
			}
		}
		if err := s.spreadOn(ctx, sys, o, targets); err != nil && !lost(err) { // the order changed: it is looked at again
			return err
		}
	}
}

// spreadOn spreads an order to those of its targets that are next.
func (s *Service) spreadOn(ctx context.Context, sys scope.System, o *order, targets []target) error {
	from := sort.Search(len(targets), func(i int) bool { return targets[i].code.String() > o.Spread.After })
	next := targets[from:min(len(targets), from+named)]
	for _, t := range next {
		if err := s.reach(ctx, sys, o, t); err != nil {
			return err
		}
		o.Spread.After = t.code.String()
	}
	if from+len(next) == len(targets) {
		o.Spread = nil
	}
	return s.saveOrder(ctx, o)
}

// target is one that an order is to be spread to.
type target struct {
	code tenant.Code
	born int64 // of the life that is meant; -1 for the one that it has
}

// targets returns the targets of an order, ordered by their codes: those that it names, those that are active now, or those of the sync that it undoes.
func (s *Service) targets(ctx context.Context, sys scope.System, o *order) (all []target, err error) {
	if o.Undoes != "" {
		parts, err := s.parts(ctx, o.Undoes)
		for _, p := range parts {
			all = append(all, target{p.task.Target, p.Born})
		}
		return all, err
	}
	r, err := o.request()
	if err != nil {
		return nil, err
	}
	codes := r.Targets
	if r.All {
		if codes, err = s.cfg.Active(ctx, sys); err != nil {
			return nil, err
		}
	}
	for _, code := range r.without(codes) {
		all = append(all, target{code, -1})
	}
	slices.SortFunc(all, func(a, b target) int { return a.code.Compare(b.code) })
	return all, nil
}

// reach has one target of an order worked on, as far as it doesn't stand still. Its part, its job and, where the order is a rule's, that the target follows the
// rule from now on are one commit.
func (s *Service) reach(ctx context.Context, sys scope.System, o *order, t target) error {
	for {
		writes, err := s.reaching(ctx, sys, o, t)
		if err != nil || len(writes) == 0 {
			return err
		}
		if err := s.cfg.Parts.CommitUnpaused(ctx, writes...); !lost(err) {
			return err
		}
	}
}

func (s *Service) reaching(ctx context.Context, sys scope.System, o *order, t target) (writes []storage.SystemWrite, err error) {
	task := Task{o.ID, t.code}
	state, err := s.cfg.State(ctx, t.code)
	if err != nil {
		return nil, err
	}
	p, err := s.part(ctx, task)
	if err != nil || p != nil && p.Phase == applied {
		return nil, err
	}
	written := p == nil || p.Code != ""
	if p == nil {
		p = &part{task: task, Born: t.born, expires: o.expires}
		if t.born < 0 {
			p.Born = born(state)
		}
	}
	p.Code, p.Message = "", ""
	p.stopUnless(state)
	if p.Code == "" && !(p.Phase == planned && o.Applied.IsZero()) {
		if writes, err = s.job(ctx, sys, p); err != nil {
			return nil, err
		}
	}
	if written {
		row, err := s.partRow(p)
		if err != nil {
			return nil, err
		}
		writes = append(writes, row)
	}
	if o.Rule == "" || !written {
		return writes, nil
	}
	lane, err := s.follows(ctx, o.Rule, p)
	return append(writes, lane...), err
}

// unless returns err, nil for one of a code.
func unless(err error, code fault.Code) error {
	if fault.CodeOf(err) == code {
		return nil
	}
	return err
}

// job returns the writes that have a part worked on. The crossing names its tenant.
func (s *Service) job(ctx context.Context, sys scope.System, p *part) ([]storage.SystemWrite, error) {
	sc, err := sys.Enter(ctx, p.task.Target, bornAt(p.Born))
	if err != nil {
		return nil, err
	}
	return s.cfg.Queue.Task(ctx, sc, p.task.Sync)
}

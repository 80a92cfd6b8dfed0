package command

import (
	"context"
	"errors"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Step is what Together does to one record: it makes Next of Current, which must be the record as it was read, nil where there never
// was one. Next is as Change takes it; a step whose Next is Current writes nothing.
type Step struct {
	Key           record.Key
	Current, Next *record.Record
}

// next returns a Next that may be changed, for Change.
func (s Step) next(current *record.Record) (*record.Record, error) {
	if s.Next == s.Current {
		return current, nil
	}
	return s.Next.Clone(), nil
}

// Plan is what one commit of Together does.
type Plan struct {
	Steps []Step // of different records; the first is the one that the Result tells of

	// System is what the system keeps beside them. Where one of its conditions does not hold, all is planned again.
	System []storage.SystemWrite
}

// Together changes several records of one tenant in one commit, all or none. Plan reads what it needs and says what to do; it is
// called again when another command was first. Nothing is written where no record changes. It fails as Change does, and with what plan
// fails with. A receipt is kept of the first record that changes.
func (s *Service) Together(ctx context.Context, sc scope.Scope, plan func(context.Context) (Plan, error), opts ...Option) (Result, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	view, err := s.cfg.Store.In(sc)
	if err != nil {
		return Result{}, err
	}
	for range attempts {
		p, err := plan(ctx)
		if o.receipt != nil { // read after the plan, whose failure may be the receipt's own doing
			if res, found, err := s.replay(ctx, view, record.Key{}, o.receipt); found || err != nil {
				return res, err
			}
		}
		if err == nil && o.at > 0 {
			err = checkVersion(o.at, p.Steps[0].Current)
		}
		if err != nil {
			return Result{}, err
		}
		planned, err := o.planned(ctx, sc)
		if err != nil {
			return Result{}, err
		}
		p.System = append(planned, p.System...)
		res, err := s.together(ctx, view, p, o)
		if _, lost := errors.AsType[*driver.Conflict](err); lost {
			continue
		}
		return res, err
	}
	return Result{}, fault.New(fault.Unavailable, "command.Together", "the records change too often to be written now; retry")
}

func (s *Service) together(ctx context.Context, view storage.View, p Plan, o options) (Result, error) {
	var changes []storage.Change
	for _, step := range p.Steps {
		if len(changes) > 0 {
			o.receipt = nil
		}
		change, err := s.prepare(view, step.Key, step.Current, step.next, o.receipt)
		if err != nil {
			return Result{}, err
		}
		if change != nil {
			changes = append(changes, *change)
		}
	}
	if len(changes) == 0 {
		return Result{Record: p.Steps[0].Current}, nil
	}
	last := &changes[len(changes)-1]
	last.System = append(last.System, p.System...)
	return s.commit(ctx, view, o, changes...)
}

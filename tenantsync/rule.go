package tenantsync

import (
	"context"
	"errors"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// MaxRules bounds how many rules there are.
const MaxRules = 100

// Rule keeps targets in step with a source: what changes there is copied within seconds, as a sync with the same Request would. A target begins
// with a sync of the whole: each when the rule is added and, where the targets are all active tenants, one that is created or resumed later. What a sync
// wrote in the source is left out, or is copied on without passing a rule twice or going back to where it came from, so that rules in a
// circle end.
type Rule struct {
	ID string `json:"id"`
	Body
	CreatedAt record.Time `json:"createdAt"`
	CreatedBy string      `json:"createdBy"`
	SyncID    string      `json:"syncId" doc:"the last sync of the whole that brings targets in step"`
	Code      fault.Code  `json:"code,omitempty" doc:"why the rule stands still; absent where it doesn't"`
	Message   string      `json:"message,omitempty"`
	Behind    []Behind    `json:"behind,omitempty" doc:"targets that could not be written to, and are synced as a whole once they can"`
	Errors    []Error     `json:"errors,omitempty" doc:"the last 20 records that could not be copied"`
}

// Behind is a target that a rule could not write to.
type Behind struct {
	TenantCode string     `json:"tenantCode"`
	Code       fault.Code `json:"code"`
	Message    string     `json:"message"`
}

// ruleRow is how a rule is kept. For each target that follows it, or is behind, there is a part beside it.
type ruleRow struct {
	Body
	By        actor       `json:"by"`
	Born      int64       `json:"born,omitzero"` // when the source was created, as Unix time
	CreatedAt record.Time `json:"createdAt"`
	Sync      string      `json:"sync"` // the last one that was ordered to bring targets in step
	Errors    []ruleError `json:"errors,omitempty"`

	id      string
	version int64
	request Request
}

type ruleError struct {
	Tenant string `json:"tenant"`
	Failure
}

// feedSK is the sort key of the one row that says where rules are in the feed.
const feedSK = "rules"

// place in the feed, and the process that follows it.
type feedRow struct {
	Position string `json:"position"`
	Holder   string `json:"holder,omitzero"`
}

// RuleOptions change a rule.
type RuleOptions struct {
	// Copies copies on what a sync wrote in the source too. Defaults to false.
	Copies bool
}

// AddRule adds a rule, syncs its targets, and returns the IDs of both. It fails as Plan does, and with fault.ValidationFailed for more than
// MaxRules.
func (s *Service) AddRule(ctx context.Context, sys scope.System, r Request, o RuleOptions) (rule, sync string, err error) {
	across, err := s.cfg.Store.Across(ctx, sys)
	if err != nil {
		return "", "", err
	}
	source, err := s.check(ctx, r)
	if err != nil {
		return "", "", err
	}
	r.WithoutCopies = !o.Copies
	row := &ruleRow{Body: r.body(), By: actorOf(sys.Actor()), Born: born(source), CreatedAt: record.At(s.cfg.Now()), id: record.NewID(), request: r}
	for {
		if err := s.insertRule(ctx, sys, across, row); !lost(err) {
			return row.id, row.Sync, err
		}
	}
}

// insertRule writes a rule, and orders the sync that its targets begin with. The first rule begins at the feed's end: what was there before is the sync's.
func (s *Service) insertRule(ctx context.Context, sys scope.System, across storage.Across, row *ruleRow) error {
	at, err := s.cfg.Feed.Get(ctx, owner, feedSK)
	if err != nil {
		return err
	}
	rules, err := s.rules(ctx)
	if err != nil {
		return err
	}
	if len(rules) >= MaxRules {
		return fault.Invalid("tenantsync", fault.Field{Field: "rules", Problem: "are 100 at most; remove one"})
	}
	if len(rules) > 0 && at.Version > 0 {
		return s.syncWhole(ctx, sys, row, row.request)
	}
	end, err := across.End(ctx)
	if err != nil {
		return err
	}
	begin, err := s.feedWrite(at, feedRow{Position: string(end)})
	if err != nil {
		return err
	}
	return s.syncWhole(ctx, sys, row, row.request, begin)
}

// syncWhole writes a rule with the order of a sync of the whole as r asks for it, and what goes with them, all or none.
func (s *Service) syncWhole(ctx context.Context, sys scope.System, row *ruleRow, r Request, with ...storage.SystemWrite) error {
	o := s.newOrder(sys, r.body(), row.Born, Order{Apply: true})
	o.Rule, row.Sync = row.id, o.ID
	write, err := s.ruleWrite(row)
	if err != nil {
		return err
	}
	if err := s.begin(ctx, sys, o, append(with, write)...); err != nil {
		return err
	}
	row.version++
	return nil
}

func (s *Service) ruleWrite(r *ruleRow) (storage.SystemWrite, error) {
	value, err := record.EncodeAttributes(r)
	return s.cfg.Rules.Put(storage.Row{Owner: owner, SK: r.id, Version: r.version, Value: value}), err
}

func (s *Service) feedWrite(at storage.Row, v feedRow) (storage.SystemWrite, error) {
	value, err := record.EncodeAttributes(v)
	at.Owner, at.SK, at.Value = owner, feedSK, value
	return s.cfg.Feed.Put(at), err
}

// RemoveRule ends a rule. What it copied stays. It fails with fault.NotFound.
func (s *Service) RemoveRule(ctx context.Context, sys scope.System, id string) error {
	if err := sys.Note(ctx); err != nil {
		return err
	}
	_, missing := s.ruleOf(ctx, id)
	if unless(missing, fault.NotFound) != nil {
		return missing
	}
	if missing == nil {
		if err := s.cfg.Rules.CommitUnpaused(ctx, s.cfg.Rules.Delete(storage.Row{Owner: owner, SK: id})); err != nil {
			return err
		}
	} else if _, err := ulid.ParseStrict(id); err != nil {
		return missing
	}
	lanes, err := s.parts(ctx, id) // also those of a rule whose removal ended here
	for some := range slices.Chunk(lanes, writtenAtOnce) {
		deletes := make([]storage.SystemWrite, len(some))
		for i, lane := range some {
			deletes[i] = s.cfg.Parts.Delete(storage.Row{Owner: owner, SK: lane.task.key()})
		}
		if err := s.cfg.Parts.CommitUnpaused(ctx, deletes...); err != nil {
			return err
		}
	}
	return errors.Join(missing, err)
}

// follows returns the writes that say that a target follows a rule from now on, or is behind for the reason for which p stands still; none where the
// rule is gone.
func (s *Service) follows(ctx context.Context, rule string, p *part) ([]storage.SystemWrite, error) {
	if _, err := s.ruleOf(ctx, rule); err != nil {
		return nil, unless(err, fault.NotFound)
	}
	t := Task{rule, p.task.Target}
	lane, err := s.part(ctx, t)
	if err != nil {
		return nil, err
	}
	if lane == nil {
		lane = &part{task: t}
	}
	lane.Born, lane.Code, lane.Message = p.Born, p.Code, p.Message
	row, err := s.partRow(lane)
	return []storage.SystemWrite{row}, err
}

// Rules returns the rules, in the order in which they were added.
func (s *Service) Rules(ctx context.Context, sys scope.System) ([]Rule, error) {
	if err := sys.Note(ctx); err != nil {
		return nil, err
	}
	rows, err := s.rules(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Rule, len(rows))
	for i, r := range rows {
		if all[i], err = s.rule(ctx, r); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Rule returns one rule. It fails with fault.NotFound.
func (s *Service) Rule(ctx context.Context, sys scope.System, id string) (Rule, error) {
	if err := sys.Note(ctx); err != nil {
		return Rule{}, err
	}
	row, err := s.ruleOf(ctx, id)
	if err != nil {
		return Rule{}, err
	}
	return s.rule(ctx, row)
}

func (s *Service) ruleOf(ctx context.Context, id string) (*ruleRow, error) {
	missing := fault.New(fault.NotFound, "tenantsync", "there is no such rule")
	if _, err := ulid.ParseStrict(id); err != nil {
		return nil, missing
	}
	row, err := s.cfg.Rules.Get(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	if row.Version == 0 {
		return nil, missing
	}
	return readRule(row)
}

func (s *Service) rules(ctx context.Context) ([]*ruleRow, error) {
	rows, err := s.cfg.Rules.List(ctx, owner, "", "", driver.MaxBatch)
	if err != nil {
		return nil, err
	}
	all := make([]*ruleRow, len(rows))
	for i, row := range rows {
		if all[i], err = readRule(row); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readRule(row storage.Row) (*ruleRow, error) {
	r := &ruleRow{id: row.SK, version: row.Version}
	if err := row.Value.Decode(r); err != nil {
		return nil, err
	}
	var err error
	r.request, err = r.Body.request()
	return r, err
}

// stands returns why a rule whose source is in a state stands still, nil where it doesn't.
func (r *ruleRow) stands(source guard.State) *fault.Error {
	switch {
	case !source.Exists:
		return fault.New(fault.NotFound, "tenantsync", "the source is gone")
	case born(source) != r.Born:
		return fault.New(fault.NotFound, "tenantsync", "the source is another tenant than the one that the rule was added for; remove the rule")
	}
	return nil
}

// rule returns r as it is shown.
func (s *Service) rule(ctx context.Context, r *ruleRow) (Rule, error) {
	out := Rule{ID: r.id, Body: r.Body, CreatedAt: r.CreatedAt, CreatedBy: r.By.UserID, SyncID: r.Sync}
	source, err := s.cfg.State(ctx, r.request.Source)
	if err != nil {
		return Rule{}, err
	}
	if why := r.stands(source); why != nil {
		out.Code, out.Message = why.Code, why.Msg
	}
	lanes, err := s.parts(ctx, r.id)
	if err != nil {
		return Rule{}, err
	}
	for _, lane := range lanes {
		if lane.Code != "" {
			out.Behind = append(out.Behind, Behind{TenantCode: lane.task.Target.String(), Code: lane.Code, Message: lane.Message})
		}
	}
	for _, e := range r.Errors {
		out.Errors = append(out.Errors, Error{TenantCode: e.Tenant, ID: e.ID, Code: e.Code, Message: e.Message})
	}
	return out, nil
}

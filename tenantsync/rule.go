package tenantsync

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// MaxRules bounds how many rules there are.
const MaxRules = 100

// Rule keeps targets in step with a source: what changes there is copied within seconds, as a sync with the same Request would. What a sync
// wrote in the source is left out, or is copied on without passing a rule twice or going back to where it came from, so that rules in a
// circle end.
type Rule struct {
	ID string `json:"id"`
	Body
	CreatedAt record.Time `json:"createdAt"`
	CreatedBy string      `json:"createdBy"`
	Behind    []Behind    `json:"behind,omitempty" doc:"targets that could not be written to, and are synced as a whole once they can"`
	Errors    []Error     `json:"errors,omitempty" doc:"the last 20 records that could not be copied"`
}

// Behind is a target that a rule could not write to.
type Behind struct {
	TenantCode string     `json:"tenantCode"`
	Code       fault.Code `json:"code"`
	Message    string     `json:"message"`
}

// ruleRow is how a rule is kept.
type ruleRow struct {
	Body
	By        actor              `json:"by"`
	CreatedAt record.Time        `json:"createdAt"`
	Behind    map[string]Failure `json:"behind,omitempty"` // by tenant code; without an ID
	Errors    []ruleError        `json:"errors,omitempty"`

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
	if _, err := s.check(ctx, r); err != nil {
		return "", "", err
	}
	r.WithoutCopies = !o.Copies
	row := &ruleRow{Body: r.body(), By: actorOf(sys.Actor()), CreatedAt: record.At(s.cfg.Now()), id: record.NewID()}
	for {
		err := s.insertRule(ctx, across, row)
		if lost(err) {
			continue
		}
		if err != nil {
			return "", "", err
		}
		break
	}
	sync, err = s.Plan(ctx, sys, r, Order{Apply: true})
	return row.id, sync, err
}

// insertRule writes a rule. The first one begins at the feed's end: what was there before is the sync's.
func (s *Service) insertRule(ctx context.Context, across storage.Across, row *ruleRow) error {
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
	write, err := s.ruleWrite(row)
	if err != nil || len(rules) > 0 && at.Version > 0 {
		return errors.Join(err, s.cfg.Rules.CommitUnpaused(ctx, write))
	}
	end, err := across.End(ctx)
	if err != nil {
		return err
	}
	begin, err := s.feedWrite(at, feedRow{Position: string(end)})
	if err != nil {
		return err
	}
	return s.cfg.Rules.CommitUnpaused(ctx, write, begin)
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
	row, err := s.ruleOf(ctx, id)
	if err != nil {
		return err
	}
	return s.cfg.Rules.CommitUnpaused(ctx, s.cfg.Rules.Delete(storage.Row{Owner: owner, SK: row.id}))
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
		all[i] = r.rule()
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
	return row.rule(), nil
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

// rule returns r as it is shown.
func (r *ruleRow) rule() Rule {
	out := Rule{ID: r.id, Body: r.Body, CreatedAt: r.CreatedAt, CreatedBy: r.By.UserID}
	for _, code := range slices.Sorted(maps.Keys(r.Behind)) {
		f := r.Behind[code]
		out.Behind = append(out.Behind, Behind{TenantCode: code, Code: f.Code, Message: f.Message})
	}
	for _, e := range r.Errors {
		out.Errors = append(out.Errors, Error{TenantCode: e.Tenant, ID: e.ID, Code: e.Code, Message: e.Message})
	}
	return out
}

package tenantsync

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// Routes are syncs over HTTP: section 8 of the contract, with their plans, and rules.
type Routes struct{ Syncs *Service }

// The bodies and answers of the operations.
type (
	// RunBody is the body that plans and applies in one.
	RunBody struct {
		Body
		DryRun bool `json:"dryRun,omitzero" doc:"plan only"`
	}
	// UndoBody is the body of undo, which may be left out.
	UndoBody struct {
		DryRun bool `json:"dryRun,omitzero" doc:"plan the way back only; apply it by its own ID"`
	}
	// RuleBody is the body that adds a rule.
	RuleBody struct {
		Body
		Copies bool `json:"copies,omitzero" doc:"copy on what a sync wrote in the source too; false by default"`
	}
	// Began is the answer to an order.
	Began struct {
		ID string `json:"id"`
	}
)

// Operations returns the operations.
func (rs *Routes) Operations() []route.Operation {
	const all, one, rules = "/api/admin/sync", "/api/admin/sync/{id}", "/api/admin/sync-rules"
	system := guard.Policy{Reach: guard.AllTenants}
	began := map[int]any{202: Began{}}
	paging := []route.Param{{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit}, {Name: "cursor", Summary: "of the page before"}}
	unknown := []fault.Code{fault.NotFound, fault.IdempotencyConflict}
	ops := []route.Operation{
		{ID: "planSync", Method: "POST", Path: all + "/plan", Summary: "Plan the copying of records of one tenant to others; nothing is copied", Handle: rs.plan, Body: Body{}, Answers: began, Errors: unknown},
		{ID: "runSync", Method: "POST", Path: all, Summary: "Plan the copying of records of one tenant to others, and apply the plan as soon as it is made", Handle: rs.run, Body: RunBody{}, Answers: began, Errors: unknown},
		{ID: "listSyncs", Method: "GET", Path: all, Summary: "List syncs, the newest first, without their targets", Handle: rs.list, Query: paging, Answers: map[int]any{200: Page[Status]{}}, Errors: []fault.Code{fault.InvalidCursor}},
		{ID: "getSync", Method: "GET", Path: one, Summary: "Read where a sync stands", Handle: rs.get, Answers: map[int]any{200: Status{}}, Errors: unknown[:1]},
		{ID: "cancelSync", Method: "DELETE", Path: one, Summary: "Cancel a sync; what it has applied stays", Handle: rs.cancel, Answers: map[int]any{200: Status{}}, Errors: unknown},
		{ID: "applySync", Method: "POST", Path: one + "/apply", Summary: "Apply exactly the plan", Handle: rs.order((*Service).Apply), Answers: began, Errors: unknown},
		{ID: "resumeSync", Method: "POST", Path: one + "/resume", Summary: "Go on with a sync that was cancelled or stood still", Handle: rs.order((*Service).Resume), Answers: began, Errors: unknown},
		{ID: "undoSync", Method: "POST", Path: one + "/undo", Summary: "Take back what a sync wrote, by another one whose ID is answered", Handle: rs.undo, Body: UndoBody{}, Bare: true, Answers: began, Errors: unknown},
		{ID: "listSyncItems", Method: "GET", Path: one + "/items", Summary: "List what the plan for one target does to each record, and why; a page has up to 100", Handle: rs.items,
			Query:   []route.Param{{Name: "target", Summary: "the code of the target"}, {Name: "cursor", Summary: "of the page before"}},
			Answers: map[int]any{200: Page[Item]{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidCursor}},
		{ID: "streamSync", Method: "GET", Path: one + "/events", Summary: "Follow where a sync stands: events progress, and done when it is not worked on any more", Streams: true, Handle: rs.follow,
			Answers: map[int]any{200: ""}, Errors: unknown[:1]},
		{ID: "addSyncRule", Method: "POST", Path: rules, Summary: "Keep targets in step with a source from now on, after a sync", Handle: rs.addRule, Body: RuleBody{}, Answers: map[int]any{201: Rule{}}, Errors: unknown},
		{ID: "listSyncRules", Method: "GET", Path: rules, Summary: "List the rules", Handle: rs.listRules, Answers: map[int]any{200: Page[Rule]{}}},
		{ID: "getSyncRule", Method: "GET", Path: rules + "/{id}", Summary: "Read a rule, and which of its targets are behind", Handle: rs.getRule, Answers: map[int]any{200: Rule{}}, Errors: unknown[:1]},
		{ID: "removeSyncRule", Method: "DELETE", Path: rules + "/{id}", Summary: "End a rule; what it has copied stays", Handle: rs.removeRule, Answers: map[int]any{200: Began{}}, Errors: unknown},
	}
	for i := range ops {
		ops[i].Tag, ops[i].Policy = "sync", system
	}
	return ops
}

func (rs *Routes) plan(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b Body
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	return rs.begin(ctx, c, b, Order{})
}

func (rs *Routes) run(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b RunBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	return rs.begin(ctx, c, b.Body, Order{Apply: !b.DryRun})
}

func (rs *Routes) begin(ctx context.Context, c *route.Call, b Body, then Order) (route.Answer, error) {
	r, err := b.request()
	if err != nil {
		return route.Answer{}, err
	}
	id, err := rs.Syncs.Plan(ctx, c.Grant.System, r, then)
	return accepted(id, err)
}

func accepted(id string, err error) (route.Answer, error) {
	if err != nil {
		return route.Answer{}, err
	}
	answer, err := route.JSON(http.StatusAccepted, Began{id})
	answer.Location = "/api/admin/sync/" + id
	return answer, err
}

func (rs *Routes) order(do func(*Service, context.Context, guard.System, string) error) func(context.Context, *route.Call) (route.Answer, error) {
	return func(ctx context.Context, c *route.Call) (route.Answer, error) {
		return accepted(c.Path("id"), do(rs.Syncs, ctx, c.Grant.System, c.Path("id")))
	}
}

func (rs *Routes) undo(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b UndoBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	id, err := rs.Syncs.Undo(ctx, c.Grant.System, c.Path("id"), Order{Apply: !b.DryRun})
	return accepted(id, err)
}

func (rs *Routes) list(ctx context.Context, c *route.Call) (route.Answer, error) {
	return answer(rs.Syncs.List(ctx, c.Grant.System, int(c.Int("limit")), c.Query("cursor")))
}

func (rs *Routes) get(ctx context.Context, c *route.Call) (route.Answer, error) {
	return answer(rs.Syncs.Status(ctx, c.Grant.System, c.Path("id")))
}

func (rs *Routes) cancel(ctx context.Context, c *route.Call) (route.Answer, error) {
	if err := rs.Syncs.Cancel(ctx, c.Grant.System, c.Path("id")); err != nil {
		return route.Answer{}, err
	}
	return rs.get(ctx, c)
}

func (rs *Routes) items(ctx context.Context, c *route.Call) (route.Answer, error) {
	code, err := tenant.Parse(c.Query("target"))
	if err != nil {
		return route.Answer{}, fault.Invalid("tenantsync", fault.Field{Field: "target", Problem: "is the code of one of the sync's targets"})
	}
	return answer(rs.Syncs.Items(ctx, c.Grant.System, Task{Sync: c.Path("id"), Target: code}, c.Query("cursor")))
}

func answer[T any](v T, err error) (route.Answer, error) {
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, v)
}

func (rs *Routes) follow(ctx context.Context, c *route.Call) (route.Answer, error) {
	s := rs.Syncs
	if err := c.Grant.System.Note(ctx); err != nil {
		return route.Answer{}, err
	}
	if _, err := s.order(ctx, c.Path("id")); err != nil {
		return route.Answer{}, err
	}
	return route.Answer{Status: http.StatusOK, Stream: &progress{service: s, id: c.Path("id"), timer: time.NewTimer(lookEvery)}}, nil
}

func (rs *Routes) addRule(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b RuleBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	r, err := b.request()
	if err != nil {
		return route.Answer{}, err
	}
	if b.Copies && b.WithoutCopies {
		return route.Answer{}, fault.Invalid("tenantsync", fault.Field{Field: "copies, withoutCopies", Problem: "contradict each other; a rule leaves copies out unless copies is true"})
	}
	id, _, err := rs.Syncs.AddRule(ctx, c.Grant.System, r, RuleOptions{Copies: b.Copies})
	if err != nil {
		return route.Answer{}, err
	}
	rule, err := rs.Syncs.Rule(ctx, c.Grant.System, id)
	if err != nil {
		return route.Answer{}, err
	}
	added, err := route.JSON(http.StatusCreated, rule)
	added.Location = "/api/admin/sync-rules/" + id
	return added, err
}

func (rs *Routes) listRules(ctx context.Context, c *route.Call) (route.Answer, error) {
	all, err := rs.Syncs.Rules(ctx, c.Grant.System)
	return answer(Page[Rule]{Items: all}, err)
}

func (rs *Routes) getRule(ctx context.Context, c *route.Call) (route.Answer, error) {
	return answer(rs.Syncs.Rule(ctx, c.Grant.System, c.Path("id")))
}

func (rs *Routes) removeRule(ctx context.Context, c *route.Call) (route.Answer, error) {
	return answer(Began{c.Path("id")}, rs.Syncs.RemoveRule(ctx, c.Grant.System, c.Path("id")))
}

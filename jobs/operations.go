package jobs

import (
	"context"
	"net/http"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage"
)

// Routes are jobs over HTTP. A tenant's admins see their own; operators have them tried again, or drop them.
type Routes struct {
	Queue   *Queue
	Cursors *storage.Cursors
}

// The answers of the operations.
type (
	// Shown is a job without what it holds.
	Shown struct {
		ID        string      `json:"id"`
		Kind      string      `json:"kind"`
		State     State       `json:"state" enum:"waiting,running,dead,dropped"`
		Attempts  int         `json:"attempts"`
		Due       record.Time `json:"due"`
		CreatedAt record.Time `json:"createdAt"`
		CreatedBy string      `json:"createdBy"`
		RequestID string      `json:"requestId,omitempty"`
		Reason    string      `json:"reason,omitempty" doc:"why the last attempt failed; operators see what the application said, others what is meant for them"`
	}
	// List is a page of jobs.
	List struct {
		Items  []Shown `json:"items"`
		Cursor string  `json:"cursor,omitempty" doc:"for the next page; absent where there is none"`
	}
)

// Operations returns the operations.
func (rs *Routes) Operations() []route.Operation {
	readers := guard.Policy{Reach: guard.Admin, Roles: []string{"admin"}}
	operators := guard.Policy{Reach: guard.Admin}
	missing := []fault.Code{fault.NotFound}
	const all, one = "/api/tenants/{tenantCode}/jobs", "/api/tenants/{tenantCode}/jobs/{jobId}"
	ops := []route.Operation{
		{ID: "listJobs", Method: "GET", Path: all, Summary: "List the background work of a tenant that waits or runs, or that is dead", Policy: readers, Query: []route.Param{
			{Name: "kind", Summary: "of this kind; all by default"}, {Name: "dead", Summary: "those that are dead or were dropped", Kind: route.Boolean},
			{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit}, {Name: "cursor", Summary: "of the page before"}},
			Answers: map[int]any{200: List{}}, Errors: []fault.Code{fault.InvalidCursor, fault.NotFound}, Handle: rs.list},
		{ID: "getJob", Method: "GET", Path: one, Summary: "Read a job; one that is done is not kept", Policy: readers, Answers: map[int]any{200: Shown{}}, Errors: missing, Handle: rs.one(rs.Queue.Get, http.StatusOK)},
		{ID: "retryJob", Method: "POST", Path: one + "/retry", Summary: "Have a job that is dead tried again, with all its attempts", Policy: operators, Body: route.Mentions{}, Bare: true,
			Answers: map[int]any{202: Shown{}}, Errors: []fault.Code{fault.NotFound, fault.AlreadyExists}, Handle: rs.one(rs.Queue.Retry, http.StatusAccepted)},
		{ID: "dropJob", Method: "DELETE", Path: one, Summary: "Remove a job, whatever its state; one that runs is ended", Policy: operators, Answers: map[int]any{200: Shown{}}, Errors: missing,
			Handle: rs.one(rs.Queue.Cancel, http.StatusOK)},
	}
	for i := range ops {
		ops[i].Tag = "jobs"
	}
	return ops
}

func shown(c *route.Call, j Job) Shown {
	s := Shown{ID: j.ID, Kind: j.Kind, State: j.State, Attempts: j.Attempts, Due: record.At(j.Due), CreatedAt: record.At(j.CreatedAt), CreatedBy: j.CreatedBy, RequestID: j.RequestID}
	if s.Reason = j.Reason; s.Reason != "" && !j.Shown && !c.Grant.Crosses() {
		s.Reason = "it failed; the operator of this system sees why"
	}
	return s
}

// one returns the handler of an operation on one job.
func (rs *Routes) one(do func(context.Context, guard.Scope, string) (Job, error), status int) func(context.Context, *route.Call) (route.Answer, error) {
	return func(ctx context.Context, c *route.Call) (route.Answer, error) {
		var b route.Mentions
		if err := c.Decode(&b); err != nil {
			return route.Answer{}, err
		}
		if b.PK != "" || b.ID != "" {
			return route.Answer{}, fault.New(fault.InvalidKey, "jobs", "the body's pk or id names a record, and a job is none; leave it out")
		}
		j, err := do(ctx, c.Scope(), c.Path("jobId"))
		if err != nil {
			return route.Answer{}, err
		}
		return route.JSON(status, shown(c, j))
	}
}

func (rs *Routes) list(ctx context.Context, c *route.Call) (route.Answer, error) {
	limit, err := data.CheckLimit(int(c.Int("limit")))
	if err != nil {
		return route.Answer{}, err
	}
	query := []string{"jobs", c.Query("kind"), c.Query("dead")}
	after, err := rs.Cursors.Open(c.Scope(), c.Query("cursor"), query...)
	if err != nil {
		return route.Answer{}, err
	}
	found, next, err := rs.Queue.List(ctx, c.Scope(), Query{Kind: c.Query("kind"), Kept: c.Flag("dead"), After: after, Limit: limit})
	if err != nil {
		return route.Answer{}, err
	}
	if len(found) == 0 && after == "" { // one that was deleted has jobs that were dropped
		state, err := rs.Queue.cfg.Tenant(ctx, c.Scope().Tenant())
		if err == nil && !state.Exists {
			err = fault.New(fault.NotFound, "jobs", "there is no such tenant")
		}
		if err != nil {
			return route.Answer{}, err
		}
	}
	page := List{Items: make([]Shown, len(found))}
	for i, j := range found {
		page.Items[i] = shown(c, j)
	}
	if next != "" {
		page.Cursor = rs.Cursors.Seal(c.Scope(), next, query...)
	}
	return route.JSON(http.StatusOK, page)
}

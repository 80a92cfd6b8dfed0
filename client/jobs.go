package client

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

// Job is one piece of a tenant's background work.
type Job struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	State     string    `json:"state"`    // waiting, running, dead or dropped
	Attempts  int       `json:"attempts"` // begun so far
	Due       time.Time `json:"due"`      // when it is, or was, due
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy"`
	RequestID string    `json:"requestId"`
	Reason    string    `json:"reason"` // why the last attempt failed; "" where none did

	Answer `json:"-"`
}

// JobQuery asks for jobs.
type JobQuery struct {
	Kind string // "" for all
	Dead bool   // those that are dead or were dropped, in place of those that wait or run
	Paging
}

func jobsPath(code tenant.Code) string { return "/api/tenants/" + segment(code.String()) + "/jobs" }

// Jobs returns a page of a tenant's jobs.
func (c *Client) Jobs(ctx context.Context, code tenant.Code, q JobQuery) (Page[Job], error) {
	query := q.values()
	if q.Kind != "" {
		query.Set("kind", q.Kind)
	}
	if q.Dead {
		query.Set("dead", "true")
	}
	return page[Job](ctx, c, request{method: http.MethodGet, path: jobsPath(code), query: query})
}

// RetryJob has a job that is dead tried again, with all its attempts. It fails with fault.NotFound.
func (c *Client) RetryJob(ctx context.Context, code tenant.Code, id string, opts ...Option) (Job, error) {
	r := request{method: http.MethodPost, path: jobsPath(code) + "/" + segment(id) + "/retry"}
	return value[Job](ctx, c, r.with(opts))
}

// DropJob removes a job, whatever its state. It fails with fault.NotFound.
func (c *Client) DropJob(ctx context.Context, code tenant.Code, id string, opts ...Option) (Job, error) {
	r := request{method: http.MethodDelete, path: jobsPath(code) + "/" + segment(id)}
	return value[Job](ctx, c, r.with(opts))
}

package client

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

// Projections is where all that follows commands stands.
type Projections struct {
	End       string           `json:"end"` // of the change feed
	Handlers  []HandlerStatus  `json:"handlers"`
	ReadModel *ReadModelStatus `json:"readModel"` // nil where the server keeps none

	Answer `json:"-"`
}

// HandlerStatus is where one handler stands.
type HandlerStatus struct {
	Name     string `json:"name"`
	Module   string `json:"module"`
	Held     bool   `json:"held"` // the server that answered runs it
	Position string `json:"position"`
	Aside    int    `json:"aside"`  // records that wait for another attempt
	Parked   int    `json:"parked"` // records that wait for an operator
}

// ReadModelStatus is where the read model stands.
type ReadModelStatus struct {
	Position    string             `json:"position"`
	End         string             `json:"end"` // of the feed
	AppliedAt   time.Time          `json:"appliedAt"`
	Projections []ProjectionStatus `json:"projections"`
	Rebuilds    []Rebuild          `json:"rebuilds"`
}

// ProjectionStatus is where one projection stands.
type ProjectionStatus struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Tables []string `json:"tables"`
	Aside  int      `json:"aside"`
	Parked int      `json:"parked"`
}

// Rebuild is what became of a rebuild, or of an audit.
type Rebuild struct {
	TenantCode  string       `json:"tenantCode"` // "*" for all
	Projection  string       `json:"projection"`
	State       string       `json:"state"` // "done" at the end
	Audit       bool         `json:"audit"`
	Position    string       `json:"position"`
	Compared    int64        `json:"compared"`
	Different   int64        `json:"different"`
	Reason      string       `json:"reason"`
	AskedAt     time.Time    `json:"askedAt"`
	ChangedAt   time.Time    `json:"changedAt"`
	Differences []Difference `json:"differences"`

	Answer `json:"-"`
}

// Difference is a row that a rebuild makes otherwise than it was read.
type Difference struct {
	Table   string   `json:"table"`
	Key     []string `json:"key"`
	Columns []string `json:"columns"`
	Kind    string   `json:"kind"` // missing, extra or different
}

// ProjectedTenant is how far the read model is with one tenant.
type ProjectedTenant struct {
	TenantCode string    `json:"tenantCode"`
	Position   string    `json:"position"`
	AppliedAt  time.Time `json:"appliedAt"`
	LagMillis  int64     `json:"lagMillis"`
	Applied    int64     `json:"applied"`
	Errors     int64     `json:"errors"`
	Waiting    int64     `json:"waiting"`
	Held       bool      `json:"held"`

	Answer `json:"-"`
}

// Waiting is a record that waits for a handler or projection that failed.
type Waiting struct {
	Name       string    `json:"name"`
	TenantCode string    `json:"tenantCode"`
	PK         string    `json:"pk"`
	SK         string    `json:"sk"`
	Version    int64     `json:"version"`
	Attempts   int       `json:"attempts"`
	Reason     string    `json:"reason"`
	Next       time.Time `json:"next"` // zero waits for an operator

	Answer `json:"-"`
}

// Which says what of the waiting records of a tenant, or of its rebuilds, is meant. Empty fields leave nothing out.
type Which struct {
	TenantCode tenant.Code `json:"tenantCode,omitzero"`
	Name       string      `json:"name,omitzero"`
	PK         string      `json:"pk,omitzero"`
	SK         string      `json:"sk,omitzero"`
	Version    int64       `json:"version,omitzero"`
	Audit      bool        `json:"audit,omitzero"`
	Reason     string      `json:"reason"`
}

// Changed is for how many records, or rebuilds, something was ordered.
type Changed struct {
	Changed int `json:"changed"`

	Answer `json:"-"`
}

const projectionsPath = "/api/admin/projections"

// Projections returns where handlers and projections stand.
func (c *Client) Projections(ctx context.Context) (Projections, error) {
	return value[Projections](ctx, c, request{method: http.MethodGet, path: projectionsPath})
}

// Waiting returns the records of all tenants that wait for a handler or projection.
func (c *Client) Waiting(ctx context.Context) (Page[Waiting], error) {
	return page[Waiting](ctx, c, request{method: http.MethodGet, path: projectionsPath + "/parked"})
}

// ProjectedTenants returns a page of how far tenants are in the read model, by code.
func (c *Client) ProjectedTenants(ctx context.Context, p Paging) (Page[ProjectedTenant], error) {
	return page[ProjectedTenant](ctx, c, request{method: http.MethodGet, path: projectionsPath + "/tenants", query: p.values()})
}

// RetryWaiting has what waits tried at once.
func (c *Client) RetryWaiting(ctx context.Context, which Which) (Changed, error) {
	return value[Changed](ctx, c, request{method: http.MethodPost, path: projectionsPath + "/retry", body: which})
}

// SkipWaiting gives up one command: Which names tenant, name, SK and version.
func (c *Client) SkipWaiting(ctx context.Context, which Which) (Changed, error) {
	return value[Changed](ctx, c, request{method: http.MethodPost, path: projectionsPath + "/skip", body: which})
}

// RebuildProjections asks for rebuilds or audits: of a tenant or all, of a projection or all.
func (c *Client) RebuildProjections(ctx context.Context, which Which) (Changed, error) {
	return value[Changed](ctx, c, request{method: http.MethodPost, path: projectionsPath + "/rebuild", body: which})
}

// Rebuilds returns what became of the last rebuilds and audits of a tenant.
func (c *Client) Rebuilds(ctx context.Context, code tenant.Code) (Page[Rebuild], error) {
	return page[Rebuild](ctx, c, request{method: http.MethodGet, path: "/api/admin/tenants/" + segment(code.String()) + "/projections"})
}

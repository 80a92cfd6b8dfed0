package client

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

// SyncRequest says what is copied from whom to whom.
type SyncRequest struct {
	Source     tenant.Code
	Targets    []tenant.Code // none for every active tenant, without the source and common
	EntityType string
	Prefix     string // of the sort keys; "" for all
	OnConflict string // overwrite, skip or keep-local-changes; "" for overwrite
	Deletes    bool   // deletes copies whose record in the source is gone
	NoCopies   bool   // leaves out what a sync wrote in the source
	Mapping    any    // marshals to {omit, rename, set, keep}; nil for attributes as they are
}

func (r SyncRequest) body() map[string]any {
	b := map[string]any{"sourceTenantCode": r.Source, "targetTenantCodes": "*", "entityType": r.EntityType}
	if len(r.Targets) > 0 {
		b["targetTenantCodes"] = r.Targets
	}
	if r.Prefix != "" {
		b["prefix"] = r.Prefix
	}
	if r.OnConflict != "" {
		b["onConflict"] = r.OnConflict
	}
	if r.Deletes {
		b["deletes"] = true
	}
	if r.NoCopies {
		b["withoutCopies"] = true
	}
	if r.Mapping != nil {
		b["mapping"] = r.Mapping
	}
	return b
}

// SyncCounts are numbers of records.
type SyncCounts struct {
	Total     int64 `json:"total"`
	Synced    int64 `json:"synced"`
	Unchanged int64 `json:"unchanged"`
	Skipped   int64 `json:"skipped"`
	Failed    int64 `json:"failed"`
}

// Sync is where a sync stands.
type Sync struct {
	ID               string       `json:"id"`
	Status           string       `json:"status"` // planning, planned, applying, applied, cancelled or failed
	SourceTenantCode string       `json:"sourceTenantCode"`
	EntityType       string       `json:"entityType"`
	Undoes           string       `json:"undoes"`
	Digest           string       `json:"digest"`
	CreatedAt        time.Time    `json:"createdAt"`
	CreatedBy        string       `json:"createdBy"`
	Errors           []SyncError  `json:"errors"`
	PerTenant        []SyncTarget `json:"perTenant"` // not in lists
	SyncCounts

	Answer `json:"-"`
}

// Over reports whether nothing works on the sync now.
func (s Sync) Over() bool { return s.Status != "planning" && s.Status != "applying" }

// SyncError is a failure. ID is of the record, "" where the whole target stands still.
type SyncError struct {
	TenantCode string `json:"tenantCode"`
	ID         string `json:"id"`
	Code       string `json:"code"`
	Message    string `json:"message"`
}

// SyncTarget is where one target of a sync stands.
type SyncTarget struct {
	TenantCode string           `json:"tenantCode"`
	Status     string           `json:"status"`
	Create     int64            `json:"create"` // in the plan
	Update     int64            `json:"update"`
	Delete     int64            `json:"delete"`
	Why        map[string]int64 `json:"why"` // how many records there are in the plan for each reason
	Code       string           `json:"code"`
	Message    string           `json:"message"`
	SyncCounts
}

// SyncItem is what a plan does to one record of a target, and what became of it.
type SyncItem struct {
	ID      string `json:"id"`
	Action  string `json:"action"` // create, update, delete, unchanged or skip
	Reason  string `json:"reason"`
	Code    string `json:"code"` // why it failed; "" where it didn't
	Message string `json:"message"`

	Answer `json:"-"`
}

// began is the answer to an order.
type began struct {
	ID string `json:"id"`
	Answer
}

const syncPath = "/api/admin/sync"

// PlanSync begins to plan a sync and returns its ID.
func (c *Client) PlanSync(ctx context.Context, in SyncRequest, opts ...Option) (string, error) {
	return c.order(ctx, syncPath+"/plan", in.body(), opts)
}

// RunSync begins to plan a sync that is applied as soon as it is planned, and returns its ID.
func (c *Client) RunSync(ctx context.Context, in SyncRequest, opts ...Option) (string, error) {
	return c.order(ctx, syncPath, in.body(), opts)
}

// ApplySync applies exactly the plan. It fails with fault.NotFound, and with fault.InvalidRequest where the plan is not made or was cancelled.
func (c *Client) ApplySync(ctx context.Context, id string, opts ...Option) error {
	_, err := c.order(ctx, syncPath+"/"+segment(id)+"/apply", nil, opts)
	return err
}

// ResumeSync goes on with a sync that was cancelled or stood still. It fails with fault.NotFound.
func (c *Client) ResumeSync(ctx context.Context, id string, opts ...Option) error {
	_, err := c.order(ctx, syncPath+"/"+segment(id)+"/resume", nil, opts)
	return err
}

// UndoSync begins a sync that takes back what another wrote, and returns its ID; with dryRun it is planned only. It fails with
// fault.NotFound, and with fault.InvalidRequest while the other is worked on.
func (c *Client) UndoSync(ctx context.Context, id string, dryRun bool, opts ...Option) (string, error) {
	return c.order(ctx, syncPath+"/"+segment(id)+"/undo", map[string]bool{"dryRun": dryRun}, opts)
}

func (c *Client) order(ctx context.Context, path string, body any, opts []Option) (string, error) {
	r := request{method: http.MethodPost, path: path, body: body}
	b, err := value[began](ctx, c, r.with(opts))
	return b.ID, err
}

// CancelSync ends the work on a sync. It fails with fault.NotFound.
func (c *Client) CancelSync(ctx context.Context, id string, opts ...Option) (Sync, error) {
	r := request{method: http.MethodDelete, path: syncPath + "/" + segment(id)}
	return value[Sync](ctx, c, r.with(opts))
}

// Sync returns where a sync stands. It fails with fault.NotFound.
func (c *Client) Sync(ctx context.Context, id string) (Sync, error) {
	return value[Sync](ctx, c, request{method: http.MethodGet, path: syncPath + "/" + segment(id)})
}

// Syncs returns a page of syncs, the newest first.
func (c *Client) Syncs(ctx context.Context, p Paging) (Page[Sync], error) {
	return page[Sync](ctx, c, request{method: http.MethodGet, path: syncPath, query: p.values()})
}

// SyncItems returns a page of the plan for one target, of up to 100 records; Limit is without effect. It fails with fault.NotFound.
func (c *Client) SyncItems(ctx context.Context, id string, target tenant.Code, p Paging) (Page[SyncItem], error) {
	query := p.values()
	query.Del("limit")
	query.Set("target", target.String())
	return page[SyncItem](ctx, c, request{method: http.MethodGet, path: syncPath + "/" + segment(id) + "/items", query: query})
}

// SyncRule keeps targets in step with a source.
type SyncRule struct {
	ID                string      `json:"id"`
	SourceTenantCode  string      `json:"sourceTenantCode"`
	TargetTenantCodes any         `json:"targetTenantCodes"` // a list of codes, or "*"
	EntityType        string      `json:"entityType"`
	Prefix            string      `json:"prefix"`
	OnConflict        string      `json:"onConflict"`
	Deletes           bool        `json:"deletes"`
	SyncID            string      `json:"syncId"`  // the last sync that brings its targets in step
	Code              string      `json:"code"`    // why the rule stands still; "" where it doesn't
	Message           string      `json:"message"` // and in words
	Behind            []SyncError `json:"behind"`  // targets that could not be written to
	Errors            []SyncError `json:"errors"`
	CreatedAt         time.Time   `json:"createdAt"`
	CreatedBy         string      `json:"createdBy"`

	Answer `json:"-"`
}

const rulesPath = "/api/admin/sync-rules"

// AddSyncRule keeps targets in step with a source from now on; with copies, what a sync wrote in the source is copied on too.
func (c *Client) AddSyncRule(ctx context.Context, in SyncRequest, copies bool, opts ...Option) (SyncRule, error) {
	b := in.body()
	if copies {
		b["copies"] = true
	}
	r := request{method: http.MethodPost, path: rulesPath, body: b}
	return value[SyncRule](ctx, c, r.with(opts))
}

// SyncRules returns all rules.
func (c *Client) SyncRules(ctx context.Context) (Page[SyncRule], error) {
	return page[SyncRule](ctx, c, request{method: http.MethodGet, path: rulesPath})
}

// RemoveSyncRule ends a rule. It fails with fault.NotFound.
func (c *Client) RemoveSyncRule(ctx context.Context, id string, opts ...Option) error {
	r := request{method: http.MethodDelete, path: rulesPath + "/" + segment(id)}
	_, err := value[began](ctx, c, r.with(opts))
	return err
}

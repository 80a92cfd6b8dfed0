package upkeep

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Routes are the operators' operations on what follows commands: handlers and, where there is one, the read model.
type Routes struct {
	Handlers  *projection.Runner
	ReadModel *Runner // nil for none

	// State answers whether a tenant exists.
	State func(context.Context, tenant.Code) (guard.State, error)
}

// Overview is where all that follows commands stands.
type Overview struct {
	End       string              `json:"end"` // of the change feed: where one stands that nothing waits for
	Handlers  []projection.Status `json:"handlers"`
	ReadModel *Status             `json:"readModel,omitempty"`
}

// Waiting is a record that waits for a handler, or for a projection of the read model.
type Waiting struct {
	Name       string      `json:"name"` // of the handler or projection
	TenantCode string      `json:"tenantCode"`
	PK         string      `json:"pk"`
	SK         string      `json:"sk"`
	Version    int64       `json:"version"` // the command that failed; later ones wait with it
	Attempts   int         `json:"attempts"`
	Reason     string      `json:"reason"`
	Next       record.Time `json:"next,omitzero"` // of the next attempt; none waits for an operator
}

// The lists and bodies of the operations.
type (
	// WaitingList is what waits.
	WaitingList struct {
		Items []Waiting `json:"items"`
	}
	// TenantList is how far tenants are.
	TenantList struct {
		Items  []Tenant `json:"items"`
		Cursor string   `json:"cursor,omitempty"`
	}
	// RebuildList is what became of rebuilds and audits.
	RebuildList struct {
		Items []Rebuild `json:"items"`
	}
	// RetryBody says what is tried at once: all that waits in a tenant, or what name, pk and sk leave of it.
	RetryBody struct {
		TenantCode string `json:"tenantCode"`
		Name       string `json:"name,omitempty" doc:"a handler or projection; all where it is left out"`
		PK         string `json:"pk,omitempty"`
		SK         string `json:"sk,omitempty"`
		Reason     string `json:"reason" minLength:"1" maxLength:"1000"`
	}
	// SkipBody names the command that is given up.
	SkipBody struct {
		TenantCode string `json:"tenantCode"`
		Name       string `json:"name" doc:"a handler or projection"`
		PK         string `json:"pk,omitempty" doc:"of the record; may be left out where sk says which it is"`
		SK         string `json:"sk"`
		Version    int64  `json:"version" doc:"the version that failed"`
		Reason     string `json:"reason" minLength:"1" maxLength:"1000"`
	}
	// RebuildBody says what is made anew.
	RebuildBody struct {
		TenantCode string `json:"tenantCode,omitempty" doc:"all tenants where it is left out"`
		Name       string `json:"name,omitempty" doc:"a projection, or counters; all where it is left out"`
		Audit      bool   `json:"audit,omitempty" doc:"compare only, and change nothing"`
		Reason     string `json:"reason" minLength:"1" maxLength:"1000"`
	}
	// Changed is for how many records, or rebuilds, something was ordered.
	Changed struct {
		Changed int `json:"changed"`
	}
)

// Operations returns the operations. Those on the read model say so where there is none.
func (rs *Routes) Operations() []route.Operation {
	system := guard.Policy{Reach: guard.AllTenants}
	missing := []fault.Code{fault.NotFound}
	const base = "/api/admin/projections"
	ops := []route.Operation{
		{ID: "listProjections", Method: "GET", Path: base, Summary: "Where handlers and projections stand", Policy: system, Answers: map[int]any{200: Overview{}}, Handle: rs.overview},
		{ID: "listParked", Method: "GET", Path: base + "/parked", Summary: "Records that wait for a handler or projection that failed", Policy: system, Answers: map[int]any{200: WaitingList{}}, Handle: rs.parked},
		{ID: "retryParked", Method: "POST", Path: base + "/retry", Summary: "Try at once what waits in a tenant", Policy: system, Body: RetryBody{}, Answers: map[int]any{200: Changed{}}, Errors: missing, Handle: rs.retry},
		{ID: "skipParked", Method: "POST", Path: base + "/skip", Summary: "Give up a command that failed and go on with the one after it", Policy: system, Body: SkipBody{}, Answers: map[int]any{200: Changed{}}, Errors: missing, Handle: rs.skip},
		{ID: "listProjectedTenants", Method: "GET", Path: base + "/tenants", Summary: "How far the read model is, by tenant", Policy: system, Answers: map[int]any{200: TenantList{}},
			Query:  []route.Param{{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: 1000}, {Name: "cursor", Summary: "of the page before"}},
			Errors: []fault.Code{fault.InvalidCursor}, Handle: rs.kept(rs.tenants)},
		{ID: "rebuildProjections", Method: "POST", Path: base + "/rebuild", Summary: "Make the read model of a tenant, or of all, anew from the log, or compare it", Policy: system,
			Body: RebuildBody{}, Answers: map[int]any{202: Changed{}}, Errors: missing, Handle: rs.kept(rs.rebuild)},
		{ID: "listRebuilds", Method: "GET", Path: "/api/admin/tenants/{tenantCode}/projections", Summary: "What became of the rebuilds and audits of a tenant, and what differed",
			Policy: guard.Policy{Reach: guard.Admin}, Answers: map[int]any{200: RebuildList{}}, Errors: missing, Handle: rs.kept(rs.rebuilds)},
	}
	for i := range ops {
		ops[i].Tag = "projections"
	}
	return ops
}

// kept returns the handler of an operation on the read model.
func (rs *Routes) kept(handle func(context.Context, *route.Call) (route.Answer, error)) func(context.Context, *route.Call) (route.Answer, error) {
	return func(ctx context.Context, c *route.Call) (route.Answer, error) {
		if rs.ReadModel == nil {
			return route.Answer{}, fault.New(fault.Unavailable, "upkeep", "this server keeps no read model; start it with --read-model, or set tenantry.Config.ReadModel")
		}
		return handle(ctx, c)
	}
}

// exists fails with fault.NotFound unless a tenant exists.
func (rs *Routes) exists(ctx context.Context, code tenant.Code) error {
	state, err := rs.State(ctx, code)
	if err == nil && !state.Exists {
		err = fault.New(fault.NotFound, "upkeep", "there is no such tenant")
	}
	return err
}

func (rs *Routes) overview(ctx context.Context, c *route.Call) (route.Answer, error) {
	end, err := rs.Handlers.End(ctx) // before the entry in the audit log that asking makes, which nobody can have passed yet
	if err != nil {
		return route.Answer{}, err
	}
	handlers, err := rs.Handlers.Status(ctx, c.Grant.System)
	if err != nil {
		return route.Answer{}, err
	}
	for _, h := range handlers {
		end = later(end, h.Position)
	}
	out := Overview{Handlers: handlers}
	if rs.ReadModel != nil {
		status, err := rs.ReadModel.Status(ctx, c.Grant.System)
		if err != nil {
			return route.Answer{}, err
		}
		end = later(end, status.Position)
		status.End = string(end)
		out.ReadModel = &status
	}
	out.End = string(end)
	return route.JSON(http.StatusOK, out)
}

func later(end driver.Position, position string) driver.Position {
	if at := driver.Position(position); end.Compare(at) < 0 {
		return at
	}
	return end
}

// waiting returns what waits for handlers and projections, ordered by tenant.
func (rs *Routes) waiting(ctx context.Context, sys scope.System) ([]Waiting, error) {
	out := []Waiting{}
	parked, err := rs.Handlers.ParkedOfAll(ctx, sys)
	if err != nil {
		return nil, err
	}
	for _, p := range parked {
		_, code, _, err := record.SplitPK(p.PK)
		if err != nil {
			continue
		}
		out = append(out, Waiting{Name: p.Handler, TenantCode: code.String(), PK: p.PK, SK: p.SK, Version: p.Version, Attempts: p.Attempts, Reason: p.Reason, Next: p.Next})
	}
	if rs.ReadModel != nil {
		parked, err := rs.ReadModel.Parked(ctx, sys)
		if err != nil {
			return nil, err
		}
		for _, p := range parked {
			out = append(out, Waiting{Name: p.Projection, TenantCode: p.TenantCode, PK: p.PK, SK: p.SK, Version: p.Version, Attempts: p.Attempts, Reason: p.Reason, Next: p.Next})
		}
	}
	slices.SortStableFunc(out, func(a, b Waiting) int { return cmp.Compare(a.TenantCode, b.TenantCode) })
	return out, nil
}

func (rs *Routes) parked(ctx context.Context, c *route.Call) (route.Answer, error) {
	items, err := rs.waiting(ctx, c.Grant.System)
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, WaitingList{Items: items})
}

func (rs *Routes) retry(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b RetryBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	which := func(w Waiting) bool {
		return (b.Name == "" || b.Name == w.Name) && (b.PK == "" || b.PK == w.PK) && (b.SK == "" || b.SK == w.SK)
	}
	return rs.amend(ctx, c, b.TenantCode, b.Reason, which, func(w Waiting, key record.Key) error {
		if rs.projects(w.Name) {
			return rs.ReadModel.Retry(ctx, w.Name, key)
		}
		return rs.Handlers.Retry(ctx, w.Name, key)
	})
}

func (rs *Routes) skip(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b SkipBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	which := func(w Waiting) bool {
		return b.Name == w.Name && (b.PK == "" || b.PK == w.PK) && b.SK == w.SK && b.Version == w.Version
	}
	return rs.amend(ctx, c, b.TenantCode, b.Reason, which, func(w Waiting, key record.Key) error {
		if rs.projects(w.Name) {
			return rs.ReadModel.Skip(ctx, w.Name, key, w.Version)
		}
		return rs.Handlers.Skip(ctx, w.Name, key)
	})
}

// projects reports whether a name is that of a projection: a handler may have the same name, and a parked record of both is one's of each.
func (rs *Routes) projects(name string) bool {
	return rs.ReadModel != nil && rs.ReadModel.names[name] != nil
}

// amend does something to what waits in a tenant, after the audit entry, which has the reason. What waits in one that was deleted is amended too.
func (rs *Routes) amend(ctx context.Context, c *route.Call, in, reason string, which func(Waiting) bool, do func(Waiting, record.Key) error) (route.Answer, error) {
	code, err := tenant.Parse(in)
	if err != nil {
		return route.Answer{}, err
	}
	sys := c.Grant.System.Because(record.NewID(), reason)
	all, err := rs.waiting(ctx, sys)
	if err != nil {
		return route.Answer{}, err
	}
	all = slices.DeleteFunc(all, func(w Waiting) bool { return w.TenantCode != code.String() })
	if len(all) == 0 {
		if err := rs.exists(ctx, code); err != nil {
			return route.Answer{}, err
		}
	}
	sc, err := sys.Enter(ctx, code, time.Time{})
	if err != nil {
		return route.Answer{}, err
	}
	changed := 0
	for _, w := range all {
		if !which(w) {
			continue
		}
		key, err := record.ParseKey(sc, w.PK, w.SK)
		if err == nil {
			err = do(w, key)
		}
		switch {
		case fault.CodeOf(err) == fault.NotFound: // it went on meanwhile
		case err != nil:
			return route.Answer{}, err
		default:
			changed++
		}
	}
	return route.JSON(http.StatusOK, Changed{Changed: changed})
}

func (rs *Routes) tenants(ctx context.Context, c *route.Call) (route.Answer, error) {
	var after tenant.Code
	if text := c.Query("cursor"); text != "" {
		var err error
		if after, err = tenant.Parse(text); err != nil {
			return route.Answer{}, fault.New(fault.InvalidCursor, "upkeep", "the cursor is not one that this operation returned")
		}
	}
	limit := cmp.Or(int(c.Int("limit")), 100)
	items, err := rs.ReadModel.Tenants(ctx, c.Grant.System, after, limit)
	if err != nil {
		return route.Answer{}, err
	}
	out := TenantList{Items: items}
	if len(items) == limit {
		out.Cursor = items[limit-1].TenantCode
	}
	return route.JSON(http.StatusOK, out)
}

func (rs *Routes) rebuild(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b RebuildBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	sys := c.Grant.System.Because(record.NewID(), b.Reason)
	var code tenant.Code
	if b.TenantCode != "" {
		var err error
		if code, err = tenant.Parse(b.TenantCode); err != nil {
			return route.Answer{}, err
		}
		if err := rs.exists(ctx, code); err != nil {
			return route.Answer{}, err
		}
		if _, err := sys.Enter(ctx, code, time.Time{}); err != nil {
			return route.Answer{}, err
		}
	}
	asked, err := rs.ReadModel.Ask(ctx, sys, code, b.Name, b.Reason, b.Audit)
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusAccepted, Changed{Changed: asked})
}

func (rs *Routes) rebuilds(ctx context.Context, c *route.Call) (route.Answer, error) {
	items, err := rs.ReadModel.Rebuilds(ctx, c.Scope())
	if err == nil && len(items) == 0 {
		err = rs.exists(ctx, c.Scope().Tenant())
	}
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, RebuildList{Items: items})
}

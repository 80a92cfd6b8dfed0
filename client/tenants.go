package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/tenantry/tenantry/tenant"
)

// Ref names a tenant's record: its own or, with Inside, that of a tenant inside the group that it is.
type Ref struct {
	Tenant tenant.Code
	Inside string // the code of the tenant inside the group; "" is the tenant's own record
}

func (r Ref) path() string {
	sk := "MASTER"
	if r.Inside != "" {
		sk = r.Inside
	}
	return "/api/tenant/" + segment("TENANT#"+r.Tenant.String()) + "/" + segment(sk)
}

// NewTenant is a tenant to be created.
type NewTenant struct {
	Name        string  `json:"name"`
	Description *string `json:"description,omitzero"`
	Attributes  any     `json:"attributes,omitzero"` // marshals to a JSON object; nil for none
}

// TenantUpdate is a change of a tenant. Nil fields stay; attributes merge at the first level.
type TenantUpdate struct {
	Name        *string `json:"name,omitzero"`
	Description *string `json:"description,omitzero"`
	Attributes  any     `json:"attributes,omitzero"`
}

// CreateCommonTenant creates the record of the common tenant. It fails with fault.AlreadyExists.
func (c *Client) CreateCommonTenant(ctx context.Context, in NewTenant, opts ...Option) (Record, error) {
	return c.change(ctx, http.MethodPost, "/api/tenant/common", in, opts)
}

// CreateTenant creates a tenant. It fails with fault.AlreadyExists, fault.TenantNotPurged, and fault.InvalidKey for a reserved code.
func (c *Client) CreateTenant(ctx context.Context, code tenant.Code, in NewTenant, opts ...Option) (Record, error) {
	return c.change(ctx, http.MethodPost, "/api/tenant", withCode{code, in}, opts)
}

// CreateTenantInside creates a tenant inside the group that group is. It fails with fault.AlreadyExists.
func (c *Client) CreateTenantInside(ctx context.Context, group, code tenant.Code, in NewTenant, opts ...Option) (Record, error) {
	return c.change(ctx, http.MethodPost, "/api/tenant/"+segment(group.String())+"/tenant", withCode{code, in}, opts)
}

type withCode struct {
	Code tenant.Code `json:"code"`
	NewTenant
}

// Tenant returns a tenant's record, deleted or not. It fails with fault.NotFound where there never was one.
func (c *Client) Tenant(ctx context.Context, ref Ref) (Record, error) {
	return value[Record](ctx, c, request{method: http.MethodGet, path: ref.path()})
}

// Tenants returns a page of all tenants by code; with IncludeDeleted the deleted ones too.
func (c *Client) Tenants(ctx context.Context, p Paging, opts ...Option) (Page[Record], error) {
	r := request{method: http.MethodGet, path: "/api/tenant", query: p.values()}
	return page[Record](ctx, c, r.with(opts))
}

// EachTenant goes through what Tenants answers, page after page, and ends after the first failure.
func (c *Client) EachTenant(ctx context.Context, p Paging, opts ...Option) iter.Seq2[Record, error] {
	return all(p, func(p Paging) (Page[Record], error) { return c.Tenants(ctx, p, opts...) })
}

// UpdateTenant changes a tenant.
func (c *Client) UpdateTenant(ctx context.Context, ref Ref, in TenantUpdate, opts ...Option) (Record, error) {
	return c.change(ctx, http.MethodPatch, ref.path(), in, opts)
}

// DeleteTenant deletes a tenant. Its records stay until it is purged.
func (c *Client) DeleteTenant(ctx context.Context, ref Ref, opts ...Option) (Record, error) {
	return c.change(ctx, http.MethodDelete, ref.path(), nil, opts)
}

// Group is a group of users that a role of a tenant has settings for.
type Group struct {
	ID   string // 1 to 255 bytes; # divides its segments
	Role string
}

// AddTenantGroup adds a group to a role of a tenant. Adding one that is there changes nothing.
func (c *Client) AddTenantGroup(ctx context.Context, code tenant.Code, g Group, opts ...Option) (Record, error) {
	body := map[string]any{"tenantCode": code, "groupId": g.ID, "role": g.Role}
	return c.change(ctx, http.MethodPost, "/api/tenant/group", body, opts)
}

// CustomizeSettingGroups sets the groups of a tenant's role in an order of the caller's own.
func (c *Client) CustomizeSettingGroups(ctx context.Context, code tenant.Code, role string, groups []string, opts ...Option) (Record, error) {
	body := map[string]any{"tenantCode": code, "settingGroups": groups, "role": role}
	return c.change(ctx, http.MethodPatch, "/api/tenant/group", body, opts)
}

// SuspendTenant refuses everyone who acts in a tenant, within a second, for a reason of 1 to 1000 characters.
func (c *Client) SuspendTenant(ctx context.Context, code tenant.Code, reason string, opts ...Option) (Record, error) {
	return c.change(ctx, http.MethodPost, "/api/admin/tenants/"+segment(code.String())+"/suspend", map[string]any{"reason": reason}, opts)
}

// ResumeTenant ends a suspension, for a reason of 1 to 1000 characters.
func (c *Client) ResumeTenant(ctx context.Context, code tenant.Code, reason string, opts ...Option) (Record, error) {
	return c.change(ctx, http.MethodPost, "/api/admin/tenants/"+segment(code.String())+"/resume", map[string]any{"reason": reason}, opts)
}

func (c *Client) change(ctx context.Context, method, path string, body any, opts []Option) (Record, error) {
	r := request{method: method, path: path, body: body}
	return value[Record](ctx, c, r.with(opts))
}

package client

import (
	"context"
	"iter"
	"net/http"
)

// Me returns who the token speaks for, and in which tenant.
func (c *Client) Me(ctx context.Context) (Me, error) {
	return value[Me](ctx, c, request{method: http.MethodGet, path: "/api/me"})
}

// Audit returns a page of the crossings that name the acting tenant, newest first. It is for the tenant's admins.
func (c *Client) Audit(ctx context.Context, p Paging) (Page[Crossing], error) {
	return page[Crossing](ctx, c, request{method: http.MethodGet, path: "/api/audit", query: p.values()})
}

// AllAudit returns a page of the crossings of the whole system, newest first. It is for system admins.
func (c *Client) AllAudit(ctx context.Context, p Paging) (Page[Crossing], error) {
	return page[Crossing](ctx, c, request{method: http.MethodGet, path: "/api/admin/audit", query: p.values()})
}

// EachCrossing goes through what AllAudit answers, page after page.
func (c *Client) EachCrossing(ctx context.Context, p Paging) iter.Seq2[Crossing, error] {
	return all(p, func(p Paging) (Page[Crossing], error) { return c.AllAudit(ctx, p) })
}

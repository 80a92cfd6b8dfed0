package audit

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// Operations returns the audit operations of section 8 of the contract.
func (l *Log) Operations() []route.Operation {
	query := []route.Param{{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit},
		{Name: "cursor", Summary: "of the page before"}}
	answers := map[int]any{http.StatusOK: Page{}}
	errors := []fault.Code{fault.InvalidCursor}
	return []route.Operation{
		{ID: "listAudit", Method: "GET", Path: "/api/audit", Tag: "audit", Summary: "Crossings that name the acting tenant, newest first",
			Policy: guard.Policy{Reach: guard.Tenant, Roles: []string{"admin"}}, Query: query, Answers: answers, Errors: errors, Handle: l.own},
		{ID: "listAllAudit", Method: "GET", Path: "/api/admin/audit", Tag: "audit", Summary: "All crossings, newest first",
			Policy: guard.Policy{Reach: guard.AllTenants}, Query: query, Answers: answers, Errors: errors, Handle: l.all},
	}
}

func (l *Log) own(ctx context.Context, c *route.Call) (route.Answer, error) {
	return l.page(ctx, c, c.Scope())
}

func (l *Log) all(ctx context.Context, c *route.Call) (route.Answer, error) {
	sc, err := c.Grant.System.Enter(ctx, tenant.Common(), time.Time{})
	if err != nil {
		return route.Answer{}, err
	}
	return l.page(ctx, c, sc)
}

func (l *Log) page(ctx context.Context, c *route.Call, sc scope.Scope) (route.Answer, error) {
	page, err := l.List(ctx, sc, int(c.Int("limit")), c.Query("cursor"))
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, page)
}

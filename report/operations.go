package report

import (
	"context"
	"io"
	"net/http"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage/driver"
)

// Operations returns the reports of section 8 of the contract.
func (s *Service) Operations() []route.Operation {
	return []route.Operation{
		{ID: "reportSystem", Method: "GET", Path: "/api/admin/reports/system", Tag: "reports", Summary: "How many records there are, by tenant and by entity type",
			Policy: guard.Policy{Reach: guard.AllTenants}, Follows: true, Tables: true, Handle: s.overAll,
			Query: []route.Param{route.Format(),
				{Name: "include", Summary: "recentOrders: the orders that were created last; in a table, they are its rows", Enum: []string{"recentOrders"}},
				{Name: "entityType", Summary: "the entity type whose tenants, top and growth are told; PRODUCT by default, in a table all"},
				{Name: "top", Summary: "how many tenants with the most; 10 by default", Kind: route.Integer, Min: 1, Max: MaxTop},
				{Name: "days", Summary: "how many days of growth, today included; 30 by default", Kind: route.Integer, Min: 1, Max: MaxDays}},
			Answers: map[int]any{http.StatusOK: System{}}, Errors: []fault.Code{fault.NotFound}},
		{ID: "reportTenant", Method: "GET", Path: "/api/tenants/{tenantCode}/metrics", Tag: "reports", Summary: "How many records and users a tenant has",
			Policy: guard.Policy{Reach: guard.Admin, Members: true}, Follows: true, Tables: true, Handle: s.ofOne,
			Query:   []route.Param{route.Format()},
			Answers: map[int]any{http.StatusOK: Tenant{}}, Errors: []fault.Code{fault.NotFound}},
	}
}

func (s *Service) overAll(ctx context.Context, c *route.Call) (route.Answer, error) {
	q := Query{Top: int(c.Int("top")), Days: int(c.Int("days")), Recent: c.Query("include") == "recentOrders"}
	named := c.Query("entityType")
	if named != "" {
		var err error
		if q.EntityType, err = record.ParseEntityType(named); err != nil {
			return route.Answer{}, fault.New(fault.NotFound, "report", "there is no such entity type")
		}
	}
	out, err := s.System(ctx, c.Grant.System, q)
	if err != nil {
		return route.Answer{}, err
	}
	switch {
	case c.Table() && q.Recent:
		return table("recent-orders.csv", out.Position, out.recentOrders), nil
	case c.Table():
		return table("tenants.csv", out.Position, func(t *sheet) { out.tenants(t, named) }), nil
	}
	return answer(out, out.Position)
}

func (s *Service) ofOne(ctx context.Context, c *route.Call) (route.Answer, error) {
	out, err := s.Tenant(ctx, c.Scope())
	if err != nil {
		return route.Answer{}, err
	}
	if c.Table() {
		return table("metrics.csv", out.Position, out.rows), nil
	}
	return answer(out, out.Position)
}

func answer(v any, position string) (route.Answer, error) {
	a, err := route.JSON(http.StatusOK, v)
	a.Position = driver.Position(position)
	return a, err
}

// table returns the answer that is a file of what fill writes.
func table(name, position string, fill func(*sheet)) route.Answer {
	return route.Answer{Status: http.StatusOK, Position: driver.Position(position), Download: &route.Download{Type: mediaType, Name: name, Write: func(w io.Writer) error {
		t := newSheet(w)
		fill(t)
		return t.end()
	}}}
}

// tenants writes a row for each tenant and entity type, or for those of one.
func (out *System) tenants(t *sheet, entityType string) {
	t.row("tenantCode", "entityType", "count", "position", "appliedAt", "lagMillis")
	next := 0
	for _, f := range out.Freshness {
		for ; next < len(out.counts) && out.counts[next].TenantCode == f.TenantCode; next++ {
			if c := out.counts[next]; entityType == "" || entityType == c.Type.String() {
				t.row(c.TenantCode, c.Type.String(), c.Live, f.Position, f.AppliedAt.String(), f.LagMillis)
			}
		}
	}
}

func (out *System) recentOrders(t *sheet) {
	t.row("tenantCode", "id", "code", "name", "version", "createdAt", "createdBy", "updatedAt", "updatedBy")
	for _, o := range out.RecentOrders {
		t.row(o.TenantCode, o.ID, o.Code, o.Name, o.Version, o.CreatedAt.String(), o.CreatedBy, o.UpdatedAt.String(), o.UpdatedBy)
	}
}

// rows writes a row for each entity type, and one for the users.
func (out *Tenant) rows(t *sheet) {
	t.row("tenantCode", "entityType", "count")
	for _, n := range out.Totals {
		t.row(out.TenantCode, n.EntityType, n.Count)
	}
	t.row(out.TenantCode, users.String(), out.Users)
}

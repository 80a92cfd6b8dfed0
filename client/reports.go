package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

// ReportQuery says what a report over all tenants holds. The zero ReportQuery is the server's default: of products.
type ReportQuery struct {
	EntityType   string // whose tenants, top and growth are told; in a table "" is all
	Top          int    // how many tenants with the most, 1 to 1000
	Days         int    // of growth, today included, 1 to 366
	RecentOrders bool   // the orders that were created last; in a table they are its rows
}

func (q ReportQuery) values() url.Values {
	query := url.Values{}
	for name, n := range map[string]int{"top": q.Top, "days": q.Days} {
		if n != 0 {
			query.Set(name, strconv.Itoa(n))
		}
	}
	if q.EntityType != "" {
		query.Set("entityType", q.EntityType)
	}
	if q.RecentOrders {
		query.Set("include", "recentOrders")
	}
	return query
}

// The parts of reports.
type (
	// TenantCount is how many records a tenant has.
	TenantCount struct {
		TenantCode string `json:"tenantCode"`
		Count      int64  `json:"count"`
	}
	// TypeCount is how many records there are of an entity type.
	TypeCount struct {
		EntityType string `json:"entityType"`
		Count      int64  `json:"count"`
	}
	// DayCount is how many records were created on a day, in UTC: 2006-01-02.
	DayCount struct {
		Day     string `json:"day"`
		Created int64  `json:"created"`
	}
	// Freshness is how far the read model has a tenant.
	Freshness struct {
		TenantCode string    `json:"tenantCode"`
		Position   string    `json:"position"`  // of its last command that is counted
		AppliedAt  time.Time `json:"appliedAt"` // when that was
		LagMillis  int64     `json:"lagMillis"` // how long after it was published
	}
	// ReportedRecord is a record in a report.
	ReportedRecord struct {
		TenantCode string    `json:"tenantCode"`
		ID         string    `json:"id"`
		Code       string    `json:"code"`
		Name       string    `json:"name"`
		Version    int64     `json:"version"`
		CreatedAt  time.Time `json:"createdAt"`
		CreatedBy  string    `json:"createdBy"`
		UpdatedAt  time.Time `json:"updatedAt"`
		UpdatedBy  string    `json:"updatedBy"`
	}
)

// SystemReport is a report over all tenants. Lists of tenants are ordered by code, and those that have nothing are left out.
type SystemReport struct {
	TotalProducts     int64            `json:"totalProducts"`
	ProductsByTenant  []TenantCount    `json:"productsByTenant"`
	RecentOrdersCount int64            `json:"recentOrdersCount"` // at most 100
	RecentOrders      []ReportedRecord `json:"recentOrders"`      // newest first, where they were asked for

	EntityType string        `json:"entityType"` // what follows is of
	Total      int64         `json:"total"`
	ByTenant   []TenantCount `json:"byTenant"`
	Top        []TenantCount `json:"top"` // most first
	Growth     []DayCount    `json:"growth"`

	Totals    []TypeCount `json:"totals"`
	Place     string      `json:"position"` // in the change feed, which all of this is of
	AppliedAt time.Time   `json:"appliedAt"`
	Freshness []Freshness `json:"freshness"`

	Answer `json:"-"`
}

// TenantReport is a report of one tenant.
type TenantReport struct {
	TenantCode string      `json:"tenantCode"`
	Products   int64       `json:"products"`
	Orders     int64       `json:"orders"`
	Users      int64       `json:"users"` // memberships that have not ended
	Totals     []TypeCount `json:"totals"`
	AppliedAt  time.Time   `json:"appliedAt"` // when the tenant's last command was counted
	LagMillis  int64       `json:"lagMillis"` // how long after it was published

	Answer `json:"-"`
}

const systemReportPath = "/api/admin/reports/system"

func tenantReportPath(code tenant.Code) string {
	return "/api/tenants/" + segment(code.String()) + "/metrics"
}

// SystemReport reports over all tenants.
func (c *Client) SystemReport(ctx context.Context, q ReportQuery) (SystemReport, error) {
	return value[SystemReport](ctx, c, request{method: http.MethodGet, path: systemReportPath, query: q.values()})
}

// TenantReport reports of a tenant: the caller's own, a system admin's any. It fails with fault.NotFound.
func (c *Client) TenantReport(ctx context.Context, code tenant.Code) (TenantReport, error) {
	return value[TenantReport](ctx, c, request{method: http.MethodGet, path: tenantReportPath(code)})
}

// SaveSystemReport writes a report over all tenants to w as CSV (RFC 4180): a row for each tenant and entity type, or for each recent order.
func (c *Client) SaveSystemReport(ctx context.Context, q ReportQuery, w io.Writer) error {
	query := q.values()
	query.Set("format", "csv")
	return c.save(ctx, request{method: http.MethodGet, path: systemReportPath, query: query}, w)
}

// SaveTenantReport writes a report of a tenant to w as CSV (RFC 4180): a row for each entity type, and one for the users.
func (c *Client) SaveTenantReport(ctx context.Context, code tenant.Code, w io.Writer) error {
	return c.save(ctx, request{method: http.MethodGet, path: tenantReportPath(code), query: url.Values{"format": {"csv"}}}, w)
}

package guide_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/report"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
)

// openCounted returns an App over a store in a file, whose read model has the guide's tables, and what closes it.
func openCounted(cfg tenantry.Config) (*tenantrytest.App, func()) {
	dir, err := os.MkdirTemp("", "tenantry-guide-")
	check(err)
	cfg.Store = sqlite.At(dir)
	cfg.Model, err = readmodel.New(readmodel.Guide())
	check(err)
	app, closeApp := open(cfg)
	return app, func() {
		closeApp()
		check(os.RemoveAll(dir))
	}
}

// putAll writes records of an entity type whose sort keys are their names in lower case.
func putAll(app *tenantrytest.App, sc guard.Scope, entityType string, names ...string) {
	for _, name := range names {
		key, err := record.NewKey(sc, record.MustEntityType(entityType), strings.ToLower(name))
		check(err)
		_, err = app.Commands().PublishSync(context.Background(), sc, command.Input{Key: key, Version: record.VersionLatest, Name: name})
		check(err)
	}
}

// "Pattern 2: Cross-Tenant Reporting", getSystemMetrics: the counts are kept while records change, so a report reads no records; and only a system admin
// gets one, for a reason that the audit log keeps.
func Example_crossTenantReporting() {
	ctx := context.Background()
	app, closeApp := openCounted(tenantry.Config{})
	defer closeApp()
	putAll(app, app.Scope("acme"), "PRODUCT", "Chair", "Table", "Lamp")
	putAll(app, app.Scope("acme"), "ORDER", "First")
	putAll(app, app.Scope("bravo"), "PRODUCT", "Bicycle")
	putAll(app, app.Scope("bravo"), "VISIT", "Monday", "Tuesday")
	app.Tenant("charlie")
	check(app.CatchUp(ctx)) // a reader of the read model waits for what was written

	metrics, err := app.Reports().System(ctx, app.System("figures of the year"), report.Query{Recent: true})
	check(err)
	fmt.Println(metrics.TotalProducts, "products:", metrics.ProductsByTenant)
	for _, order := range metrics.RecentOrders {
		fmt.Println("order", order.Name, "of", order.TenantCode)
	}
	visits, err := app.Reports().System(ctx, app.System("figures of the year"), report.Query{EntityType: record.MustEntityType("VISIT")})
	check(err)
	fmt.Println(visits.Total, "visits:", visits.ByTenant)

	_, err = app.Reports().System(ctx, guard.System{}, report.Query{})
	fmt.Println(fault.CodeOf(err))
	log, err := app.Audit().List(ctx, app.Scope("acme"), 1, "")
	check(err)
	fmt.Println("acme is told:", log.Items[0].UserID, "for", log.Items[0].Reason)
	// Output:
	// 4 products: [{acme 3} {bravo 1}]
	// order First of acme
	// 2 visits: [{bravo 2}]
	// role_required
	// acme is told: tester for figures of the year
}

// getTenantMetrics: what a tenant's own users may see. Its users are its memberships.
func Example_tenantMetrics() {
	ctx := context.Background()
	app, closeApp := openCounted(tenantry.Config{})
	defer closeApp()
	putAll(app, app.Scope("acme"), "PRODUCT", "Chair", "Table")
	putAll(app, app.Scope("bravo"), "PRODUCT", "Bicycle")
	check(app.CatchUp(ctx))

	metrics, err := app.Reports().Tenant(ctx, app.Scope("acme"))
	check(err)
	fmt.Println(metrics.TenantCode, metrics.Products, metrics.Orders, metrics.Users)

	api, ann := serve(app), tokenFor(app, "ann", "acme", "user")
	fmt.Println(send(api, ann, "GET", "/api/tenants/acme/metrics", ""))
	fmt.Println(send(api, ann, "GET", "/api/tenants/bravo/metrics", ""))
	fmt.Println(send(api, ann, "GET", "/api/admin/reports/system", ""))
	// Output:
	// acme 2 0 0
	// 200
	// 403 tenant_forbidden
	// 403 role_required
}

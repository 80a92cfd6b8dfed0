package bench

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/readmodel"
	reports "github.com/tenantry/tenantry/report"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
)

// What a report over all tenants is made of.
const (
	reportedTenants  = 1000
	reportedProducts = 600_000
	reportedOrders   = 400_000
	reportedDays     = 365 // on which they were created
)

// BenchmarkSystemReport reports over a thousand tenants with a million records, as the API does: with its audit entry, top tenants, 30 days of
// growth and the freshness of each tenant; with the hundred newest orders; and, beside it, what counting the rows takes.
func BenchmarkSystemReport(b *testing.B) {
	app, db := reported(b)
	ctx := context.Background()
	for name, q := range map[string]reports.Query{"counts": {}, "recent-orders": {Recent: true}} {
		b.Run(name, func(b *testing.B) {
			began := processorTime(b)
			defer func() {
				b.ReportMetric(float64((processorTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
			}()
			for b.Loop() {
				sys := app.System("report")
				if q.Recent {
					sys = worldtest.System("report", nil) // an entry for each tenant that is shown is no part of asking
				}
				r, err := app.Reports().System(ctx, sys, q)
				must(b, err)
				if r.TotalProducts != reportedProducts || len(r.ProductsByTenant) != reportedTenants || r.RecentOrdersCount != reports.MaxRecent || q.Recent != (len(r.RecentOrders) == reports.MaxRecent) {
					b.Fatalf("%d products of %d tenants, %d recent orders", r.TotalProducts, len(r.ProductsByTenant), len(r.RecentOrders))
				}
			}
		})
	}
	b.Run("counting", func(b *testing.B) {
		for b.Loop() {
			tenants := 0
			must(b, db.Read(ctx, func(tx driver.Tx) error {
				must(b, tx.As(ctx, driver.All))
				return tx.Query(ctx, func(driver.Row) error { tenants++; return nil }, "SELECT tenant_code, count(*) FROM product WHERE NOT is_deleted GROUP BY tenant_code")
			}))
			if tenants != reportedTenants {
				b.Fatalf("%d tenants", tenants)
			}
		}
	})
}

// reported returns an App whose read model is as if the records had been published.
func reported(b *testing.B) (*tenantrytest.App, driver.Relational) {
	b.Helper()
	var db driver.Relational
	src := worldtest.Wrapped(sqlite.At(b.TempDir()), func(e driver.Engine) driver.Engine {
		db = e.(driver.Relational)
		return e
	})
	model, err := readmodel.New(readmodel.Guide())
	must(b, err)
	app := tenantrytest.New(b, tenantry.Config{Store: src, Model: model, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, sys := context.Background(), worldtest.System("set up", nil)
	for n := range reportedTenants {
		_, err := app.Tenants().CreateTenant(ctx, sys, tenantNumber(n))
		must(b, err)
	}
	must(b, app.CatchUp(ctx))
	fill := func(entityType, table string, count int) {
		const atOnce = 50_000
		for from := 0; from < count; from += atOnce {
			must(b, db.Define(ctx, func(tx driver.Tx) error { // has more time than Write
				must(b, tx.As(ctx, driver.All))
				_, err := tx.Exec(ctx, fmt.Sprintf(`WITH RECURSIVE seq(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM seq WHERE n < %d)
					INSERT INTO "%s" (tenant_code, pk, sk, code, name, version, is_deleted, created_at, created_by, updated_at, updated_by, attributes)
					SELECT 't' || (n %% %d), '%s#t' || (n %% %d), 'r' || n, 'r' || n, 'Record', 1, false, strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', 'now', '-' || (n %% %d) || ' days', '-' || n || ' seconds'),
						'bench', NULL, 'bench', '{}' FROM seq`, from, min(from+atOnce, count)-1, table, reportedTenants, entityType, reportedTenants, reportedDays))
				return err
			}))
		}
		for _, statement := range []string{
			`INSERT INTO upkeep_record (tenant_code, pk, sk, deleted) SELECT tenant_code, pk, sk, false FROM "%[1]s"`,
			`INSERT INTO upkeep_counter (tenant_code, type, live) SELECT tenant_code, '%[2]s', count(*) FROM "%[1]s" GROUP BY tenant_code`,
			`INSERT INTO upkeep_created (tenant_code, type, day, records) SELECT tenant_code, '%[2]s', substr(created_at, 1, 10), count(*) FROM "%[1]s" GROUP BY 1, 3`,
		} {
			must(b, db.Define(ctx, func(tx driver.Tx) error { // has more time than Write
				must(b, tx.As(ctx, driver.All))
				_, err := tx.Exec(ctx, fmt.Sprintf(statement, table, entityType))
				return err
			}))
		}
	}
	fill("PRODUCT", "product", reportedProducts)
	fill("ORDER", "order", reportedOrders)
	return app, db
}

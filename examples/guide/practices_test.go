package guide_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

// "1. Always Include Tenant in Queries": a query without a tenant does not compile, of records as of the relational read model. The
// programs of testdata/misuse hold the compiler's messages.
func Example_alwaysIncludeTenantInQueries() {
	ctx := context.Background()
	product, declared, err := tenantry.NewEntity[Product]("PRODUCT")
	check(err)
	app, closeApp := openCounted(tenantry.Config{Entities: []entity.Type{declared}})
	defer closeApp()
	products := product.In(app.App)

	// Good: the tenant is the Scope's.
	page, err := products.List(ctx, app.Scope("acme"), data.Query{})
	fmt.Println(len(page.Items), err)
	view, err := readmodel.Products.In(app.ReadModel(), app.Scope("acme"))
	check(err)
	rows, err := view.List(ctx, readmodel.Query{Where: []readmodel.Condition{readmodel.Products.Column("name").Equal("Chair")}})
	fmt.Println(len(rows.Rows), err)

	// Bad: neither compiles.
	//	app.Data().List(ctx, data.Query{})                        // not enough arguments in call to app.Data().List
	//	products.List(ctx, guard.Scope{tenant: acme}, data.Query{}) // cannot refer to unexported field tenant

	// Bad: the zero Scope compiles. In a program cmd/tenantry-vet reports it; every operation refuses it.
	_, err = products.List(ctx, guard.Scope{}, data.Query{})
	fmt.Println(fault.CodeOf(err))
	_, err = readmodel.Products.In(app.ReadModel(), guard.Scope{})
	fmt.Println(fault.CodeOf(err))
	// Output:
	// 0 <nil>
	// 0 <nil>
	// tenant_required
	// tenant_required
}

// "2. Validate Tenant Access": there is nothing to compare. The product of another tenant is not in the Scope's reach, whoever
// sends its key.
func Example_validateTenantAccess() {
	ctx := context.Background()
	product, declared, err := tenantry.NewEntity[Product]("PRODUCT")
	check(err)
	app, closeApp := openCounted(tenantry.Config{Entities: []entity.Type{declared}})
	defer closeApp()
	products := product.In(app.App)
	acme, bravo := app.Scope("acme"), app.Scope("bravo")
	theirs, err := products.Create(ctx, bravo, tenantry.Item[Product]{SK: "chair", Name: "Chair", Attributes: Product{Price: 4900, Currency: "EUR"}})
	check(err)

	_, err = products.Update(ctx, acme, theirs.SK, func(it *tenantry.Item[Product]) error {
		it.Attributes.Price = 1
		return nil
	})
	fmt.Println("by sort key:", fault.CodeOf(err))
	check(app.CatchUp(ctx))
	view, err := readmodel.Products.In(app.ReadModel(), acme)
	check(err)
	_, err = view.Find(ctx, theirs.SK)
	fmt.Println("in the read model:", fault.CodeOf(err))
	_, err = record.ParseKey(acme, theirs.Record.PK, theirs.SK)
	fmt.Println("by pk and sk:", fault.CodeOf(err))
	leaked, err := products.Key(bravo, theirs.SK)
	check(err)
	_, err = app.Data().Get(ctx, acme, leaked)
	fmt.Println("by a key that leaked:", fault.CodeOf(err))
	// Output:
	// by sort key: not_found
	// in the read model: not_found
	// by pk and sk: tenant_forbidden
	// by a key that leaked: tenant_forbidden
}

// "3. Tenant-Aware Logging": a log handler puts tenantCode, userId and requestId of the request into every line.
func Example_tenantAwareLogging() {
	lines := slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime})
	log := slog.New(guard.NewLogHandler(lines))
	process := route.Operation{
		ID: "processOrder", Method: "POST", Path: "/api/orders/{orderId}/process", Summary: "Process an order",
		Policy:  guard.Policy{Reach: guard.Tenant},
		Answers: map[int]any{http.StatusOK: []string{}},
		Handle: func(ctx context.Context, c *route.Call) (route.Answer, error) {
			log.InfoContext(ctx, "Processing order", "orderId", c.Path("orderId"))
			return route.JSON(http.StatusOK, []string{})
		},
	}
	app, closeApp := open(tenantry.Config{Routes: []route.Operation{process}})
	defer closeApp()
	app.Tenant("acme")

	send(serve(app), tokenFor(app, "ann", "acme", "user"), "POST", "/api/orders/o1/process", "", "x-request-id", "r1")
	// Output: {"level":"INFO","msg":"Processing order","orderId":"o1","tenantCode":"acme","userId":"ann","requestId":"r1"}
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// "4. Separate System and Tenant Operations": every operation declares what it reaches. One that does not keeps the server
// from starting.
func Example_separateSystemAndTenantOperations() {
	operation := func(id, path string, policy guard.Policy) route.Operation {
		return route.Operation{ID: id, Method: "GET", Path: path, Summary: id, Policy: policy, Answers: map[int]any{http.StatusOK: []string{}},
			Handle: func(context.Context, *route.Call) (route.Answer, error) { return route.JSON(http.StatusOK, []string{}) }}
	}
	app, closeApp := open(tenantry.Config{Routes: []route.Operation{
		operation("listInvoices", "/api/admin/invoices", guard.Policy{Reach: guard.AllTenants}),
		operation("listProducts", "/api/products", guard.Policy{Reach: guard.Tenant}),
	}})
	defer closeApp()
	app.Tenant("acme")
	api, ann := serve(app), tokenFor(app, "ann", "acme", "admin")
	fmt.Println(send(api, ann, "GET", "/api/products", ""))
	fmt.Println(send(api, ann, "GET", "/api/admin/invoices", ""))
	fmt.Println(send(api, adminToken(app), "GET", "/api/admin/invoices", ""))

	undecided, closeUndecided := open(tenantry.Config{Routes: []route.Operation{operation("listOrders", "/api/orders", guard.Policy{})}})
	defer closeUndecided()
	_, err := httpapi.New(undecided.App, httpapi.Config{})
	fmt.Println(err)
	// Output:
	// 200
	// 403 role_required
	// 200
	// httpapi.New: invalid_request: operation listOrders (GET /api/orders) declares no policy; the server does not start
}

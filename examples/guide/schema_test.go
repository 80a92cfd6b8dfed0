package guide_test

import (
	"context"
	"fmt"
	"os"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
)

// openModel returns an App that keeps tables, in a SQLite file beside its store in memory.
func openModel(tables []readmodel.Declared, projections ...readmodel.Projection) (app *tenantrytest.App, closeApp func()) {
	dir, err := os.MkdirTemp("", "tenantry-guide-")
	check(err)
	model, err := readmodel.New(tables, projections...)
	check(err)
	app, end := open(tenantry.Config{Model: model, ReadModel: sqlite.At(dir)})
	return app, func() {
		end()
		check(os.RemoveAll(dir))
	}
}

// put publishes a record and returns when the read model has it.
func put(app *tenantrytest.App, sc guard.Scope, entityType, sk, name string, attributes any) {
	key, err := record.NewKey(sc, record.MustEntityType(entityType), sk)
	check(err)
	a, err := record.EncodeAttributes(attributes)
	check(err)
	res, err := app.Commands().PublishSync(context.Background(), sc, command.Input{Key: key, Version: record.VersionLatest, Code: sk, Name: name, Attributes: a})
	check(err)
	check(app.Reach(context.Background(), sc.Tenant(), res.Position))
}

// "Prisma Multi-Tenant Schema": the models Product, UserTenant and TenantSettings are tables that are there. They follow the records
// of their entity types, and findMany, findUnique, count and groupBy hang on a Scope.
func Example_prismaMultiTenantSchema() {
	ctx := context.Background()
	app, closeApp := openModel(readmodel.Guide())
	defer closeApp()
	acme, bravo := app.Scope("acme"), app.Scope("bravo")
	put(app, acme, "PRODUCT", "chair", "Chair", Product{Price: 4900, Currency: "EUR"})
	put(app, acme, "PRODUCT", "table", "Table", Product{Price: 19900, Currency: "EUR"})
	put(app, bravo, "PRODUCT", "chair", "Stool", Product{Price: 2900, Currency: "EUR"}) // unique: (tenantCode, code)

	products, err := readmodel.Products.In(app.ReadModel(), acme)
	check(err)
	page, err := products.List(ctx, readmodel.Query{Order: []readmodel.Order{readmodel.Products.Column("name").Descending()}})
	check(err)
	for _, row := range page.Rows {
		fmt.Println(row.TenantCode, row.Code, row.Name, string(row.Attributes))
	}
	n, err := products.Count(ctx, readmodel.Query{Where: []readmodel.Condition{readmodel.Products.Column("name").HasPrefix("Ch")}})
	check(err)
	fmt.Println("named Ch…:", n)
	_, err = products.FindByCode(ctx, "bench")
	fmt.Println(fault.CodeOf(err))
	// Output:
	// acme table Table {"currency":"EUR","price":19900}
	// acme chair Chair {"currency":"EUR","price":4900}
	// named Ch…: 1
	// not_found
}

// Listing is a model of one's own: a table whose columns are the tagged fields, each index with the tenant in front.
type Listing struct {
	Price    int64  `json:"price" db:"price,index"`
	Currency string `json:"currency" db:"currency"`
	SKU      string `json:"sku" db:"sku,unique"`
}

// A model is a struct, as a Prisma model is a block of its schema. What changes in it is migrated when the App is opened.
func Example_prismaModel() {
	ctx := context.Background()
	listings := readmodel.Declare[Listing]("listing", readmodel.Options{EntityType: record.MustEntityType("PRODUCT"), Indexes: [][]string{{"currency", "price"}}})
	app, closeApp := openModel([]readmodel.Declared{listings})
	defer closeApp()
	acme := app.Scope("acme")
	put(app, acme, "PRODUCT", "chair", "Chair", Listing{Price: 4900, Currency: "EUR", SKU: "c-1"})
	put(app, acme, "PRODUCT", "table", "Table", Listing{Price: 19900, Currency: "EUR", SKU: "t-1"})
	put(app, acme, "PRODUCT", "lamp", "Lamp", Listing{Price: 9900, Currency: "JPY", SKU: "l-1"})

	view, err := listings.In(app.ReadModel(), acme)
	check(err)
	cheap := readmodel.Query{Where: []readmodel.Condition{listings.Column("price").Below(10000)}, Order: []readmodel.Order{listings.Column("price").Ascending()}, Limit: 1}
	for more := true; more; more = cheap.Cursor != "" {
		page, err := view.List(ctx, cheap)
		check(err)
		for _, row := range page.Rows {
			fmt.Println(row.Name, row.Values.Price, row.Values.SKU)
		}
		cheap.Cursor = page.Cursor
	}
	groups, err := view.GroupBy(ctx, readmodel.Query{}, listings.Column("currency"))
	check(err)
	for _, g := range groups {
		fmt.Println(g.Values[0], g.Count)
	}
	// Output:
	// Chair 4900 c-1
	// Lamp 9900 l-1
	// EUR 2
	// JPY 1
}

// Ordered is a row for each line of an order.
type Ordered struct {
	Product  string `db:"product,index"`
	Quantity int64  `db:"quantity"`
}

// Rows may be made of commands in any way: a projection is a function of a command and its attributes, and what it writes with its Tx
// is the rows of the command's tenant.
func Example_prismaProjection() {
	ctx := context.Background()
	type order struct {
		Lines map[string]int64 `json:"lines"`
	}
	lines := readmodel.Declare[Ordered]("order_line", readmodel.Options{DuplicateCodes: true})
	byLine := readmodel.Project("order-lines", record.MustEntityType("ORDER"), func(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, o order) error {
		for product, quantity := range o.Lines {
			line := cmd.Clone()
			line.SK += "#" + product
			if err := lines.Put(ctx, tx, line, Ordered{product, quantity}); err != nil {
				return err
			}
		}
		return nil
	}, lines)
	app, closeApp := openModel([]readmodel.Declared{lines}, byLine)
	defer closeApp()
	acme, bravo := app.Scope("acme"), app.Scope("bravo")
	put(app, acme, "ORDER", "o1", "", order{map[string]int64{"chair": 4, "table": 1}})
	put(app, acme, "ORDER", "o2", "", order{map[string]int64{"chair": 2}})
	put(app, bravo, "ORDER", "o1", "", order{map[string]int64{"chair": 9}})

	view, err := lines.In(app.ReadModel(), acme)
	check(err)
	page, err := view.List(ctx, readmodel.Query{Where: []readmodel.Condition{lines.Column("product").Equal("chair")}})
	check(err)
	for _, row := range page.Rows {
		fmt.Println(row.SK, row.Values.Quantity)
	}
	// Output:
	// o1#chair 4
	// o2#chair 2
}

// "1. Always Include Tenant in Queries", on the relational model: the query that misses its tenant has nowhere to stand. What must
// cross tenants says why, to the audit log.
func Example_alwaysIncludeTenantInPrismaQueries() {
	ctx := context.Background()
	app, closeApp := openModel(readmodel.Guide())
	defer closeApp()
	put(app, app.Scope("acme"), "PRODUCT", "chair", "Chair", Product{Price: 4900, Currency: "EUR"})
	put(app, app.Scope("bravo"), "PRODUCT", "stool", "Stool", Product{Price: 2900, Currency: "EUR"})

	// Good: the tenant is the Scope's.
	products, err := readmodel.Products.In(app.ReadModel(), app.Scope("bravo"))
	check(err)
	n, err := products.Count(ctx, readmodel.Query{})
	fmt.Println(n, err)

	// Bad: neither compiles.
	//	readmodel.Products.List(ctx, readmodel.Query{})        // undefined
	//	readmodel.Products.In(app.ReadModel(), "bravo")        // cannot use "bravo" as scope.Scope value

	// Bad: the zero Scope compiles, and is refused.
	_, err = readmodel.Products.In(app.ReadModel(), guard.Scope{})
	fmt.Println(fault.CodeOf(err))

	// SQL over all tenants needs the System capability.
	res, err := app.ReadModel().Query(ctx, app.System("monthly report"), "SELECT tenant_code, count(*) AS n FROM product GROUP BY tenant_code ORDER BY tenant_code")
	check(err)
	fmt.Println(res.Columns, res.Rows)
	_, err = app.ReadModel().Query(ctx, guard.System{}, "SELECT 1")
	fmt.Println(fault.CodeOf(err))
	// Output:
	// 1 <nil>
	// tenant_required
	// [tenant_code n] [[acme 1] [bravo 1]]
	// role_required
}

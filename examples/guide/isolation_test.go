package guide_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/tenant"
)

// "Pattern 1: Tenant in Partition Key": the partition key is made from a Scope, never from text, so that nobody writes down the
// tenant and nobody can write down another.
func Example_tenantInPartitionKey() {
	ctx := context.Background()
	product, declared, err := tenantry.NewEntity[Product]("PRODUCT")
	check(err)
	app, closeApp := open(tenantry.Config{Entities: []entity.Type{declared}})
	defer closeApp()
	products := product.In(app.App)
	tenantA, tenantB := app.Scope("tenant-a"), app.Scope("tenant-b")

	created, err := products.Create(ctx, tenantA, tenantry.Item[Product]{SK: "chair", Name: "Chair", Attributes: Product{Price: 4900, Currency: "EUR"}})
	check(err)
	fmt.Println(created.Record.ID())

	// Query all products for a tenant.
	for _, sc := range []guard.Scope{tenantA, tenantB} {
		page, err := products.List(ctx, sc, data.Query{})
		check(err)
		fmt.Println(sc.Tenant(), "has", len(page.Items))
	}
	// Output:
	// PRODUCT#tenant-a#chair
	// tenant-a has 1
	// tenant-b has 0
}

// "Pattern 2: Common Tenant for Shared Data": entity types that are declared shared are read by every tenant from the common one,
// and written there by system admins.
func Example_commonTenantForSharedData() {
	ctx := context.Background()
	type Template struct {
		Subject string `json:"subject"`
	}
	template, declared, err := tenantry.NewEntity[Template]("TEMPLATE", func(t *entity.Type) { t.Shared = true })
	check(err)
	app, closeApp := open(tenantry.Config{Entities: []entity.Type{declared}})
	defer closeApp()

	common, err := app.System("publish the e-mail templates").Enter(ctx, tenant.Common(), time.Time{})
	check(err)
	_, err = template.In(app.App).Create(ctx, common, tenantry.Item[Template]{SK: "welcome", Name: "Welcome", Attributes: Template{Subject: "Hello"}})
	check(err)

	app.Tenant("acme", "bravo")
	api, ann, bob := serve(app), tokenFor(app, "ann", "acme", "admin"), tokenFor(app, "bob", "bravo", "user")
	fmt.Println("ann reads: ", send(api, ann, "GET", "/api/common/TEMPLATE/welcome", ""))
	fmt.Println("bob reads: ", send(api, bob, "GET", "/api/common/TEMPLATE/welcome", ""))
	fmt.Println("ann writes:", send(api, ann, "DELETE", "/api/tenants/common/data/TEMPLATE/welcome?version=1", ""))
	// Output:
	// ann reads:  200
	// bob reads:  200
	// ann writes: 403 tenant_forbidden
}

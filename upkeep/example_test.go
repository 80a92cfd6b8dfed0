package upkeep_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// An application with a read model: what is published is in its tables when a reader has waited for the position.
func Example() {
	dir, err := os.MkdirTemp("", "upkeep-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	type Product struct {
		Price int64 `json:"price" db:"price,index"`
	}
	products := readmodel.Declare[Product]("product", readmodel.Options{EntityType: record.MustEntityType("PRODUCT")})
	model, err := readmodel.New([]readmodel.Declared{products})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	app, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At(dir), Model: model})
	if err != nil {
		log.Fatal(err)
	}
	defer app.Close()
	if err := app.Start(ctx); err != nil {
		log.Fatal(err)
	}

	acme := worldtest.Scope("acme") // the guard's, for a request
	key, err := record.NewKey(acme, record.MustEntityType("PRODUCT"), "chair")
	if err != nil {
		log.Fatal(err)
	}
	res, err := app.Commands().PublishSync(ctx, acme, command.Input{Key: key, Code: "chair", Name: "Oak chair", Attributes: record.Attributes(`{"price":4900}`)})
	if err != nil {
		log.Fatal(err)
	}
	if err := app.Reach(ctx, acme.Tenant(), res.Position); err != nil {
		log.Fatal(err)
	}
	view, err := products.In(app.ReadModel(), acme)
	if err != nil {
		log.Fatal(err)
	}
	row, err := view.Find(ctx, "chair")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(row.Name, row.Values.Price)
	// Output:
	// Oak chair 4900
}

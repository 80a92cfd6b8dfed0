package tenantry_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
)

// Dish is what a DISH's attributes hold, and the columns of its table.
type Dish struct {
	Cents int64 `json:"cents" minimum:"0" db:"cents,index"`
}

// kitchen is an application: its types, and what its handlers, jobs and routes need.
type kitchen struct {
	app    *tenantry.App
	dishes *tenantry.Entity[Dish]
	table  *readmodel.Table[Dish]
	boards chan string
}

// open opens the application over a store in a directory; another store is another line here.
func (k *kitchen) open(ctx context.Context, dir string) error {
	dishes, dish, err := tenantry.NewEntity[Dish]("DISH", func(t *entity.Type) { t.WriteRoles = []string{"cook"} })
	if err != nil {
		return err
	}
	k.dishes, k.table, k.boards = dishes, readmodel.Declare[Dish]("dish", readmodel.Options{EntityType: dish.Name}), make(chan string)
	model, err := readmodel.New([]readmodel.Declared{k.table})
	if err != nil {
		return err
	}
	k.app, err = tenantry.Open(ctx, tenantry.Config{
		Store:    sqlite.At(dir),
		Entities: []entity.Type{dish},
		Handlers: []projection.Registration{{Name: "boards", Module: dish.In(), Handler: k}},
		Model:    model,
		Jobs:     []jobs.Kind{{Name: "board", Run: k.write}},
		Routes: []route.Operation{{ID: "cheapDishes", Method: http.MethodGet, Path: "/api/cheap-dishes", Tag: "kitchen", Summary: "Dishes up to 10 Euro.",
			Policy: guard.Policy{Reach: guard.Tenant}, Follows: true, Answers: map[int]any{http.StatusOK: nil},
			Handle: func(ctx context.Context, c *route.Call) (route.Answer, error) {
				page, err := k.cheap(ctx, c.Scope())
				if err != nil {
					return route.Answer{}, err
				}
				return route.JSON(http.StatusOK, page)
			}}},
		Log: slog.New(slog.DiscardHandler),
	})
	return err
}

// Up follows each command on a dish: its board is to be written, in the background.
func (k *kitchen) Up(ctx context.Context, sc guard.Scope, cmd *record.Record) error {
	_, err := k.app.Jobs().Enqueue(ctx, sc, jobs.Order{Kind: "board", Unique: cmd.SK})
	return err
}

func (*kitchen) Down(context.Context, guard.Scope, *record.Record) error { return nil }

// write does the job.
func (k *kitchen) write(ctx context.Context, sc guard.Scope, j jobs.Job) error {
	dish, err := k.dishes.In(k.app).Get(ctx, sc, j.Unique)
	if err != nil {
		return err
	}
	k.boards <- fmt.Sprintf("%s: %s, %d cents", sc.Tenant(), dish.Name, dish.Attributes.Cents)
	return nil
}

// cheap asks the table.
func (k *kitchen) cheap(ctx context.Context, sc guard.Scope) (page readmodel.Page[Dish], err error) {
	view, err := k.table.In(k.app.ReadModel(), sc)
	if err != nil {
		return page, err
	}
	return view.List(ctx, readmodel.Query{Where: []readmodel.Condition{k.table.Column("cents").AtMost(1000)}})
}

// A whole application: an entity type, a handler that orders a job, a table that is asked, and a route of its own. A program serves it with
// httpapi.ListenAndServe.
func Example() {
	check := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "kitchen-")
	check(err)
	defer os.RemoveAll(dir)
	ctx := context.Background()
	var k kitchen
	check(k.open(ctx, dir))
	defer k.app.Close()
	check(k.app.Start(ctx)) // ListenAndServe does

	// What the guard does for a request: a verified token, and a Scope of the tenant that it may use.
	token, err := k.app.Keyring().Issue(auth.Claims{Subject: "operator", Role: guard.SystemAdmin, TTL: time.Hour})
	check(err)
	operator, err := k.app.Verifier().Verify(ctx, token)
	check(err)
	sys, err := k.app.System(operator, guard.Actor{Source: "example"}, "open a kitchen")
	check(err)
	acme, err := tenant.Parse("acme")
	check(err)
	_, err = k.app.Tenants().CreateTenant(ctx, sys, tenants.Create{Code: acme, Name: "Acme"})
	check(err)
	sc, err := sys.Enter(ctx, acme, time.Time{})
	check(err)

	_, err = k.dishes.In(k.app).Create(ctx, sc, tenantry.Item[Dish]{SK: "soup", Name: "Soup", Attributes: Dish{Cents: 650}})
	check(err)
	fmt.Println(<-k.boards)
	check(k.app.CatchUp(ctx))
	page, err := k.cheap(ctx, sc)
	check(err)
	for _, row := range page.Rows {
		fmt.Println(row.TenantCode, row.Name, row.Values.Cents)
	}
	// Output:
	// acme: Soup, 650 cents
	// acme Soup 650
}

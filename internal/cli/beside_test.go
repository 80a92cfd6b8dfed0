package cli_test

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
)

// priced are the columns that a program declares for its products.
type priced struct {
	Price int64 `json:"price" db:"price,index"`
}

// TestBesideAProgram has an operator use the verbs on the store of a program with a read model of its own, which they leave as it is.
func TestBesideAProgram(t *testing.T) {
	o := operator{t, t.TempDir()}
	products := readmodel.Declare[priced]("product", readmodel.Options{EntityType: record.MustEntityType("PRODUCT")})
	program := func(t *testing.T) *tenantrytest.App {
		model, err := readmodel.New([]readmodel.Declared{products})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := auth.OpenKeyring(o.dir, auth.KeyringOptions{})
		if err != nil {
			t.Fatal(err)
		}
		app := tenantrytest.New(t, tenantry.Config{Store: sqlite.At(o.dir), Keyring: keys, Model: model})
		if err := app.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		return app
	}
	t.Run("while it runs", func(t *testing.T) {
		app := program(t)
		o.run(0, "tenant", "create", "acme")
		o.run(0, "data", "put", "acme", "PRODUCT", "chair", "--name", "Chair", "--attributes", `{"price":49}`)
		for _, args := range [][]string{{"report", "system"}, {"report", "tenant", "acme"}, {"projection", "rebuild", "--reason", "to see"}} {
			if text := o.run(6, args...); !strings.Contains(text, "another program, or another version of this one, declares the tables") {
				t.Errorf("%q says %s", args, text)
			}
		}
		o.run(0, "projection", "status")
		o.run(0, "verify")
		if err := app.CatchUp(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("when it starts again", func(t *testing.T) {
		app := program(t)
		status, err := app.Upkeep().Status(t.Context(), app.System("look"))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range status.Rebuilds {
			t.Errorf("the verbs had a table rebuilt: %+v", b)
		}
		view, err := products.In(app.ReadModel(), app.Scope("acme"))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := view.Count(t.Context(), readmodel.Query{Where: []readmodel.Condition{products.Column("price").Equal(int64(49))}}); n != 1 || err != nil {
			t.Errorf("the program finds %d chairs by their price: %v", n, err)
		}
	})
}

// Products is the shortest program that is whole: an entity type with typed attributes, a handler that follows its commands,
// and the HTTP API under the guard.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// directory holds the store and the keys that sign tokens.
const directory = "products-data"

// Product is what a PRODUCT's attributes hold.
type Product struct {
	Price    int64  `json:"price" minimum:"0" doc:"in cents"`
	Currency string `json:"currency" pattern:"^[A-Z]{3}$"`
}

// announcer says what changed. It gets a Scope of the tenant whose product it is, and reaches no other.
type announcer struct{}

func (announcer) Up(_ context.Context, sc guard.Scope, cmd *record.Record) error {
	fmt.Printf("%s: %s is now at version %d\n", sc.Tenant(), cmd.Name, cmd.Version)
	return nil
}

func (announcer) Down(context.Context, guard.Scope, *record.Record) error { return nil }

func open(ctx context.Context, cfg tenantry.Config) (*tenantry.App, error) {
	_, product, err := tenantry.NewEntity[Product]("PRODUCT", func(t *entity.Type) { t.WriteRoles = []string{"admin"} })
	if err != nil {
		return nil, err
	}
	cfg.Entities = []entity.Type{product}
	cfg.Handlers = []projection.Registration{{Name: "announcer", Module: "product", Handler: announcer{}}}
	return tenantry.Open(ctx, cfg)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	keys, err := auth.OpenKeyring(directory, auth.KeyringOptions{})
	if err != nil {
		return err
	}
	app, err := open(ctx, tenantry.Config{Store: sqlite.At(directory), Keyring: keys})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	return httpapi.ListenAndServe(ctx, app, "127.0.0.1:8080", httpapi.Config{})
}

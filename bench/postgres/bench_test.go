package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/bench/baseline"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/storagetest"
	"github.com/tenantry/tenantry/tenantrytest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// attributes are those of a record of about 640 bytes.
var attributes = record.Attributes(`{"category":"office","currency":"EUR","description":"` + strings.Repeat("a chair that is comfortable. ", 8) +
	`","dimensions":{"depth":62.5,"height":118,"width":64},"price":4900,"tags":["chair","ergonomic","black"]}`)

func open(tb testing.TB, url string) *tenantrytest.App {
	tb.Helper()
	return tenantrytest.New(tb, tenantry.Config{Store: postgres.At(url, postgres.Options{}), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

func publish(app *tenantrytest.App, sc guard.Scope, sk string) (record.Key, error) {
	key, err := record.NewKey(sc, record.MustEntityType("PRODUCT"), sk)
	if err != nil {
		return key, err
	}
	_, err = app.Commands().PublishSync(context.Background(), sc, command.Input{Key: key, Name: "Chair", Attributes: attributes})
	return key, err
}

func must(tb testing.TB, err error) {
	if err != nil {
		tb.Helper()
		tb.Fatal(err)
	}
}

func BenchmarkPublishSync(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d/by=tenantry", clients), func(b *testing.B) {
			app := open(b, postgrestest.New(b))
			sc := app.Scope("acme")
			storagetest.Together(b, clients, func(int) {
				if _, err := publish(app, sc, record.NewID()); err != nil {
					b.Error(err)
				}
			})
		})
		b.Run(fmt.Sprintf("clients=%d/by=hand", clients), func(b *testing.B) {
			url := postgrestest.New(b)
			app := open(b, url)
			key, err := publish(app, app.Scope("acme"), record.NewID())
			must(b, err)
			must(b, app.Close())
			url = postgrestest.As(b, url, postgrestest.Superuser)
			command, data, err := baseline.PostgresDocs(b.Context(), url, key.PK(), key.SK())
			must(b, err)
			group, err := baseline.OpenPostgresGroup(b.Context(), url, command, data)
			must(b, err)
			storagetest.Together(b, clients, func(int) {
				if err := group.Create(key.PK(), record.NewID()); err != nil {
					b.Error(err)
				}
			})
			must(b, group.Close())
		})
	}
}

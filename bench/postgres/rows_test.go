package postgres

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/bench/baseline"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
)

// What the group commit by hand leaves is what Tenantry leaves for as many creates: rows of the same bytes, at places without
// gaps, that Tenantry goes on from.
func TestGroup(t *testing.T) {
	const rows = 500
	url := postgrestest.New(t)
	admin := postgrestest.As(t, url, postgrestest.Superuser)
	app := open(t, url)
	key, err := publish(app, app.Scope("acme"), "first")
	must(t, err)
	must(t, app.Close())
	command, data, err := baseline.PostgresDocs(t.Context(), admin, key.PK(), key.SK())
	must(t, err)

	group, err := baseline.OpenPostgresGroup(t.Context(), admin, command, data)
	must(t, err)
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			for range rows / 16 {
				if err := group.Create(key.PK(), record.NewID()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if err := group.Create(key.PK(), "first"); err == nil {
		t.Error("a key that is there already was created")
	}
	must(t, group.Create(key.PK(), "last"))
	must(t, group.Close())

	const want = rows/16*16 + 2
	if got := count(t, admin, "command c JOIN tenantry.data d USING (pk, sk, version, tenant) WHERE d.version = 1 AND NOT deleted AND c.doc = $1 AND d.doc = $2",
		command, data); got != want {
		t.Errorf("%d commands and records, want %d", got, want)
	}
	app = open(t, url)
	_, err = publish(app, app.Scope("acme"), "next")
	must(t, err)
	places := count(t, admin, "command")
	if count(t, admin, "command WHERE position BETWEEN 1 AND $1", places) != places || count(t, admin, "feed WHERE position = $1", places) != 1 {
		t.Errorf("%d commands have other places than 1 to %d", places, places)
	}
}

// count returns how many rows there are of what follows the schema.
func count(t *testing.T, url, of string, arguments ...any) (n int) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	must(t, err)
	defer conn.Close(context.Background())
	must(t, conn.QueryRow(context.Background(), "SELECT count(*) FROM tenantry."+of, arguments...).Scan(&n))
	return n
}

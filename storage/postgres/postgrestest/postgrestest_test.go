//go:build unix

package postgrestest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func ask(t *testing.T, url, query string) (answer string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if err := c.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestNewDatabase(t *testing.T) {
	first, second := postgrestest.New(t), postgrestest.New(t)
	run(t, first, "CREATE TABLE kept (a int)", "INSERT INTO kept VALUES (1)")
	for query, want := range map[string]string{
		"SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'": "0",
		"SELECT current_user::text":                                        postgrestest.Owner,
		"SHOW fsync":                                                       "on",
		"SHOW synchronous_commit":                                          "on",
		"SHOW server_encoding":                                             "UTF8",
		"SHOW listen_addresses":                                            "127.0.0.1",
		"SHOW is_superuser":                                                "off",
		"SELECT inet_server_addr()::text":                                  "127.0.0.1/32",
	} {
		if got := ask(t, second, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if got := ask(t, postgrestest.As(t, first, postgrestest.Superuser), "SHOW is_superuser"); got != "on" {
		t.Errorf("the superuser is none")
	}
	restart := postgrestest.Kill(t)
	if c, err := pgx.Connect(t.Context(), first); err == nil {
		c.Close(t.Context())
		t.Error("a server that was killed answers")
	}
	restart()
	if got := ask(t, first, "SELECT count(*)::text FROM kept"); got != "1" {
		t.Errorf("after the kill there are %s rows, want 1", got)
	}
}

func run(t *testing.T, url string, statements ...string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for _, s := range statements {
		if _, err := c.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

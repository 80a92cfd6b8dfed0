package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/storagetest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func fresh(t testing.TB) driver.Source { return At(postgrestest.New(t), Options{}) }

// TestContract gives a test that asks for many stores, one after the other, a database that is emptied in between.
func TestContract(t *testing.T) {
	stores := make(map[testing.TB]string) // the database that is emptied; "" for a test that has asked once
	storagetest.Run(t, func(t testing.TB) driver.Source {
		url, asked := stores[t]
		switch {
		case !asked:
			stores[t] = ""
			return fresh(t)
		case url == "":
			url = postgrestest.New(t)
			stores[t] = url
		default:
			conn := administrator(t, url)
			run(t, conn, "TRUNCATE command, data, history, system, session")
			run(t, conn, "UPDATE feed SET position = 0, commits = 0")
			conn.Close(t.Context())
		}
		return At(url, Options{})
	})
}

func TestRelational(t *testing.T) { storagetest.Relational(t, fresh, true) }

func FuzzKeys(f *testing.F) { storagetest.FuzzKeys(f, fresh) }

func Benchmark(b *testing.B) { storagetest.Bench(b, fresh) }

// opened returns an open engine, which is closed with the test.
func opened(t testing.TB, url string, opts Options, tune tuning) *engine {
	t.Helper()
	e, err := source(url, opts, tune).Open(t.Context(), scope.NewRoot())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e.(*engine)
}

// connected connects to a database as one of its users, with the engine's schema before it.
func connected(t testing.TB, url string, role string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["search_path"] = schema
	if role != "" {
		cfg.RuntimeParams["role"] = role
	}
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// administrator connects as the server's superuser.
func administrator(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	return connected(t, postgrestest.As(t, url, postgrestest.Superuser), "")
}

func run(t testing.TB, conn *pgx.Conn, statement string, arguments ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement, arguments...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// value returns the first column of a query's first row.
func value[T any](t testing.TB, conn *pgx.Conn, query string, arguments ...any) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query, arguments...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func row(pk, sk string, version int64) *record.Record {
	return &record.Record{PK: pk, SK: sk, Version: version, Code: "code", Attributes: record.Attributes(`{"a":1}`)}
}

// creates returns the batch that creates a record of the tenant acme.
func creates(sk string) driver.Batch { return createsIn("A#acme", sk) }

func createsIn(pk, sk string) driver.Batch {
	return driver.Batch{Writes: []driver.Write{
		{Collection: driver.Command, Record: row(pk, sk, 1), If: driver.Condition{Kind: driver.IfAbsent}},
		{Collection: driver.Data, Record: row(pk, sk, 1), If: driver.Condition{Kind: driver.IfAbsent}},
	}}
}

func commit(t testing.TB, e driver.Engine, b driver.Batch) driver.Position {
	t.Helper()
	at, err := e.Commit(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// says fails the test unless err has a code and its message names the things that the reader needs.
func says(t testing.TB, err error, code fault.Code, words ...string) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != code {
		t.Errorf("got error %v, want one with code %s", err, code)
		return
	}
	for _, word := range words {
		if msg := fault.As(err).Msg; !strings.Contains(msg, word) {
			t.Errorf("the message %q does not say %q", msg, word)
		}
	}
}

func TestRowsCanBeReadByAPerson(t *testing.T) {
	url := postgrestest.New(t)
	commit(t, opened(t, url, Options{}, tuning{}), creates("1"))
	conn := administrator(t, url)
	for query, want := range map[string]string{
		"SELECT concat(position, pk, sk, version, tenant, doc::json ->> 'code') FROM command":         "1A#acme11acmecode",
		"SELECT concat(pk, sk, version, tenant, deleted, doc::json -> 'attributes' -> 'a') FROM data": "A#acme11acmef1",
		"SELECT position::text FROM feed": "1",
	} {
		if got := value[string](t, conn, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestOpenExplainsWhatIsWrong(t *testing.T) {
	migrated := func(t *testing.T, statements ...string) string {
		url := postgrestest.New(t)
		if err := opened(t, url, Options{}, tuning{}).Close(); err != nil {
			t.Fatal(err)
		}
		conn := administrator(t, url)
		for _, s := range statements {
			run(t, conn, s)
		}
		return url
	}
	// A role is the whole server's: what is changed is changed back.
	altered := func(t *testing.T, attribute, back string) string {
		url := migrated(t, "ALTER ROLE tenantry_app "+attribute)
		admin := administrator(t, url)
		t.Cleanup(func() {
			if _, err := admin.Exec(context.Background(), "ALTER ROLE tenantry_app "+back); err != nil {
				t.Error(err)
			}
		})
		return url
	}
	for _, tc := range []struct {
		name  string
		url   func(t *testing.T) string
		code  fault.Code
		words []string
	}{
		{"the URL is none", func(*testing.T) string { return "postgres://u:secret@h:port/d" }, fault.Unavailable, []string{"URL", "postgres://"}},
		{"nobody listens", func(*testing.T) string { return "postgres://u@127.0.0.1:1/d" }, fault.Unavailable, []string{"can't be reached"}},
		{"the database is missing", func(t *testing.T) string { return postgrestest.New(t) + "&dbname=none" }, fault.Unavailable, []string{"check user, password, database"}},
		{"the user is missing", func(t *testing.T) string { return postgrestest.As(t, postgrestest.New(t), "nobody") }, fault.Unavailable, []string{"check user"}},
		{"the database has another encoding", func(t *testing.T) string {
			url := postgrestest.New(t)
			run(t, administrator(t, url), "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
			return url + "&dbname=latin"
		}, fault.Unavailable, []string{"encoding is LATIN1", "UTF8"}},
		{"the schema is another program's", func(t *testing.T) string {
			url := postgrestest.New(t)
			conn := administrator(t, url)
			run(t, conn, "CREATE SCHEMA tenantry")
			run(t, conn, "CREATE TABLE tenantry.letters (text text)")
			return url
		}, fault.Internal, []string{"no store of Tenantry", "another database"}},
		{"a newer Tenantry migrated it", func(t *testing.T) string {
			return migrated(t, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
		}, fault.Unavailable, []string{"newer Tenantry", "version 999", fmt.Sprint("knows ", newestSchema())}},
		{"the application's role is a superuser", func(t *testing.T) string { return altered(t, "SUPERUSER", "NOSUPERUSER") }, fault.Unavailable, []string{"tenantry_app", "NOSUPERUSER"}},
		{"the application's role bypasses policies", func(t *testing.T) string { return altered(t, "BYPASSRLS", "NOBYPASSRLS") }, fault.Unavailable, []string{"tenantry_app", "NOBYPASSRLS"}},
		{"the application's role owns a table", func(t *testing.T) string { return migrated(t, "ALTER TABLE history OWNER TO tenantry_app") }, fault.Unavailable, []string{"owns tables"}},
		{"a table is not secured", func(t *testing.T) string { return migrated(t, "ALTER TABLE system DISABLE ROW LEVEL SECURITY") }, fault.Unavailable, []string{"row-level security"}},
		{"a table's owner is not bound", func(t *testing.T) string { return migrated(t, "ALTER TABLE system NO FORCE ROW LEVEL SECURITY") }, fault.Unavailable, []string{"row-level security"}},
		{"a table has no policy", func(t *testing.T) string {
			return migrated(t, "DROP POLICY tenants ON data", "CREATE POLICY open ON data USING (true)")
		}, fault.Unavailable, []string{"policy"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := At(tc.url(t), Options{}).Open(t.Context(), scope.NewRoot())
			if err == nil {
				e.Close()
			}
			says(t, err, tc.code, tc.words...)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("the error holds the password")
			}
		})
	}
}

// TestProcessesMigrateOnce opens a new store many times at once.
func TestProcessesMigrateOnce(t *testing.T) {
	url := postgrestest.New(t)
	errs := make(chan error)
	for range 8 {
		go func() {
			e, err := At(url, Options{}).Open(t.Context(), scope.NewRoot())
			if err == nil {
				err = e.Close()
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := value[int64](t, administrator(t, url), "SELECT count(*) FROM goose_db_version WHERE version_id = 1"); got != 1 {
		t.Errorf("the first migration was made %d times", got)
	}
	if got := value[int64](t, administrator(t, url), "SELECT count(*) FROM session"); got != 0 {
		t.Errorf("%d sessions are left", got)
	}
}

// TestOpenAsTheApplication opens a store that its owner has migrated with a user that is no owner and may create nothing.
func TestOpenAsTheApplication(t *testing.T) {
	url := postgrestest.New(t)
	if err := opened(t, url, Options{}, tuning{}).Close(); err != nil {
		t.Fatal(err)
	}
	admin := administrator(t, url)
	run(t, admin, "CREATE ROLE clerk LOGIN IN ROLE tenantry_app")
	t.Cleanup(func() { admin.Exec(context.Background(), "DROP ROLE clerk") })
	e := opened(t, postgrestest.As(t, url, "clerk"), Options{}, tuning{})
	commit(t, e, creates("1"))
}

// TestTransactionsEnd has a read model hold a transaction with a query that never ends, and with a function that looks at the clock too late.
func TestTransactionsEnd(t *testing.T) {
	e := opened(t, postgrestest.New(t), Options{}, tuning{hold: 200 * time.Millisecond})
	for what, f := range map[string]func(driver.Tx) error{
		"an endless query": func(tx driver.Tx) error {
			_, err := tx.Exec(t.Context(), "SELECT pg_sleep(60)")
			return err
		},
		"a function that takes its time": func(driver.Tx) error { <-time.After(300 * time.Millisecond); return nil },
	} {
		if err := e.Write(t.Context(), f); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := e.Write(t.Context(), func(driver.Tx) error { return nil }); err != nil {
		t.Errorf("a transaction that ends: %v", err)
	}
}

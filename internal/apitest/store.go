package apitest

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
)

// storeVariable names the engine under the servers of a test run: memory, which is the default, sqlite, postgres or dynamodb. The
// check runs the tests of the API on each.
const storeVariable = "TENANTRY_TEST_STORE"

// Main is m, with what ends the database server that its tests start, for goleak.VerifyTestMain.
func Main(m *testing.M) goleak.TestingM { return withPostgres{m} }

type withPostgres struct{ *testing.M }

func (m withPostgres) Run() int {
	defer postgrestest.Stop()
	return m.M.Run()
}

// LateFeed reports whether the engine under test gives commands their places in the feed after their commit.
func (s *Server) LateFeed() bool { return os.Getenv(storeVariable) == "dynamodb" }

// newStore returns a new store of the engine under test, for an application with these entity types.
func newStore(t testing.TB, types []entity.Type, log *slog.Logger) driver.Source {
	t.Helper()
	switch engine := os.Getenv(storeVariable); engine {
	case "", "memory":
		return memory.New()
	case "sqlite":
		return sqlite.At(t.TempDir())
	case "postgres":
		return postgres.At(postgrestest.New(t), postgres.Options{})
	case "dynamodb":
		return tables(t, types, log)
	default:
		t.Fatalf("%s is %q; it names an engine: memory, sqlite, postgres or dynamodb", storeVariable, engine)
		return driver.Source{}
	}
}

// newReadModel returns a database for the read model where the engine under test is none, else the zero Source.
func newReadModel(t testing.TB) driver.Source {
	switch os.Getenv(storeVariable) {
	case "sqlite", "postgres":
		return driver.Source{}
	}
	return sqlite.At(t.TempDir())
}

// tables makes DynamoDB tables. The types that nobody declared, of which tests make up many, share those of one module.
func tables(t testing.TB, types []entity.Type, log *slog.Logger) driver.Source {
	t.Helper()
	const undeclared = "UNDECLARED"
	names, modules := []string{undeclared}, map[string]string{}
	for _, typ := range append(tenantry.Declarations(), types...) {
		names = append(names, typ.Name.String())
		modules[typ.Name.String()] = typ.In()
	}
	srv := dynamodbtest.New(t)
	cfg := dynamodb.Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials, Blobs: dynamodb.Directory(t.TempDir()), Log: log,
		Module: func(entityType string) string {
			if module, ok := modules[entityType]; ok {
				return module
			}
			return "undeclared"
		}}
	if _, err := dynamodb.CreateTables(context.Background(), cfg, names...); err != nil {
		t.Fatal(err)
	}
	return dynamodb.At(cfg)
}

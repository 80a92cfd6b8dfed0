package dynamodb_test

import (
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/demo"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb"
	"github.com/tenantry/tenantry/storage/dynamodb/dynamodbtest"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
)

const role = "arn:aws:iam::123456789012:role/demo-tenant"

// walled returns the Config of a store for the demo whose tenants are kept apart by AWS's access control too, and what plays that.
func walled(t *testing.T) (dynamodb.Config, *dynamodbtest.Wall) {
	srv := dynamodbtest.New(t)
	cfg := dynamodb.Config{Prefix: srv.Prefix, Endpoint: srv.Endpoint, Region: srv.Region, Credentials: srv.Credentials, Log: slog.New(slog.DiscardHandler)}
	modules := map[string]string{}
	var types []record.EntityType
	var names []string
	for _, typ := range append(demo.Types(), tenantry.Declarations()...) {
		types, names = append(types, typ.Name), append(names, typ.Name.String())
		modules[typ.Name.String()] = typ.In()
	}
	cfg.Module = func(entityType string) string { return modules[entityType] }
	if _, err := dynamodb.CreateTables(t.Context(), cfg, names...); err != nil {
		t.Fatal(err)
	}
	policy, err := dynamodb.RolePolicy(cfg, dynamodb.Place{Region: srv.Region, Account: "123456789012"}, types...)
	if err != nil {
		t.Fatal(err)
	}
	wall := dynamodbtest.NewWall(t, srv, policy)
	t.Setenv("AWS_ENDPOINT_URL_STS", wall.STS)
	cfg.Endpoint, cfg.TenantRole = wall.Endpoint, role
	return cfg, wall
}

// TestSessionsOfTenants has the demo written and read: what is done for each of its tenants is done in that tenant's session, and nothing is refused.
func TestSessionsOfTenants(t *testing.T) {
	cfg, wall := walled(t)
	app := tenantrytest.New(t, tenantry.Config{Store: dynamodb.At(cfg), Entities: demo.Types(), Log: cfg.Log})
	codes, err := demo.Load(t.Context(), app.App)
	if err != nil {
		t.Fatal(err)
	}
	calls := wall.Calls()
	for _, code := range codes {
		if calls[code.String()] == 0 {
			t.Errorf("no call was made in a session of %s: %v", code, calls)
		}
		delete(calls, code.String())
	}
	if delete(calls, ""); len(calls) > 0 || len(codes) < 2 {
		t.Errorf("sessions of nobody in the demo: %v", slices.Collect(maps.Keys(calls)))
	}
	if refused := wall.Refused(); refused != nil {
		t.Errorf("refused: %q", refused)
	}
}

// TestAnotherTenantsSession plants what package storage never does: a Scope's calls about another tenant's rows. AWS refuses them.
func TestAnotherTenantsSession(t *testing.T) {
	cfg, wall := walled(t)
	e := engineOf(t, cfg)
	theirs := &record.Record{PK: "PRODUCT#bravo", SK: "p1", Code: "p1", Name: "Theirs", TenantCode: "bravo", Type: "PRODUCT", Version: 1}
	put := driver.Batch{Writes: []driver.Write{{Collection: driver.Data, Record: theirs}}}
	if _, err := e.Commit(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	ref, acme, ctx := driver.RefOf(driver.Data, theirs), e.(driver.Walled).Within(code(t, "acme")), t.Context()
	for what, call := range map[string]func() error{
		"get":       func() error { _, err := acme.Get(ctx, ref); return err },
		"batch get": func() error { _, err := acme.BatchGet(ctx, []driver.Ref{ref}); return err },
		"range": func() error {
			_, err := acme.Range(ctx, driver.Range{Collection: driver.Data, PK: ref.PK, Limit: 1})
			return err
		},
		"commit": func() error { _, err := acme.Commit(ctx, put); return err },
	} {
		before := len(wall.Refused())
		if err := call(); fault.CodeOf(err) != fault.Unavailable || len(wall.Refused()) != before+1 {
			t.Errorf("%s of another tenant's row: %v", what, err)
		}
	}
	if _, err := acme.Get(ctx, driver.Ref{Collection: driver.Data, PK: "PRODUCT#acme", SK: "p1"}); err != nil {
		t.Errorf("its own row: %v", err)
	}
	system := driver.Write{Collection: driver.System, Record: &record.Record{PK: "JOBS#common", SK: "acme", Version: 1}}
	ours := &record.Record{PK: "PRODUCT#acme", SK: "p1", Code: "p1", Name: "Ours", TenantCode: "acme", Type: "PRODUCT", Version: 1}
	if _, err := acme.Commit(ctx, driver.Batch{Writes: []driver.Write{{Collection: driver.Data, Record: ours}, system}}); err != nil {
		t.Errorf("with a row of the system: %v", err)
	}
}

// TestNoSession has the token service refuse: nothing is done by the process itself instead, and the operator is told where to look.
func TestNoSession(t *testing.T) {
	cfg, wall := walled(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>planted</Message></Error></ErrorResponse>`)
	}))
	defer refusing.Close()
	t.Setenv("AWS_ENDPOINT_URL_STS", refusing.URL)
	acme := engineOf(t, cfg).(driver.Walled).Within(code(t, "acme"))
	_, err := acme.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "PRODUCT#acme", SK: "p1"})
	if fault.CodeOf(err) != fault.Unavailable || !strings.Contains(fault.As(err).Msg, "tenantry policy trust") {
		t.Errorf("without a session: %v", err)
	}
	if calls := wall.Calls(); len(calls) != 1 {
		t.Errorf("calls in sessions: %v", calls)
	}
}

// engineOf opens the engine of cfg until the test ends.
func engineOf(t *testing.T, cfg dynamodb.Config) driver.Engine {
	t.Helper()
	e, err := dynamodb.At(cfg).Open(t.Context(), scope.NewRoot())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func code(t *testing.T, text string) tenant.Code {
	t.Helper()
	c, err := tenant.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

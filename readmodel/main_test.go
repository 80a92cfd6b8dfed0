package readmodel

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// product is what the tests declare.
type product struct {
	Price    float64     `json:"price" db:"price,index"`
	Category string      `json:"category" db:"category,index"`
	Stock    *int64      `json:"stock" db:"stock"`
	Active   bool        `json:"active" db:"active"`
	Launched record.Time `json:"launched" db:"launched"`
	Exact    json.Number `json:"exact" db:"exact"`
	Barcode  *string     `json:"barcode" db:"barcode,unique"`
	Note     string      `json:"note"`
}

var productType = record.MustEntityType("PRODUCT")

func products() *Table[product] { return Declare[product]("product", Options{EntityType: productType}) }

// onEach runs a test on a new database of each dialect. Another opens it as another process does.
func onEach(t *testing.T, f func(t *testing.T, another func() driver.Relational)) {
	for name, source := range map[string]func(testing.TB) driver.Source{
		"sqlite":   func(t testing.TB) driver.Source { return sqlite.At(t.TempDir()) },
		"postgres": func(t testing.TB) driver.Source { return postgres.At(postgrestest.New(t), postgres.Options{}) },
	} {
		t.Run(name, func(t *testing.T) {
			src := source(t)
			f(t, func() driver.Relational { return opened(t, src) })
		})
	}
}

func opened(t testing.TB, src driver.Source) driver.Relational {
	t.Helper()
	db, closing, err := storage.OpenRelational(context.Background(), scope.NewRoot(), src)
	must(t, err)
	t.Cleanup(func() { must(t, closing()) })
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(record.Time{}, record.EntityType{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// fails fails the test unless err has the code.
func fails(t testing.TB, what string, err error, code fault.Code) {
	t.Helper()
	if fault.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func scopeOf(code string) scope.Scope {
	c, err := tenant.Parse(code)
	if err != nil {
		panic(err)
	}
	return scope.New(c, scope.Full, time.Time{}, &scope.Actor{UserID: "tester"})
}

// model returns the Model of a table, migrated.
func model(t testing.TB, db driver.Relational, tables ...Declared) *Model {
	t.Helper()
	m, err := New(tables)
	must(t, err)
	_, err = m.Migrate(t.Context(), db, nil)
	must(t, err)
	return m
}

func database(t testing.TB, m *Model, db driver.Relational) *Database {
	t.Helper()
	cursors, err := storage.NewCursors(make([]byte, storage.CursorKeySize))
	must(t, err)
	return NewDatabase(Config{Model: m, Relational: db, Cursors: cursors, Shared: func(e record.EntityType) bool { return e == productType }})
}

// project applies commands with the projections of their types, as the runner does.
func project(ctx context.Context, m *Model, db driver.Relational, place Place, cmds ...*record.Record) error {
	return db.Write(ctx, func(dtx driver.Tx) error {
		for _, cmd := range cmds {
			for _, p := range m.Projections() {
				typ, _, _, err := record.SplitPK(cmd.PK)
				if err != nil || typ != p.Type {
					continue
				}
				code, err := p.Tenant(cmd)
				if err != nil {
					return err
				}
				tx, err := p.Begin(ctx, dtx, scopeOf(code.String()), place)
				if err != nil {
					return err
				}
				if err := p.Apply(ctx, tx, cmd); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 5e6, time.UTC)

// command returns a command on a product.
func command(t testing.TB, code, sk string, version int64, attributes any) *record.Record {
	t.Helper()
	a, err := record.EncodeAttributes(attributes)
	must(t, err)
	return &record.Record{PK: "PRODUCT#" + code, SK: sk, Code: "code-" + sk, Name: "name of " + sk, TenantCode: code, Version: version, Attributes: a,
		CreatedAt: record.At(noon), CreatedBy: "ann", UpdatedAt: record.At(noon.Add(time.Duration(version) * time.Hour)), UpdatedBy: "bob"}
}

func view(t testing.TB, p *Table[product], db *Database, code string) View[product] {
	t.Helper()
	v, err := p.In(db, scopeOf(code))
	must(t, err)
	return v
}

// keys returns the sort keys of rows, with their versions.
func keys(rows []Row[product]) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, fmt.Sprint(r.SK, "@", r.Version))
	}
	return out
}

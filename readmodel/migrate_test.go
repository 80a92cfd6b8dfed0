package readmodel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
	"github.com/tenantry/tenantry/storage/sqlite"
)

func sqliteIn(t testing.TB) driver.Source { return sqlite.At(t.TempDir()) }

func migrate(t testing.TB, db driver.Relational, tables ...Declared) (*Model, []string) {
	t.Helper()
	m, err := New(tables)
	must(t, err)
	rebuild, err := m.Migrate(t.Context(), db, nil)
	must(t, err)
	return m, rebuild
}

// swap fills the shadow and makes it the table that is read.
func swap(t testing.TB, m *Model, db driver.Relational, cmds ...*record.Record) {
	t.Helper()
	must(t, project(t.Context(), m, db, Shadow, cmds...))
	must(t, db.Define(t.Context(), func(tx driver.Tx) error { return m.Swap(t.Context(), tx, db.Dialect(), m.tables[0].name) }))
}

type before struct {
	Price float64 `json:"price" db:"price"`
	Size  string  `json:"size" db:"size,index"`
}

type after struct {
	Price string  `json:"label" db:"price"`        // another type
	Color string  `json:"color" db:"color,index"`  // new
	Depth *int64  `json:"depth" db:"depth"`        // new, may be null
	Scale float64 `json:"scale" db:"scale,unique"` // new, with an index that the rows there don't keep
	Named bool    `json:"named" db:"named"`        // new
	Was   string  `json:"-" db:"price_2"`          // as the column that makes room might be called
}

func TestTablesEvolve(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db := another()
		options := Options{EntityType: productType}
		old := Declare[before]("product", options)
		m, rebuild := migrate(t, db, old)
		same(t, "tables to fill at first", rebuild, []string{"product"})
		must(t, db.Write(t.Context(), func(tx driver.Tx) error { return m.Rebuilt(t.Context(), tx, "product") }))
		_, rebuild = migrate(t, db, Declare[before]("product", options))
		same(t, "tables to fill when nothing changed", rebuild, []string(nil))
		cmds := []*record.Record{command(t, "acme", "1", 1, map[string]any{"price": 1.5, "size": "L", "label": "cheap", "color": "red", "depth": 7, "scale": 2}),
			command(t, "acme", "2", 1, map[string]any{"price": 2.5})}
		must(t, project(t.Context(), m, db, Live, cmds...))

		now := Declare[after]("product", options)
		next, rebuild := migrate(t, db, now)
		same(t, "tables to rebuild", rebuild, []string{"product"})
		_, rebuild = migrate(t, db, Declare[after]("product", options))
		same(t, "tables to rebuild, asked again", rebuild, []string{"product"})
		d := database(t, next, db)
		v, err := now.In(d, scopeOf("acme"))
		must(t, err)
		row, err := v.Find(t.Context(), "1")
		must(t, err)
		same(t, "a row before the rebuild", row.Values, after{})
		must(t, project(t.Context(), next, db, Live, command(t, "acme", "3", 1, map[string]any{"label": "new", "scale": 3})))
		row, err = v.Find(t.Context(), "3")
		must(t, err)
		same(t, "a row that is projected before the rebuild", row.Values, after{Price: "new", Scale: 3})

		err = db.Define(t.Context(), func(tx driver.Tx) error { return m.Swap(t.Context(), tx, db.Dialect(), "product") })
		fails(t, "a swap by a process with the declaration of before", err, fault.Unavailable)
		swap(t, next, db, cmds...)
		row, err = v.Find(t.Context(), "1")
		must(t, err)
		depth := int64(7)
		same(t, "a row behind the rebuild", row.Values, after{Price: "cheap", Color: "red", Depth: &depth, Scale: 2})
		_, err = v.Find(t.Context(), "3")
		fails(t, "a row that the rebuild doesn't make", err, fault.NotFound)
		_, rebuild = migrate(t, db, Declare[after]("product", options))
		same(t, "tables to rebuild, behind the rebuild", rebuild, []string(nil))
		again := command(t, "acme", "4", 1, map[string]any{"scale": 2})
		fails(t, "the unique index behind the rebuild", project(t.Context(), next, db, Live, again), fault.AlreadyExists)
		swap(t, next, db, cmds...) // the new shadow serves, too
		swap(t, next, db, cmds[0])
		page, err := v.List(t.Context(), Query{})
		must(t, err)
		same(t, "rows behind three swaps", len(page.Rows), 1)
		_, rebuild = migrate(t, db, Declare[before]("product", options))
		same(t, "tables to rebuild for the declaration of before", rebuild, []string{"product"})
	})
}

func TestShadowsAreNotRead(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db, p := another(), products()
		m := model(t, db, p)
		v := view(t, p, database(t, m, db), "acme")
		must(t, project(t.Context(), m, db, Live, command(t, "acme", "1", 1, map[string]any{})))
		must(t, project(t.Context(), m, db, Shadow, command(t, "acme", "2", 1, map[string]any{})))
		page, err := v.List(t.Context(), Query{})
		must(t, err)
		same(t, "rows", keys(page.Rows), []string{"1@1"})
		form, ok := m.Form("product")
		same(t, "the form", []any{form.Name, form.Shadow, form.Columns[0], len(form.Columns), ok}, []any{`"product"`, `"product_shadow"`, `"tenant_code"`, 19, true})
		if _, ok := m.Form("nothing"); ok {
			t.Error("a table that is not declared has a form")
		}
	})
}

// TestProcessesThatStartAtOnce migrate one database.
func TestProcessesThatStartAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		for _, tables := range [][]Declared{{Declare[before]("product", Options{}), Declare[before]("order", Options{})}, {Declare[after]("product", Options{}), Declare[after]("order", Options{})}} {
			m, err := New(tables)
			must(t, err)
			var wg sync.WaitGroup
			errs, rebuild := make([]error, 4), make([][]string, 4)
			for i := range errs {
				db := another()
				wg.Go(func() { rebuild[i], errs[i] = m.Migrate(t.Context(), db, nil) })
			}
			wg.Wait()
			must(t, errors.Join(errs...))
			for _, names := range rebuild {
				same(t, "tables to rebuild", names, []string{"product", "order"})
			}
		}
	})
}

func TestMigrationsThatAreRefused(t *testing.T) {
	db := opened(t, sqliteIn(t))
	must(t, db.Define(t.Context(), func(tx driver.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE product (n integer)")
		return err
	}))
	m, err := New([]Declared{products()})
	must(t, err)
	_, err = m.Migrate(t.Context(), db, nil)
	fails(t, "a table of somebody else", err, fault.InvalidRequest)
}

func TestDeclarationsThatAreRefused(t *testing.T) {
	type twice struct {
		A string `db:"a"`
		B string `db:"a"`
	}
	type ofRecord struct {
		A string `db:"version"`
	}
	type upper struct {
		A string `db:"Price"`
	}
	type spelt struct {
		A string `db:"a\"; DROP TABLE command; --"`
	}
	type odd struct {
		A []string `db:"a"`
	}
	type option struct {
		A string `db:"a,primary"`
	}
	type hidden struct {
		a string `db:"a"`
	}
	type embedded struct{ *before }
	_ = hidden{}.a
	apply := Project("sales", productType, nilApply, products())
	for what, declared := range map[string]struct {
		tables      []Declared
		projections []Projection
	}{
		"a table of the engine":             {tables: []Declared{Declare[before]("command", Options{})}},
		"a table named as a shadow":         {tables: []Declared{Declare[before]("product_shadow", Options{})}},
		"a table with capitals":             {tables: []Declared{Declare[before]("Product", Options{})}},
		"a table named as a statement":      {tables: []Declared{Declare[before]("a; DROP TABLE b", Options{})}},
		"a table without a name":            {tables: []Declared{Declare[before]("", Options{})}},
		"a table of no struct":              {tables: []Declared{Declare[string]("product", Options{})}},
		"a table twice":                     {tables: []Declared{products(), products()}},
		"a column twice":                    {tables: []Declared{Declare[twice]("product", Options{})}},
		"a column of a record":              {tables: []Declared{Declare[ofRecord]("product", Options{})}},
		"a column with capitals":            {tables: []Declared{Declare[upper]("product", Options{})}},
		"a column named as a statement":     {tables: []Declared{Declare[spelt]("product", Options{})}},
		"a list as a column":                {tables: []Declared{Declare[odd]("product", Options{})}},
		"an option that is none":            {tables: []Declared{Declare[option]("product", Options{})}},
		"a field that is not exported":      {tables: []Declared{Declare[hidden]("product", Options{})}},
		"a field in what may be nil":        {tables: []Declared{Declare[embedded]("product", Options{})}},
		"an index of a column that is none": {tables: []Declared{Declare[before]("product", Options{Indexes: [][]string{{"nothing"}}})}},
		"an index of nothing":               {tables: []Declared{Declare[before]("product", Options{Indexes: [][]string{{}}})}},
		"a table that two write":            {tables: []Declared{products()}, projections: []Projection{apply}},
		"a projection of no table":          {projections: []Projection{apply}},
		"a projection without a name":       {tables: []Declared{Declare[before]("product", Options{})}, projections: []Projection{Project("", productType, nilApply, products())}},
		"a projection without a type":       {tables: []Declared{Declare[before]("product", Options{})}, projections: []Projection{Project("sales", record.EntityType{}, nilApply, products())}},
	} {
		_, err := New(declared.tables, declared.projections...)
		fails(t, what, err, fault.InvalidRequest)
	}
	_, err := New([]Declared{Declare[before]("product", Options{Indexes: [][]string{{"size", "name"}}})}, Project("sales", productType, nilApply, products()))
	must(t, err) // what is refused above is so for what it says
}

// TestWalls asks the database past this package, as its application's role.
func TestWalls(t *testing.T) {
	url := postgrestest.New(t)
	db, p := opened(t, postgres.At(url, postgres.Options{})), products()
	m := model(t, db, p)
	for _, place := range []Place{Live, Shadow} {
		must(t, project(t.Context(), m, db, place, command(t, "acme", "1", 1, map[string]any{}), command(t, "bravo", "1", 1, map[string]any{})))
	}
	must(t, db.Define(t.Context(), func(tx driver.Tx) error { return m.Swap(t.Context(), tx, db.Dialect(), "product") }))
	must(t, project(t.Context(), m, db, Shadow, command(t, "acme", "1", 1, map[string]any{})))
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(t.Context())
	for _, role := range []string{"tenantry_app", "tenantry_owner"} {
		_, err = conn.Exec(t.Context(), "SET ROLE "+role+"; SET search_path = tenantry")
		must(t, err)
		for setting, want := range map[string]map[string]int64{"": {}, "{acme}": {"product": 1, "product_shadow": 1}, "{nobody}": {}, "{#}": {"product": 2, "product_shadow": 1, registry: 1}} {
			_, err = conn.Exec(t.Context(), "SELECT set_config('tenantry.tenants', $1, false)", setting)
			must(t, err)
			for _, table := range []string{"product", "product_shadow", registry} {
				var n int64
				must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
				same(t, "rows of "+table+" that "+role+" sees as "+setting, n, want[table])
			}
		}
	}
	var forced []string
	must(t, conn.QueryRow(t.Context(), "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relnamespace = 'tenantry'::regnamespace AND relkind = 'r' AND relrowsecurity AND relforcerowsecurity").Scan(&forced))
	for _, table := range []string{"product", "product_shadow", registry} {
		if !slices.Contains(forced, table) {
			t.Errorf("row-level security is not forced on %s", table)
		}
	}
}

func nilApply(context.Context, *Tx, *record.Record, product) error { return nil }

// TestServersThatMayNotMakeTables start where the owner of the database has made them, and say so where not.
func TestServersThatMayNotMakeTables(t *testing.T) {
	url := postgrestest.New(t)
	owner := opened(t, postgres.At(url, postgres.Options{}))
	admin, err := pgx.Connect(t.Context(), postgrestest.As(t, url, postgrestest.Superuser))
	must(t, err)
	defer admin.Close(t.Context())
	_, err = admin.Exec(t.Context(), "CREATE ROLE server LOGIN IN ROLE tenantry_app")
	must(t, err)
	server := opened(t, postgres.At(postgrestest.As(t, url, "server"), postgres.Options{}))
	m, err := New([]Declared{products()})
	must(t, err)
	_, err = m.Migrate(t.Context(), server, nil)
	fails(t, "a server that begins", err, fault.Unavailable)
	_, err = m.Migrate(t.Context(), owner, nil)
	must(t, err)
	rebuild, err := m.Migrate(t.Context(), server, nil)
	must(t, err)
	same(t, "tables to fill", rebuild, []string{"product"})
	must(t, project(t.Context(), m, server, Shadow, command(t, "acme", "1", 1, map[string]any{})))
	must(t, project(t.Context(), m, server, Live, command(t, "acme", "1", 1, map[string]any{})))
	must(t, server.Write(t.Context(), func(tx driver.Tx) error { return m.Rebuilt(t.Context(), tx, "product") }))
	changed, err := New([]Declared{Declare[before]("product", Options{})})
	must(t, err)
	_, err = changed.Migrate(t.Context(), server, nil)
	fails(t, "a server whose declaration is another", err, fault.Unavailable)
}

// TestSwapGivesUp has somebody read a table for longer than a swap waits.
func TestSwapGivesUp(t *testing.T) {
	url := postgrestest.New(t)
	db, p := opened(t, postgres.At(url, postgres.Options{})), products()
	m := model(t, db, p)
	v := view(t, p, database(t, m, db), "acme")
	must(t, project(t.Context(), m, db, Live, command(t, "acme", "1", 1, map[string]any{})))
	swapped := make(chan error, 1)
	must(t, db.Read(t.Context(), func(tx driver.Tx) error {
		must(t, tx.Query(t.Context(), func(driver.Row) error { return nil }, "SELECT count(*) FROM product"))
		go func() {
			swapped <- db.Define(t.Context(), func(tx driver.Tx) error { return m.Swap(t.Context(), tx, db.Dialect(), "product") })
		}()
		fails(t, "a swap while somebody reads", <-swapped, fault.Unavailable)
		return nil
	}))
	n, err := v.Count(t.Context(), Query{})
	must(t, err)
	same(t, "rows behind it", n, int64(1))
	swap(t, m, db)
	n, err = v.Count(t.Context(), Query{})
	must(t, err)
	same(t, "rows behind a swap", n, int64(0))
}

func TestAgreesWithWhatIsDeclared(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db, options := another(), Options{EntityType: productType}
		agrees := func(tables ...Declared) bool {
			t.Helper()
			m, err := New(tables)
			must(t, err)
			agrees, err := m.Agrees(t.Context(), db)
			must(t, err)
			return agrees
		}
		same(t, "with an empty database", agrees(Declare[before]("product", options)), true)
		migrate(t, db, Declare[before]("product", options))
		same(t, "with its own tables", agrees(Declare[before]("product", options)), true)
		same(t, "with another form of a table", agrees(Declare[after]("product", options)), false)
		same(t, "with the tables of another", agrees(Declare[before]("item", options)), false)
	})
}

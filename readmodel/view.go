package readmodel

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Config is what a Database is made of. Shared alone may be left out.
type Config struct {
	Model      *Model
	Relational driver.Relational
	Cursors    *storage.Cursors

	// Shared reports whether every tenant may read the common tenant's rows of an entity type. Defaults to no type.
	Shared func(record.EntityType) bool
}

// Database is the open read model. By itself it reads nothing: Table.In yields a View of one tenant's rows. It may be used concurrently.
type Database struct{ cfg Config }

// NewDatabase returns a Database.
func NewDatabase(cfg Config) *Database {
	if cfg.Shared == nil {
		cfg.Shared = func(record.EntityType) bool { return false }
	}
	return &Database{cfg: cfg}
}

// View is the rows of one Scope's tenant in a table. It is a small value and may be used concurrently.
type View[T any] struct {
	table *table
	db    *Database
	sc    scope.Scope
}

// In returns the View of sc's tenant. It fails with fault.TenantRequired for the zero Scope, with fault.TenantForbidden for one
// that only reads what is shared, unless the table's entity type is, and with fault.InvalidRequest where the database has no such table.
func (t *Table[T]) In(db *Database, sc scope.Scope) (View[T], error) {
	if err := sc.Check(); err != nil {
		return View[T]{}, err
	}
	if db.cfg.Model.table(t.name) != t.table {
		return View[T]{}, invalid("the table %s is not one of this read model", t.name)
	}
	if !sc.Writable() && (t.opts.EntityType.IsZero() || !db.cfg.Shared(t.opts.EntityType)) {
		return View[T]{}, fault.New(fault.TenantForbidden, "readmodel", "the common tenant's records of this entity type are not shared")
	}
	return View[T]{table: t.table, db: db, sc: sc}, nil
}

// Row is a row of a table.
type Row[T any] struct {
	TenantCode string
	ID         string // PK#SK of its record
	PK, SK     string
	Code, Name string
	Version    int64
	IsDeleted  bool
	CreatedAt  record.Time
	CreatedBy  string
	UpdatedAt  record.Time
	UpdatedBy  string
	Attributes record.Attributes
	Values     T // the fields that are columns
}

// read runs f for v's tenant.
func (v View[T]) read(ctx context.Context, f func(driver.Tx) error) error {
	if err := v.sc.Check(); err != nil {
		return err
	}
	return v.db.cfg.Relational.Read(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, v.sc.Tenant().String()); err != nil {
			return err
		}
		return f(tx)
	})
}

// rows runs a plan, and returns the rows with their values in its orders.
func (v View[T]) rows(ctx context.Context, p *plan) (rows []Row[T], places [][]any, err error) {
	names := make([]string, len(v.table.columns))
	for i, c := range v.table.columns {
		names[i] = quote(c.Name)
	}
	query := "SELECT " + strings.Join(names, ", ") + " FROM " + quote(v.table.name) + p.where.String() + " ORDER BY " + p.ordered() + " LIMIT " + p.arg(p.limit+1)
	err = v.read(ctx, func(tx driver.Tx) error {
		rows, places = nil, nil
		in := newReader(v.table.columns)
		return tx.Query(ctx, func(r driver.Row) error {
			values, err := in.scan(r)
			if err != nil {
				return err
			}
			row, err := v.row(ctx, values)
			rows = append(rows, row)
			place := make([]any, len(p.orders))
			for i, o := range p.orders {
				place[i] = values[slices.Index(v.table.columns, o.column)]
			}
			places = append(places, place)
			return err
		}, query, p.args...)
	})
	return rows, places, err
}

// row returns the row of values, which must be the tenant's that asked.
func (v View[T]) row(ctx context.Context, values []any) (row Row[T], err error) {
	row = Row[T]{TenantCode: values[0].(string), PK: values[1].(string), SK: values[2].(string), Code: values[3].(string), Name: values[4].(string),
		Version: values[5].(int64), IsDeleted: values[6].(bool), CreatedBy: values[8].(string), UpdatedBy: values[10].(string),
		Attributes: record.Attributes(values[11].(string))}
	if row.TenantCode != v.sc.Tenant().String() {
		slog.ErrorContext(ctx, "the read model's database returned a row of another tenant; it was withheld", "table", v.table.name, "asked", v.sc.Tenant().String(), "got", row.TenantCode)
		return Row[T]{}, fault.New(fault.Internal, "readmodel", "the database answered with a row that was not asked for; it was withheld")
	}
	row.ID = row.PK + record.Separator + row.SK
	for i, to := range map[int]*record.Time{7: &row.CreatedAt, 9: &row.UpdatedAt} {
		if at, ok := values[i].(time.Time); ok {
			*to = record.At(at)
		}
	}
	own := reflect.ValueOf(&row.Values).Elem()
	for i, f := range v.table.fields {
		set(own.FieldByIndex(f), values[len(base)+i])
	}
	return row, nil
}

// Page is a part of a list.
type Page[T any] struct {
	Rows   []Row[T]
	Cursor string // for the next page; "" where there is none
}

// List returns rows. It fails with fault.InvalidRequest for a query of what the table doesn't have, and with fault.InvalidCursor for a
// cursor of another tenant or another query.
func (v View[T]) List(ctx context.Context, q Query) (Page[T], error) {
	p, err := v.plan(q)
	if err != nil {
		return Page[T]{}, err
	}
	place, err := v.db.cfg.Cursors.Open(v.sc, q.Cursor, p.bound...)
	if err != nil {
		return Page[T]{}, err
	}
	if place != "" {
		values, err := p.placed(place)
		if err != nil {
			return Page[T]{}, err
		}
		p.after(values)
	}
	rows, places, err := v.rows(ctx, p)
	if err != nil || len(rows) <= p.limit {
		return Page[T]{Rows: rows}, err
	}
	if place, err = p.place(places[p.limit-1]); err != nil {
		return Page[T]{}, err
	}
	return Page[T]{Rows: rows[:p.limit], Cursor: v.db.cfg.Cursors.Seal(v.sc, place, p.bound...)}, nil
}

func (v View[T]) plan(q Query) (*plan, error) {
	if err := v.sc.Check(); err != nil {
		return nil, err
	}
	return v.table.plan(v.sc.Tenant().String(), q)
}

// Find returns the row with a sort key. It fails with fault.NotFound where there is none or its record is deleted.
func (v View[T]) Find(ctx context.Context, sk string) (Row[T], error) {
	return v.only(ctx, "sk", sk)
}

// FindByCode returns the live row with a code. It fails with fault.NotFound where there is none. Where codes need not be unique it
// is one of those that have it, the first by its sort key.
func (v View[T]) FindByCode(ctx context.Context, code string) (Row[T], error) {
	return v.only(ctx, "code", code)
}

func (v View[T]) only(ctx context.Context, name, value string) (Row[T], error) {
	p, err := v.plan(Query{Where: []Condition{Column{of: v.table, name: name}.Equal(value)}, Limit: 1})
	if err != nil {
		return Row[T]{}, err
	}
	rows, _, err := v.rows(ctx, p)
	if err != nil {
		return Row[T]{}, err
	}
	if len(rows) == 0 {
		return Row[T]{}, fault.New(fault.NotFound, "readmodel", "there is no such row; it may not have been projected yet")
	}
	return rows[0], nil
}

// Count returns how many rows a query has in all; its order, limit and cursor don't count.
func (v View[T]) Count(ctx context.Context, q Query) (n int64, err error) {
	p, err := v.plan(Query{Where: q.Where, Deleted: q.Deleted})
	if err != nil {
		return 0, err
	}
	err = v.read(ctx, func(tx driver.Tx) error {
		return tx.Query(ctx, func(r driver.Row) error { return r.Scan(&n) }, "SELECT count(*) FROM "+quote(v.table.name)+p.where.String(), p.args...)
	})
	return n, err
}

// Group is the rows that have the same values in some columns.
type Group struct {
	Values []any // string, int64, float64, bool, time.Time, or nil for null
	Count  int64
}

// GroupBy returns how many rows of a query have which values in 1 to 4 columns: the groups with most rows, the query's limit of them.
// The query's order and cursor don't count.
func (v View[T]) GroupBy(ctx context.Context, q Query, columns ...Column) ([]Group, error) {
	p, err := v.plan(Query{Where: q.Where, Deleted: q.Deleted, Limit: q.Limit})
	if err != nil {
		return nil, err
	}
	if len(columns) == 0 || len(columns) > maxOrders {
		return nil, invalid("rows are grouped by 1 to %d columns", maxOrders)
	}
	held := make([]column, len(columns))
	names := make([]string, len(columns))
	p.orders = nil
	for i, c := range columns {
		if held[i], err = c.in(v.table); err != nil {
			return nil, err
		}
		names[i] = quote(held[i].Name)
		p.orders = append(p.orders, order{column: held[i]})
	}
	list := strings.Join(names, ", ")
	query := "SELECT " + list + ", count(*) FROM " + quote(v.table.name) + p.where.String() + " GROUP BY " + list +
		" ORDER BY count(*) DESC, " + p.ordered() + " LIMIT " + p.arg(p.limit)
	var groups []Group
	err = v.read(ctx, func(tx driver.Tx) error {
		groups = nil
		in := newReader(held)
		return tx.Query(ctx, func(r driver.Row) error {
			var g Group
			var err error
			g.Values, err = in.scan(r, &g.Count)
			groups = append(groups, g)
			return err
		}, query, p.args...)
	})
	return groups, err
}

// MaxRows is how many rows Query answers with at most.
const MaxRows = 10_000

// Result is the answer to a Query of the database.
type Result struct {
	Columns []string
	Rows    [][]any // string, int64, float64, bool, []byte, time.Time, or nil; in SQLite a boolean is an int64 and a time a text
}

// Query runs a query over the rows of all tenants, which can't change any. Values are arguments: $1, $2 …. Its text is the caller's
// own: never a request's. It needs the System capability, whose audit entry is durable before. It fails with fault.TooLarge for more
// than MaxRows rows.
func (d *Database) Query(ctx context.Context, sys scope.System, query string, args ...any) (Result, error) {
	if err := sys.Note(ctx); err != nil {
		return Result{}, err
	}
	var res Result
	err := d.cfg.Relational.Read(ctx, func(tx driver.Tx) error {
		res = Result{}
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		return tx.Query(ctx, func(r driver.Row) error {
			if res.Columns == nil {
				res.Columns = slices.Clone(r.Columns())
			}
			if len(res.Rows) == MaxRows {
				return fault.New(fault.TooLarge, "readmodel.Query", "the answer has more than %d rows; ask for fewer, or for their sums", MaxRows)
			}
			values := make([]any, len(res.Columns))
			to := make([]any, len(values))
			for i := range values {
				to[i] = &values[i]
			}
			if err := r.Scan(to...); err != nil {
				return err
			}
			res.Rows = append(res.Rows, values)
			return nil
		}, query, args...)
	})
	if err != nil {
		return Result{}, err
	}
	return res, nil
}

package readmodel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Options complete the declaration of a table.
type Options struct {
	// EntityType is the type of the records that the table has a row for each of, made by a projection named as the table. Defaults
	// to none: projections of the application's own write the table.
	EntityType record.EntityType

	// Of returns whose row a command of the EntityType makes. Defaults to the tenant of its PK.
	Of func(cmd *record.Record) (tenant.Code, error)

	// From returns the command that a command of the EntityType is taken for, nil for none of the table's business. Defaults to the command.
	From func(cmd *record.Record) (*record.Record, error)

	// DuplicateCodes lets live rows of a tenant have the same code. Defaults to false: (tenant_code, code) is unique among them.
	DuplicateCodes bool

	// Indexes are the columns of further indexes, each behind the tenant's. Defaults to those that the tags say.
	Indexes [][]string

	// Across are the columns of indexes that do not begin with the tenant, for queries over all tenants. Defaults to none.
	Across [][]string
}

// Table is a declared table whose own columns are the tagged fields of T. It is immutable and may be used concurrently.
type Table[T any] struct{ *table }

// Declared is a *Table of any T.
type Declared interface{ declaration() *table }

func (t *table) declaration() *table { return t }

// table is what is declared of a table.
type table struct {
	name    string
	opts    Options
	columns []column // the record's, then the declared ones
	indexes []index
	fields  [][]int // of T, for the declared columns
	decode  func(record.Attributes) (reflect.Value, error)
	err     error // what is wrong with the declaration; New fails with it

	upsert [2]string // statements, by place
	remove [2]string
}

// kind is the kind of a column's values.
type kind string

const (
	text    kind = "text"
	integer kind = "integer"
	double  kind = "double"
	boolean kind = "boolean"
	moment  kind = "time"
)

// column is a column of a table. Columns of the record are never null.
type column struct {
	Name string
	Kind kind
	Null bool
}

// index is an index of a table, which begins with the tenant; a unique one holds its live rows.
type index struct {
	Columns []string
	Unique  bool // of one column; rows where it is null or "" are no part of it
	Across  bool // it does not begin with the tenant
}

// base are the columns that every table has.
var base = []column{{driver.TenantColumn, text, false}, {"pk", text, false}, {"sk", text, false}, {"code", text, false}, {"name", text, false},
	{"version", integer, false}, {"is_deleted", boolean, false}, {"created_at", moment, true}, {"created_by", text, false},
	{"updated_at", moment, true}, {"updated_by", text, false}, {"attributes", text, false}}

// idColumn is made by the database: pk#sk.
const idColumn = "id"

var (
	tableName  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	columnName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

	// taken are names that other tables of the databases have.
	taken = []string{"command", "data", "history", "system", "feed", "session", "goose_db_version"}
)

// Declare declares a table. Fields of the struct T with a tag db:"column" are columns, followed by ,index or ,unique for an index
// with the tenant, the unique one among live rows where it is not "" or null, after each command: two records swap its values by way of a third; a field's type is string, bool, int, int32, int64, float64, time.Time, record.Time or json.Number,
// which is kept as text, or a pointer to one, which may be null. An application's rows have their values from records' attributes, by T's json names. Column and table
// names are lower-case letters, digits and _, at most 40. What is wrong with a declaration is told by New.
func Declare[T any](name string, opts Options) *Table[T] {
	t := &table{name: name, opts: opts, columns: slices.Clone(base)}
	t.decode = func(a record.Attributes) (reflect.Value, error) {
		v := new(T)
		err := a.Decode(v)
		return reflect.ValueOf(v).Elem(), err
	}
	t.err = t.declare(reflect.TypeFor[T]())
	return &Table[T]{t}
}

func (t *table) declare(of reflect.Type) error {
	wrong := func(format string, args ...any) error {
		return fault.New(fault.InvalidRequest, "readmodel.Declare", "table %q: "+format, append([]any{t.name}, args...)...)
	}
	switch {
	case !tableName.MatchString(t.name) || strings.HasSuffix(t.name, shadowSuffix) || strings.HasPrefix(t.name, "readmodel_") || strings.HasPrefix(t.name, "upkeep_") || strings.HasPrefix(t.name, "sqlite_") ||
		strings.HasPrefix(t.name, "pg_") || slices.Contains(taken, t.name):
		return wrong("a table is named by lower-case letters, digits and _, and as none of Tenantry's own")
	case of.Kind() != reflect.Struct:
		return wrong("its columns are the fields of a struct, not of %s", of)
	}
	if !t.opts.DuplicateCodes {
		t.indexes = append(t.indexes, index{Columns: []string{"code"}, Unique: true})
	}
	t.indexes = append(t.indexes, index{Columns: []string{"name"}}, index{Columns: []string{"created_at"}})
	for _, f := range reflect.VisibleFields(of) {
		tag, tagged := f.Tag.Lookup("db")
		if !tagged || tag == "-" {
			continue
		}
		name, option, _ := strings.Cut(tag, ",")
		k, null := kindOf(f.Type)
		switch {
		case !columnName.MatchString(name) || name == idColumn || t.column(name) != nil:
			return wrong("field %s: a column has a name of its own, of lower-case letters, digits and _", f.Name)
		case k == "" || !f.IsExported() || viaPointer(of, f.Index):
			return wrong("field %s: a %s is no column's value", f.Name, f.Type)
		case option == "index" || option == "unique":
			t.indexes = append(t.indexes, index{Columns: []string{name}, Unique: option == "unique"})
		case option != "":
			return wrong("field %s: behind a column's name comes index or unique, not %q", f.Name, option)
		}
		t.columns, t.fields = append(t.columns, column{name, k, null}), append(t.fields, f.Index)
	}
	for _, names := range t.opts.Indexes {
		t.indexes = append(t.indexes, index{Columns: names})
	}
	for _, names := range t.opts.Across {
		t.indexes = append(t.indexes, index{Columns: names, Across: true})
	}
	for _, i := range t.indexes {
		for _, name := range i.Columns {
			if t.column(name) == nil || name == driver.TenantColumn {
				return wrong("an index names the column %q, which it has not; the tenant's comes by itself", name)
			}
		}
		if len(i.Columns) == 0 {
			return wrong("an index has no column")
		}
	}
	t.prepare()
	return nil
}

// viaPointer reports whether a field is inside an embedded pointer, which may be nil.
func viaPointer(of reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		if of = of.Field(i).Type; of.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}

// kindOf returns the kind of a column for values of a type, "" for none.
func kindOf(of reflect.Type) (k kind, null bool) {
	if null = of.Kind() == reflect.Pointer; null {
		of = of.Elem()
	}
	switch of {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[record.Time]():
		return moment, true // the zero time is none
	case reflect.TypeFor[json.Number]():
		return text, null
	}
	switch of.Kind() {
	case reflect.String:
		return text, null
	case reflect.Bool:
		return boolean, null
	case reflect.Int, reflect.Int32, reflect.Int64:
		return integer, null
	case reflect.Float64:
		return double, null
	}
	return "", null
}

// unique reports whether a column has a unique index.
func (t *table) unique(name string) bool {
	return slices.ContainsFunc(t.indexes, func(i index) bool { return i.Unique && i.Columns[0] == name })
}

// column returns a column by its name, nil where there is none.
func (t *table) column(name string) *column {
	if i := slices.IndexFunc(t.columns, func(c column) bool { return c.Name == name }); i >= 0 {
		return &t.columns[i]
	}
	return nil
}

// form is what is kept of a table that was made, to see whether its declaration has changed.
type form struct {
	Columns []column
	Indexes []index
}

// digest names a form.
func (f form) digest() string {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and booleans always can be
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// quote returns an identifier for a statement. Names are checked when they are declared; what is quoted can't end.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// prepare makes the statements that write rows.
func (t *table) prepare() {
	var names, places, sets []string
	for i, c := range t.columns {
		names, places = append(names, quote(c.Name)), append(places, fmt.Sprintf("$%d", i+1))
		if c.Name != "pk" && c.Name != "sk" && c.Name != driver.TenantColumn {
			sets = append(sets, quote(c.Name)+" = excluded."+quote(c.Name))
		}
	}
	for i, name := range []string{t.name, t.name + shadowSuffix} {
		n := quote(name)
		t.upsert[i] = "INSERT INTO " + n + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(places, ", ") + ") ON CONFLICT (pk, sk) DO UPDATE SET " +
			strings.Join(sets, ", ") + " WHERE " + n + ".tenant_code = excluded.tenant_code AND " + n + ".version < excluded.version"
		t.remove[i] = "DELETE FROM " + n + " WHERE tenant_code = $1 AND pk = $2 AND sk = $3 AND version <= $4"
	}
}

// Put makes the row of a command's record, with values beside it, unless a later command has. A deleted record's row stays, marked as such.
// The row is tx's tenant's, whatever the command says of its own. Where a live row of the
// tenant has the same unique values the transaction fails with fault.AlreadyExists, which a later statement may say.
func (t *Table[T]) Put(ctx context.Context, tx *Tx, cmd *record.Record, values T) error {
	return t.put(ctx, tx, cmd, reflect.ValueOf(values))
}

func (t *table) put(ctx context.Context, tx *Tx, cmd *record.Record, values reflect.Value) error {
	if _, err := tx.table(t.name); err != nil {
		return err
	}
	attributes := string(cmd.Attributes)
	if attributes == "" {
		attributes = "{}"
	}
	args := make([]any, 0, len(t.columns))
	args = append(args, tx.sc.Tenant().String(), cmd.PK, cmd.SK, textOf(cmd.Code), textOf(cmd.Name), cmd.Version, cmd.IsDeleted,
		momentOf(cmd.CreatedAt), cmd.CreatedBy, momentOf(cmd.UpdatedAt), cmd.UpdatedBy, attributes)
	for _, f := range t.fields {
		args = append(args, valueOf(values.FieldByIndex(f)))
	}
	return tx.tx.Send(ctx, t.upsert[tx.place.number()], args...)
}

// Delete removes the row of a command's record, unless a later command has made it. It is for rows that a projection makes besides its
// records' own; those of deleted records stay.
func (t *Table[T]) Delete(ctx context.Context, tx *Tx, cmd *record.Record) error {
	if _, err := tx.table(t.name); err != nil {
		return err
	}
	return tx.tx.Send(ctx, t.remove[tx.place.number()], tx.sc.Tenant().String(), cmd.PK, cmd.SK, cmd.Version)
}

func (p Place) number() int {
	if p == Shadow {
		return 1
	}
	return 0
}

// momentOf returns a time for a column, nil for none.
func momentOf(t record.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Time()
}

// valueOf returns a field's value for a column.
func valueOf(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch held := v.Interface().(type) {
	case time.Time:
		if held.IsZero() {
			return nil
		}
		return held.UTC().Truncate(time.Millisecond)
	case record.Time:
		return momentOf(held)
	}
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int32, reflect.Int64:
		return v.Int()
	case reflect.Float64:
		return v.Float()
	}
	return textOf(v.String())
}

// textOf returns a text for a column. PostgreSQL holds no NUL and nothing but UTF-8; what the column shows for them, the attributes
// have exactly.
func textOf(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// Project returns a projection that an application makes of the commands of an entity type, whose attributes are read as A, into tables.
func Project[A any](name string, of record.EntityType, apply func(ctx context.Context, tx *Tx, cmd *record.Record, attributes A) error, tables ...Declared) Projection {
	p := Projection{Name: name, Type: of, Apply: func(ctx context.Context, tx *Tx, cmd *record.Record) error {
		var attributes A
		if err := cmd.Attributes.Decode(&attributes); err != nil {
			return err
		}
		return apply(ctx, tx, cmd, attributes)
	}}
	for _, t := range tables {
		p.Tables = append(p.Tables, t.declaration().name)
	}
	return p
}

// projection returns the projection of a table with an entity type: a row for each of its records.
func (t *table) projection() Projection {
	return Projection{Name: strings.ReplaceAll(t.name, "_", "-"), Type: t.opts.EntityType, Tables: []string{t.name}, Of: t.opts.Of,
		Apply: func(ctx context.Context, tx *Tx, cmd *record.Record) error {
			if t.opts.From != nil {
				var err error
				if cmd, err = t.opts.From(cmd); err != nil || cmd == nil {
					return err
				}
			}
			values, err := t.decode(cmd.Attributes)
			if err != nil {
				return err
			}
			return t.put(ctx, tx, cmd, values)
		}}
}

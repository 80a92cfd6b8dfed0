package readmodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Limits of a Query.
const (
	DefaultLimit  = 100
	MaxLimit      = 1000
	maxConditions = 20
	maxValues     = 100 // of one condition
	maxOrders     = 4
)

// Query says which rows of a table, and in which order. The zero Query is the first page of the rows that are not deleted.
type Query struct {
	Where   []Condition // that all hold, at most 20; none is all rows
	Order   []Order     // at most 4; rows that are the same in them are ordered by their sort keys, in the direction of the last
	Deleted bool        // rows of deleted records, too
	Limit   int         // 1 to 1000; defaults to 100
	Cursor  string      // of the page before; "" begins
}

// Column is a column of a declared table. There is none but what is declared: text becomes no part of a statement.
type Column struct {
	of   *table
	name string // as it was asked for
}

// Column returns a column of the table: one of a record's (tenant_code, pk, sk, code, name, version, is_deleted, created_at, created_by,
// updated_at, updated_by), or one that is declared. Queries fail with fault.InvalidRequest for a name that is none, so that it may come
// from a request.
func (t *Table[T]) Column(name string) Column { return Column{of: t.table, name: name} }

// in returns what is declared of the column.
func (c Column) in(t *table) (column, error) {
	if c.of == t && c.name != "attributes" {
		if held := t.column(c.name); held != nil {
			return *held, nil
		}
	}
	return column{}, invalid("the table %s has no column of this name to ask for", t.name)
}

func invalid(format string, args ...any) error {
	return fault.New(fault.InvalidRequest, "readmodel", format, args...)
}

// Order is a column that rows are ordered by. A column that may be null has its nulls before all values.
type Order struct {
	column     Column
	descending bool
}

// Ascending orders by the column.
func (c Column) Ascending() Order { return Order{column: c} }

// Descending orders by the column, the last first.
func (c Column) Descending() Order { return Order{c, true} }

// Condition is what a column must hold. Values are of the column's type: string, an integer, float64, bool, time.Time or record.Time.
type Condition struct {
	column Column
	is     operator
	values []any
}

// operator is how a column is compared. Only these become part of a statement.
type operator string

const (
	equal    operator = "="
	unequal  operator = "<>"
	below    operator = "<"
	atMost   operator = "<="
	above    operator = ">"
	atLeast  operator = ">="
	oneOf    operator = "IN"
	prefixed operator = "prefix"
	null     operator = "IS NULL"
)

// Equal holds where the column is v.
func (c Column) Equal(v any) Condition { return Condition{c, equal, []any{v}} }

// NotEqual holds where the column is another value than v.
func (c Column) NotEqual(v any) Condition { return Condition{c, unequal, []any{v}} }

// Below holds where the column is less than v.
func (c Column) Below(v any) Condition { return Condition{c, below, []any{v}} }

// AtMost holds where the column is v or less.
func (c Column) AtMost(v any) Condition { return Condition{c, atMost, []any{v}} }

// Above holds where the column is more than v.
func (c Column) Above(v any) Condition { return Condition{c, above, []any{v}} }

// AtLeast holds where the column is v or more.
func (c Column) AtLeast(v any) Condition { return Condition{c, atLeast, []any{v}} }

// In holds where the column is one of values, at most 100.
func (c Column) In(values ...any) Condition { return Condition{c, oneOf, values} }

// HasPrefix holds where the column, a text, begins with prefix, byte by byte.
func (c Column) HasPrefix(prefix string) Condition { return Condition{c, prefixed, []any{prefix}} }

// IsNull holds where the column is null.
func (c Column) IsNull() Condition { return Condition{c, null, nil} }

// value returns v as a value of the column.
func (c column) value(v any) (any, error) {
	if v != nil {
		if k, _ := kindOf(reflect.TypeOf(v)); k == c.Kind || k == integer && c.Kind == double {
			if v = valueOf(reflect.ValueOf(v)); v != nil {
				if n, whole := v.(int64); whole && c.Kind == double {
					return float64(n), nil
				}
				return v, nil
			}
		}
	}
	return nil, invalid("the column %s is compared with a %s, not with a %T", c.Name, c.Kind, v)
}

// order is an Order of a column that is there.
type order struct {
	column
	descending bool
}

// plan is a Query that has been checked: the statement's parts, and what its cursor is bound to.
type plan struct {
	table  *table
	where  strings.Builder
	args   []any
	orders []order
	limit  int
	bound  []string
}

// arg adds an argument and returns its parameter.
func (p *plan) arg(v any) string {
	p.args = append(p.args, v)
	return fmt.Sprintf("$%d", len(p.args))
}

// plan checks a query of a tenant's rows.
func (t *table) plan(tenant string, q Query) (*plan, error) {
	p := &plan{table: t, limit: q.Limit, bound: []string{"readmodel", t.name, t.form().digest(), fmt.Sprint(q.Deleted)}}
	if p.limit == 0 {
		p.limit = DefaultLimit
	}
	switch {
	case p.limit < 1 || p.limit > MaxLimit:
		return nil, invalid("a limit is 1 to %d", MaxLimit)
	case len(q.Where) > maxConditions || len(q.Order) > maxOrders:
		return nil, invalid("a query has at most %d conditions and is ordered by at most %d columns", maxConditions, maxOrders)
	}
	p.where.WriteString(" WHERE tenant_code = " + p.arg(tenant))
	if !q.Deleted {
		p.where.WriteString(" AND NOT is_deleted")
	}
	for _, c := range q.Where {
		if err := p.condition(c); err != nil {
			return nil, err
		}
	}
	for _, o := range q.Order {
		c, err := o.column.in(t)
		if err != nil {
			return nil, err
		}
		p.orders = append(p.orders, order{c, o.descending})
		p.bound = append(p.bound, fmt.Sprint("by ", c.Name, o.descending))
	}
	descending := len(q.Order) > 0 && q.Order[len(q.Order)-1].descending // as the one before, so that an index can serve
	for _, name := range []string{"sk", "pk"} {                          // which no two rows share
		p.orders = append(p.orders, order{*t.column(name), descending})
	}
	return p, nil
}

func (p *plan) condition(c Condition) error {
	held, err := c.column.in(p.table)
	if err != nil {
		return err
	}
	if len(c.values) > maxValues {
		return invalid("a column is compared with at most %d values", maxValues)
	}
	values := make([]any, len(c.values))
	for i, v := range c.values {
		if values[i], err = held.value(v); err != nil {
			return err
		}
	}
	text, err := json.Marshal(values)
	if err != nil {
		return invalid("the column %s is compared with what is no number", held.Name)
	}
	p.bound = append(p.bound, fmt.Sprint("where ", held.Name, " ", c.is), string(text))
	name := quote(held.Name)
	p.where.WriteString(" AND ")
	switch c.is {
	case null:
		p.where.WriteString(name + " IS NULL")
	case oneOf:
		if len(values) == 0 {
			p.where.WriteString("1 = 0")
			break
		}
		places := make([]string, len(values))
		for i, v := range values {
			places[i] = p.arg(v)
		}
		p.where.WriteString(name + " IN (" + strings.Join(places, ", ") + ")")
	case prefixed:
		prefix, ok := values[0].(string)
		if !ok {
			return invalid("the column %s is no text and has no prefix", held.Name)
		}
		p.where.WriteString(name + " >= " + p.arg(prefix))
		if next, ok := behind(prefix); ok {
			p.where.WriteString(" AND " + name + " < " + p.arg(next))
		}
	case equal, unequal, below, atMost, above, atLeast:
		p.where.WriteString(name + " " + string(c.is) + " " + p.arg(values[0]))
		if c.is == equal && values[0] != "" && p.table.unique(held.Name) {
			p.where.WriteString(" AND " + held.present())
		}
	default: // the zero Condition
		return invalid("a condition is made by a column's method")
	}
	return nil
}

// behind returns the least text behind all that begin with prefix; ok is false where there is none.
func behind(prefix string) (next string, ok bool) {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case last == utf8.RuneError && size == 1, last == utf8.MaxRune:
			continue
		case last == 0xd7ff: // what follows are surrogates, which are in no text
			return prefix + "\ue000", true
		}
		return prefix + string(last+1), true
	}
	return "", false
}

// after restricts the plan to the rows behind one whose values the orders have there.
func (p *plan) after(values []any) {
	p.where.WriteString(" AND (")
	for i, o := range p.orders {
		if i > 0 {
			p.where.WriteString(" OR ")
		}
		p.where.WriteString("(")
		for j, same := range p.orders[:i] {
			if values[j] == nil {
				p.where.WriteString(quote(same.Name) + " IS NULL AND ")
			} else {
				p.where.WriteString(quote(same.Name) + " = " + p.arg(values[j]) + " AND ")
			}
		}
		p.where.WriteString(p.behind(o, values[i]) + ")")
	}
	p.where.WriteString(")")
}

// behind returns the condition that a column is behind a value in an order: nulls come before all values, behind them when
// descending.
func (p *plan) behind(o order, v any) string {
	name := quote(o.Name)
	switch {
	case v == nil && o.descending:
		return "1 = 0"
	case v == nil:
		return name + " IS NOT NULL"
	case o.descending && o.Null:
		return "(" + name + " < " + p.arg(v) + " OR " + name + " IS NULL)"
	case o.descending:
		return name + " < " + p.arg(v)
	}
	return name + " > " + p.arg(v)
}

// ordered returns what the rows are ordered by.
func (p *plan) ordered() string {
	parts := make([]string, len(p.orders))
	for i, o := range p.orders {
		parts[i] = quote(o.Name)
		if o.descending {
			parts[i] += " DESC"
		}
		if o.Null && o.descending {
			parts[i] += " NULLS LAST"
		} else if o.Null {
			parts[i] += " NULLS FIRST"
		}
	}
	return strings.Join(parts, ", ")
}

// maxPlace is how many bytes a place takes in a cursor.
const maxPlace = 1400

// place returns the text of a row's values in the orders.
func (p *plan) place(values []any) (string, error) {
	for i, v := range values {
		if t, ok := v.(time.Time); ok {
			values[i] = t.UnixMilli()
		}
	}
	text, err := json.Marshal(values)
	if err != nil || len(text) > maxPlace {
		return "", invalid("the values of the columns that the list is ordered by are too long to go on from; order it by others")
	}
	return string(text), nil
}

// placed returns the values that place wrote.
func (p *plan) placed(text string) ([]any, error) {
	var values []any
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	if err := dec.Decode(&values); err != nil || len(values) != len(p.orders) {
		return nil, fault.New(fault.InvalidCursor, "readmodel", "the cursor is of another list")
	}
	for i, o := range p.orders {
		n, numeric := values[i].(json.Number)
		if !numeric {
			continue
		}
		whole, err := n.Int64()
		switch o.Kind {
		case double:
			values[i], err = n.Float64()
		case moment:
			values[i] = time.UnixMilli(whole).UTC()
		default:
			values[i] = whole
		}
		if err != nil {
			return nil, fault.New(fault.InvalidCursor, "readmodel", "the cursor is of another list")
		}
	}
	return values, nil
}

// reader reads columns of a row as the values of their kinds.
type reader struct {
	columns []column
	to      []any
}

func newReader(columns []column) *reader {
	r := &reader{columns: columns}
	for _, c := range columns {
		switch c.Kind {
		case integer:
			r.to = append(r.to, new(*int64))
		case double:
			r.to = append(r.to, new(*float64))
		case boolean:
			r.to = append(r.to, new(*bool))
		case moment:
			r.to = append(r.to, new(*time.Time))
		default:
			r.to = append(r.to, new(*string))
		}
	}
	return r
}

// scan returns the values of a row, nil for null, and reads what stands behind the columns into more.
func (r *reader) scan(row driver.Row, more ...any) ([]any, error) {
	if err := row.Scan(slices.Concat(r.to, more)...); err != nil {
		return nil, err
	}
	values := make([]any, len(r.to))
	for i, p := range r.to {
		if held := reflect.ValueOf(p).Elem(); !held.IsNil() {
			values[i] = held.Elem().Interface()
		}
	}
	return values, nil
}

// set sets a field to a column's value.
func set(field reflect.Value, v any) {
	if v == nil {
		field.SetZero()
		return
	}
	if field.Kind() == reflect.Pointer {
		field.Set(reflect.New(field.Type().Elem()))
		field = field.Elem()
	}
	switch field.Interface().(type) {
	case record.Time:
		field.Set(reflect.ValueOf(record.At(v.(time.Time))))
		return
	}
	field.Set(reflect.ValueOf(v).Convert(field.Type()))
}

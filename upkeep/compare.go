package upkeep

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/storage/driver"
)

// Difference is a row that a rebuild makes otherwise than it is read. It names no values.
type Difference struct {
	Table   string   `json:"table"`
	Key     []string `json:"key"`
	Columns []string `json:"columns"` // that differ; empty where one of both has no such row
	Kind    string   `json:"kind"`    // missing, extra or different, of what is read
}

// maxDifferences is how many differences are kept of a rebuild; all are counted.
const maxDifferences = 1000

// tablesOf returns the tables of a projection, and that of what is parked for it.
func (r *Runner) tablesOf(projection string) []table {
	if projection == Counters {
		return counterTables
	}
	return append(slices.Clone(r.tables[projection]), parkedTable)
}

// ofShare returns the condition that a row is a share's, with its arguments.
func (t table) ofShare(s share) (condition string, args []any) {
	switch {
	case s.tenant.IsZero() && t.name == parkedTable.name:
		return "projection = $1", []any{s.projection}
	case s.tenant.IsZero():
		return "$1 = '*'", []any{everybody}
	case t.name == parkedTable.name:
		return "tenant_code = $1 AND projection = $2", []any{s.tenant.String(), s.projection}
	}
	return "tenant_code = $1", []any{s.tenant.String()}
}

// compared returns the columns of t that are compared: not those that say how often and when something was tried.
func (t table) compared() []string {
	if t.name == parkedTable.name {
		return []string{"tenant_code", "projection", "pk", "sk", "stored_pk", "version", "latest"}
	}
	return t.columns
}

// comparison is what differs between what is read of a share and its shadows.
type comparison struct {
	rows   int64 // that were compared
	tables []differing
}

type differing struct {
	table
	rows  map[string]*pair // by key
	limit int              // of rows that are kept; 0 for none
	more  int64            // that are not kept
}

// pair is a row as it is read and as it was made anew, nil where there is none.
type pair struct {
	key        []any // the tenant first
	live, anew []any
}

// compare compares a share, which is held back, with its shadows, row by row.
func (r *Runner) compare(ctx context.Context, b rebuild) (*comparison, error) {
	c := &comparison{}
	err := r.db.Read(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		for _, t := range r.tablesOf(b.projection) {
			d := differing{table: t, rows: map[string]*pair{}}
			if c.wholly(b) && t.name != parkedTable.name { // it is not put in place row by row
				d.limit = maxDifferences
			}
			own, args := t.ofShare(b.share)
			columns := selection(t.compared())
			for _, side := range []readmodel.Place{readmodel.Live, readmodel.Shadow} {
				count := fmt.Sprintf("SELECT count(*) FROM %s WHERE %s", t.in(side), own)
				if err := tx.Query(ctx, func(row driver.Row) error {
					var n int64
					err := row.Scan(&n)
					c.rows += n
					return err
				}, count, args...); err != nil {
					return err
				}
				query := fmt.Sprintf("SELECT %s FROM %s WHERE %s EXCEPT SELECT %s FROM %s WHERE %s", columns, t.in(side), own, columns, t.in(!side), own)
				if err := tx.Query(ctx, func(row driver.Row) error { return d.add(row, side) }, query, args...); err != nil {
					return err
				}
			}
			c.tables = append(c.tables, d)
		}
		return nil
	})
	return c, err
}

func (d *differing) add(row driver.Row, side readmodel.Place) error {
	columns := d.compared()
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	if err := row.Scan(to...); err != nil {
		return err
	}
	p := &pair{key: values[:1:1]}
	for _, k := range d.key {
		p.key = append(p.key, values[slices.Index(columns, k)])
	}
	name := keyText(p.key)
	switch found := d.rows[name]; {
	case found != nil:
		p = found
	case d.limit > 0 && len(d.rows) >= d.limit:
		d.more++
		return nil
	}
	if side == readmodel.Shadow {
		p.anew = values
	} else {
		p.live = values
	}
	d.rows[name] = p
	return nil
}

func keyText(key []any) string {
	var b strings.Builder
	for _, v := range key {
		b.WriteString(strconv.Quote(fmt.Sprint(v)))
	}
	return b.String()
}

// difference says what a pair differs in.
func (d *differing) difference(p *pair) Difference {
	out := Difference{Table: strings.Trim(d.name, `"`), Kind: "different", Columns: []string{}}
	for _, v := range p.key[1:] {
		out.Key = append(out.Key, fmt.Sprint(v))
	}
	switch {
	case p.live == nil:
		out.Kind = "missing"
	case p.anew == nil:
		out.Kind = "extra"
	default:
		for i, name := range d.compared() {
			if fmt.Sprint(p.live[i]) != fmt.Sprint(p.anew[i]) {
				out.Columns = append(out.Columns, strings.Trim(name, `"`))
			}
		}
	}
	return out
}

// keep keeps what was found with the rebuild.
func (c *comparison) keep(ctx context.Context, tx driver.Tx, b rebuild) error {
	code, different := b.code(), int64(0)
	if _, err := tx.Exec(ctx, "DELETE FROM upkeep_difference WHERE tenant_code = $1 AND projection = $2", code, b.projection); err != nil {
		return err
	}
	var rows [][]any
	for _, d := range c.tables {
		names := make([]string, 0, len(d.rows))
		for name := range d.rows {
			names = append(names, name)
		}
		slices.Sort(names)
		different += int64(len(names)) + d.more
		for _, name := range names[:min(len(names), maxDifferences-len(rows))] {
			found := d.difference(d.rows[name])
			rows = append(rows, []any{code, b.projection, int64(len(rows)), found.Table, strings.Join(found.Key, "\n"), found.Kind + " " + strings.Join(found.Columns, " ")})
		}
	}
	if err := insert(ctx, tx, "upkeep_difference", []string{"tenant_code", "projection", "number", "name", "row_key", "columns"}, rows, ""); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "UPDATE upkeep_rebuild SET compared = $1, different = $2 WHERE tenant_code = $3 AND projection = $4", c.rows, different, code, b.projection)
	return err
}

// putInPlace makes what is read of a share what its shadows are.
func (r *Runner) putInPlace(ctx context.Context, tx driver.Tx, b rebuild, c *comparison) error {
	for _, d := range c.tables {
		if d.limit > 0 {
			continue
		}
		if err := d.putInPlace(ctx, tx); err != nil {
			return err
		}
	}
	if !c.wholly(b) {
		return nil
	}
	return r.cfg.Model.Swap(ctx, tx, r.db.Dialect(), r.names[b.projection].Tables...)
}

// putInPlace replaces the rows that differ.
func (d *differing) putInPlace(ctx context.Context, tx driver.Tx) error {
	keys := make([][]any, 0, len(d.rows))
	for _, p := range d.rows {
		keys = append(keys, p.key)
	}
	key, columns := selection(append([]string{"tenant_code"}, d.key...)), selection(d.columns)
	for _, statement := range []string{
		fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (VALUES ", d.name, key),
		fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE (%s) IN (VALUES ", d.name, columns, columns, d.shadow, key),
	} {
		err := values(keys, func(parameters string, args []any) error {
			_, err := tx.Exec(ctx, statement+parameters+")", args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

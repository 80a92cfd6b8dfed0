package postgres

import (
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/storage/driver"
)

// Most groups only insert rows that must be absent, and replace rows that must be at a version. Then conditions need not be looked
// at beforehand: a unique index refuses a row that is there, and an update that finds another version changes too few rows. Either
// undoes the whole group, which is made again by numbering.statement.

// changes are the columns of rows of one collection that are inserted, or that are updated.
type changes struct {
	version, expected, expires []int64
	deleted                    []bool
	pk, sk, doc                []string
}

func (c *changes) reset() {
	*c = changes{version: c.version[:0], expected: c.expected[:0], expires: c.expires[:0], deleted: c.deleted[:0], pk: c.pk[:0], sk: c.sk[:0], doc: c.doc[:0]}
}

func (c *changes) add(w *write) {
	c.version = append(c.version, w.version)
	c.expected = append(c.expected, w.cond.Version)
	c.expires = append(c.expires, w.expires)
	c.deleted = append(c.deleted, w.deleted)
	c.pk, c.sk, c.doc = append(c.pk, w.ref.PK), append(c.sk, w.ref.SK), append(c.doc, w.doc)
}

// isDirect reports whether w can be made without a look at its condition.
func (w *write) isDirect() bool {
	replaces := w.cond.Kind == driver.IfVersion && (w.ref.Collection == driver.Data || w.ref.Collection == driver.System)
	return !w.remove && (w.cond.Kind == driver.IfAbsent || replaces)
}

// direct are the changes of a group, by collection.
type direct struct{ inserts, updates [driver.System + 1]changes }

func (d *direct) reset() {
	for c := range d.inserts {
		d.inserts[c].reset()
		d.updates[c].reset()
	}
}

func (d *direct) add(w *write) {
	if w.cond.Kind == driver.IfAbsent {
		d.inserts[w.ref.Collection].add(w)
	} else {
		d.updates[w.ref.Collection].add(w)
	}
}

// shape says which collections have inserts (bit 2c) and updates (bit 2c+1). Bit 0, of no collection, tells it from the shapes
// of numbering.statement.
func (d *direct) shape() shape {
	s := shape(1)
	for c := range d.inserts {
		if len(d.inserts[c].pk) > 0 {
			s |= 1 << (2 * c)
		}
		if len(d.updates[c].pk) > 0 {
			s |= 2 << (2 * c)
		}
	}
	return s
}

// column is an array among a direct statement's parameters.
type column struct {
	name, kind string
	of         func(*changes) any
}

var (
	versionColumn  = column{"version", "bigint", func(c *changes) any { return c.version }}
	expectedColumn = column{"expected", "bigint", func(c *changes) any { return c.expected }}
	expiresColumn  = column{"expires", "bigint", func(c *changes) any { return c.expires }}
	deletedColumn  = column{"deleted", "boolean", func(c *changes) any { return c.deleted }}
	pkColumn       = column{"pk", "text", func(c *changes) any { return c.pk }}
	skColumn       = column{"sk", "text", func(c *changes) any { return c.sk }}
	docColumn      = column{"doc", "text", func(c *changes) any { return c.doc }}
)

var directColumns = [...][]column{
	driver.Data:    {versionColumn, deletedColumn, pkColumn, skColumn, docColumn},
	driver.Command: {versionColumn, pkColumn, skColumn, docColumn},
	driver.History: {versionColumn, pkColumn, skColumn, docColumn},
	driver.System:  {versionColumn, expiresColumn, deletedColumn, pkColumn, skColumn, docColumn},
}

// directStatement returns the statement that makes the changes of d, of the numbering. Its parameters are $1 the session, $2 the
// number of its commit, $3 the second that counts as now, $4 how many commands there are, $5 how many updates, and then the columns
// of inserts and updates. The answer is one line: -1, 0, 0, the place before the first command. Where an update misses its row the
// statement divides by zero.
func (n *numbering) directStatement(d *direct) string {
	var parts []string
	updated := "0"
	parameter := 5
	for _, t := range tables {
		columns := directColumns[t.collection]
		if len(d.inserts[t.collection].pk) > 0 {
			source := unnested(columns, &parameter)
			place := ""
			if t.collection == driver.Command {
				place = n.place + ", "
			}
			parts = append(parts, fmt.Sprintf("insert_%[1]v AS (INSERT INTO %[1]v (%[2]s) SELECT %[3]s%[4]s FROM %[5]s WHERE %[6]s)",
				t.collection, t.columns, place, names(columns), source, alive))
		}
		if len(d.updates[t.collection].pk) > 0 {
			source := unnested(append(columns[:len(columns):len(columns)], expectedColumn), &parameter)
			there := ""
			if t.collection == driver.System {
				there = " AND t.expires NOT BETWEEN 1 AND $3 - 1"
			}
			parts = append(parts, fmt.Sprintf("update_%[1]v AS (UPDATE %[1]v t SET %[2]s FROM %[3]s WHERE %[4]s AND %[5]s AND t.version = p.expected%[6]s RETURNING 1)",
				t.collection, t.set, source, alive, t.key, there))
			updated += fmt.Sprintf(" + (SELECT count(*) FROM update_%v)", t.collection)
		}
	}
	if n.take != "" {
		parts = append(parts, "take AS ("+fmt.Sprintf(n.take, "$4::bigint")+")")
	}
	return "WITH " + strings.Join(parts, ", ") + `
UPDATE session SET number = $2::bigint, used = now(), answer = ARRAY[ARRAY[-1, 0, 0, (SELECT position FROM feed WHERE id = 1)]]::bigint[]
WHERE id = $1 AND NOT fenced AND $3::bigint > 0 AND $4::bigint >= 0 AND 1 / ($5::bigint = ` + updated + `)::int = 1 RETURNING answer, pg_notify('` + channel + `', '')::text`
}

const alive = "EXISTS (SELECT FROM session WHERE id = $1 AND NOT fenced)"

// unnested returns the rows p that the next parameters hold.
func unnested(columns []column, parameter *int) string {
	arrays := make([]string, len(columns))
	for i, c := range columns {
		*parameter++
		arrays[i] = fmt.Sprintf("$%d::%s[]", *parameter, c.kind)
	}
	return "unnest(" + strings.Join(arrays, ", ") + ") WITH ORDINALITY AS p(" + names(columns) + ", nth)"
}

func names(columns []column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.name
	}
	return strings.Join(list, ", ")
}

// arguments appends the columns of d in the order of directStatement.
func (d *direct) arguments(to []any) []any {
	updates := 0
	for c := range d.updates {
		updates += len(d.updates[c].pk)
	}
	to = append(to, len(d.inserts[driver.Command].pk), updates)
	for _, t := range tables {
		if inserts := &d.inserts[t.collection]; len(inserts.pk) > 0 {
			for _, c := range directColumns[t.collection] {
				to = append(to, c.of(inserts))
			}
		}
		if updates := &d.updates[t.collection]; len(updates.pk) > 0 {
			for _, c := range directColumns[t.collection] {
				to = append(to, c.of(updates))
			}
			to = append(to, updates.expected)
		}
	}
	return to
}

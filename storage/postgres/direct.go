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
	rows                                             int
	version, expected, expires, deleted, pk, sk, doc array
}

func (c *changes) reset() {
	c.rows = 0
	for _, a := range []*array{&c.version, &c.expected, &c.expires, &c.deleted, &c.pk, &c.sk, &c.doc} {
		a.reset()
	}
}

func (c *changes) add(w *write) {
	c.rows++
	c.version.addInt(w.version)
	c.expected.addInt(w.cond.Version)
	c.expires.addInt(w.expires)
	c.deleted.addBool(w.deleted)
	c.pk.addText(w.ref.PK)
	c.sk.addText(w.ref.SK)
	c.doc.addUTF8(w.doc)
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

// single reports whether no collection has more than one row to insert and one to update, as a lone batch has.
func (d *direct) single() bool {
	for c := range d.inserts {
		if d.inserts[c].rows > 1 || d.updates[c].rows > 1 {
			return false
		}
	}
	return true
}

// shape says which collections have inserts (bit 2c) and updates (bit 2c+1). Bit 0, of no collection, tells it from the shapes
// of numbering.statement.
func (d *direct) shape() shape {
	s := shape(1)
	if d.single() {
		s |= single
	}
	for c := range d.inserts {
		if d.inserts[c].rows > 0 {
			s |= 1 << (2 * c)
		}
		if d.updates[c].rows > 0 {
			s |= 2 << (2 * c)
		}
	}
	return s
}

// column is an array among a direct statement's parameters.
type column struct {
	name, kind string
	of         func(*changes) *array
}

var (
	versionColumn  = column{"version", "bigint", func(c *changes) *array { return &c.version }}
	expectedColumn = column{"expected", "bigint", func(c *changes) *array { return &c.expected }}
	expiresColumn  = column{"expires", "bigint", func(c *changes) *array { return &c.expires }}
	deletedColumn  = column{"deleted", "boolean", func(c *changes) *array { return &c.deleted }}
	pkColumn       = column{"pk", "text", func(c *changes) *array { return &c.pk }}
	skColumn       = column{"sk", "text", func(c *changes) *array { return &c.sk }}
	docColumn      = column{"doc", "text", func(c *changes) *array { return &c.doc }}
)

var directColumns = [...][]column{
	driver.Data:    {versionColumn, deletedColumn, pkColumn, skColumn, docColumn},
	driver.Command: {versionColumn, pkColumn, skColumn, docColumn},
	driver.History: {versionColumn, pkColumn, skColumn, docColumn},
	driver.System:  {versionColumn, expiresColumn, deletedColumn, pkColumn, skColumn, docColumn},
}

// Bits of a shape, beside bit 0: the session holds the feed; no collection has more than one row to insert and one to update.
const (
	holding shape = 2
	single  shape = 1 << 10
)

// directStatement returns the statement that makes the changes of d, of the numbering, for a session that holds the feed or not. Its
// parameters are $1 the session, $2 the number of its commit, $3 the second that counts as now, $4 how many commands there are, $5 how many
// updates, $6 the tenants, and then the columns of inserts and updates: arrays, or, where d is single, what is in them. The answer is the
// place before the first command. There is none, and nothing is written, where the session does not hold the feed any more. Where an
// update misses its row, or the session was fenced, the statement divides by zero.
//
// Each part needs the one before it to know its rows, which fixes their order: the tenants are named; the places are taken, which locks the
// feed; then the session is marked, if not in the feed's row; then rows are written. A plan that had another order would see no row and write
// none. What waits for the feed does so with an old snapshot. That is as good as a new one: an update looks at the row as it is, once it has
// waited, and a unique index always does. A row that was too new to be seen is missed, and the group made again.
func (n *numbering) directStatement(d *direct, holds bool) string {
	const feed = "(SELECT 1 WHERE set_config('tenantry.tenants', $6::text, true) <> '')"
	var parts []string
	alive, marked, tell := "take", "", "CASE WHEN shared THEN "+notify+" END"
	if holds {
		parts = append(parts, "take AS ("+fmt.Sprintf(n.mark, "$4::bigint", feed)+")")
	} else {
		parts = append(parts, "take AS ("+fmt.Sprintf(n.take, "$4::bigint", feed)+")",
			`mine AS (UPDATE session SET number = $2::bigint, used = now(), answer = ARRAY[ARRAY[-1, 0, 0, (SELECT base FROM take)]]::bigint[]
	WHERE id = (SELECT $1::text FROM take) AND NOT fenced RETURNING 1)`)
		alive, marked, tell = "take, mine", "EXISTS (SELECT FROM mine) AND ", notify
	}
	values, places := parameters{next: 7, kind: "unnest($%d::%s[]) AS %s"}, "generate_series(base + 1, base + $4::bigint), "
	if d.single() {
		values, places = parameters{next: 7, kind: "$%d::%s AS %s"}, "base + 1, "
	}
	updated := "0"
	for _, t := range tables {
		columns := directColumns[t.collection]
		if d.inserts[t.collection].rows > 0 {
			first := ""
			if t.collection == driver.Command {
				first = places
			}
			parts = append(parts, fmt.Sprintf("insert_%[1]v AS (INSERT INTO %[1]v (%[2]s) SELECT %[3]s%[4]s FROM %[5]s)",
				t.collection, t.columns, first, values.of(columns), alive))
		}
		if d.updates[t.collection].rows > 0 {
			there := ""
			if t.collection == driver.System {
				there = " AND t.expires NOT BETWEEN 1 AND $3::bigint - 1"
			}
			parts = append(parts, fmt.Sprintf("update_%[1]v AS (UPDATE %[1]v t SET %[2]s FROM (SELECT %[3]s) AS p WHERE EXISTS (SELECT FROM %[4]s) AND %[5]s AND t.version = p.expected%[6]s RETURNING 1)",
				t.collection, t.set, values.of(append(columns[:len(columns):len(columns)], expectedColumn)), alive, t.key, there))
			updated += fmt.Sprintf(" + (SELECT count(*) FROM update_%v)", t.collection)
		}
	}
	return "WITH " + strings.Join(parts, ",\n") + fmt.Sprintf(`
SELECT base, 1 / (%s$3::bigint > 0 AND $5::bigint = %s)::int, %s FROM take`, marked, updated, tell)
}

// parameters are those of a statement from the next on; kind is what one is, of its number, type and name.
type parameters struct {
	next int
	kind string
}

// of returns the parameters for some columns.
func (p *parameters) of(columns []column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = fmt.Sprintf(p.kind, p.next, c.kind, c.name)
		p.next++
	}
	return strings.Join(list, ", ")
}

// arguments appends the parameters of directStatement from the fourth on.
func (d *direct) arguments(to [][]byte, tenants []byte) [][]byte {
	updates := 0
	for c := range d.updates {
		updates += d.updates[c].rows
	}
	to = append(to, integer(int64(d.inserts[driver.Command].rows)), integer(int64(updates)), tenants)
	encoded := (*array).encoded
	if d.single() {
		encoded = (*array).only
	}
	for _, t := range tables {
		if inserts := &d.inserts[t.collection]; inserts.rows > 0 {
			for _, c := range directColumns[t.collection] {
				to = append(to, encoded(c.of(inserts)))
			}
		}
		if updates := &d.updates[t.collection]; updates.rows > 0 {
			for _, c := range directColumns[t.collection] {
				to = append(to, encoded(c.of(updates)))
			}
			to = append(to, encoded(&updates.expected))
		}
	}
	return to
}

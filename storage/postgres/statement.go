package postgres

import (
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/storage/driver"
)

// numbering is how commands get their places in the feed.
type numbering struct {
	lock string // the statement before one that looks at rows
	take string // the statement inside the one that writes that takes %[1]s places of feed %[2]s; base is the place before the first
	mark string // take for the session $1 and its commit $2, and the mark of both, where it holds the feed; and whether others share it
}

// inOrder locks the feed before any row is looked at or written, and until the transaction has ended: places are dense, and become visible
// in their order. A statement that looks at rows is preceded by the lock, so that it sees all that was committed before. One
// that is direct takes places at once: that is the lock.
var inOrder = numbering{
	lock: "SELECT FROM feed WHERE id = 1 FOR UPDATE",
	take: "UPDATE feed SET position = position + %[1]s, commits = commits + 1 WHERE id = %[2]s RETURNING position - %[1]s AS base",
	mark: "UPDATE feed SET position = position + %[1]s, commits = commits + 1, number = $2::bigint, base = position WHERE id = %[2]s AND holder = $1::text RETURNING base, shared",
}

const (
	nthPlace = "(SELECT base FROM take) + nth" // the place of the nth new command
	notify   = "pg_notify('" + channel + "', '')"
)

// shape says which tables a group writes to, and with which statement: bit 2c for rows of collection c that are put, bit 2c+1 for some that are deleted.
type shape uint16

func (s *shape) add(c driver.Collection, remove bool) {
	if remove {
		*s |= 2 << (2 * c)
	} else {
		*s |= 1 << (2 * c)
	}
}

func (s shape) puts(c driver.Collection) bool    { return s&(1<<(2*c)) != 0 }
func (s shape) deletes(c driver.Collection) bool { return s&(2<<(2*c)) != 0 }

// table says how a collection is written.
type table struct {
	collection driver.Collection
	lookup     string // what is needed of the row that a write names: version, expires, position
	key        string // that t is the row of the write p
	columns    string // of a new row
	values     string // their values, of the write p
	set        string // what changes when a row is replaced
}

const (
	keyed     = "t.pk = p.pk AND t.sk = p.sk"
	versioned = keyed + " AND t.version = p.version"
)

var tables = []table{
	{driver.Data, "version, 0, 0", keyed, "version, deleted, pk, sk, doc", "version, deleted, pk, sk, doc", "version = p.version, deleted = p.deleted, doc = p.doc"},
	{driver.Command, "version, 0, position", versioned, "position, version, pk, sk, doc", "place, version, pk, sk, doc", "doc = p.doc"},
	{driver.History, "version, 0, 0", versioned, "version, pk, sk, doc", "version, pk, sk, doc", "doc = p.doc"},
	{driver.System, "version, expires, 0", keyed, "version, expires, deleted, pk, sk, doc", "version, expires, deleted, pk, sk, doc",
		"version = p.version, expires = p.expires, deleted = p.deleted, doc = p.doc"},
}

// statement returns the statement that commits a group of a shape. Its parameters are $1 the session, $2 the number of its
// commit, $3 the second that counts as now, and from $4 on the columns of all writes: their batch, their number in it, and
// what makes a write. It reads as follows.
//
// Seen are the writes beside the version of the row that each names: there is the version in the table, actual the one that
// conditions are about, which an expired row does not have. Failed is the first write of each batch whose condition doesn't hold; the
// batch takes no part in what follows. In placed every command has its place. Then rows that weren't there are inserted, and those that
// were are updated or deleted: no row is named twice in a group. The answer has a line for each batch that failed: batch, write,
// whether the row exists, its version; and one for each that put commands: batch, -1, 0, the place of its last.
func (n *numbering) statement(s shape) string {
	var lookups, changes strings.Builder
	for _, t := range tables {
		if !s.puts(t.collection) && !s.deletes(t.collection) {
			continue
		}
		if lookups.Len() > 0 {
			lookups.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&lookups, "SELECT %s FROM %v t WHERE p.collection = %d AND %s", t.lookup, t.collection, t.collection, t.key)
		if s.puts(t.collection) {
			fmt.Fprintf(&changes, ", insert_%[1]v AS (INSERT INTO %[1]v (%[2]s) SELECT %[3]s FROM placed WHERE collection = %[4]d AND NOT del AND there IS NULL)",
				t.collection, t.columns, t.values, t.collection)
			fmt.Fprintf(&changes, ", update_%[1]v AS (UPDATE %[1]v t SET %[2]s FROM placed p WHERE p.collection = %[3]d AND NOT p.del AND p.there IS NOT NULL AND %[4]s)",
				t.collection, t.set, t.collection, t.key)
		}
		if s.deletes(t.collection) {
			fmt.Fprintf(&changes, ", delete_%[1]v AS (DELETE FROM %[1]v t USING placed p WHERE p.collection = %[2]d AND p.del AND p.there IS NOT NULL AND %[3]s)",
				t.collection, t.collection, t.key)
		}
	}
	isNew := fmt.Sprintf("collection = %d AND NOT del AND there IS NULL", driver.Command)
	take := fmt.Sprintf(n.take, "COALESCE((SELECT max(nth) FROM counted), 0)", "1")
	return fmt.Sprintf(`WITH writes AS MATERIALIZED (
	SELECT w.* FROM unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::boolean[], $13::boolean[], $14::bigint[], $15::text[])
		AS w(batch, num, collection, pk, sk, version, cond, expected, del, deleted, expires, doc)
	WHERE EXISTS (SELECT FROM session WHERE id = $1::text AND NOT fenced)
), seen AS MATERIALIZED (
	SELECT p.*, r.version AS there, CASE WHEN r.expires BETWEEN 1 AND $3::bigint - 1 THEN NULL ELSE r.version END AS actual, r.position
	FROM writes p LEFT JOIN LATERAL (%[1]s) AS r(version, expires, position) ON true
), failed AS MATERIALIZED (
	SELECT DISTINCT ON (batch) batch, num, actual FROM seen
	WHERE cond = %[2]d AND actual IS NOT NULL OR cond = %[3]d AND actual IS DISTINCT FROM expected ORDER BY batch, num
), counted AS MATERIALIZED (
	SELECT *, count(*) FILTER (WHERE %[4]s) OVER (ORDER BY batch, num) AS nth
	FROM seen WHERE batch <> ALL (ARRAY(SELECT batch FROM failed))
), take AS (%[7]s), placed AS MATERIALIZED (
	SELECT *, CASE WHEN %[4]s THEN %[5]s WHEN collection = %[6]d AND NOT del THEN position END AS place FROM counted
)%[8]s, answer AS (
	SELECT batch, num, (actual IS NOT NULL)::int AS found, COALESCE(actual, 0) AS value FROM failed
	UNION ALL (SELECT DISTINCT ON (batch) batch, -1, 0, place FROM placed WHERE place IS NOT NULL ORDER BY batch, num DESC)
)
UPDATE session SET number = $2::bigint, used = now(), answer = (SELECT array_agg(ARRAY[batch, num, found, value]::bigint[]) FROM answer)
WHERE id = $1 AND NOT fenced RETURNING answer, `+notify,
		lookups.String(), driver.IfAbsent, driver.IfVersion, isNew, nthPlace, driver.Command, take, changes.String())
}

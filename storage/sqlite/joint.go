package sqlite

import (
	"errors"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/storage/driver"
)

// jointRows are how many rows one statement inserts for as many requests, the most first: a statement reads and writes the
// counter of positions once, however many commands it inserts.
var jointRows = [...]int{16, 4}

// jointQuery returns the statement that inserts n rows of a collection, or none of them where one is there already. Its
// parameters are those of each row, one after the other, in the order in which bindRow binds them.
func jointQuery(c driver.Collection, n int) string {
	into, row := "command (pk, sk, version, doc)", "(?, ?, ?, ?)"
	if c == driver.Data {
		into, row = "data (pk, sk, version, deleted, doc)", "(?, ?, ?, ?, ?)"
	}
	return "INSERT INTO " + into + " VALUES " + strings.Repeat(row+", ", n-1) + row
}

var jointQueries = func() map[driver.Collection]map[int]string {
	all := map[driver.Collection]map[int]string{driver.Command: {}, driver.Data: {}}
	for c, queries := range all {
		for _, n := range jointRows {
			queries[n] = jointQuery(c, n)
		}
	}
	return all
}()

// alike returns the requests of the group from the i-th on that one statement can begin: they insert a command each, as every
// publish does. It is empty where there are too few.
func (w *writer) alike(i int) []*request {
	for len(w.group) < i+jointRows[0] && w.more() {
	}
	n := 0
	for n < jointRows[0] && i+n < len(w.group) && w.group[i+n].err == nil && w.group[i+n].inserts(0, driver.Command) {
		n++
	}
	for _, rows := range jointRows {
		if n >= rows {
			return w.group[i : i+rows]
		}
	}
	return nil
}

// inserts reports whether the k-th write of r is a row of c, if absent.
func (r *request) inserts(k int, c driver.Collection) bool {
	return k < len(r.writes) && r.writes[k].ref.Collection == c && r.writes[k].query == writeQueries[c].insert
}

// together makes the writes of all requests of a run, those that one statement can insert in one. Begun is false where one of
// their commands is there already: nothing was written then. Partial reports that something was written of a request whose conditions
// do not hold.
func (w *writer) together(run []*request, now int64) (begun, partial bool, err error) {
	begun, err = w.conn.insert(run, 0, driver.Command)
	if !begun || err != nil {
		return false, false, err
	}
	last := w.conn.LastInsertRowID()
	states := true
	for i, r := range run {
		r.position = last - int64(len(run)-1-i)
		states = states && r.inserts(1, driver.Data)
	}
	done := 1
	if states {
		inserted, err := w.conn.insert(run, 1, driver.Data)
		if !inserted || err != nil {
			return true, true, err
		}
		done = 2
	}
	for _, r := range run {
		if partial, err := w.writeFrom(r, done, now); partial || err != nil {
			return true, true, err
		}
	}
	return true, false, nil
}

// insert inserts the k-th write of each request of a run, a row of c. Inserted is false where one of them is there already: none
// was inserted then.
func (c *conn) insert(run []*request, k int, col driver.Collection) (inserted bool, err error) {
	b := c.bind(jointQueries[col][len(run)])
	for _, r := range run {
		write := &r.writes[k]
		b.text(write.ref.PK)
		b.text(write.ref.SK)
		b.integer(write.version)
		if col == driver.Data {
			b.boolean(write.deleted)
		}
		b.text(write.doc)
	}
	if b.err != nil {
		return false, b.err
	}
	err = b.stmt.Exec()
	if errors.Is(err, sqlite3.CONSTRAINT) {
		return false, nil
	}
	return err == nil, err
}

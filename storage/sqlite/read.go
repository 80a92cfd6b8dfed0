package sqlite

import (
	"bytes"
	"context"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Every query that reads rows yields pk, sk, version and doc, and may yield more behind them. The last parameter of those
// that read the system collection is the second that counts as now: a row that expired before it is absent.
const columns = "SELECT pk, sk, version, doc FROM "

var (
	getQuery = [...]string{
		driver.Data:    columns + "data WHERE pk = ?1 AND sk = ?2",
		driver.Command: columns + "command WHERE pk = ?1 AND sk = ?2 AND version = ?3",
		driver.History: columns + "history WHERE pk = ?1 AND sk = ?2 AND version = ?3",
		driver.System:  columns + "system WHERE pk = ?1 AND sk = ?2 AND expires NOT BETWEEN 1 AND ?4 - 1",
	}

	// A BLOB sorts behind every TEXT: it stands for a range that is open above.
	between    = " WHERE pk = ?1 AND sk >= ?2 AND sk < ?3 AND deleted <= ?4"
	rangeQuery = map[driver.Collection]string{
		driver.Data:   columns + "data" + between + " ORDER BY sk LIMIT ?5",
		driver.System: columns + "system" + between + " AND expires NOT BETWEEN 1 AND ?6 - 1 ORDER BY sk LIMIT ?5",
	}
	descendingQuery = map[driver.Collection]string{
		driver.Data:   columns + "data" + between + " ORDER BY sk DESC LIMIT ?5",
		driver.System: columns + "system" + between + " AND expires NOT BETWEEN 1 AND ?6 - 1 ORDER BY sk DESC LIMIT ?5",
	}

	scanQuery = map[driver.Collection]string{
		driver.Data:    columns + "data WHERE (pk, sk) > (?1, ?2) ORDER BY pk, sk LIMIT ?4",
		driver.Command: columns + "command WHERE (pk, sk, version) > (?1, ?2, ?3) ORDER BY pk, sk, version LIMIT ?4",
		driver.History: columns + "history WHERE (pk, sk, version) > (?1, ?2, ?3) ORDER BY pk, sk, version LIMIT ?4",
		driver.System:  columns + "system WHERE (pk, sk) > (?1, ?2) AND expires NOT BETWEEN 1 AND ?5 - 1 ORDER BY pk, sk LIMIT ?4",
	}
)

const (
	changesQuery = "SELECT pk, sk, version, doc, position FROM command WHERE position > ?1 ORDER BY position LIMIT ?2"
	keysQuery    = "SELECT pk, sk, position FROM command WHERE position > ?1 ORDER BY position LIMIT ?2"
	endQuery     = "SELECT max(position) FROM command"
)

func (e *engine) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	var rec *record.Record
	err := e.read(ctx, "sqlite.Get", func(c *conn) (err error) {
		rec, err = c.get(ref, now(ref.Collection))
		return err
	})
	return rec, err
}

// now returns the second that counts as now where rows expire, in the system collection.
func now(c driver.Collection) int64 {
	if c != driver.System {
		return 0
	}
	return time.Now().Unix()
}

func (c *conn) get(ref driver.Ref, now int64) (*record.Record, error) {
	b := c.bind(getQuery[ref.Collection])
	b.text(ref.PK)
	b.text(ref.SK)
	b.integer(ref.Version)
	b.integer(now)
	if b.err != nil {
		return nil, b.err
	}
	var rec *record.Record
	var err error
	if b.stmt.Step() {
		rec, err = single(b.stmt, ref)
	}
	return rec, finish(b.stmt, err)
}

func (e *engine) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	recs := make([]*record.Record, len(refs))
	err := e.read(ctx, "sqlite.BatchGet", func(c *conn) error {
		if err := c.exec("BEGIN"); err != nil {
			return err
		}
		defer c.rollback()
		now := time.Now().Unix()
		for i, ref := range refs {
			var err error
			if recs[i], err = c.get(ref, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return recs, nil
}

func (e *engine) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	query := rangeQuery[r.Collection]
	if r.Descending {
		query = descendingQuery[r.Collection]
	}
	var recs []*record.Record
	err := e.read(ctx, "sqlite.Range", func(c *conn) error {
		b := c.bind(query)
		b.text(r.PK)
		b.text(lower(r))
		if upper, open := upper(r); open {
			b.behindText()
		} else {
			b.text(upper)
		}
		b.boolean(r.IncludeDeleted)
		b.integer(int64(r.Limit))
		b.integer(now(r.Collection))
		if b.err == nil {
			recs, b.err = rows(b.stmt, r.PK, r.Limit)
		}
		return b.err
	})
	return recs, err
}

// lower returns the least sort key that r asks for.
func lower(r driver.Range) string {
	least := max(r.Prefix, r.From)
	if r.After != "" && r.After >= least {
		return r.After + "\x00" // nothing stands between the two
	}
	return least
}

// upper returns the least sort key behind all that r asks for; open says that there is none.
func upper(r driver.Range) (least string, open bool) {
	least, open = successor(r.Prefix)
	for _, bound := range []string{r.To, r.Before} {
		if bound != "" && (open || bound < least) {
			least, open = bound, false
		}
	}
	return least, open
}

// successor returns the least text behind all that begin with prefix; open says that there is none.
func successor(prefix string) (least string, open bool) {
	for n := len(prefix); n > 0; n-- {
		if last := prefix[n-1]; last < 0xff {
			return prefix[:n-1] + string([]byte{last + 1}), false
		}
	}
	return "", true
}

func (e *engine) Scan(ctx context.Context, col driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	var recs []*record.Record
	err := e.read(ctx, "sqlite.Scan", func(c *conn) error {
		b := c.bind(scanQuery[col])
		b.text(after.PK)
		b.text(after.SK)
		b.integer(after.Version)
		b.integer(int64(limit))
		b.integer(now(col))
		if b.err == nil {
			recs, b.err = rows(b.stmt, "", limit)
		}
		return b.err
	})
	return recs, err
}

func (e *engine) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	from, err := after.Number()
	if err != nil {
		return nil, err
	}
	var changes []driver.Change
	err = e.read(ctx, "sqlite.Changes", func(c *conn) error {
		b := c.bind(changesQuery)
		b.integer(from)
		b.integer(int64(limit))
		if b.err != nil {
			return b.err
		}
		var p page
		var err error
		for err == nil && b.stmt.Step() {
			var rec *record.Record
			rec, err = p.row(b.stmt, "", "")
			changes = append(changes, driver.Change{Position: driver.PositionAt(b.stmt.ColumnInt64(4)), Command: rec})
		}
		return finish(b.stmt, err)
	})
	return changes, err
}

// ChangedKeys implements driver.KeyFeed.
func (e *engine) ChangedKeys(ctx context.Context, after driver.Position, limit int, types map[string]bool) (keys []driver.Ref, looked int, last driver.Position, err error) {
	from, err := after.Number()
	if err != nil {
		return nil, 0, "", err
	}
	at := from
	err = e.read(ctx, "sqlite.ChangedKeys", func(c *conn) error {
		b := c.bind(keysQuery)
		b.integer(from)
		b.integer(int64(limit))
		if b.err != nil {
			return b.err
		}
		for b.stmt.Step() {
			looked++
			at = b.stmt.ColumnInt64(2)
			pk := b.stmt.ColumnRawText(0)
			if typ, _, _ := bytes.Cut(pk, []byte{'#'}); types[string(typ)] {
				keys = append(keys, driver.Ref{Collection: driver.Command, PK: string(pk), SK: b.stmt.ColumnText(1)})
			}
		}
		return finish(b.stmt, nil)
	})
	if err != nil {
		return nil, 0, "", err
	}
	return keys, looked, driver.PositionAt(at), nil
}

func (e *engine) End(ctx context.Context) (driver.Position, error) {
	var end int64
	err := e.read(ctx, "sqlite.End", func(c *conn) (err error) {
		end, err = c.integer(endQuery)
		return err
	})
	return driver.PositionAt(end), err
}

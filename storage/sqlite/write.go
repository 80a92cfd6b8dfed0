package sqlite

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// queries are the statements that write rows of one collection. Their parameters are ?1 pk, ?2 sk, ?3 version,
// ?4 the version that a condition names, ?5 the second that counts as now, ?6 deleted, ?7 expires, ?8 doc. A statement whose
// condition does not hold changes nothing and returns no row; one that returns a row returns a place in the feed, or 0.
type queries struct{ put, insert, update, delete, deleteIf, absent string }

var writeQueries = map[driver.Collection]queries{
	driver.Data: {
		put: `INSERT INTO data (pk, sk, version, deleted, doc) VALUES (?1, ?2, ?3, ?6, ?8)
			ON CONFLICT (pk, sk) DO UPDATE SET version = ?3, deleted = ?6, doc = ?8`,
		insert: `INSERT INTO data (pk, sk, version, deleted, doc) VALUES (?1, ?2, ?3, ?6, ?8) ON CONFLICT DO NOTHING`,
		update: `UPDATE data SET version = ?3, deleted = ?6, doc = ?8 WHERE pk = ?1 AND sk = ?2 AND version = ?4`,

		delete:   `DELETE FROM data WHERE pk = ?1 AND sk = ?2`,
		deleteIf: `DELETE FROM data WHERE pk = ?1 AND sk = ?2 AND version = ?4`,
		absent:   `SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM data WHERE pk = ?1 AND sk = ?2)`,
	},
	driver.Command: {
		put: `INSERT INTO command (pk, sk, version, doc) VALUES (?1, ?2, ?3, ?8)
			ON CONFLICT (pk, sk, version) DO UPDATE SET doc = ?8 RETURNING position`,
		insert: `INSERT INTO command (pk, sk, version, doc) VALUES (?1, ?2, ?3, ?8) ON CONFLICT DO NOTHING`,
		update: `UPDATE command SET doc = ?8 WHERE pk = ?1 AND sk = ?2 AND version = ?3 AND version = ?4 RETURNING position`,

		delete:   `DELETE FROM command WHERE pk = ?1 AND sk = ?2 AND version = ?3`,
		deleteIf: `DELETE FROM command WHERE pk = ?1 AND sk = ?2 AND version = ?3 AND version = ?4`,
		absent:   `SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM command WHERE pk = ?1 AND sk = ?2 AND version = ?3)`,
	},
	driver.History: {
		put: `INSERT INTO history (pk, sk, version, doc) VALUES (?1, ?2, ?3, ?8)
			ON CONFLICT (pk, sk, version) DO UPDATE SET doc = ?8`,
		insert: `INSERT INTO history (pk, sk, version, doc) VALUES (?1, ?2, ?3, ?8) ON CONFLICT DO NOTHING`,
		update: `UPDATE history SET doc = ?8 WHERE pk = ?1 AND sk = ?2 AND version = ?3 AND version = ?4`,

		delete:   `DELETE FROM history WHERE pk = ?1 AND sk = ?2 AND version = ?3`,
		deleteIf: `DELETE FROM history WHERE pk = ?1 AND sk = ?2 AND version = ?3 AND version = ?4`,
		absent:   `SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM history WHERE pk = ?1 AND sk = ?2 AND version = ?3)`,
	},
	driver.System: {
		put: `INSERT INTO system (pk, sk, version, deleted, expires, doc) VALUES (?1, ?2, ?3, ?6, ?7, ?8)
			ON CONFLICT (pk, sk) DO UPDATE SET version = ?3, deleted = ?6, expires = ?7, doc = ?8`,
		insert: `INSERT INTO system (pk, sk, version, deleted, expires, doc) VALUES (?1, ?2, ?3, ?6, ?7, ?8)
			ON CONFLICT (pk, sk) DO UPDATE SET version = ?3, deleted = ?6, expires = ?7, doc = ?8
			WHERE expires BETWEEN 1 AND ?5 - 1`,
		update: `UPDATE system SET version = ?3, deleted = ?6, expires = ?7, doc = ?8
			WHERE pk = ?1 AND sk = ?2 AND version = ?4 AND expires NOT BETWEEN 1 AND ?5 - 1`,

		delete:   `DELETE FROM system WHERE pk = ?1 AND sk = ?2`,
		deleteIf: `DELETE FROM system WHERE pk = ?1 AND sk = ?2 AND version = ?4 AND expires NOT BETWEEN 1 AND ?5 - 1`,
		absent: `SELECT 0 WHERE NOT EXISTS
			(SELECT 1 FROM system WHERE pk = ?1 AND sk = ?2 AND expires NOT BETWEEN 1 AND ?5 - 1)`,
	},
}

func (q *queries) of(w driver.Write) string {
	switch {
	case w.Delete && w.If.Kind == driver.IfAbsent:
		return q.absent
	case w.Delete && w.If.Kind == driver.IfVersion:
		return q.deleteIf
	case w.Delete:
		return q.delete
	case w.If.Kind == driver.IfAbsent:
		return q.insert
	case w.If.Kind == driver.IfVersion:
		return q.update
	default:
		return q.put
	}
}

// write is a driver.Write in the form that the writer needs: it shares nothing with the batch but immutable strings, and leaves the writer
// nothing to copy but into SQLite.
type write struct {
	query   string
	ref     driver.Ref
	cond    driver.Condition
	version int64
	deleted bool
	expires int64
	doc     string
}

// request is a batch on its way through the writer, which sets position and err before it sends done.
type request struct {
	ctx    context.Context
	writes []write
	size   int    // of all documents, in bytes
	text   []byte // in which they are made

	position int64
	err      error
	done     chan struct{} // receives once; the writer never waits for it
}

func newRequest() any { return &request{done: make(chan struct{}, 1)} }

// encode makes r the request of a batch, in the caller's goroutine, so that the writer need not.
func (r *request) encode(ctx context.Context, b driver.Batch) {
	r.ctx, r.position, r.err = ctx, 0, nil
	r.writes, r.size = slices.Grow(r.writes[:0], len(b.Writes))[:len(b.Writes)], 0
	for i, w := range b.Writes {
		queries := writeQueries[w.Collection]
		to := &r.writes[i]
		*to = write{query: queries.of(w), ref: driver.RefOf(w.Collection, w.Record), cond: w.If, version: w.Record.Version}
		if w.Delete {
			continue
		}
		to.deleted = w.Record.IsDeleted
		if w.Collection == driver.System {
			to.expires = w.Record.TTL
		}
		r.text = record.AppendDoc(r.text[:0], w.Record)
		to.doc = string(r.text)
		r.size += len(to.doc)
	}
}

// write makes one write and reports whether its condition held, and the place in the feed of a command.
func (c *conn) write(w *write, now int64) (held bool, position int64, err error) {
	b := c.bind(w.query)
	b.text(w.ref.PK)
	b.text(w.ref.SK)
	b.integer(w.version)
	b.integer(w.cond.Version)
	b.integer(now)
	b.boolean(w.deleted)
	b.integer(w.expires)
	b.text(w.doc)
	if b.err != nil {
		return false, 0, b.err
	}
	if b.stmt.ColumnCount() > 0 {
		if held = b.stmt.Step(); held {
			position = b.stmt.ColumnInt64(0)
		}
		return held, position, finish(b.stmt, nil)
	}
	if err := b.stmt.Exec(); err != nil {
		return false, 0, err
	}
	held = w.cond.Kind == driver.Always || c.Changes() > 0
	if held && w.ref.Collection == driver.Command && w.doc != "" {
		position = c.LastInsertRowID()
	}
	return held, position, nil
}

// conflict returns what the condition of w, the i-th of its batch, found instead; nil where it holds.
func (c *conn) conflict(i int, w *write, now int64) (*driver.Conflict, error) {
	rec, err := c.get(w.ref, now)
	if err != nil {
		return nil, err
	}
	found := &driver.Conflict{Write: i, Found: rec != nil}
	if rec != nil {
		found.Actual = rec.Version
	}
	if w.cond.Kind == driver.Always || w.cond.Kind == driver.IfAbsent && !found.Found ||
		w.cond.Kind == driver.IfVersion && found.Found && found.Actual == w.cond.Version {
		return nil, nil
	}
	return found, nil
}

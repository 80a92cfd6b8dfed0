package sqlite

import (
	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/record"
)

// row returns the record that s stands at. A pk or sk that is the one expected shares its memory.
func row(s *sqlite3.Stmt, pk, sk string) (*record.Record, error) {
	rec := &record.Record{PK: text(s, 0, pk), SK: text(s, 1, sk), Version: s.ColumnInt64(2)}
	if err := record.ParseDoc(s.ColumnText(3), rec); err != nil {
		return nil, err
	}
	return rec, nil
}

func text(s *sqlite3.Stmt, column int, expected string) string {
	raw := s.ColumnRawText(column)
	if string(raw) == expected {
		return expected
	}
	return string(raw)
}

// finish resets s and returns what went wrong first: err, a step, the reset.
func finish(s *sqlite3.Stmt, err error) error {
	if err == nil {
		err = s.Err()
	}
	if e := s.Reset(); err == nil {
		err = e
	}
	return err
}

// rows runs a statement whose parameters are bound and returns its rows, most of which have the pk expected.
func rows(s *sqlite3.Stmt, pk string, limit int) ([]*record.Record, error) {
	var recs []*record.Record
	var err error
	for err == nil && s.Step() {
		if recs == nil {
			recs = make([]*record.Record, 0, min(limit, 100))
		}
		var rec *record.Record
		rec, err = row(s, pk, "")
		recs = append(recs, rec)
	}
	if err = finish(s, err); err != nil {
		return nil, err
	}
	return recs, nil
}

// binder binds the parameters of a statement in their order. It passes over those that the statement does not have,
// and keeps the first error.
type binder struct {
	stmt *sqlite3.Stmt
	has  int // parameters
	next int // the one bound last
	err  error
}

// bind begins to bind the parameters of a query's statement; an error shows in the binder.
func (c *conn) bind(query string) binder {
	s, err := c.stmt(query)
	if err != nil {
		return binder{err: err}
	}
	return binder{stmt: s, has: s.BindCount()}
}

// more reports whether there is a next parameter to bind, and moves to it.
func (b *binder) more() bool {
	b.next++
	return b.err == nil && b.next <= b.has
}

func (b *binder) integer(n int64) {
	if b.more() {
		b.err = b.stmt.BindInt64(b.next, n)
	}
}

func (b *binder) boolean(v bool) {
	if b.more() {
		b.err = b.stmt.BindBool(b.next, v)
	}
}

func (b *binder) text(s string) {
	if b.more() {
		b.err = b.stmt.BindText(b.next, s)
	}
}

func (b *binder) raw(text []byte) {
	if b.more() {
		b.err = b.stmt.BindRawText(b.next, text)
	}
}

// behindText binds what sorts behind every text.
func (b *binder) behindText() {
	if b.more() {
		b.err = b.stmt.BindZeroBlob(b.next, 0)
	}
}

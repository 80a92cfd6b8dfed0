package sqlite

import (
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// page makes the records of one answer. They lie together in memory, in blocks that grow with the answer up to
// maxBlock records and as many KiB of text: that is what keeping one of them keeps. The zero page is ready to use.
type page struct {
	records []record.Record // the part of a block that is not in use
	text    strings.Builder
	block   int // size of the block in use
}

const (
	minBlock = 4
	maxBlock = 32
)

// row returns the record that s stands at. A pk or sk that is the one expected shares its memory.
func (p *page) row(s *sqlite3.Stmt, pk, sk string) (*record.Record, error) {
	if len(p.records) == 0 {
		p.block = min(max(minBlock, 2*p.block), maxBlock)
		p.records = make([]record.Record, p.block)
	}
	rec := &p.records[0]
	p.records = p.records[1:]
	rec.PK, rec.SK, rec.Version = p.keep(s.ColumnRawText(0), pk), p.keep(s.ColumnRawText(1), sk), s.ColumnInt64(2)
	if err := record.ParseDoc(p.keep(s.ColumnRawText(3), ""), rec); err != nil {
		return nil, err
	}
	return rec, nil
}

// keep returns raw, which belongs to SQLite, as a string: the one expected, or a part of a block.
func (p *page) keep(raw []byte, expected string) string {
	if string(raw) == expected {
		return expected
	}
	if p.text.Cap()-p.text.Len() < len(raw) {
		p.text = strings.Builder{}
		p.text.Grow(max(p.block<<10, len(raw)))
	}
	from := p.text.Len()
	p.text.Write(raw)
	return p.text.String()[from:]
}

// single returns the record that s stands at, in memory of its own.
func single(s *sqlite3.Stmt, ref driver.Ref) (*record.Record, error) {
	rec := &record.Record{PK: own(s, 0, ref.PK), SK: own(s, 1, ref.SK), Version: s.ColumnInt64(2)}
	if err := record.ParseDoc(s.ColumnText(3), rec); err != nil {
		return nil, err
	}
	return rec, nil
}

func own(s *sqlite3.Stmt, column int, expected string) string {
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
	var p page
	var err error
	for err == nil && s.Step() {
		if recs == nil {
			recs = make([]*record.Record, 0, min(limit, 100))
		}
		var rec *record.Record
		rec, err = p.row(s, pk, "")
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

// behindText binds what sorts behind every text.
func (b *binder) behindText() {
	if b.more() {
		b.err = b.stmt.BindZeroBlob(b.next, 0)
	}
}

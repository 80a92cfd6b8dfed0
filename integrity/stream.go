package integrity

import (
	"cmp"
	"context"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Rows read at a time: of a whole collection, and of one record.
const (
	pageRows   = 500
	recordRows = 32
)

// stream reads rows of one collection in the order of (PK, SK, Version), a page at a time.
type stream struct {
	across     storage.Across
	collection driver.Collection
	limit      int
	each       func(*record.Record) // is told of every row that is taken
	page       []*record.Record
	last       driver.Ref // of the rows read so far
	ended      bool
}

// all returns a stream of a whole collection.
func (v *verifier) all(c driver.Collection) *stream {
	return &stream{across: v.across, collection: c, limit: pageRows, each: func(*record.Record) {}}
}

// of returns a stream that begins with the commands or replaced states of one record.
func (v *verifier) of(n name, c driver.Collection) *stream {
	s := v.all(c)
	s.limit, s.last = recordRows, driver.Ref{Collection: c, PK: n.pk, SK: n.sk, Version: -1}
	return s
}

// peek returns the next row without taking it, nil behind the last.
func (s *stream) peek(ctx context.Context) (*record.Record, error) {
	if len(s.page) == 0 && !s.ended {
		if err := s.read(ctx); err != nil {
			return nil, err
		}
	}
	if len(s.page) == 0 {
		return nil, nil
	}
	return s.page[0], nil
}

// read reads the next page. Where a row in it can't be read, it reads shorter pages, up to the row.
func (s *stream) read(ctx context.Context) error {
	for {
		page, err := s.across.Scan(ctx, s.collection, s.last, s.limit)
		switch {
		case err == nil:
			if s.page, s.ended = page, len(page) < s.limit; len(page) > 0 {
				s.last = driver.RefOf(s.collection, page[len(page)-1])
			}
			return nil
		case fault.CodeOf(err) != fault.Internal || ctx.Err() != nil:
			return err
		case s.limit > 1:
			s.limit /= 2
		case s.last.PK == "":
			return fault.Wrap(err, fault.Internal, "integrity.Verify", "the first row of the collection %s can't be read; restore the store from a backup", s.collection)
		default:
			return fault.Wrap(err, fault.Internal, "integrity.Verify", "the row of the collection %s after pk %q, sk %q, version %d can't be read; restore it from a backup",
				s.collection, s.last.PK, s.last.SK, s.last.Version)
		}
	}
}

// next takes the next row, nil behind the last.
func (s *stream) next(ctx context.Context) (*record.Record, error) {
	r, err := s.peek(ctx)
	if r != nil {
		s.page = s.page[1:]
		s.each(r)
	}
	return r, err
}

// take takes the next row where it is one of n's, else it returns nil.
func (s *stream) take(ctx context.Context, n name) (*record.Record, error) {
	r, err := s.peek(ctx)
	if err != nil || r == nil || r.PK != n.pk || r.SK != n.sk {
		return nil, err
	}
	return s.next(ctx)
}

// name is what names a record, as it is stored.
type name struct{ pk, sk string }

func (n name) compare(other name) int {
	return cmp.Or(strings.Compare(n.pk, other.pk), strings.Compare(n.sk, other.sk))
}

func (n name) ref(c driver.Collection, version int64) driver.Ref {
	return driver.Ref{Collection: c, PK: n.pk, SK: n.sk, Version: version}
}

// first returns the least name that a stream stands at; ok is false where all have ended.
func first(ctx context.Context, streams ...*stream) (least name, ok bool, err error) {
	for _, s := range streams {
		r, err := s.peek(ctx)
		if err != nil {
			return name{}, false, err
		}
		if r == nil {
			continue
		}
		if n := (name{r.PK, r.SK}); !ok || n.compare(least) < 0 {
			least, ok = n, true
		}
	}
	return least, ok, nil
}

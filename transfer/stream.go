package transfer

import (
	"context"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// stream is the rows of a collection that are copied, in the order of their keys.
type stream struct {
	across     storage.Across
	sel        selection
	collection driver.Collection
	page       []*record.Record
	after      driver.Ref
	limit      int // of the next page
	ended      bool
	owner      string // of the row that next returned
	renew      func(context.Context) error
}

const (
	firstRows = 32
	maxRows   = 500
	pageBytes = 4 << 20 // of attributes; a page that has more is followed by a shorter one
)

// next returns the next row, nil behind the last.
func (s *stream) next(ctx context.Context) (*record.Record, error) {
	for {
		for len(s.page) > 0 {
			row := s.page[0]
			s.page = s.page[1:]
			owner, ok, err := s.sel.takes(s.collection, row)
			if err != nil {
				return nil, err
			}
			if ok {
				s.owner = owner
				return row, nil
			}
		}
		if s.ended {
			return nil, nil
		}
		if s.renew != nil {
			if err := s.renew(ctx); err != nil {
				return nil, err
			}
		}
		if err := s.read(ctx); err != nil {
			return nil, err
		}
	}
}

func (s *stream) read(ctx context.Context) (err error) {
	s.limit = max(s.limit, firstRows)
	if s.page, err = s.across.Scan(ctx, s.collection, s.after, s.limit); err != nil {
		return err
	}
	if s.ended = len(s.page) < s.limit; !s.ended {
		s.after = driver.RefOf(s.collection, s.page[len(s.page)-1])
	}
	size := 0
	for _, row := range s.page {
		size += len(row.Attributes)
	}
	if s.limit = min(2*s.limit, maxRows); size > pageBytes {
		s.limit = firstRows
	}
	return nil
}

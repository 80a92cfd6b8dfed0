// Package data is the query side: current states, lists, history, and the past.
package data

import (
	"context"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Limits of reads.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
	MaxBatch     = 100
)

// Service reads records. It may be used concurrently.
type Service struct {
	store   *storage.Store
	cursors *storage.Cursors
}

// New returns a Service.
func New(store *storage.Store, cursors *storage.Cursors) *Service {
	return &Service{store: store, cursors: cursors}
}

// Option changes one read.
type Option func(*options)

type options struct{ deleted bool }

// IncludeDeleted makes a read answer deleted records too.
func IncludeDeleted() Option { return func(o *options) { o.deleted = true } }

func apply(opts []Option) (o options) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

func notFound() error { return fault.New(fault.NotFound, "data", "there is no such record") }

// Get returns the current state of a record. It fails with fault.NotFound where there is none or it is deleted.
func (s *Service) Get(ctx context.Context, sc scope.Scope, key record.Key, opts ...Option) (*record.Record, error) {
	_, rec, err := s.current(ctx, sc, key)
	if err != nil {
		return nil, err
	}
	if rec.IsDeleted && !apply(opts).deleted {
		return nil, notFound()
	}
	return rec, nil
}

func (s *Service) current(ctx context.Context, sc scope.Scope, key record.Key) (storage.View, *record.Record, error) {
	view, err := s.store.In(sc)
	if err != nil {
		return view, nil, err
	}
	rec, err := view.Get(ctx, key)
	if err == nil && rec == nil {
		err = notFound()
	}
	return view, rec, err
}

// BatchGet returns the current states of those of keys that exist and are not deleted, in the order of keys, each once. At
// most MaxBatch keys, else fault.ValidationFailed.
func (s *Service) BatchGet(ctx context.Context, sc scope.Scope, keys []record.Key, opts ...Option) ([]*record.Record, error) {
	if len(keys) > MaxBatch {
		return nil, fault.Invalid("data.BatchGet", fault.Field{Field: "sks", Problem: "has more than 100 sort keys"})
	}
	view, err := s.store.In(sc)
	if err != nil {
		return nil, err
	}
	seen := make(map[record.Key]bool, len(keys))
	unique := make([]record.Key, 0, len(keys))
	for _, k := range keys {
		if !seen[k] {
			seen[k] = true
			unique = append(unique, k)
		}
	}
	recs, err := view.BatchGet(ctx, unique)
	if err != nil {
		return nil, err
	}
	deleted := apply(opts).deleted
	found := recs[:0]
	for _, r := range recs {
		if r != nil && (deleted || !r.IsDeleted) {
			found = append(found, r)
		}
	}
	return found, nil
}

// Query asks for a page of the records of one partition, ordered by the bytes of their sort keys.
type Query struct {
	Partition      record.Partition
	Prefix         string
	From, To       string // inclusive, exclusive; "" is open
	Descending     bool
	IncludeDeleted bool
	Limit          int    // 1 to MaxLimit; 0 is DefaultLimit
	Cursor         string // of the page before; "" begins
}

// Page is a part of a list.
type Page struct {
	Items  []*record.Record
	Cursor string // for the next page; "" where there is none
}

// List returns a page. It fails with fault.InvalidCursor for a cursor of another tenant or query, and with
// fault.ValidationFailed for a limit out of range.
func (s *Service) List(ctx context.Context, sc scope.Scope, q Query) (Page, error) {
	view, err := s.store.In(sc)
	if err != nil {
		return Page{}, err
	}
	limit, err := CheckLimit(q.Limit)
	if err != nil {
		return Page{}, err
	}
	binding := []string{"list", q.Partition.PK(), q.Prefix, q.From, q.To, strconv.FormatBool(q.Descending), strconv.FormatBool(q.IncludeDeleted)}
	after, err := s.cursors.Open(sc, q.Cursor, binding...)
	if err != nil {
		return Page{}, err
	}
	recs, err := view.List(ctx, storage.Query{Partition: q.Partition, Prefix: q.Prefix, From: q.From, To: q.To, After: after,
		Descending: q.Descending, IncludeDeleted: q.IncludeDeleted, Limit: limit + 1})
	if err != nil {
		return Page{}, err
	}
	page := Page{Items: recs}
	if len(recs) > limit {
		page.Items = recs[:limit]
		page.Cursor = s.cursors.Seal(sc, recs[limit-1].SK, binding...)
	}
	return page, nil
}

// CheckLimit returns the size of a page that limit asks for: DefaultLimit for 0. It fails with fault.ValidationFailed
// outside 1 to MaxLimit.
func CheckLimit(limit int) (int, error) {
	switch {
	case limit == 0:
		return DefaultLimit, nil
	case limit < 0 || limit > MaxLimit:
		return 0, fault.Invalid("data.List", fault.Field{Field: "limit", Problem: "is 1 to 1000"})
	}
	return limit, nil
}

// GetVersion returns the state of a record at a version, deleted or not. It fails with fault.NotFound where there is no such version.
func (s *Service) GetVersion(ctx context.Context, sc scope.Scope, key record.Key, version int64) (*record.Record, error) {
	view, current, err := s.current(ctx, sc, key)
	if err != nil {
		return nil, err
	}
	if current.Version == version {
		return current, nil
	}
	past, err := view.Versions(ctx, driver.History, current, version, version)
	if err != nil {
		return nil, err
	}
	if past[0] == nil {
		return nil, notFound()
	}
	return past[0], nil
}

// GetAt returns the state of a record at a moment: the highest version that is not after it. It fails with
// fault.NotFound where the record did not exist yet, or was deleted then.
func (s *Service) GetAt(ctx context.Context, sc scope.Scope, key record.Key, moment time.Time, opts ...Option) (*record.Record, error) {
	view, current, err := s.current(ctx, sc, key)
	if err != nil {
		return nil, err
	}
	deleted := apply(opts).deleted
	answer := func(r *record.Record) (*record.Record, error) {
		if r.IsDeleted && !deleted {
			return nil, notFound()
		}
		return r, nil
	}
	if !current.UpdatedAt.After(moment) {
		return answer(current)
	}
	for from := current.Version - 1; from >= 1; from -= driver.MaxBatch {
		states, err := view.Versions(ctx, driver.History, current, from, max(1, from-driver.MaxBatch+1))
		if err != nil {
			return nil, err
		}
		for _, r := range states {
			if r != nil && !r.UpdatedAt.After(moment) {
				return answer(r)
			}
		}
	}
	return nil, notFound()
}

// Command returns the command that made a version of a record. It fails with fault.NotFound where there is none.
func (s *Service) Command(ctx context.Context, sc scope.Scope, key record.Key, version int64) (*record.Record, error) {
	view, err := s.store.In(sc)
	if err != nil {
		return nil, err
	}
	cmd, err := view.Command(ctx, key, version)
	if err == nil && cmd == nil {
		err = notFound()
	}
	return cmd, err
}

package memory

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// row is one row of a collection. Its rec is replaced, never changed.
type row struct {
	ref      driver.Ref
	rec      *record.Record
	position int64 // its place in the feed, 0 for what isn't a command
}

// expired reports whether r counts as absent: only what the system keeps expires by itself.
func (r *row) expired(now time.Time) bool {
	return r.ref.Collection == driver.System && r.rec.TTL != 0 && r.rec.TTL < now.Unix()
}

// table is a collection: its rows in the order of (PK, SK, Version).
type table struct{ rows []*row }

func order(a, b driver.Ref) int {
	return cmp.Or(strings.Compare(a.PK, b.PK), strings.Compare(a.SK, b.SK), cmp.Compare(a.Version, b.Version))
}

// search returns where the row at ref stands, or would stand.
func (t *table) search(ref driver.Ref) (int, bool) {
	return slices.BinarySearchFunc(t.rows, ref, func(r *row, ref driver.Ref) int { return order(r.ref, ref) })
}

// find returns the row at ref, nil where there is none.
func (t *table) find(ref driver.Ref) *row {
	if i, found := t.search(ref); found {
		return t.rows[i]
	}
	return nil
}

func (t *table) insert(r *row) {
	i, _ := t.search(r.ref)
	t.rows = slices.Insert(t.rows, i, r)
}

// delete removes the row at ref and returns it, nil where there is none.
func (t *table) delete(ref driver.Ref) *row {
	i, found := t.search(ref)
	if !found {
		return nil
	}
	r := t.rows[i]
	t.rows = slices.Delete(t.rows, i, i+1)
	return r
}

// after returns the rows that stand after ref.
func (t *table) after(ref driver.Ref) iter.Seq[*row] {
	i, found := t.search(ref)
	if found {
		i++
	}
	return slices.Values(t.rows[i:])
}

// within returns the rows between the sides of q, in its order.
func (t *table) within(q driver.Range) iter.Seq[*row] {
	from := sort.Search(len(t.rows), func(i int) bool { return !before(q, t.rows[i].ref) })
	to := sort.Search(len(t.rows), func(i int) bool { return behind(q, t.rows[i].ref) })
	rows := t.rows[from:max(from, to)]
	return func(yield func(*row) bool) {
		for i := range rows {
			if q.Descending {
				i = len(rows) - 1 - i
			}
			if !yield(rows[i]) {
				return
			}
		}
	}
}

// before reports whether ref stands before everything that q asks for.
func before(q driver.Range, ref driver.Ref) bool {
	if ref.PK != q.PK {
		return ref.PK < q.PK
	}
	return ref.SK < q.Prefix || ref.SK < q.From || q.After != "" && ref.SK <= q.After
}

// behind reports whether ref stands behind everything that q asks for.
func behind(q driver.Range, ref driver.Ref) bool {
	if ref.PK != q.PK {
		return ref.PK > q.PK
	}
	return q.To != "" && ref.SK >= q.To || q.Before != "" && ref.SK >= q.Before ||
		ref.SK > q.Prefix && !strings.HasPrefix(ref.SK, q.Prefix)
}

// feed is the change feed: command rows in the order of their positions.
type feed struct {
	rows []*row
	last int64 // the newest position ever given; one that was given is never given again
}

// append gives r the next position.
func (f *feed) append(r *row) {
	f.last++
	r.position = f.last
	f.rows = append(f.rows, r)
}

func (f *feed) delete(r *row) {
	i := f.search(r.position)
	f.rows = slices.Delete(f.rows, i, i+1)
}

// after returns the rows after a position.
func (f *feed) after(position int64) []*row { return f.rows[f.search(position+1):] }

// end returns the position of the newest row, 0 where there is none.
func (f *feed) end() int64 {
	if len(f.rows) == 0 {
		return 0
	}
	return f.rows[len(f.rows)-1].position
}

// search returns the index of the first row at or after a position.
func (f *feed) search(position int64) int {
	return sort.Search(len(f.rows), func(i int) bool { return f.rows[i].position >= position })
}

// clone returns a copy of r that shares no memory with it that anyone could change.
func clone(r *record.Record) *record.Record {
	c := r.Clone()
	c.StoredPK = ""
	c.Attributes = bytes.Clone(r.Attributes)
	c.Metadata = bytes.Clone(r.Metadata)
	return c
}

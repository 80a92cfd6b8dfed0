package transfer

import (
	"cmp"
	"context"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// writesAtOnce leaves room for how far the copy is, and for a partition that is noted.
const writesAtOnce = 90

// reconcile makes the rows of a collection in the target those of the source: what differs is put, what is too much is removed. It is
// for what the feed doesn't tell: what the system keeps, and rows that another framework, or a repair, wrote past it.
func (c *copier) reconcile(ctx context.Context, collection driver.Collection) error {
	theirs := &stream{across: c.from.Across, sel: c.sel, collection: collection, renew: c.hold.renew}
	ours := &stream{across: c.to.Across, sel: c.sel, collection: collection}
	var writes []driver.Write
	size := 0
	flush := func() (err error) {
		if len(writes) > 0 {
			err = c.commit(ctx, writes)
		}
		writes, size = nil, 0
		return err
	}
	from, err := theirs.next(ctx)
	if err != nil {
		return err
	}
	to, err := ours.next(ctx)
	if err != nil {
		return err
	}
	for from != nil || to != nil {
		order := order(collection, from, to)
		w := driver.Write{Collection: collection}
		switch {
		case order < 0:
			w.Record, w.If = from, driver.Condition{Kind: driver.IfAbsent}
		case order > 0:
			w.Record, w.Delete = to, true
		case !same(from, to):
			w.Record = from
		}
		if w.Record != nil {
			if len(writes) >= writesAtOnce || size+len(w.Record.Attributes) > bytesAtOnce {
				if err := flush(); err != nil {
					return err
				}
			}
			writes = append(writes, w)
			if size += len(w.Record.Attributes); collection == driver.Data {
				writes = append(writes, c.note(w.Record)...)
			}
		}
		if order <= 0 {
			if from, err = theirs.next(ctx); err != nil {
				return err
			}
		}
		if order >= 0 {
			if to, err = ours.next(ctx); err != nil {
				return err
			}
		}
	}
	return flush()
}

// order compares the keys of two rows of one collection; nil stands behind every row.
func order(c driver.Collection, a, b *record.Record) int {
	switch {
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	x, y := driver.RefOf(c, a), driver.RefOf(c, b)
	return cmp.Or(strings.Compare(x.PK, y.PK), strings.Compare(x.SK, y.SK), cmp.Compare(x.Version, y.Version))
}

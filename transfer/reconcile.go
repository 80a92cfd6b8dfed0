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
// for what the feed doesn't tell.
func (c *copier) reconcile(ctx context.Context, collection driver.Collection) error {
	mend := mending{copier: c}
	err := c.abreast(ctx, collection, func(_ string, from, to *record.Record) error {
		if from != nil && to != nil && same(from, to) {
			return nil
		}
		return mend.row(ctx, collection, from, to)
	})
	if err != nil {
		return err
	}
	return mend.flush(ctx)
}

// mending is writes that make rows of the target what they are in the source. It commits them, but for the last; flush commits these.
type mending struct {
	copier *copier
	writes []driver.Write
	size   int
}

// row makes the row to, nil where the target has none, the row from, nil where it is to be removed.
func (m *mending) row(ctx context.Context, collection driver.Collection, from, to *record.Record) error {
	w := driver.Write{Collection: collection, Record: from}
	switch {
	case from == nil:
		w.Record, w.Delete = to, true
	case to == nil:
		w.If = driver.Condition{Kind: driver.IfAbsent}
	}
	if len(m.writes) >= writesAtOnce || m.size+len(w.Record.Attributes) > bytesAtOnce {
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
	m.writes = append(m.writes, w)
	m.size += len(w.Record.Attributes)
	if collection == driver.Data {
		m.writes = append(m.writes, m.copier.note(w.Record)...)
	}
	return nil
}

func (m *mending) flush(ctx context.Context) (err error) {
	if len(m.writes) > 0 {
		err = m.copier.commit(ctx, m.writes)
	}
	m.writes, m.size = nil, 0
	return err
}

// abreast reads a collection of both stores in the order of its keys, and tells each of every row that either has: from in the source, to
// in the target, nil where there is none.
func (c *copier) abreast(ctx context.Context, collection driver.Collection, each func(owner string, from, to *record.Record) error) error {
	theirs := &stream{across: c.from.Across, sel: c.sel, collection: collection, renew: c.hold.renew}
	ours := &stream{across: c.to.Across, sel: c.sel, collection: collection}
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
		switch {
		case order < 0:
			err = each(theirs.owner, from, nil)
		case order > 0:
			err = each(ours.owner, nil, to)
		default:
			err = each(theirs.owner, from, to)
		}
		if err == nil && order <= 0 {
			from, err = theirs.next(ctx)
		}
		if err == nil && order >= 0 {
			to, err = ours.next(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
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

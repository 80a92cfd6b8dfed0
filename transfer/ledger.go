package transfer

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// ledger is what is known of the rows of both stores: their digests, and which rows have to be read again before these count. A row
// that is not open was read in both stores, was the same, and neither store has changed it since: the source's feed would have told, and what
// the copier writes to the target, the only one who does, opens the row.
type ledger struct {
	source, target book
	open           map[driver.Ref]pair
	horizon        int64 // rows of the system that expire before it are not counted: they could be gone in one store and not yet in the other
}

// pair is what an open row was counted as in the two stores.
type pair struct {
	owner          string
	source, target mark
}

// soon is how long a row of the system must live on to be compared, in a pause that may be renewed.
const soon = time.Hour

func newLedger() *ledger {
	return &ledger{source: book{}, target: book{}, open: map[driver.Ref]pair{}, horizon: time.Now().Add(soon).Unix()}
}

func (l *ledger) mark(c driver.Collection, row *record.Record) mark {
	if row != nil && c == driver.System && row.TTL > 0 && row.TTL < l.horizon {
		return mark{}
	}
	return markOf(c, row)
}

// survey counts all rows of collections in both stores, and opens those that differ.
func (c *copier) survey(ctx context.Context, collections ...driver.Collection) error {
	for _, collection := range collections {
		err := c.abreast(ctx, collection, func(owner string, from, to *record.Record) error {
			if c.compared++; c.compared%maxRows == 0 {
				c.tell(c.phase(), c.share(""))
			}
			source := c.ledger.mark(collection, from)
			target := source
			alike := from != nil && to != nil && same(from, to)
			if !alike {
				target = c.ledger.mark(collection, to)
			}
			c.ledger.source.count(owner, collection, source)
			c.ledger.target.count(owner, collection, target)
			if !alike {
				row := from
				if row == nil {
					row = to
				}
				c.ledger.open[driver.RefOf(collection, row)] = pair{owner, source, target}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// touch opens the rows that writes to the target change, with what they were counted as: the same in both stores.
func (c *copier) touch(ctx context.Context, writes []driver.Write) error {
	if c.ledger == nil {
		return nil
	}
	var refs []driver.Ref
	for _, w := range writes {
		ref := driver.RefOf(w.Collection, w.Record)
		if _, ok := c.ledger.open[ref]; !ok && w.Collection != driver.System {
			refs = append(refs, ref)
		}
	}
	if len(refs) == 0 {
		return nil
	}
	rows, err := c.to.BatchGet(ctx, refs)
	if err != nil {
		return err
	}
	for i, ref := range refs {
		m := markOf(ref.Collection, rows[i])
		c.ledger.open[ref] = pair{storage.Owner(ref), m, m}
	}
	return nil
}

// settle reads the open rows in both stores and counts them as they are now. Those that are the same are closed. One that differs is made
// what it is in the source, where it can't be under way in the feed: the source is still, or has not changed the row since it was last looked at, and the feed was followed
// since. It returns how many rows are open.
func (c *copier) settle(ctx context.Context, still bool) (open int, err error) {
	l := c.ledger
	mend := mending{copier: c}
	for refs := range slices.Chunk(slices.Collect(maps.Keys(l.open)), changesAtOnce) {
		if err := c.hold.renew(ctx); err != nil {
			return 0, err
		}
		theirs, err := c.from.BatchGet(ctx, refs)
		if err != nil {
			return 0, err
		}
		ours, err := c.to.BatchGet(ctx, refs)
		if err != nil {
			return 0, err
		}
		for i, ref := range refs {
			was := l.open[ref]
			now := pair{was.owner, l.mark(ref.Collection, theirs[i]), l.mark(ref.Collection, ours[i])}
			l.source.remove(was.owner, ref.Collection, was.source)
			l.source.count(now.owner, ref.Collection, now.source)
			l.target.remove(was.owner, ref.Collection, was.target)
			l.target.count(now.owner, ref.Collection, now.target)
			if theirs[i] == nil && ours[i] == nil || theirs[i] != nil && ours[i] != nil && same(theirs[i], ours[i]) {
				delete(l.open, ref)
				continue
			}
			l.open[ref] = now
			if still || now.source == was.source {
				if err := mend.row(ctx, ref.Collection, theirs[i], ours[i]); err != nil {
					return 0, err
				}
			}
		}
	}
	return len(l.open), mend.flush(ctx)
}

// compare reads both stores while the source is used, and leaves few rows open, or as many as change while as many are settled.
func (c *copier) compare(ctx context.Context) error {
	c.ledger = newLedger()
	c.compared = 0
	c.tell(Comparing, 0)
	if err := c.survey(ctx, driver.Command, driver.Data, driver.History); err != nil {
		return err
	}
	for before := math.MaxInt; ; {
		if err := c.approach(ctx); err != nil {
			return err
		}
		open, err := c.settle(ctx, false)
		if err != nil || open < few || open > before/2 {
			return err
		}
		before = open
	}
}

// conclude returns what the two stores have in common, in the pause: it reads what the system keeps, and every row that is open. Should the digests
// differ then, all is read again.
func (c *copier) conclude(ctx context.Context) (Result, error) {
	c.ledger.horizon = time.Now().Add(soon).Unix()
	for collections := []driver.Collection{driver.System}; ; collections = driver.Collections() {
		if err := c.survey(ctx, collections...); err != nil {
			return Result{}, err
		}
		for range 3 { // what was mended is read again
			if open, err := c.settle(ctx, true); err != nil {
				return Result{}, err
			} else if open == 0 {
				break
			}
		}
		digests := c.ledger.source.digests()
		differ := differing(digests, c.ledger.target.digests())
		switch {
		case len(differ) == 0 && len(c.ledger.open) == 0:
			return c.result(digests), nil
		case len(collections) > 1:
			return Result{}, fault.New(fault.Internal, "transfer.Copy", "source and target differ in %d tenants (%s); verify both with tenantry verify, and copy again",
				len(differ), strings.Join(differ[:min(3, len(differ))], ", "))
		}
		c.ledger = newLedger()
	}
}

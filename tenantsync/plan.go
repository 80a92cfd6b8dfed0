package tenantsync

import (
	"context"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// plan plans one page. Copies that are gone in the source come first, so that the codes that they hold are free for what follows.
func (w *stride) plan(ctx context.Context) error {
	at := &w.part.Place
	at.Compare = at.Compare || !w.order.Deletes
	view, look := w.into, w.missing
	if at.Compare {
		view, look = w.from, w.compare
	}
	partition, err := w.partition(view, at.Partition)
	if err != nil {
		return err
	}
	recs, err := view.List(ctx, storage.Query{Partition: partition, Prefix: w.order.Prefix, After: at.After, Limit: w.pageItems})
	if err != nil {
		return err
	}
	items, err := look(ctx, recs)
	if err != nil {
		return err
	}
	done := false
	if len(recs) == w.pageItems {
		at.After = recs[len(recs)-1].SK
	} else if done, err = w.nextPartition(ctx, view); err != nil {
		return err
	}
	return w.planned(ctx, items, done)
}

// nextPartition moves the place to the next partition of the entity type in view's tenant, or to the next pass, and says whether all is planned.
func (w *stride) nextPartition(ctx context.Context, view storage.View) (done bool, err error) {
	at := &w.part.Place
	code := view.Scope().Tenant().String()
	prefix := w.order.EntityType + record.Separator + code + record.Separator
	after := ""
	if at.Partition != "" {
		after = prefix + at.Partition
	}
	rows, err := w.cfg.Partitions.List(ctx, code, prefix, after, 1)
	switch {
	case err != nil:
		return false, err
	case len(rows) > 0:
		*at = place{Compare: at.Compare, Partition: strings.TrimPrefix(rows[0].SK, prefix)}
	default:
		done = at.Compare
		*at = place{Compare: true}
	}
	return done, nil
}

// planned keeps a page, if there is anything in it, with where planning has come to.
func (w *stride) planned(ctx context.Context, items []item, done bool) error {
	p := w.part
	var with []storage.SystemWrite
	if len(items) > 0 {
		var err error
		if p.Digest, err = chain(p.Digest, items); err != nil {
			return err
		}
		row, err := w.pageRow(p, p.Pages, page{Items: items, Digest: p.Digest})
		if err != nil {
			return err
		}
		with = append(with, row)
		p.Pages++
		p.Tally.plan(items)
	}
	if done {
		p.Phase = planned
	}
	return w.savePart(ctx, p, with...)
}

// missing returns items for those of the target's records that the source doesn't have.
func (w *stride) missing(ctx context.Context, recs []*record.Record) (items []item, err error) {
	all := make([]item, len(recs))
	for i, r := range recs {
		all[i] = w.gone(r)
	}
	sources, err := w.twins(ctx, w.from, all)
	if err != nil {
		return nil, err
	}
	for i, source := range sources {
		if source == nil || source.IsDeleted {
			items = append(items, all[i])
		}
	}
	return items, nil
}

// compare returns items for records of the source.
func (w *stride) compare(ctx context.Context, recs []*record.Record) ([]item, error) {
	if w.request.WithoutCopies {
		recs = slices.DeleteFunc(slices.Clone(recs), isCopy)
	}
	items := make([]item, len(recs))
	for i, r := range recs {
		items[i] = item{Partition: segments(r.PK), SK: r.SK}
	}
	targets, err := w.twins(ctx, w.into, items)
	if err != nil {
		return nil, err
	}
	for i, r := range recs {
		if items[i], err = w.decide(r, targets[i]); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// planBack plans the way back over one page of the sync that is undone, its last page first: of what it wrote, the last is taken back
// first. The page that it was at when it was cancelled may be written in part.
func (w *stride) planBack(ctx context.Context) error {
	task := Task{w.order.Undoes, w.part.task.Target}
	of, err := w.Service.part(ctx, task)
	if err != nil {
		return err
	}
	begun := 0
	if of != nil {
		begun = min(of.Next+1, of.Pages)
	}
	n := begun - 1 - w.part.Place.Back
	if n < 0 {
		return w.planned(ctx, nil, true)
	}
	before := ""
	if n > 0 {
		if before, err = w.digestOf(ctx, task, n-1); err != nil {
			return err
		}
	}
	pg, err := w.page(ctx, task, n, before)
	if err != nil {
		return err
	}
	items, err := w.back(ctx, pg.Items)
	if err != nil {
		return err
	}
	w.part.Place.Back++
	return w.planned(ctx, items, n == 0)
}

// back returns the items that take back those of items that were written.
func (w *stride) back(ctx context.Context, all []item) (items []item, err error) {
	states, err := w.twins(ctx, w.into, all)
	if err != nil {
		return nil, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		it, now := all[i], states[i]
		if !it.writes() || now == nil {
			continue
		}
		written, err := w.wrote(ctx, it, now, w.order.Undoes)
		if err != nil {
			return nil, err
		}
		if !written {
			continue
		}
		back := item{Partition: it.Partition, SK: it.SK, At: now.Version, Do: Leave, Why: ChangedSince}
		if now.Version == it.At+1 {
			back.Why, back.From = Written, it.At
			switch it.Do {
			case Create:
				back.Do = Delete
			case Delete:
				back.Do = Create
			default:
				back.Do = Update
			}
		}
		items = append(items, back)
	}
	return items, nil
}

// wrote reports whether a sync made the version that its item was to make of a record, which is now at another or at that one.
func (w *stride) wrote(ctx context.Context, it item, now *record.Record, sync string) (bool, error) {
	made := now
	if now.Version != it.At+1 {
		key, err := w.key(w.into, it.Partition, it.SK)
		if err != nil {
			return false, err
		}
		if made, err = w.into.Past(ctx, key, it.At+1); err != nil {
			return false, err
		}
	}
	return made != nil && made.RequestID == sync, nil
}

// digestOf returns the digest of a task's plan up to a page.
func (s *Service) digestOf(ctx context.Context, t Task, n int) (string, error) {
	row, err := s.cfg.Pages.Get(ctx, owner, t.pageKey(n))
	if err != nil {
		return "", err
	}
	var pg page
	return pg.Digest, row.Value.Decode(&pg)
}

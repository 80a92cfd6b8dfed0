package tenantsync

import (
	"context"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// stepItems is how many records a step is about.
func (s *Service) stepItems() int { return s.pageItems * s.stepPages }

// plan plans some pages. Copies that are gone in the source come first, so that the codes that they hold are free for what follows.
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
	recs, err := view.List(ctx, storage.Query{Partition: partition, Prefix: w.order.Prefix, After: at.After, Limit: w.stepItems()})
	if err != nil {
		return err
	}
	found, err := look(ctx, recs)
	if err == nil {
		err = w.sourceIsThere(ctx) // and was, when it was read: nothing was gone because all was
	}
	if err != nil || w.part.Code != "" {
		return err
	}
	done := false
	if len(recs) == w.stepItems() {
		at.After = recs[len(recs)-1].SK
	} else if done, err = w.nextPartition(ctx, view); err != nil {
		return err
	}
	return w.planned(ctx, found, done)
}

// findings are items of a plan, with the records that they are about as planning saw them.
type findings struct {
	items         []item
	current, from []*record.Record // of the target, of the source; nil for none
}

func (f *findings) add(it item, current, from *record.Record) {
	f.items, f.current, f.from = append(f.items, it), append(f.current, current), append(f.from, from)
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

// planned keeps what was found, if anything was, with where planning has come to. Where applying is ordered already, it is applied at once.
func (w *stride) planned(ctx context.Context, found findings, done bool) error {
	p := w.part
	if done {
		p.Phase = planned
	}
	var pages []page
	var rows []storage.SystemWrite
	for items := range slices.Chunk(found.items, w.pageItems) {
		pg, err := newPage(p.Digest, items)
		if err != nil {
			return err
		}
		row, err := w.pageRow(p, p.Pages, pg)
		if err != nil {
			return err
		}
		p.Pages, p.Digest = p.Pages+1, pg.Digest
		p.Tally.plan(items)
		pages, rows = append(pages, pg), append(rows, row)
	}
	if err := w.savePart(ctx, p, rows...); err != nil || w.order.Applied.IsZero() || len(pages) == 0 {
		return err
	}
	return w.applyOver(ctx, pages, found.current, found.from)
}

// missing finds those of the target's records that the source doesn't have.
func (w *stride) missing(ctx context.Context, recs []*record.Record) (found findings, err error) {
	all := make([]item, len(recs))
	for i, r := range recs {
		all[i] = w.gone(r)
	}
	sources, err := w.twins(ctx, w.from, all)
	if err != nil {
		return found, err
	}
	for i, source := range sources {
		if source == nil || source.IsDeleted {
			found.add(all[i], recs[i], nil)
		}
	}
	return found, nil
}

// compare finds what becomes of records of the source.
func (w *stride) compare(ctx context.Context, recs []*record.Record) (found findings, err error) {
	if w.request.WithoutCopies {
		recs = slices.DeleteFunc(slices.Clone(recs), isCopy)
	}
	items := make([]item, len(recs))
	for i, r := range recs {
		items[i] = item{Partition: segments(r.PK), SK: r.SK}
	}
	targets, err := w.twins(ctx, w.into, items)
	if err != nil {
		return found, err
	}
	for i, r := range recs {
		it, err := w.decide(r, targets[i])
		if err != nil {
			return found, err
		}
		found.add(it, targets[i], r)
	}
	return found, nil
}

// planBack plans the way back over some pages of the sync that is undone, its last page first: of what it wrote, the last is taken back
// first. Those pages of it that no step noted may be written in part.
func (w *stride) planBack(ctx context.Context) error {
	task := Task{w.order.Undoes, w.part.task.Target}
	at := &w.part.Place
	if !at.Begun {
		return w.beginBack(ctx, task)
	}
	var found findings
	for range min(at.Left, w.stepPages) {
		at.Left--
		before, err := "", error(nil)
		if at.Left > 0 {
			if before, err = w.digestOf(ctx, task, at.Left-1); err != nil {
				return err
			}
		}
		pg, err := w.page(ctx, task, at.Left, before)
		if err != nil {
			return err
		}
		if err := w.back(ctx, pg.items, &found); err != nil {
			return err
		}
	}
	return w.planned(ctx, found, at.Left == 0)
}

// beginBack sees to it that a step of the task that is undone, which stands still in some process, writes nothing any more, and notes which pages it may
// have written.
func (w *stride) beginBack(ctx context.Context, task Task) error {
	of, err := w.Service.part(ctx, task)
	if err != nil {
		return err
	}
	w.part.Place.Begun = true
	if of == nil {
		return w.planned(ctx, findings{}, true)
	}
	w.part.Place.Left = min(of.Next+w.stepPages, of.Pages)
	with := w.Service.fence(of).closed(w.order.expires)
	of.Fenced++
	row, err := w.partRow(of)
	if err != nil {
		return err
	}
	return w.savePart(ctx, w.part, append(with, row)...)
}

// back adds what takes back those of items that were written.
func (w *stride) back(ctx context.Context, all []item, found *findings) error {
	states, err := w.twins(ctx, w.into, all)
	if err != nil {
		return err
	}
	for i := len(all) - 1; i >= 0; i-- {
		it, now := all[i], states[i]
		if !it.writes() || now == nil {
			continue
		}
		written, err := w.wrote(ctx, it, now, w.order.Undoes)
		if err != nil {
			return err
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
		found.add(back, now, nil)
	}
	return nil
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
	return made != nil && made.RequestID == sync && ours(made), nil
}

// digestOf returns the digest of a task's plan up to a page.
func (s *Service) digestOf(ctx context.Context, t Task, n int) (string, error) {
	pg, err := s.stored(ctx, t, n)
	return pg.Digest, err
}

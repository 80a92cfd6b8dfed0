package tenantsync

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// Failure is an item that could not be written.
type Failure struct {
	ID      string     `json:"id"` // of the target's record
	Code    fault.Code `json:"code"`
	Message string     `json:"message"`
}

// errWritten says that the item was written before, by a step that was interrupted.
var errWritten = errors.New("written by an earlier step")

// apply applies the pages that are next: their items side by side, each in a commit of its own that wants the version that the plan saw.
func (w *stride) apply(ctx context.Context) error {
	p := w.part
	var pages []page
	var items []item
	before := p.Done
	for n := p.Next; n < min(p.Pages, p.Next+w.stepPages); n++ {
		pg, err := w.page(ctx, p.task, n, before)
		if err != nil {
			return err
		}
		pages, items, before = append(pages, pg), append(items, pg.items...), pg.Digest
	}
	current, err := w.current(ctx, items)
	if err != nil {
		return err
	}
	copied, err := w.copied(ctx, items)
	if err != nil {
		return err
	}
	return w.applyOver(ctx, pages, current, copied)
}

// applyOver is apply for pages whose records of the target are at current, and those of the source at copied.
func (w *stride) applyOver(ctx context.Context, pages []page, current, copied []*record.Record) error {
	var items []item
	for _, pg := range pages {
		items = append(items, pg.items...)
	}
	failures, err := w.write(ctx, items, current, copied)
	if err != nil {
		return err
	}
	p := w.part
	var with []storage.SystemWrite
	first := 0
	for _, pg := range pages {
		for i := range pg.items {
			f, failed := failures[first+i]
			if !failed {
				continue
			}
			if pg.Failed == nil {
				pg.Failed = map[int]Failure{}
			}
			if pg.Failed[i] = f; len(p.Errors) < maxErrors {
				p.Errors = append(p.Errors, f)
			}
		}
		if pg.Failed != nil {
			row, err := w.pageRow(p, p.Next, pg)
			if err != nil {
				return err
			}
			with = append(with, row)
		}
		p.Tally.apply(pg)
		p.Next, p.Done, first = p.Next+1, pg.Digest, first+len(pg.items)
	}
	return w.savePart(ctx, p, with...)
}

// finish ends the work on a target whose pages are all applied.
func (w *stride) finish(ctx context.Context) error {
	p := w.part
	if p.Done != p.Digest {
		return fault.New(fault.Internal, "tenantsync", "what was applied is not what was planned")
	}
	p.Phase = applied
	return w.savePart(ctx, p)
}

// write writes items whose records of the target are at current, and those of the source at copied. It returns those that could not be written, by
// their index, and fails where trying again may help. Codes that are unique may pass from one record to another: what is deleted goes first,
// and what met a code that was taken is tried again while others gave theirs up.
func (w *stride) write(ctx context.Context, items []item, current, copied []*record.Record) (map[int]Failure, error) {
	var first, then []int
	for i, it := range items {
		switch {
		case it.Do == Delete:
			first = append(first, i)
		case it.writes():
			then = append(then, i)
		}
	}
	failures := map[int]Failure{}
	for _, turn := range [][]int{first, then} {
		for before := len(turn) + 1; len(turn) > 0 && len(turn) < before; {
			before = len(turn)
			if err := w.sideBySide(ctx, turn, items, current, copied, failures); err != nil {
				return nil, err
			}
			turn = slices.DeleteFunc(turn, func(i int) bool { return failures[i].Code != fault.AlreadyExists })
		}
	}
	return failures, nil
}

// sideBySide writes the items of a turn, by their index, at the same time, and notes which of them failed.
func (w *stride) sideBySide(ctx context.Context, turn []int, items []item, current, copied []*record.Record, failures map[int]Failure) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var working sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for _, i := range turn {
		w.writing <- struct{}{} // it is free soon: writing waits for nothing else
		if ctx.Err() != nil {
			<-w.writing
			break
		}
		working.Go(func() {
			defer func() { <-w.writing }()
			err := w.writeOne(ctx, i, items[i], current[i], copied[i])
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				delete(failures, i)
			case passing(err):
				failed = errors.Join(failed, err)
				cancel()
			default:
				e := fault.As(err)
				failures[i] = Failure{ID: idIn(w.order.EntityType, w.into.Scope().Tenant(), items[i]), Code: e.Code, Message: shortened(e.Msg)}
			}
		})
	}
	working.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return failed
}

// maxMessage bounds what is kept of why an item failed, in bytes: a page has a hundred items, and an application's check names as many fields as it likes.
const maxMessage = 500

func shortened(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage], "") + "…"
}

// passing reports whether what a write failed with is no property of its record.
func passing(err error) bool {
	switch fault.CodeOf(err) {
	case fault.VersionConflict, fault.AlreadyExists, fault.ValidationFailed, fault.InvalidRequest, fault.InvalidKey, fault.TooLarge, fault.NotFound:
		return false
	}
	return true
}

// current returns the states of the target's records that items change. For those that the plan didn't find nothing is read: that they are
// not there is a condition of the write, which in common does not cover what older services write.
func (w *stride) current(ctx context.Context, items []item) ([]*record.Record, error) {
	common := w.into.Scope().Tenant().IsCommon()
	return w.some(ctx, w.into, items, func(it item) bool { return it.writes() && (it.At > 0 || common) })
}

// copied returns the states of the source's records that items copy, at whatever version they are; none in an undo.
func (w *stride) copied(ctx context.Context, items []item) ([]*record.Record, error) {
	if w.order.Undoes != "" {
		return make([]*record.Record, len(items)), nil
	}
	return w.some(ctx, w.from, items, func(it item) bool { return it.writes() && it.From > 0 })
}

// some returns the twins of those of items that are wanted, by the index of the item.
func (w *stride) some(ctx context.Context, v storage.View, items []item, wanted func(item) bool) ([]*record.Record, error) {
	var chosen []item
	for _, it := range items {
		if wanted(it) {
			chosen = append(chosen, it)
		}
	}
	found, err := w.twins(ctx, v, chosen)
	if err != nil {
		return nil, err
	}
	all := make([]*record.Record, len(items))
	for i, n := 0, 0; i < len(items); i++ {
		if wanted(items[i]) {
			all[i] = found[n]
			n++
		}
	}
	return all, nil
}

// writeOne writes the nth of several items over current, from copied. It returns nil where an earlier step did that.
func (w *stride) writeOne(ctx context.Context, n int, it item, current, copied *record.Record) error {
	key, err := w.key(w.into, it.Partition, it.SK)
	if err != nil {
		return err
	}
	if version(current) != it.At {
		return ignore(w.changed(ctx, it, current))
	}
	next, err := w.state(ctx, it, current, copied)
	if err != nil {
		return err
	}
	tried := false
	_, err = w.cfg.Commands.Together(ctx, w.scopeFor(it, next, copied), func(ctx context.Context) (command.Plan, error) {
		if tried {
			return command.Plan{}, w.refused(ctx, n, it, key)
		}
		tried = true
		return command.Plan{Steps: []command.Step{{Key: key, Current: current, Next: next}}, System: []storage.SystemWrite{w.fence.open(n)}}, nil
	}, command.Async())
	return ignore(err)
}

func ignore(err error) error {
	if errors.Is(err, errWritten) {
		return nil
	}
	return err
}

func version(r *record.Record) int64 {
	if r == nil {
		return 0
	}
	return r.Version
}

// refused says why the write of the nth of several items met a conflict.
func (w *stride) refused(ctx context.Context, n int, it item, key record.Key) error {
	if err := w.fence.check(ctx, n); err != nil {
		return err
	}
	now, err := w.into.Get(ctx, key)
	if err != nil {
		return err
	}
	if version(now) != it.At {
		return w.changed(ctx, it, now)
	}
	logged, err := w.into.Command(ctx, key, it.At+1)
	switch {
	case err != nil:
		return err
	case logged != nil:
		return fault.New(fault.InvalidRequest, "tenantsync", "the log holds version %d of this record but its data row doesn't; an operator can finish or discard it: see tenantry verify", it.At+1)
	}
	return fault.New(fault.AlreadyExists, "tenantsync", "the code is taken by another record of this entity type in the target")
}

// changed says what it means that a record of the target is not at the version that the plan saw: errWritten where this sync is why.
func (w *stride) changed(ctx context.Context, it item, now *record.Record) error {
	if now != nil && w.rule == "" {
		written, err := w.wrote(ctx, it, now, w.order.ID)
		if err != nil {
			return err
		}
		if written {
			return errWritten
		}
	}
	return fault.Conflict("tenantsync", it.At, version(now))
}

// state returns the new state that an item gives the target's record, which is at current.
func (w *stride) state(ctx context.Context, it item, current, copied *record.Record) (*record.Record, error) {
	switch {
	case it.From == 0: // it goes
		next := current.Clone()
		next.IsDeleted = true
		return next, nil
	case w.order.Undoes != "":
		return w.past(ctx, w.into, it)
	}
	if copied == nil || copied.Version != it.From {
		var err error
		if copied, err = w.past(ctx, w.from, it); err != nil {
			return nil, err
		}
	}
	return w.next(copied, current)
}

// past returns what a record said, in a view's tenant, at the version that an item names.
func (w *stride) past(ctx context.Context, v storage.View, it item) (*record.Record, error) {
	key, err := w.key(v, it.Partition, it.SK)
	if err != nil {
		return nil, err
	}
	was, err := v.Past(ctx, key, it.From)
	if err == nil && was == nil {
		err = fault.New(fault.NotFound, "tenantsync", "version %d of the record is not there any more; plan again", it.From)
	}
	return was, err
}

// scopeFor returns the Scope to write next by. What undoing restores is a copy again where it was one, and what it takes away was not the
// target's own doing.
func (w *stride) scopeFor(it item, next, copied *record.Record) scope.Scope {
	sc := w.into.Scope()
	switch {
	case w.rule != "":
		return sc.WithSource(passed(copied, w.rule))
	case w.order.Undoes == "" || it.From == 0:
		return sc
	case isCopy(next):
		return sc.WithSource(next.Source)
	}
	return sc.WithSource(byUndo)
}

package upkeep

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/storage/driver"
)

// The states of a rebuild, in their order. What it has come to stands in its row, and moves in the transactions of what it does: a process
// that dies is followed by one that goes on.
const (
	stateAsked   = "asked"   // its rows in the shadow tables, of an earlier one, are removed
	stateReplay  = "replay"  // the log is applied to the shadow tables up to position
	stateHeld    = "held"    // the feed passes the tenant's events from held on; the shadows come to held, are compared, and put in place
	stateRelease = "release" // the events from held on are applied to what is read
	stateClear   = "clear"   // the rows in the shadow tables are removed
	stateDone    = "done"
)

// rebuild is a share that is made anew.
type rebuild struct {
	share
	state    string
	audit    bool // nothing is put in place
	position driver.Position
	held     driver.Position
}

const (
	rebuildBatch = 128  // changes that one transaction applies; others wait to commit meanwhile
	clearBatch   = 1000 // rows that one transaction removes
)

// rebuildAll carries out the rebuilds that are asked for, until ctx ends.
func (r *Runner) rebuildAll(ctx context.Context, asked <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for ctx.Err() == nil {
		began := time.Now()
		more, err := r.rebuildStep(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			r.cfg.Log.ErrorContext(ctx, "a rebuild stands still; it is tried again", "error", err)
		}
		failing = err != nil
		rest := r.cfg.Term / 4
		if more && err == nil {
			rest = max(time.Millisecond, time.Since(began)) // half of the time is for others
		}
		timer.Reset(rest)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-asked:
		}
	}
}

// rebuildStep does one step of one rebuild, or of several that are at the same place. More is false where there is none.
func (r *Runner) rebuildStep(ctx context.Context) (more bool, err error) {
	var all []rebuild
	err = r.db.Read(ctx, func(tx driver.Tx) error {
		all, err = rebuilds(ctx, tx)
		return err
	})
	if err != nil || len(all) == 0 {
		return false, err
	}
	for _, each := range []struct {
		state string
		step  func(context.Context, rebuild) error
	}{{stateClear, r.clear}, {stateHeld, r.drain}, {stateAsked, r.clear}} {
		if i := slices.IndexFunc(all, func(b rebuild) bool { return b.state == each.state }); i >= 0 {
			return true, each.step(ctx, all[i])
		}
	}
	if group := together(all, stateRelease, func(b rebuild) driver.Position { return b.held }); len(group) > 0 {
		return true, r.release(ctx, group)
	}
	group := together(all, stateReplay, func(b rebuild) driver.Position { return b.position })
	near, err := r.replay(ctx, group)
	if near && err == nil {
		err = r.hold(ctx, group[0])
	}
	return true, err
}

// together returns the rebuilds in a state that are least far, all at one place.
func together(all []rebuild, state string, at func(rebuild) driver.Position) (group []rebuild) {
	for _, b := range all {
		switch {
		case b.state != state:
		case len(group) == 0 || at(b).Compare(at(group[0])) == 0:
			group = append(group, b)
		case at(b).Compare(at(group[0])) < 0:
			group = []rebuild{b}
		}
	}
	return group
}

// rebuilds returns those that are not done, the ones asked for first before others.
func rebuilds(ctx context.Context, tx driver.Tx) (all []rebuild, err error) {
	if err := tx.As(ctx, driver.All); err != nil {
		return nil, err
	}
	err = tx.Query(ctx, func(row driver.Row) error {
		var b rebuild
		var code, position, held string
		if err := row.Scan(&code, &b.projection, &b.state, &b.audit, &position, &held); err != nil {
			return err
		}
		b.position, b.held = driver.Position(position), driver.Position(held)
		var err error
		b.tenant, err = codeOf(code)
		all = append(all, b)
		return err
	}, "SELECT tenant_code, projection, state, audit, position, held FROM upkeep_rebuild WHERE state <> $1 ORDER BY asked_at, tenant_code, projection", stateDone)
	return all, err
}

// taking returns the function that reports whether a share is one of a group.
func taking(group []rebuild) func(share) bool {
	of := make(map[share]bool, len(group))
	for _, b := range group {
		of[b.share] = true
	}
	return func(s share) bool { return of[s] || of[share{projection: s.projection}] }
}

// window returns the events of the feed behind after, no further than to, that take has, and the place that was looked up to.
func (r *Runner) window(ctx context.Context, take func(share) bool, after, to driver.Position) (events []event, last driver.Position, err error) {
	changes, err := r.across.Changes(ctx, after, rebuildBatch)
	if err != nil {
		return nil, "", err
	}
	last = to // where the feed holds nothing more, or only what is behind it
	for _, c := range changes {
		if c.Position.Compare(to) > 0 {
			return events, to, nil
		}
		if e, ok := r.eventOf(c); ok && r.concerns(take, e) {
			events = append(events, e)
		}
	}
	if len(changes) == rebuildBatch {
		last = changes[len(changes)-1].Position
	}
	return events, last, nil
}

func (r *Runner) concerns(take func(share) bool, e event) bool {
	return take(share{e.owner, Counters}) || slices.ContainsFunc(r.types[e.kind], func(p *readmodel.Projection) bool { return take(shareOf(p, e)) })
}

// replay applies one batch of the log to the shadows of a group. Near is true where it is as far as what is read, but for a batch.
func (r *Runner) replay(ctx context.Context, group []rebuild) (near bool, err error) {
	if len(group) == 0 {
		return false, nil
	}
	live, err := r.position(ctx)
	if err != nil || group[0].position.Compare(live) >= 0 {
		return true, err
	}
	last, err := r.advance(ctx, group, live)
	group[0].position = last
	return last == live, err
}

// advance applies one batch of the log, no further than to, to the shadows of a group, and moves its place.
func (r *Runner) advance(ctx context.Context, group []rebuild, to driver.Position) (last driver.Position, err error) {
	take, at := taking(group), group[0].position
	events, last, err := r.window(ctx, take, at, to)
	if err != nil {
		return "", err
	}
	events = append(events, event{position: last})
	err = isolate(task{events: events, where: readmodel.Shadow, take: take}, func(t task) error {
		from, next := at, t.end()
		err := r.db.Write(ctx, func(tx driver.Tx) error {
			if err := tx.As(ctx, driver.All); err != nil {
				return err
			}
			moved, err := tx.Exec(ctx, "UPDATE upkeep_rebuild SET position = $1, changed_at = $2 WHERE state = $3 AND position = $4",
				string(next), r.cfg.Now().UnixMilli(), group[0].state, string(from))
			if err != nil {
				return err
			}
			if moved != int64(len(group)) {
				return errOvertaken
			}
			if t.not, err = loadWaiting(ctx, tx, readmodel.Shadow); err != nil {
				return err
			}
			return r.put(ctx, tx, t)
		})
		if err == nil {
			at = next
		}
		return err
	})
	return last, err
}

// hold keeps back a share's events from what is read, from now on.
func (r *Runner) hold(ctx context.Context, b rebuild) error {
	return r.alone(ctx, func() error {
		return r.step(ctx, "", func(tx driver.Tx, next *state) error {
			next.held[b.share] = next.position
			return b.become(ctx, tx, r, stateReplay, stateHeld, next.position)
		})
	})
}

// alone calls do while the caller is busy.
func (r *Runner) alone(ctx context.Context, do func() error) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	defer r.leave()
	return do()
}

// become moves a rebuild from one state to another.
func (b rebuild) become(ctx context.Context, tx driver.Tx, r *Runner, from, to string, held driver.Position) error {
	moved, err := tx.Exec(ctx, "UPDATE upkeep_rebuild SET state = $1, held = $2, changed_at = $3 WHERE tenant_code = $4 AND projection = $5 AND state = $6 AND position = $7",
		to, string(held), r.cfg.Now().UnixMilli(), b.code(), b.projection, from, string(b.position))
	if err == nil && moved != 1 {
		err = errOvertaken
	}
	return err
}

// drain brings the shadows of a share to where it is held, compares them with what is read, which both stand still, and puts
// them in its place.
func (r *Runner) drain(ctx context.Context, b rebuild) error {
	if b.position.Compare(b.held) < 0 {
		_, err := r.advance(ctx, []rebuild{b}, b.held)
		return err
	}
	found, err := r.compare(ctx, b)
	if err != nil {
		return err
	}
	transact := r.db.Write
	if found.wholly(b) {
		transact = r.db.Define
	}
	return r.alone(ctx, func() error {
		err := r.stepIn(ctx, transact, "", func(tx driver.Tx, next *state) error {
			if err := found.keep(ctx, tx, b); err != nil {
				return err
			}
			if !b.audit {
				if err := r.putInPlace(ctx, tx, b, found); err != nil {
					return err
				}
			}
			return b.become(ctx, tx, r, stateHeld, stateRelease, b.held)
		})
		r.state = nil // what is parked was replaced too
		return err
	})
}

// wholly reports whether the shadows of all tenants take the place of the tables that are read.
func (c *comparison) wholly(b rebuild) bool { return b.tenant.IsZero() && !b.audit }

// release applies to what is read what was held back of a group, a batch in a transaction, and ends with holding back.
func (r *Runner) release(ctx context.Context, group []rebuild) error {
	take, at := taking(group), group[0].held
	live, err := r.position(ctx)
	if err != nil {
		return err
	}
	events, last, err := r.window(ctx, take, at, live)
	if err != nil {
		return err
	}
	events = append(events, event{position: last})
	return r.alone(ctx, func() error {
		return isolate(task{events: events, where: readmodel.Live, take: take}, func(t task) error {
			from, to := at, t.end()
			err := r.step(ctx, "", func(tx driver.Tx, next *state) error {
				state := stateRelease
				if to.Compare(next.position) >= 0 {
					state = stateClear
				}
				moved, err := tx.Exec(ctx, "UPDATE upkeep_rebuild SET state = $1, held = $2, changed_at = $3 WHERE state = $4 AND held = $5",
					state, string(to), r.cfg.Now().UnixMilli(), stateRelease, string(from))
				if err != nil {
					return err
				}
				if moved != int64(len(group)) {
					return errOvertaken
				}
				for _, b := range group {
					next.held[b.share] = to
					if state == stateClear {
						delete(next.held, b.share)
					}
				}
				t.not = next.waiting
				return r.put(ctx, tx, t)
			})
			if err == nil {
				at = to
				r.note(ctx, t.failed)
			}
			return err
		})
	})
}

// clear removes rows of a share from the shadow tables, and when none is left begins the rebuild, or ends it.
func (r *Runner) clear(ctx context.Context, b rebuild) error {
	for _, t := range r.tablesOf(b.projection) {
		if removed, err := r.removeSome(ctx, t, readmodel.Shadow, b.share); err != nil || removed == clearBatch {
			return err
		}
	}
	to := map[string]string{stateAsked: stateReplay, stateClear: stateDone}[b.state]
	return r.db.Write(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		return b.become(ctx, tx, r, b.state, to, b.held)
	})
}

// removeSome removes at most clearBatch rows of a share from a table.
func (r *Runner) removeSome(ctx context.Context, t table, where readmodel.Place, s share) (removed int64, err error) {
	err = r.db.Write(ctx, func(tx driver.Tx) (err error) {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		key := selection(t.key)
		own, args := t.ofShare(s)
		removed, err = tx.Exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s AND (%s) IN (SELECT %s FROM %s WHERE %s LIMIT %d)",
			t.in(where), own, key, key, t.in(where), own, clearBatch), args...)
		return err
	})
	return removed, err
}

// position returns how far what is read is.
func (r *Runner) position(ctx context.Context) (at driver.Position, err error) {
	err = r.alone(ctx, func() error {
		s, err := r.current(ctx)
		if err == nil {
			at = s.position
		}
		return err
	})
	return at, err
}

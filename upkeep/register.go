package upkeep

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/storage/driver"
)

// register begins to keep the tables of projections that are new, and stops for those that are gone. What a new one has missed is
// applied beside what goes on, as after a rebuild: its tables are empty at first.
func (r *Runner) register(ctx context.Context) error {
	return r.alone(ctx, func() error {
		s, err := r.current(ctx)
		if err != nil {
			return err
		}
		var added, gone []string
		for name := range r.names {
			if !s.names[name] {
				added = append(added, name)
			}
		}
		for name := range s.names {
			if r.names[name] == nil {
				gone = append(gone, name)
			}
		}
		if len(added)+len(gone) == 0 {
			return nil
		}
		for _, name := range added { // made anew by being new
			r.stale = slices.DeleteFunc(r.stale, func(table string) bool { return slices.Contains(r.names[name].Tables, table) })
		}
		for _, name := range added { // which may have been kept before, and be too much for one transaction
			for _, t := range r.tables[name] {
				for removed := int64(clearBatch); removed == clearBatch; {
					if removed, err = r.removeSome(ctx, t, readmodel.Live, share{projection: name}); err != nil {
						return err
					}
				}
			}
		}
		return r.step(ctx, "", func(tx driver.Tx, next *state) error {
			for _, name := range gone {
				if err := r.forget(ctx, tx, next, name); err != nil {
					return err
				}
			}
			for _, name := range added {
				if err := r.begin(ctx, tx, next, name); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// forget removes what is kept of a projection, but for its tables.
func (r *Runner) forget(ctx context.Context, tx driver.Tx, next *state, name string) error {
	delete(next.names, name)
	for at := range next.parked {
		if at.projection == name {
			delete(next.parked, at)
		}
	}
	for at := range next.skipped {
		if at.projection == name {
			delete(next.skipped, at)
		}
	}
	for s := range next.held {
		if s.projection == name {
			delete(next.held, s)
		}
	}
	if _, err := tx.Exec(ctx, "DELETE FROM upkeep_projection WHERE name = $1", name); err != nil {
		return err
	}
	for _, t := range []string{"upkeep_parked", "upkeep_parked" + shadow, "upkeep_skipped", "upkeep_rebuild", "upkeep_difference"} {
		if _, err := tx.Exec(ctx, "DELETE FROM "+t+" WHERE projection = $1", name); err != nil {
			return err
		}
	}
	return nil
}

// begin empties the tables of a projection, and has its events of every tenant so far applied from the beginning.
func (r *Runner) begin(ctx context.Context, tx driver.Tx, next *state, name string) error {
	for _, t := range r.tables[name] {
		for _, side := range []readmodel.Place{readmodel.Live, readmodel.Shadow} {
			if _, err := tx.Exec(ctx, "DELETE FROM "+t.in(side)); err != nil {
				return err
			}
		}
	}
	if next.position != "" {
		all := share{projection: name}
		next.held[all] = ""
		if err := insert(ctx, tx, "upkeep_rebuild", rebuildColumns, [][]any{r.rebuildRow(all, stateRelease, false)}, ""); err != nil {
			return err
		}
	}
	if err := r.cfg.Model.Rebuilt(ctx, tx, r.names[name].Tables...); err != nil {
		return err
	}
	next.names[name] = true
	return insert(ctx, tx, "upkeep_projection", []string{"name"}, [][]any{{name}}, "")
}

var rebuildColumns = []string{"tenant_code", "projection", "state", "audit", "position", "held", "compared", "different", "reason", "asked_at", "changed_at"}

func (r *Runner) rebuildRow(s share, state string, audit bool) []any {
	now := r.cfg.Now().UnixMilli()
	return []any{s.code(), s.projection, state, audit, "", "", int64(0), int64(0), "", now, now}
}

// giveUp ends the rebuilds whose shadows a migration has emptied: what was held back is released, what was compared is not put in place. Those that
// had only begun begin again.
func (r *Runner) giveUp(ctx context.Context, tx driver.Tx, table string) error {
	for _, p := range r.projections {
		if !slices.Contains(p.Tables, table) {
			continue
		}
		for _, statement := range []string{
			"UPDATE upkeep_rebuild SET state = '" + stateRelease + "', reason = 'given up, because the declaration of a table has changed: ' || reason WHERE projection = $1 AND state = '" + stateHeld + "'",
			"UPDATE upkeep_rebuild SET state = '" + stateAsked + "', position = '' WHERE projection = $1 AND state = '" + stateReplay + "'",
		} {
			if _, err := tx.Exec(ctx, statement, p.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// renew has the projections made anew whose tables are not what their declarations say: their columns changed. Those wait of which
// something else is made anew or audited.
func (r *Runner) renew(ctx context.Context) error {
	var shares []share
	for _, p := range r.projections {
		if slices.ContainsFunc(p.Tables, func(name string) bool { return slices.Contains(r.stale, name) }) {
			shares = append(shares, share{projection: p.Name})
		}
	}
	_, later, err := r.ask(ctx, shares, false, "the declaration of a table has changed")
	if err != nil {
		return err
	}
	r.stale = slices.DeleteFunc(r.stale, func(table string) bool {
		return !slices.ContainsFunc(later, func(s share) bool { return slices.Contains(r.names[s.projection].Tables, table) })
	})
	return nil
}

// ask asks for rebuilds of shares. One that is under way is not asked for again, nor one of a tenant while all are rebuilt, and the other way
// round, because they fill the same shadows; it returns those for which another is in the way.
func (r *Runner) ask(ctx context.Context, shares []share, audit bool, reason string) (asked int, later []share, err error) {
	err = r.db.Write(ctx, func(tx driver.Tx) error {
		asked, later = 0, nil
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE upkeep_position SET id = id WHERE name = 'live'"); err != nil { // of two who ask, the second sees what the first asked for
			return err
		}
		all, err := rebuilds(ctx, tx)
		if err != nil {
			return err
		}
		var rows [][]any
		for _, s := range shares {
			i := slices.IndexFunc(all, func(b rebuild) bool {
				return b.projection == s.projection && (b.tenant == s.tenant || b.tenant.IsZero() || s.tenant.IsZero())
			})
			switch {
			case i < 0:
				row := r.rebuildRow(s, stateAsked, audit)
				row[8] = reason
				rows = append(rows, row)
			case all[i].share != s || all[i].state == stateRelease || all[i].state == stateClear:
				later = append(later, s)
			}
		}
		asked = len(rows)
		return insert(ctx, tx, "upkeep_rebuild", rebuildColumns, rows, `ON CONFLICT (tenant_code, projection) DO UPDATE SET
			state = excluded.state, audit = excluded.audit, position = '', held = '', compared = 0, different = 0, reason = excluded.reason,
			asked_at = excluded.asked_at, changed_at = excluded.changed_at`)
	})
	nudge(r.wake)
	return asked, later, err
}

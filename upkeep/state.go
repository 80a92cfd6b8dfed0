package upkeep

import (
	"context"
	"maps"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// state is what decides how a change is applied. It is what the database says as long as the database's fence is fence.
type state struct {
	position driver.Position
	fence    int64
	waiting
	held  map[share]driver.Position // what is not applied for the time of a rebuild, and the place from which on
	names map[string]bool           // of the projections whose tables are kept
}

// waiting is what of a record's commands is not applied.
type waiting struct {
	parked  map[place]*parked
	skipped map[skip]bool // given up by operators
}

// skip is a command that is not applied to a share.
type skip struct {
	place
	version int64
}

// share is a tenant's part of what a projection writes; with the zero Code all of it.
type share struct {
	tenant     tenant.Code
	projection string
}

// place is a record of a share.
type place struct {
	share
	pk, sk string
}

// next returns a state to be changed, the one after s.
func (s *state) next() *state {
	n := *s
	n.fence++
	n.parked, n.skipped = maps.Clone(s.parked), maps.Clone(s.skipped)
	n.held, n.names = maps.Clone(s.held), maps.Clone(s.names)
	return &n
}

// errOvertaken is the error of a transaction before which another process made one. Nothing of it was made.
var errOvertaken = fault.New(fault.Unavailable, "upkeep", "another process keeps the read model at the same time; it is tried again")

// enter makes the caller the one who is busy in this process.
func (r *Runner) enter(ctx context.Context) error {
	select {
	case r.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Runner) leave() { <-r.busy }

// current returns the state. The caller is busy.
func (r *Runner) current(ctx context.Context) (*state, error) {
	if r.state != nil {
		return r.state, nil
	}
	var s *state
	err := r.db.Read(ctx, func(tx driver.Tx) (err error) {
		s, err = load(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.state = s
	return s, nil
}

// transact makes a transaction: the Write of a driver.Relational, or its Define.
type transact func(context.Context, func(driver.Tx) error) error

// step makes one transaction on what is read: it moves the position to to ("" leaves it) with what do does, if the state is still the
// database's. Do may run more than once, each time with a state of its own that it changes to the one after. The caller is busy.
func (r *Runner) step(ctx context.Context, to driver.Position, do func(tx driver.Tx, next *state) error) error {
	return r.stepIn(ctx, r.db.Write, to, do)
}

func (r *Runner) stepIn(ctx context.Context, transact transact, to driver.Position, do func(tx driver.Tx, next *state) error) error {
	s, err := r.current(ctx)
	if err != nil {
		return err
	}
	if to == "" {
		to = s.position
	}
	var next *state
	err = transact(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		next = s.next()
		next.position = to
		moved, err := tx.Exec(ctx, "UPDATE upkeep_position SET position = $1, fence = fence + 1, applied_at = $2 WHERE name = 'live' AND position = $3 AND fence = $4",
			string(to), r.cfg.Now().UnixMilli(), string(s.position), s.fence)
		if err != nil {
			return err
		}
		if moved != 1 {
			return errOvertaken
		}
		return do(tx, next)
	})
	if err != nil {
		r.state = nil // it may have been made, or another process was first
		return err
	}
	r.state = next
	if to != s.position {
		r.announce()
	}
	return nil
}

// announce tells those who wait for a position that it moved.
func (r *Runner) announce() {
	r.moving.Lock()
	defer r.moving.Unlock()
	close(r.moved)
	r.moved = make(chan struct{})
}

// movement returns a channel that is closed when this process moves the position.
func (r *Runner) movement() <-chan struct{} {
	r.moving.Lock()
	defer r.moving.Unlock()
	return r.moved
}

// look forgets the state where another process has changed it. The caller is busy.
func (r *Runner) look(ctx context.Context) error {
	return r.db.Read(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		return tx.Query(ctx, func(row driver.Row) error {
			var fence int64
			if err := row.Scan(&fence); err != nil {
				return err
			}
			if r.state != nil && r.state.fence != fence {
				r.state = nil
			}
			return nil
		}, "SELECT fence FROM upkeep_position WHERE name = 'live'")
	})
}

func load(ctx context.Context, tx driver.Tx) (*state, error) {
	if err := tx.As(ctx, driver.All); err != nil {
		return nil, err
	}
	s := &state{held: map[share]driver.Position{}, names: map[string]bool{}}
	err := tx.Query(ctx, func(row driver.Row) error {
		var position string
		err := row.Scan(&position, &s.fence)
		s.position = driver.Position(position)
		return err
	}, "SELECT position, fence FROM upkeep_position WHERE name = 'live'")
	if err != nil {
		return nil, err
	}
	if s.waiting, err = loadWaiting(ctx, tx, readmodel.Live); err != nil {
		return nil, err
	}
	err = tx.Query(ctx, func(row driver.Row) error {
		var code, name, position string
		if err := row.Scan(&code, &name, &position); err != nil {
			return err
		}
		t, err := codeOf(code)
		s.held[share{t, name}] = driver.Position(position)
		return err
	}, "SELECT tenant_code, projection, held FROM upkeep_rebuild WHERE state IN ($1, $2)", stateHeld, stateRelease)
	if err != nil {
		return nil, err
	}
	err = tx.Query(ctx, func(row driver.Row) error {
		var name string
		err := row.Scan(&name)
		s.names[name] = true
		return err
	}, "SELECT name FROM upkeep_projection")
	return s, err
}

// loadWaiting reads what waits in a place, and what was skipped.
func loadWaiting(ctx context.Context, tx driver.Tx, where readmodel.Place) (waiting, error) {
	w := waiting{map[place]*parked{}, map[skip]bool{}}
	err := tx.Query(ctx, func(row driver.Row) error {
		p, err := scanParked(row)
		w.parked[p.place] = p
		return err
	}, "SELECT "+parkedColumns+" FROM "+parkedTable.in(where))
	if err != nil {
		return w, err
	}
	err = tx.Query(ctx, func(row driver.Row) error {
		var code string
		var gone skip
		err := row.Scan(&code, &gone.projection, &gone.pk, &gone.sk, &gone.version)
		if err == nil {
			gone.tenant, err = tenant.Parse(code)
		}
		w.skipped[gone] = true
		return err
	}, "SELECT tenant_code, projection, pk, sk, version FROM upkeep_skipped")
	return w, err
}

// everybody stands for all tenants in the rows of rebuilds.
const everybody = "*"

func codeOf(text string) (tenant.Code, error) {
	if text == everybody {
		return tenant.Code{}, nil
	}
	return tenant.Parse(text)
}

func (s share) code() string {
	if s.tenant.IsZero() {
		return everybody
	}
	return s.tenant.String()
}

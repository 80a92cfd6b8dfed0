package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// parked is a record of which a command could not be applied: those from Version to Latest wait. It is not changed once it is made.
type parked struct {
	place
	StoredPK string // where its commands stand
	Version  int64
	Latest   int64 // the last that the feed has passed
	Reason   string
	Attempts int
	Next     int64 // Unix milliseconds of the next attempt; 0 waits for an operator
}

var parkedColumns = selection(parkedTable.columns)

func scanParked(row driver.Row) (*parked, error) {
	p := &parked{}
	var code string
	if err := row.Scan(&code, &p.projection, &p.pk, &p.sk, &p.StoredPK, &p.Version, &p.Latest, &p.Reason, &p.Attempts, &p.Next); err != nil {
		return p, err
	}
	var err error
	p.tenant, err = tenant.Parse(code)
	return p, err
}

// put keeps p among the parked commands of a place.
func (p *parked) put(ctx context.Context, tx driver.Tx, where readmodel.Place) error {
	row := []any{p.tenant.String(), p.projection, p.pk, p.sk, p.StoredPK, p.Version, p.Latest, p.Reason, p.Attempts, p.Next}
	return insert(ctx, tx, parkedTable.in(where), parkedTable.columns, [][]any{row}, `ON CONFLICT (tenant_code, projection, pk, sk) DO UPDATE SET
		version = excluded.version, latest = excluded.latest, reason = excluded.reason, attempts = excluded.attempts, next = excluded.next`)
}

func (p *parked) remove(ctx context.Context, tx driver.Tx) error {
	_, err := tx.Exec(ctx, "DELETE FROM upkeep_parked WHERE tenant_code = $1 AND projection = $2 AND pk = $3 AND sk = $4", p.tenant.String(), p.projection, p.pk, p.sk)
	return err
}

// until returns p with one more command that waits.
func (p *parked) until(version int64) *parked {
	more := *p
	more.Latest = version
	return &more
}

// failed returns p after another attempt on Version that failed.
func (r *Runner) failed(p parked, err error) *parked {
	p.Attempts++
	reason := err.Error()
	p.Reason = strings.ReplaceAll(strings.ToValidUTF8(reason[:min(len(reason), 500)], ""), "\x00", "")
	p.Next = 0
	if p.Attempts < r.cfg.Attempts || errors.Is(err, fault.Unavailable) { // what is away is waited for, and no operator needed
		p.Next = r.cfg.Now().Add(r.cfg.Backoff(p.Attempts)).UnixMilli()
	}
	return &p
}

// park parks a record for the first time, in the place of a task.
func (r *Runner) park(ctx context.Context, tx driver.Tx, t task, f *failure) error {
	cmd := f.event.cmd
	at := place{f.share, cmd.PK, cmd.SK}
	stored := cmd.PK
	if cmd.StoredPK != "" {
		stored = cmd.StoredPK
	}
	p := r.failed(parked{place: at, StoredPK: stored, Version: cmd.Version, Latest: cmd.Version}, f.err)
	t.not.parked[at] = p
	return p.put(ctx, tx, t.where)
}

// pause is how long a share whose projection lacks something is left alone: its commands are parked meanwhile, and nobody else waits.
type pause struct {
	until    int64 // Unix milliseconds
	attempts int   // that have failed, one after the other
	failure  *failure
}

// note keeps what failed in a transaction that was made. The caller is busy.
func (r *Runner) note(ctx context.Context, failed []*failure) {
	for _, f := range failed {
		r.logFailure(ctx, f)
		if f.away() {
			n := r.pauses[f.share].attempts + 1
			r.pauses[f.share] = pause{r.cfg.Now().Add(r.cfg.Backoff(n)).UnixMilli(), n, f}
		}
	}
}

// awayIn returns the failure for which the events of a share that are not before it are parked untried, nil for none.
func (r *Runner) awayIn(t task, s share) *failure {
	if p, ok := r.pauses[s]; ok && t.where == readmodel.Live && p.until > r.cfg.Now().UnixMilli() {
		return p.failure
	}
	if i := slices.IndexFunc(t.failed, func(f *failure) bool { return f.share == s && f.away() }); i >= 0 {
		return t.failed[i]
	}
	return nil
}

func (r *Runner) logFailure(ctx context.Context, f *failure) {
	r.cfg.Log.Log(ctx, slog.LevelWarn, "a projection failed; the record waits", "projection", f.share.projection, "tenantCode", f.share.tenant.String(),
		"id", f.event.cmd.ID(), "version", f.event.cmd.Version, "error", f.err)
}

// retryDue tries the parked records whose time has come, a transaction each, and returns when the next one is due, rest at most.
func (r *Runner) retryDue(ctx context.Context, rest time.Duration) (time.Duration, error) {
	if err := r.enter(ctx); err != nil {
		return rest, err
	}
	defer r.leave()
	if err := r.look(ctx); err != nil { // operators change what is parked
		return rest, err
	}
	s, err := r.current(ctx)
	if err != nil {
		return rest, err
	}
	now, tried := r.cfg.Now().UnixMilli(), 0
	for _, p := range s.parked {
		switch {
		case p.Next == 0 || !s.takes(p.share) || r.names[p.projection] == nil:
		case max(p.Next, r.pauses[p.share].until) > now:
			rest = min(rest, time.Duration(max(p.Next, r.pauses[p.share].until)-now)*time.Millisecond)
		case tried == retriesAtOnce:
			rest = 0
		default:
			tried++
			more, err := r.retry(ctx, s, p)
			if err != nil {
				return 0, err
			}
			if more {
				rest = 0
			}
		}
	}
	return max(rest, time.Millisecond), nil
}

// retriesAtOnce is how many parked records are tried before the feed is looked at again.
const retriesAtOnce = 16

// retry applies the commands of a parked record, at most a batch of them, and lets it go where all are applied. More is true where
// some are left that may be tried at once. The caller is busy.
func (r *Runner) retry(ctx context.Context, s *state, p *parked) (more bool, err error) {
	var commands []*record.Record
	for v := p.Version; v <= p.Latest && len(commands) < batch; v++ {
		cmd, err := r.across.Get(ctx, driver.Ref{Collection: driver.Command, PK: p.StoredPK, SK: p.sk, Version: v})
		if err != nil {
			return false, err
		}
		if cmd == nil || s.skipped[skip{p.place, v}] { // the log of a store that others write to can lack one
			continue
		}
		if shown, ok := storage.Shown(cmd); ok {
			commands = append(commands, shown)
		}
	}
	var failed *failure
	for {
		more, err = r.attempt(ctx, p, commands, failed)
		f, ok := errors.AsType[*failure](err)
		if !ok {
			break
		}
		failed = f
		commands = commands[:slices.IndexFunc(commands, func(cmd *record.Record) bool { return cmd.Version == f.event.cmd.Version })]
	}
	switch {
	case err != nil:
	case failed != nil:
		r.note(ctx, []*failure{failed})
	default:
		delete(r.pauses, p.share)
	}
	return more, err
}

// attempt makes the transaction of one attempt: commands are applied, and p goes on with what is behind them: nothing, more of them, or
// the command that failed. It returns whether more are left.
func (r *Runner) attempt(ctx context.Context, p *parked, commands []*record.Record, failed *failure) (more bool, err error) {
	err = r.step(ctx, "", func(tx driver.Tx, next *state) error {
		if len(commands) > 0 {
			turn, err := r.turn(ctx, tx, p.share, readmodel.Live)
			if err != nil {
				return err
			}
			defer turn.end()
			for _, cmd := range commands {
				if err := turn.apply(ctx, event{tenant: p.tenant, cmd: cmd}, true); err != nil {
					return err
				}
			}
			if err := tx.As(ctx, driver.All); err != nil {
				return err
			}
		}
		still := *p
		more = false
		switch {
		case failed != nil:
			if failed.event.cmd.Version != p.Version { // some were applied: it is another command's first attempt
				still.Version, still.Attempts = failed.event.cmd.Version, 0
			}
			next.parked[p.place] = r.failed(still, failed.err)
			return next.parked[p.place].put(ctx, tx, readmodel.Live)
		case len(commands) == batch && commands[batch-1].Version < p.Latest:
			more = true
			still.Version, still.Attempts = commands[batch-1].Version+1, 0
			next.parked[p.place] = &still
			return still.put(ctx, tx, readmodel.Live)
		}
		delete(next.parked, p.place)
		return p.remove(ctx, tx)
	})
	return more, err
}

// Parked is a record of which a command could not be applied. It and those after it wait.
type Parked struct {
	Projection string      `json:"projection"`
	TenantCode string      `json:"tenantCode"`
	PK         string      `json:"pk"`
	SK         string      `json:"sk"`
	Version    int64       `json:"version"` // the command that failed
	Latest     int64       `json:"latest"`  // the last one that waits
	Attempts   int         `json:"attempts"`
	Reason     string      `json:"reason"`
	Next       record.Time `json:"next,omitzero"` // of the next attempt; none waits for an operator
}

// Parked returns what waits, of every tenant and projection, ordered by them. It needs the System capability.
func (r *Runner) Parked(ctx context.Context, sys scope.System) ([]Parked, error) {
	if err := sys.Note(ctx); err != nil {
		return nil, err
	}
	var out []Parked
	err := r.db.Read(ctx, func(tx driver.Tx) error {
		s, err := load(ctx, tx)
		if err != nil {
			return err
		}
		for _, p := range s.parked {
			shown := Parked{Projection: p.projection, TenantCode: p.tenant.String(), PK: p.pk, SK: p.sk, Version: p.Version, Latest: p.Latest, Attempts: p.Attempts, Reason: p.Reason}
			if p.Next != 0 {
				shown.Next = record.At(time.UnixMilli(p.Next))
			}
			out = append(out, shown)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Parked) int {
		return slices.Compare([]string{a.TenantCode, a.Projection, a.PK, a.SK}, []string{b.TenantCode, b.Projection, b.PK, b.SK})
	})
	return out, err
}

// Retry gives a parked record its attempts back and has it tried at once, within a second where another process works. It
// fails with fault.NotFound where the record does not wait for the projection.
func (r *Runner) Retry(ctx context.Context, projection string, key record.Key) error {
	return r.amend(ctx, projection, key, func(driver.Tx, *state, *parked) error { return nil })
}

// Skip gives up the command that failed, which is version, and goes on with the one after it; a rebuild leaves it out too. Of two operators who skip one command, one
// does. It fails with fault.NotFound where that command does not wait for the projection, and with fault.Unavailable while a rebuild or audit is
// under way, which may have passed the command and would not know.
func (r *Runner) Skip(ctx context.Context, projection string, key record.Key, version int64) error {
	return r.amend(ctx, projection, key, func(tx driver.Tx, next *state, p *parked) error {
		if p.Version != version {
			return notParked()
		}
		unaware := false
		err := tx.Query(ctx, func(driver.Row) error { unaware = true; return nil },
			"SELECT 1 FROM upkeep_rebuild WHERE projection = $1 AND tenant_code IN ($2, '*') AND state IN ($3, $4)", p.projection, p.tenant.String(), stateReplay, stateHeld)
		if err != nil {
			return err
		}
		if unaware {
			return fault.New(fault.Unavailable, "upkeep.Skip", "the projection is rebuilt or audited now; skip the command when that has ended")
		}
		p.Version++
		next.skipped[skip{p.place, version}] = true
		row := []any{p.tenant.String(), p.projection, p.pk, p.sk, version}
		return insert(ctx, tx, "upkeep_skipped", []string{"tenant_code", "projection", "pk", "sk", "version"}, [][]any{row}, "ON CONFLICT DO NOTHING")
	})
}

func (r *Runner) amend(ctx context.Context, projection string, key record.Key, change func(driver.Tx, *state, *parked) error) error {
	if err := r.enter(ctx); err != nil {
		return err
	}
	err := r.retried(ctx, func() error {
		return r.step(ctx, "", func(tx driver.Tx, next *state) error {
			at := place{share{key.Tenant(), projection}, key.PK(), key.SK()}
			waits, ok := next.parked[at]
			if !ok {
				return notParked()
			}
			delete(r.pauses, at.share)
			p := *waits
			if err := change(tx, next, &p); err != nil {
				return err
			}
			p.Attempts, p.Next = 0, r.cfg.Now().UnixMilli()
			if p.Version > p.Latest {
				delete(next.parked, at)
				return p.remove(ctx, tx)
			}
			next.parked[at] = &p
			return p.put(ctx, tx, readmodel.Live)
		})
	})
	r.leave()
	nudge(r.wake)
	return err
}

// retried calls do until no other process comes first. The caller is busy.
func (r *Runner) retried(ctx context.Context, do func() error) error {
	for {
		if err := r.look(ctx); err != nil {
			return err
		}
		if err := do(); !errors.Is(err, errOvertaken) || ctx.Err() != nil {
			return err
		}
	}
}

func notParked() error {
	return fault.New(fault.NotFound, "upkeep", "this command does not wait for this projection")
}

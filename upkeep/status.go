package upkeep

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Status is where the read model stands.
type Status struct {
	Position    string       `json:"position"`  // everything up to it is applied, or parked
	End         string       `json:"end"`       // of the feed
	AppliedAt   record.Time  `json:"appliedAt"` // when the position moved last
	Projections []Projection `json:"projections"`
	Rebuilds    []Rebuild    `json:"rebuilds"` // the last of each tenant and projection, ordered by them
}

// Projection is what waits for one projection, of all tenants.
type Projection struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"` // of entities; "" for all
	Tables []string `json:"tables"`
	Waits
}

// Waits is how many records wait for a projection.
type Waits struct {
	Aside  int `json:"aside"`  // for another attempt
	Parked int `json:"parked"` // for an operator
}

// waits returns how many records wait for each projection that has any.
func (w waiting) waits() map[string]Waits {
	out := map[string]Waits{}
	for at, p := range w.parked {
		n := out[at.projection]
		if p.Next == 0 {
			n.Parked++
		} else {
			n.Aside++
		}
		out[at.projection] = n
	}
	return out
}

// Rebuild is what became of a rebuild, or of an audit.
type Rebuild struct {
	TenantCode  string       `json:"tenantCode"`
	Projection  string       `json:"projection"`
	State       string       `json:"state" enum:"asked,replay,held,release,clear,done"`
	Audit       bool         `json:"audit"`
	Position    string       `json:"position"`  // up to which the log was applied anew
	Compared    int64        `json:"compared"`  // rows, of both sides
	Different   int64        `json:"different"` // rows
	Reason      string       `json:"reason"`
	AskedAt     record.Time  `json:"askedAt"`
	ChangedAt   record.Time  `json:"changedAt"`
	Differences []Difference `json:"differences,omitempty"` // at most 1000
}

// Status returns where the read model stands. It needs the System capability.
func (r *Runner) Status(ctx context.Context, sys scope.System) (Status, error) {
	if err := sys.Note(ctx); err != nil {
		return Status{}, err
	}
	end, err := r.across.End(ctx)
	if err != nil {
		return Status{}, err
	}
	out := Status{End: string(end), Projections: []Projection{}, Rebuilds: []Rebuild{}}
	err = r.db.Read(ctx, func(tx driver.Tx) error {
		s, err := load(ctx, tx)
		if err != nil {
			return err
		}
		out.Position = string(s.position)
		waits := s.waits()
		for _, p := range r.projections {
			out.Projections = append(out.Projections, Projection{p.Name, p.Type.String(), p.Tables, waits[p.Name]})
		}
		err = tx.Query(ctx, func(row driver.Row) error {
			var at int64
			err := row.Scan(&at)
			out.AppliedAt = record.At(time.UnixMilli(at))
			return err
		}, "SELECT applied_at FROM upkeep_position WHERE name = 'live'")
		if err != nil {
			return err
		}
		out.Rebuilds, err = rebuildsShown(ctx, tx, "", nil)
		return err
	})
	return out, err
}

// rebuildsShown returns the rebuilds for which condition holds, "" for all.
func rebuildsShown(ctx context.Context, tx driver.Tx, condition string, args []any) ([]Rebuild, error) {
	out := []Rebuild{}
	err := tx.Query(ctx, func(row driver.Row) error {
		var b Rebuild
		var asked, changed int64
		err := row.Scan(&b.TenantCode, &b.Projection, &b.State, &b.Audit, &b.Position, &b.Compared, &b.Different, &b.Reason, &asked, &changed)
		b.AskedAt, b.ChangedAt = record.At(time.UnixMilli(asked)), record.At(time.UnixMilli(changed))
		out = append(out, b)
		return err
	}, `SELECT tenant_code, projection, state, audit, position, compared, different, reason, asked_at, changed_at FROM upkeep_rebuild `+condition+` ORDER BY tenant_code, projection`, args...)
	return out, err
}

// Tenant is how far one tenant is.
type Tenant struct {
	TenantCode string      `json:"tenantCode"`
	Position   string      `json:"position"`  // of its last command that was applied
	AppliedAt  record.Time `json:"appliedAt"` // when
	LagMillis  int64       `json:"lagMillis"` // how long after it was published
	Applied    int64       `json:"applied"`   // commands
	Errors     int64       `json:"errors"`    // of projections
	Waiting    int64       `json:"waiting"`   // records that wait for an attempt or an operator
	Held       bool        `json:"held"`      // a rebuild is about to be put in place, or a new projection catches up
}

// Tenants returns how far tenants are, ordered by their codes, at most limit of them behind a code. It needs the System capability.
func (r *Runner) Tenants(ctx context.Context, sys scope.System, after tenant.Code, limit int) ([]Tenant, error) {
	if err := sys.Note(ctx); err != nil {
		return nil, err
	}
	return r.tenantsOf(ctx, `WHERE t.tenant_code`+r.byBytes()+` > $1 ORDER BY t.tenant_code`+r.byBytes()+` LIMIT $2`, after.String(), limit)
}

// Busiest returns how far the tenants are of which most commands were applied, at most limit of them. It is for metrics, which only operators see.
func (r *Runner) Busiest(ctx context.Context, limit int) ([]Tenant, error) {
	return r.tenantsOf(ctx, `ORDER BY t.applied DESC, t.tenant_code LIMIT $1`, limit)
}

// Behind returns how many places of the feed the read model has not passed yet, and how many records wait for each projection. It
// is for metrics, too.
func (r *Runner) Behind(ctx context.Context) (places int64, waiting map[string]Waits, err error) {
	end, err := r.across.End(ctx)
	if err != nil {
		return 0, nil, err
	}
	err = r.db.Read(ctx, func(tx driver.Tx) error {
		s, err := load(ctx, tx)
		if err != nil {
			return err
		}
		waiting = s.waits()
		for name := range r.names {
			waiting[name] = waiting[name] // none, too
		}
		last, _ := end.Number() // 0 for one that is too large to be counted
		at, _ := s.position.Number()
		places = max(0, last-at)
		return nil
	})
	return places, waiting, err
}

func (r *Runner) tenantsOf(ctx context.Context, which string, args ...any) ([]Tenant, error) {
	out := []Tenant{}
	err := r.db.Read(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		return tx.Query(ctx, func(row driver.Row) error {
			var t Tenant
			var at int64
			err := row.Scan(&t.TenantCode, &t.Position, &at, &t.LagMillis, &t.Applied, &t.Errors, &t.Waiting, &t.Held)
			t.AppliedAt = record.At(time.UnixMilli(at))
			out = append(out, t)
			return err
		}, tenantQuery+which, args...)
	})
	return out, err
}

const tenantQuery = `SELECT t.tenant_code, t.position, t.applied_at, t.lag, t.applied, t.errors,
	(SELECT count(*) FROM upkeep_parked p WHERE p.tenant_code = t.tenant_code),
	EXISTS (SELECT 1 FROM upkeep_rebuild b WHERE b.tenant_code IN (t.tenant_code, '*') AND b.state IN ('` + stateHeld + `', '` + stateRelease + `'))
	FROM upkeep_tenant t `

// byBytes has an order, and comparisons, of texts be that of their bytes.
func (r *Runner) byBytes() string {
	if r.db.Dialect() == driver.PostgreSQL {
		return ` COLLATE "C"`
	}
	return ""
}

// lookEvery is how often Wait looks where another process works.
const lookEvery = 20 * time.Millisecond

// Wait returns when what is read of a tenant, of all for the zero Code, has everything up to a position that a command returned. It fails with fault.Behind
// where that takes longer than Config.Patience, and with fault.InvalidCursor for a position that the feed does not have.
func (r *Runner) Wait(ctx context.Context, code tenant.Code, at driver.Position) error {
	end, err := r.across.End(ctx)
	if err != nil {
		return err
	}
	if _, err := at.Number(); err != nil || at == "" || at.Compare(end) > 0 {
		return fault.New(fault.InvalidCursor, "upkeep.Wait", "the position is not one that a command returned")
	}
	deadline := time.NewTimer(r.cfg.Patience)
	defer deadline.Stop()
	for {
		moved := r.movement()
		come, err := r.come(ctx, code)
		if err != nil || at.Compare(come) <= 0 {
			return err
		}
		select {
		case <-moved:
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			behind := fault.New(fault.Behind, "upkeep.Wait", "the read model has not come to this position yet; retry")
			behind.RetryAfter = time.Second
			return behind
		}
	}
}

// come returns how far what is read of a tenant is.
func (r *Runner) come(ctx context.Context, code tenant.Code) (least driver.Position, err error) {
	err = r.db.Read(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		first := true
		return tx.Query(ctx, func(row driver.Row) error {
			var text string
			if err := row.Scan(&text); err != nil {
				return err
			}
			if at := driver.Position(text); first || at.Compare(least) < 0 {
				least, first = at, false
			}
			return nil
		}, `SELECT position FROM upkeep_position WHERE name = 'live' UNION ALL
			SELECT held FROM upkeep_rebuild WHERE ($1 = '' OR tenant_code IN ($1, '*')) AND state IN ($2, $3)`, code.String(), stateHeld, stateRelease)
	})
	return least, err
}

// Ask asks for a rebuild of what a projection keeps of a tenant, or an audit, which changes nothing; the zero Code asks for all
// tenants, "" for all projections and the counters. It returns of how many: one that is under way is not begun again. It
// fails with fault.NotFound where there is no projection of the name, or nothing of the tenant.
func (r *Runner) Ask(ctx context.Context, sys scope.System, code tenant.Code, projection, reason string, audit bool) (int, error) {
	if err := sys.Note(ctx); err != nil {
		return 0, err
	}
	if projection != "" && projection != Counters && r.names[projection] == nil {
		return 0, fault.New(fault.NotFound, "upkeep", "there is no projection of this name")
	}
	var shares []share
	var single []string // of which each tenant is for itself
	for _, name := range append([]string{Counters}, slices.Sorted(maps.Keys(r.names))...) {
		switch {
		case projection != "" && projection != name:
		case code.IsZero() && !audit && name != Counters:
			shares = append(shares, share{projection: name})
		default:
			single = append(single, name)
		}
	}
	query := "" // whoever something was published in, and whoever has rows
	for _, name := range append([]string{"upkeep_tenant", counterTable.name}, r.tableNames()...) {
		query += " UNION SELECT tenant_code FROM " + name + " WHERE $1 = '' OR tenant_code = $1"
	}
	err := r.db.Read(ctx, func(tx driver.Tx) error {
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		return tx.Query(ctx, func(row driver.Row) error {
			var text string
			if err := row.Scan(&text); err != nil {
				return err
			}
			t, err := tenant.Parse(text)
			for _, name := range single {
				shares = append(shares, share{t, name})
			}
			return err
		}, strings.TrimPrefix(query, " UNION "), code.String())
	})
	if err != nil {
		return 0, err
	}
	if len(shares) == 0 && !code.IsZero() {
		return 0, fault.New(fault.NotFound, "upkeep", "nothing was published in this tenant")
	}
	asked, _, err := r.ask(ctx, shares, audit, reason)
	return asked, err
}

// tableNames returns the quoted names of the tables that projections write.
func (r *Runner) tableNames() (names []string) {
	for _, tables := range r.tables {
		for _, t := range tables {
			names = append(names, t.name)
		}
	}
	return names
}

// Rebuilds returns what became of the last rebuild or audit of each projection of sc's tenant, with what differed. It fails with
// fault.TenantForbidden for a Scope that reads shared records only.
func (r *Runner) Rebuilds(ctx context.Context, sc scope.Scope) ([]Rebuild, error) {
	if err := sc.Check(); err != nil {
		return nil, err
	}
	if !sc.Writable() {
		return nil, fault.New(fault.TenantForbidden, "upkeep.Rebuilds", "this scope reads shared records only")
	}
	var out []Rebuild
	err := r.db.Read(ctx, func(tx driver.Tx) (err error) {
		if err := tx.As(ctx, sc.Tenant().String()); err != nil {
			return err
		}
		if out, err = rebuildsShown(ctx, tx, "WHERE tenant_code = $1", []any{sc.Tenant().String()}); err != nil {
			return err
		}
		return tx.Query(ctx, func(row driver.Row) error {
			var projection, name, key, columns string
			if err := row.Scan(&projection, &name, &key, &columns); err != nil {
				return err
			}
			kind, rest, _ := strings.Cut(columns, " ")
			i := slices.IndexFunc(out, func(b Rebuild) bool { return b.Projection == projection })
			if i >= 0 {
				out[i].Differences = append(out[i].Differences, Difference{Table: name, Key: strings.Split(key, "\n"), Columns: strings.Fields(rest), Kind: kind})
			}
			return nil
		}, "SELECT projection, name, row_key, columns FROM upkeep_difference WHERE tenant_code = $1 ORDER BY projection, number", sc.Tenant().String())
	})
	return out, err
}

package upkeep

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Snapshot is what is kept of tenants that live, at one moment: all that its methods return is of one place in the feed. Of what is
// kept of deleted tenants, and of codes that were none, it shows nothing. It is for one goroutine, while the function that got it runs.
type Snapshot struct {
	Position  driver.Position // everything up to it is applied, or waits
	AppliedAt record.Time     // when it came there

	r   *Runner
	tx  driver.Tx
	own string // the tenant whose it is, "" for all
}

// Look calls f with a Snapshot of all tenants. It needs the System capability, whose audit entry is durable before.
func (r *Runner) Look(ctx context.Context, sys scope.System, f func(*Snapshot) error) error {
	if err := sys.Note(ctx); err != nil {
		return err
	}
	return r.snapshot(ctx, "", f)
}

// LookIn calls f with a Snapshot of sc's tenant. It fails with fault.TenantForbidden for a Scope that reads shared records only.
func (r *Runner) LookIn(ctx context.Context, sc scope.Scope, f func(*Snapshot) error) error {
	if err := sc.Check(); err != nil {
		return err
	}
	if !sc.Writable() {
		return fault.New(fault.TenantForbidden, "upkeep.LookIn", "this scope reads shared records only")
	}
	return r.snapshot(ctx, sc.Tenant().String(), f)
}

func (r *Runner) snapshot(ctx context.Context, own string, f func(*Snapshot) error) error {
	return r.db.Read(ctx, func(tx driver.Tx) error {
		s := &Snapshot{r: r, tx: tx, own: own}
		if err := tx.As(ctx, driver.All); err != nil {
			return err
		}
		err := tx.Query(ctx, func(row driver.Row) error {
			var position string
			var at int64
			err := row.Scan(&position, &at)
			s.Position = driver.Position(position)
			if at > 0 {
				s.AppliedAt = record.At(time.UnixMilli(at))
			}
			return err
		}, "SELECT position, applied_at FROM upkeep_position WHERE name = 'live'")
		if err == nil && own != "" {
			err = tx.As(ctx, own)
		}
		if err != nil {
			return err
		}
		return f(s)
	})
}

// The tenants t of upkeep_tenant that are there: the built-in ones, and those whose own record is not deleted. All of them are found by the
// index over those records, one of them by its key.
const (
	present = `t.tenant_code IN ('common', 'single') OR t.tenant_code IN (SELECT m.tenant_code FROM upkeep_record m
		WHERE m.sk = 'MASTER' AND NOT m.deleted AND m.pk = 'TENANT#' || m.tenant_code)`
	oneIsPresent = `t.tenant_code IN ('common', 'single') OR EXISTS (SELECT 1 FROM upkeep_record m
		WHERE m.tenant_code = t.tenant_code AND m.pk = 'TENANT#' || t.tenant_code AND m.sk = 'MASTER' AND NOT m.deleted)`
)

// query asks for rows of tenants t that live. Condition begins with AND, or is "".
func (s *Snapshot) query(ctx context.Context, each func(driver.Row) error, columns, from, condition, rest string, args ...any) error {
	where := " WHERE (" + present + ")" + condition
	if s.own != "" {
		args = append(args, s.own)
		where = fmt.Sprintf(" WHERE (%s)%s AND t.tenant_code = $%d", oneIsPresent, condition, len(args))
	}
	return s.tx.Query(ctx, each, "SELECT "+columns+" FROM "+from+where+rest, args...)
}

// Freshness is how far a tenant is.
type Freshness struct {
	TenantCode string      `json:"tenantCode"`
	Position   string      `json:"position" doc:"of its last command that is counted"`
	AppliedAt  record.Time `json:"appliedAt" doc:"when that was counted"`
	LagMillis  int64       `json:"lagMillis" doc:"how long after it was published"`
}

// Tenants calls each with the tenants that something was ever published in, in no order.
func (s *Snapshot) Tenants(ctx context.Context, each func(Freshness)) error {
	return s.query(ctx, func(row driver.Row) error {
		var f Freshness
		var at int64
		err := row.Scan(&f.TenantCode, &f.Position, &at, &f.LagMillis)
		f.AppliedAt = record.At(time.UnixMilli(at))
		each(f)
		return err
	}, "t.tenant_code, t.position, t.applied_at, t.lag", "upkeep_tenant t", "", "")
}

// Count is how many records a tenant has of an entity type.
type Count struct {
	TenantCode string
	Type       record.EntityType
	Live       int64
}

// Counts calls each with how many records a tenant has of an entity type, deleted ones left out, in no order. Those that have none are left out.
func (s *Snapshot) Counts(ctx context.Context, each func(Count)) error {
	return s.query(ctx, func(row driver.Row) error {
		var c Count
		var kind string
		err := row.Scan(&c.TenantCode, &kind, &c.Live)
		if err == nil {
			c.Type, err = record.ParseEntityType(kind)
		}
		each(c)
		return err
	}, "t.tenant_code, c.type, c.live", "upkeep_tenant t CROSS JOIN upkeep_counter c", " AND c.tenant_code = t.tenant_code AND c.live > 0", "")
}

// Days calls each, in their order, with the days from a day on that records of an entity type were created on, and how many. Those that were
// deleted since count.
func (s *Snapshot) Days(ctx context.Context, of record.EntityType, from time.Time, each func(day string, created int64)) error {
	return s.query(ctx, func(row driver.Row) error {
		var day string
		var n int64
		err := row.Scan(&day, &n)
		each(day, n)
		return err
	}, "c.day, CAST(sum(c.records) AS BIGINT)", "upkeep_tenant t CROSS JOIN upkeep_created c", " AND c.tenant_code = t.tenant_code AND c.type = $1 AND c.day >= $2",
		" GROUP BY c.day ORDER BY c.day", of.String(), from.UTC().Format(time.DateOnly))
}

// Row is a record as its table has it.
type Row struct {
	TenantCode string      `json:"tenantCode"`
	ID         string      `json:"id"`
	Code       string      `json:"code"`
	Name       string      `json:"name"`
	Version    int64       `json:"version"`
	CreatedAt  record.Time `json:"createdAt"`
	CreatedBy  string      `json:"createdBy"`
	UpdatedAt  record.Time `json:"updatedAt"`
	UpdatedBy  string      `json:"updatedBy"`
}

// Recent calls each with the records of an entity type that were created last, the newest first. It fails with fault.Unavailable
// where the read model has no table of them.
func (s *Snapshot) Recent(ctx context.Context, of record.EntityType, limit int, each func(Row)) error {
	name, ok := "", false
	if s.r.cfg.Model != nil {
		name, ok = s.r.cfg.Model.TableOf(of)
	}
	if !ok {
		return fault.New(fault.Unavailable, "upkeep.Recent", "the read model has no table of %s; declare one in its Model", of)
	}
	newest := " ORDER BY r.created_at DESC LIMIT $1"
	if s.r.db.Dialect() == driver.PostgreSQL {
		newest = " ORDER BY r.created_at DESC NULLS LAST LIMIT $1" // as the index has it
	}
	return s.query(ctx, func(row driver.Row) error {
		var out Row
		var created, updated *time.Time
		err := row.Scan(&out.TenantCode, &out.ID, &out.Code, &out.Name, &out.Version, &created, &out.CreatedBy, &updated, &out.UpdatedBy)
		for to, at := range map[*record.Time]*time.Time{&out.CreatedAt: created, &out.UpdatedAt: updated} {
			if at != nil {
				*to = record.At(*at)
			}
		}
		each(out)
		return err
	}, "r.tenant_code, r.id, r.code, r.name, r.version, r.created_at, r.created_by, r.updated_at, r.updated_by", name+" r CROSS JOIN upkeep_tenant t",
		" AND t.tenant_code = r.tenant_code AND NOT r.is_deleted", newest, limit)
}

package tenants

import (
	"context"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// listingOwner owns the rows of the directory of tenants.
const listingOwner = "common"

// Companion keeps the directory of tenants in the commits that change them: one row for each tenant's own record,
// a copy of it, so that a page of tenants is one ordered read.
func Companion(listing storage.Keeper) command.Companion {
	return func(_, after *record.Record) ([]storage.SystemWrite, error) {
		if after.SK != Master {
			return nil, nil
		}
		return []storage.SystemWrite{listing.Set(copyOf(after.TenantCode, after))}, nil
	}
}

// copyOf returns the row of the directory for a tenant's own record.
func copyOf(code string, rec *record.Record) storage.Row {
	return storage.CopyOf(listingOwner, code, rec)
}

// List returns tenants, the common one included once it is created, ordered by code. Limit and cursor are as for data.Service.List.
func (s *Service) List(ctx context.Context, sys scope.System, limit int, cursor string, includeDeleted bool) (data.Page, error) {
	if err := sys.Note(ctx); err != nil {
		return data.Page{}, err
	}
	limit, err := data.CheckLimit(limit)
	if err != nil {
		return data.Page{}, err
	}
	actor := sys.Actor()
	binding := scope.New(tenant.Common(), scope.Full, time.Time{}, &actor)
	query := []string{"tenants", strconv.FormatBool(includeDeleted)}
	after, err := s.cfg.Cursors.Open(binding, cursor, query...)
	if err != nil {
		return data.Page{}, err
	}
	page := data.Page{Items: []*record.Record{}}
	for {
		rows, err := s.cfg.Listing.List(ctx, listingOwner, "", after, limit+1)
		if err != nil {
			return data.Page{}, err
		}
		for _, row := range rows {
			rec, err := s.listed(ctx, row, actor)
			if err != nil {
				return data.Page{}, err
			}
			after = row.SK
			if rec == nil || rec.IsDeleted && !includeDeleted {
				continue
			}
			if len(page.Items) == limit {
				page.Cursor = s.cfg.Cursors.Seal(binding, page.Items[limit-1].TenantCode, query...)
				return page, nil
			}
			page.Items = append(page.Items, rec)
		}
		if len(rows) <= limit {
			return page, nil
		}
	}
}

// Active returns the codes of the tenants that exist and are not suspended, in their order, common not among them.
func (s *Service) Active(ctx context.Context, sys scope.System) (codes []tenant.Code, err error) {
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := s.List(ctx, sys, data.MaxLimit, cursor, false)
		if err != nil {
			return nil, err
		}
		for _, rec := range page.Items {
			code, err := tenant.Parse(rec.TenantCode)
			if err != nil {
				return nil, err
			}
			if !code.IsCommon() && rec.Attributes.Member(suspendedMember) == nil {
				codes = append(codes, code)
			}
		}
		cursor = page.Cursor
	}
	return codes, nil
}

// listed returns the record that a row of the directory stands for.
func (s *Service) listed(ctx context.Context, row storage.Row, actor scope.Actor) (*record.Record, error) {
	code, err := tenant.Parse(row.SK)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "tenants.List", "the directory of tenants holds a code that is none; run tenantry verify")
	}
	rec, err := row.Copied()
	if err != nil {
		return nil, err
	}
	if rec != nil {
		rec.PK, rec.SK = EntityType().String()+record.Separator+row.SK, Master
		return rec, nil
	}
	sc := scope.New(code, scope.Full, time.Time{}, &actor)
	key, err := record.NewKey(sc, EntityType(), Master)
	if err != nil {
		return nil, err
	}
	return s.cfg.Data.Get(ctx, sc, key, data.IncludeDeleted())
}

package tenants

import (
	"context"
	"errors"
	"strings"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// adoptPage is how many records are read at a time.
const adoptPage = 500

// Adopt makes the directory say what the records of tenants say, where another service created or changed these in the store itself, and returns
// the tenants of which it said something else, or nothing. Called again it changes nothing. It fails with fault.RoleRequired for the zero System, and with
// fault.Unavailable where the store can't be reached, and for such a tenant that is paused because it moves to another store.
func (s *Service) Adopt(ctx context.Context, sys scope.System) (adopted []tenant.Code, err error) {
	across, err := s.cfg.Directory.store.Across(ctx, sys)
	if err != nil {
		return nil, err
	}
	all := EntityType().String() + record.Separator
	for after := (driver.Ref{PK: all}); ; {
		page, err := across.Scan(ctx, driver.Data, after, adoptPage)
		if err != nil {
			return adopted, err
		}
		for _, rec := range page {
			if !strings.HasPrefix(rec.PK, all) {
				return adopted, nil
			}
			after = driver.RefOf(driver.Data, rec)
			if code, ok := tenantOf(rec); ok {
				taken, err := s.adopt(ctx, code)
				if err != nil {
					return adopted, err
				}
				if taken {
					adopted = append(adopted, code)
				}
			}
		}
		if len(page) < adoptPage {
			return adopted, nil
		}
	}
}

// tenantOf returns the tenant whose own record a row is; ok is false for any other row, and for one that no Scope shows.
func tenantOf(rec *record.Record) (code tenant.Code, ok bool) {
	shown, ok := storage.Shown(rec)
	if !ok || rec.SK != Master {
		return code, false
	}
	_, code, rest, err := record.SplitPK(shown.PK)
	return code, err == nil && rest == ""
}

// adopt writes the row of the directory that a tenant's record asks for, and reports whether that was another one.
func (s *Service) adopt(ctx context.Context, code tenant.Code) (bool, error) {
	row, err := s.cfg.Listing.Get(ctx, listingOwner, code.String())
	if err != nil {
		return false, err
	}
	rec, err := s.cfg.Directory.record(ctx, code) // behind the row: it is no older
	if err != nil || rec == nil {
		return false, err
	}
	want := copyOf(code.String(), rec)
	if row.Version == want.Version && string(row.Value) == string(want.Value) {
		return false, nil
	}
	noted := storage.Row{Owner: code.String(), SK: rec.PK}
	err = s.cfg.Listing.CommitUnpaused(ctx, s.cfg.Listing.Replace(row, want), s.cfg.Partitions.Set(noted))
	if _, changed := errors.AsType[*driver.Conflict](err); changed {
		return false, nil // the tenant was changed meanwhile, and its row with it
	}
	return err == nil, err
}

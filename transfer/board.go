package transfer

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// board is the rows of storage.PauseWord as they stood in a store. Whoever changes one writes the announcement as well, under the version that was
// read: two who do so at once know of each other.
type board struct {
	pauses    storage.Keeper
	announced storage.Row // Version 0 where no pause is announced
	moving    storage.Row // Version 0 while no copy is under way
	notice    notice      // of that copy
	paused    map[string]storage.Row
}

// notice is what the row of a copy that is under way says.
type notice struct {
	Copy     string `json:"copy"`
	Run      string `json:"run,omitempty"` // of Copy, one of its own
	Tenant   string `json:"tenant,omitempty"`
	Arriving bool   `json:"arriving,omitempty"` // the store is the target
}

func (n notice) row() (storage.Row, error) {
	value, err := record.EncodeAttributes(n)
	return storage.Row{Owner: systemOwner, SK: storage.PauseMoving, Value: value}, err
}

// cause is what a pause says: the copy that it is for.
type cause struct {
	Copy string `json:"copy"`
}

func pauseRow(sk, id string) (storage.Row, error) {
	value, err := record.EncodeAttributes(cause{id})
	return storage.Row{Owner: systemOwner, SK: sk, Value: value}, err
}

// boardOf reads a store's board.
func boardOf(ctx context.Context, pauses storage.Keeper) (board, error) {
	b := board{pauses: pauses, announced: storage.Row{Owner: systemOwner, SK: storage.PauseAnnounced}, paused: map[string]storage.Row{}}
	rows, err := all(ctx, pauses)
	if err != nil {
		return b, err
	}
	for _, row := range rows {
		switch row.SK {
		case storage.PauseAnnounced:
			b.announced = row
		case storage.PauseMoving:
			b.moving = row
			if err := row.Value.Decode(&b.notice); err != nil {
				return b, err
			}
		default:
			b.paused[row.SK] = row
		}
	}
	return b, nil
}

// subject returns the sort key of the pause of what is being copied, "" while nothing is.
func (b board) subject() string {
	switch {
	case b.moving.Version == 0:
		return ""
	case b.notice.Tenant == "":
		return storage.PauseOf(tenant.Code{})
	}
	return tenantPrefix + b.notice.Tenant
}

// tenantPrefix begins the sort key of a tenant's pause.
const tenantPrefix = "tenant" + record.Separator

// held returns the sort keys of the pauses that stand or are to come.
func (b board) held() []string {
	sks := slices.Collect(maps.Keys(b.paused))
	if sk := b.subject(); sk != "" && b.paused[sk].Version == 0 {
		sks = append(sks, sk)
	}
	slices.Sort(sks)
	return sks
}

// made reports whether a pause is for a copy.
func (b board) made(sk, id string) (bool, error) {
	var c cause
	err := b.paused[sk].Value.Decode(&c)
	return c.Copy == id, err
}

// lift returns the writes that take a pause away, with the copy that is under way where the pause is that one's. The announcement stays, for good, as long as
// another pause does.
func (b board) lift(sk string) []storage.SystemWrite {
	writes := []storage.SystemWrite{b.pauses.Delete(storage.Row{Owner: systemOwner, SK: sk})}
	if sk == b.subject() {
		writes = append(writes, b.pauses.Remove(b.moving))
	}
	others := len(b.paused)
	if b.paused[sk].Version > 0 {
		others--
	}
	switch {
	case others > 0:
		b.announced.Expires = 0
		writes = append(writes, b.pauses.Put(b.announced))
	case b.announced.Version > 0:
		writes = append(writes, b.pauses.Remove(b.announced))
	}
	return writes
}

// Resume lets a source accept the writes of a tenant again, after a copy that is done or was given up; for the zero Code what is paused there, the whole store
// or one tenant. Lifted is false where nothing was. Its audit entry follows the lifting, since the log takes none before. It fails with
// fault.RoleRequired for the zero System; fault.InvalidRequest where several tenants are paused and none is named, for a tenant where the whole store is, and
// in the target of a copy that is not done; and fault.Unavailable while another tenant is copied.
func Resume(ctx context.Context, side Side, of tenant.Code) (lifted bool, err error) {
	if err := side.System.Check(); err != nil {
		return false, err
	}
	pauses, err := side.Store.Keeper(scope.NewRoot(), record.MustEntityType(storage.PauseWord))
	if err != nil {
		return false, err
	}
	b, err := boardOf(ctx, pauses)
	if err != nil {
		return false, err
	}
	held, sk := b.held(), storage.PauseOf(of)
	if of.IsZero() && len(held) == 1 {
		sk = held[0]
	}
	switch {
	case of.IsZero() && len(held) > 1:
		return false, fault.New(fault.InvalidRequest, "transfer.Resume", "several tenants are paused in this store (%s); name the one that is to accept writes again: --tenant CODE",
			strings.ReplaceAll(strings.Join(held, ", "), tenantPrefix, ""))
	case !of.IsZero() && slices.Contains(held, storage.PauseOf(tenant.Code{})):
		return false, fault.New(fault.InvalidRequest, "transfer.Resume", "the whole store is paused, and not this tenant alone; leave --tenant out")
	case !slices.Contains(held, sk):
		return false, nil
	case b.moving.Version > 0 && sk != b.subject():
		return false, fault.New(fault.Unavailable, "transfer.Resume", "another tenant is being copied; try again when that copy has ended")
	case b.moving.Version > 0 && b.notice.Arriving:
		return false, fault.New(fault.InvalidRequest, "transfer.Resume", "this store is the target of a copy that is not done; finish the copy, or begin anew with an empty store")
	}
	if err := lost(b.pauses.Commit(ctx, b.lift(sk)...)); err != nil {
		return false, err
	}
	owner, ofTenant := strings.CutPrefix(sk, tenantPrefix)
	if !ofTenant {
		return true, side.System.Note(ctx)
	}
	code, err := tenant.Parse(owner)
	if err == nil {
		_, err = side.System.Enter(ctx, code, time.Time{})
	}
	return true, err
}

package tenantsync

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// What a sync's status is.
const (
	Planning  = "planning"
	Planned   = "planned" // waits to be applied
	Applying  = "applying"
	Applied   = "applied" // every item was written, left alone, or failed by itself
	Cancelled = "cancelled"
	Failed    = "failed" // a target stands still, and the others are done: it can be resumed
)

// maxListed is how many failures a Status names.
const maxListed = 100

// Counts are numbers of records. Total is the sum of the others once the sync is applied.
type Counts struct {
	Total     int64 `json:"total"`     // in the plan, as far as it is made
	Synced    int64 `json:"synced"`    // written
	Unchanged int64 `json:"unchanged"` // that said the same already
	Skipped   int64 `json:"skipped"`   // that differ and stay as they are
	Failed    int64 `json:"failed"`    // that could not be written
}

// Tally is what is planned for a target, and what became of it.
type Tally struct {
	Counts
	Create int64            `json:"create"` // in the plan
	Update int64            `json:"update"`
	Delete int64            `json:"delete"`
	Why    map[Reason]int64 `json:"why,omitempty"`
}

// plan counts items that are planned.
func (t *Tally) plan(items []item) {
	if t.Why == nil {
		t.Why = map[Reason]int64{}
	}
	t.Total += int64(len(items))
	for _, it := range items {
		t.Why[it.Why]++
		switch it.Do {
		case Create:
			t.Create++
		case Update:
			t.Update++
		case Delete:
			t.Delete++
		case Unchanged:
			t.Unchanged++
		default:
			t.Skipped++
		}
	}
}

// apply counts what became of a page.
func (t *Tally) apply(pg page) {
	for i, it := range pg.items {
		_, failed := pg.Failed[i]
		switch {
		case failed:
			t.Failed++
		case it.writes():
			t.Synced++
		}
	}
}

func (c *Counts) add(other Counts) {
	c.Total += other.Total
	c.Synced += other.Synced
	c.Unchanged += other.Unchanged
	c.Skipped += other.Skipped
	c.Failed += other.Failed
}

// Status is where a sync stands.
type Status struct {
	ID     string `json:"id"`
	Status string `json:"status" enum:"planning,planned,applying,applied,cancelled,failed"`
	Body
	Undoes string `json:"undoes,omitempty" doc:"the sync that this one takes back"`
	Counts
	Digest    string      `json:"digest,omitempty" doc:"of the whole plan, once it is made: the same for the same plan"`
	CreatedAt record.Time `json:"createdAt"`
	CreatedBy string      `json:"createdBy"`
	AppliedAt record.Time `json:"appliedAt,omitzero" doc:"when applying was ordered"`
	Errors    []Error     `json:"errors" doc:"the first 100, none in a list; those of a target are listed as its items"`
	PerTenant []PerTenant `json:"perTenant" doc:"the targets that were reached, none in a list"`
}

// Error is one failure.
type Error struct {
	TenantCode string     `json:"tenantCode"`
	ID         string     `json:"id,omitempty" doc:"of the record; absent where the whole target stands still"`
	Code       fault.Code `json:"code"`
	Message    string     `json:"message"`
}

// PerTenant is where one target stands.
type PerTenant struct {
	TenantCode string `json:"tenantCode"`
	Status     string `json:"status" enum:"planning,planned,applying,applied,cancelled,failed"`
	Tally
	Digest  string     `json:"digest,omitempty" doc:"of the plan for the target, as far as it is made"`
	Code    fault.Code `json:"code,omitempty" doc:"why the target stands still"`
	Message string     `json:"message,omitempty"`
}

// Status returns where a sync stands. It fails with fault.NotFound.
func (s *Service) Status(ctx context.Context, sys scope.System, id string) (Status, error) {
	if err := sys.Note(ctx); err != nil {
		return Status{}, err
	}
	o, parts, err := s.whole(ctx, id)
	if err != nil {
		return Status{}, err
	}
	return statusFrom(o, parts), nil
}

func statusFrom(o *order, parts []*part) Status {
	st := Status{ID: o.ID, Status: o.status(parts), Body: o.Body, Undoes: o.Undoes, CreatedAt: o.CreatedAt, CreatedBy: o.By.UserID, AppliedAt: o.Applied}
	whole, planning := sha256.New(), o.Spread != nil && o.Applied.IsZero()
	for _, p := range parts {
		st.add(p.Tally.Counts)
		code := p.task.Target.String()
		st.PerTenant = append(st.PerTenant, PerTenant{TenantCode: code, Status: o.statusOf([]*part{p}, false), Tally: p.Tally, Digest: p.Digest, Code: p.Code, Message: p.Message})
		if p.Code != "" && len(st.Errors) < maxListed {
			st.Errors = append(st.Errors, Error{TenantCode: code, Code: p.Code, Message: p.Message})
		}
		for _, f := range p.Errors {
			if len(st.Errors) < maxListed {
				st.Errors = append(st.Errors, Error{TenantCode: code, ID: f.ID, Code: f.Code, Message: f.Message})
			}
		}
		fmt.Fprintf(whole, "%s %s\n", code, p.Digest)
		planning = planning || p.Phase == ""
	}
	if !planning {
		st.Digest = hex.EncodeToString(whole.Sum(nil))
	}
	return st
}

// status returns what an order and all its parts say of it.
func (o *order) status(parts []*part) string { return o.statusOf(parts, o.Spread != nil) }

// statusOf returns what parts, some or all, say, where spreading says that others may come.
func (o *order) statusOf(parts []*part, spreading bool) string {
	planning, applying, waiting, still := 0, 0, 0, 0
	switch {
	case spreading && o.Applied.IsZero():
		planning++
	case spreading:
		applying++
	}
	for _, p := range parts {
		switch {
		case p.Phase == applied:
		case p.Code != "":
			still++
		case !o.Applied.IsZero():
			applying++
		case p.Phase != planned:
			planning++
		default:
			waiting++
		}
	}
	switch {
	case o.Cancelled && planning+applying+waiting+still > 0:
		return Cancelled
	case planning > 0:
		return Planning
	case applying > 0:
		return Applying
	case still > 0:
		return Failed
	case o.Applied.IsZero():
		return Planned
	}
	return Applied
}

// Page is a part of a list.
type Page[T any] struct {
	Items  []T    `json:"items"`
	Cursor string `json:"cursor,omitempty" doc:"for the next page; absent where there is none"`
}

// List returns syncs, the newest first, without their targets and failures. Limit is as for data.Service.List; cursor is that of the page
// before. It fails with fault.InvalidCursor.
func (s *Service) List(ctx context.Context, sys scope.System, limit int, cursor string) (Page[Status], error) {
	if err := sys.Note(ctx); err != nil {
		return Page[Status]{}, err
	}
	limit, err := data.CheckLimit(limit)
	if err != nil {
		return Page[Status]{}, err
	}
	after := ""
	if cursor != "" {
		if after, err = newestFirst(cursor); err != nil {
			return Page[Status]{}, invalidCursor()
		}
	}
	rows, err := s.cfg.Orders.List(ctx, owner, "", after, limit+1)
	if err != nil {
		return Page[Status]{}, err
	}
	out := Page[Status]{Items: []Status{}}
	for i, row := range rows {
		if i == limit {
			out.Cursor = out.Items[i-1].ID
			break
		}
		id := complement(row.SK)
		o, err := orderOf(row, id)
		if err != nil {
			return Page[Status]{}, err
		}
		parts, err := s.partsNow(ctx, id)
		if err != nil {
			return Page[Status]{}, err
		}
		st := statusFrom(o, parts)
		st.Errors, st.PerTenant = nil, nil
		out.Items = append(out.Items, st)
	}
	return out, nil
}

func invalidCursor() error {
	return fault.New(fault.InvalidCursor, "tenantsync", "the cursor is not one that this list returned; pass on the cursor of the page before, or none to begin")
}

// Item is what a plan says of one record, and what became of it.
type Item struct {
	ID      string     `json:"id" doc:"of the target's record"`
	Action  Action     `json:"action" enum:"create,update,delete,unchanged,skip"`
	Reason  Reason     `json:"reason"`
	From    int64      `json:"from,omitzero" doc:"the version of the source's record that is copied; in an undo, that of the target's which is restored"`
	At      int64      `json:"at,omitzero" doc:"the version of the target's record that the plan saw; absent where there was none"`
	Code    fault.Code `json:"code,omitempty" doc:"why it could not be written"`
	Message string     `json:"message,omitempty"`
}

// Items returns a page of the plan for one target, in the order in which it is applied; a page has 100 items or fewer, and one that is empty is the
// last. It fails with fault.NotFound for a sync or a target that it doesn't have, and with fault.InvalidCursor.
func (s *Service) Items(ctx context.Context, sys scope.System, t Task, cursor string) (Page[Item], error) {
	if err := sys.Note(ctx); err != nil {
		return Page[Item]{}, err
	}
	o, err := s.order(ctx, t.Sync)
	if err != nil {
		return Page[Item]{}, err
	}
	p, err := s.part(ctx, t)
	if err != nil {
		return Page[Item]{}, err
	}
	if p == nil {
		return Page[Item]{}, fault.New(fault.NotFound, "tenantsync", "the sync doesn't have this target")
	}
	n := 0
	if cursor != "" {
		if n, err = strconv.Atoi(cursor); err != nil || n < 1 || strconv.Itoa(n) != cursor {
			return Page[Item]{}, invalidCursor()
		}
	}
	out := Page[Item]{Items: []Item{}}
	if n >= p.Pages {
		return out, nil
	}
	pg, err := s.stored(ctx, t, n)
	if err != nil {
		return Page[Item]{}, err
	}
	for i, it := range pg.items {
		f := pg.Failed[i]
		out.Items = append(out.Items, Item{ID: idIn(o.EntityType, t.Target, it), Action: it.Do, Reason: it.Why, From: it.From, At: it.At, Code: f.Code, Message: f.Message})
	}
	if n+1 < p.Pages {
		out.Cursor = strconv.Itoa(n + 1)
	}
	return out, nil
}

func idIn(entityType string, code tenant.Code, it item) string {
	id := entityType + record.Separator + code.String() + record.Separator
	if it.Partition != "" {
		id += it.Partition + record.Separator
	}
	return id + it.SK
}

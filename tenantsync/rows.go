package tenantsync

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// owner owns the rows of syncs: they are the system's own.
const owner = "common"

// Rows that are written together, beside which a commit may carry conditions, and that are read together.
const (
	writtenAtOnce = driver.MaxBatch / 2
	readAtOnce    = 500
)

// order is what was ordered: the row of a sync.
type order struct {
	Body
	ID        string      `json:"-"`
	Undoes    string      `json:"undoes,omitzero"` // the sync that this one takes back
	Rule      string      `json:"rule,omitzero"`   // the rule whose targets it brings in step
	Born      int64       `json:"born,omitzero"`   // when the source was created, as Unix time
	By        actor       `json:"by"`
	CreatedAt record.Time `json:"createdAt"`
	Applied   record.Time `json:"applied,omitzero"` // when applying was ordered, what copies give as syncedAt; zero before
	Cancelled bool        `json:"cancelled,omitzero"`
	Spread    *spread     `json:"spread,omitzero"` // nil once all targets are worked on

	version, expires int64
}

// spread is how far an order has come to its targets, in the order of their codes.
type spread struct {
	After string `json:"after,omitzero"` // the last target that is worked on
}

// actor is who ordered a sync, in whose name its tasks act.
type actor struct {
	Issuer    string `json:"issuer,omitzero"`
	UserID    string `json:"userId"`
	UserCode  string `json:"userCode,omitzero"`
	Role      string `json:"role,omitzero"`
	SourceIP  string `json:"sourceIp,omitzero"`
	ActIssuer string `json:"actIssuer,omitzero"`
	ActUserID string `json:"actUserId,omitzero"`
}

func actorOf(a scope.Actor) actor {
	return actor{Issuer: a.Issuer, UserID: a.UserID, UserCode: a.UserCode, Role: a.Role, SourceIP: a.SourceIP, ActIssuer: a.ActIssuer, ActUserID: a.ActUserID}
}

// acting returns a as who acts in one sync or rule: its ID is the request ID of all that it writes.
func (a actor) acting(id, source string) scope.Actor {
	return scope.Actor{Issuer: a.Issuer, UserID: a.UserID, UserCode: a.UserCode, Role: a.Role, SourceIP: a.SourceIP, ActIssuer: a.ActIssuer, ActUserID: a.ActUserID,
		RequestID: id, Source: source}
}

// phase is how far a target is. The zero phase is planning.
type phase string

const (
	planned phase = "planned"
	applied phase = "applied"
)

// part is the row of one target of a sync. That of a target of a rule has no more than the first three of its fields; with a Code the target is behind.
type part struct {
	Born    int64      `json:"born,omitzero"` // when the target was created, as Unix time
	Phase   phase      `json:"phase,omitzero"`
	Code    fault.Code `json:"code,omitzero"` // why the target stands still
	Message string     `json:"message,omitzero"`

	Place  place  `json:"place,omitzero"` // where planning has come to
	Pages  int    `json:"pages,omitzero"` // that are planned
	Digest string `json:"digest,omitzero"`

	Next  int    `json:"next,omitzero"`  // the page that is applied next
	Done  string `json:"done,omitzero"`  // the digest of the pages before it, as they were read when they were applied
	Tally Tally  `json:"tally,omitzero"` // what is planned, and what became of it

	Errors []Failure `json:"errors,omitempty"` // the first of them

	Fenced int64 `json:"fenced,omitzero"` // how often its fence was closed

	task             Task
	version, expires int64
}

// place is where planning has come to in the order of its passes: copies that are gone in the source, then what the source has.
type place struct {
	Compare   bool   `json:"compare,omitzero"`   // the second pass
	Partition string `json:"partition,omitzero"` // segments after the tenant; "" for the plain one
	After     string `json:"after,omitzero"`     // the last sort key

	Begun bool `json:"begun,omitzero"` // of an undo: the other sync writes no more
	Left  int  `json:"left,omitzero"`  // of an undo that has begun: how many pages of the other sync are not looked at, of which the last is next
}

// maxErrors is how many failures a part names.
const maxErrors = 20

// stopUnless stops a target whose state doesn't let it be written to.
func (p *part) stopUnless(state guard.State) {
	switch {
	case !state.Exists:
		p.Code, p.Message = fault.NotFound, "there is no such tenant"
	case state.Suspended:
		p.Code, p.Message = fault.TenantSuspended, "the tenant is suspended; resume it, and then the sync"
	case born(state) != p.Born:
		p.Code, p.Message = fault.NotFound, "the tenant is another than the one that the plan was made for; plan again"
	}
}

// page is a part of a plan.
type page struct {
	Digest string          `json:"digest"`           // of the plan up to here
	Failed map[int]Failure `json:"failed,omitempty"` // what became of items that could not be written, by their index
	Items  jsontext.Value  `json:"items"`            // canonical, as it is in the digest

	items []item
}

// newPage returns the page that follows a plan with the digest before.
func newPage(before string, items []item) (page, error) {
	text, err := json.Marshal(items)
	return page{Digest: chain(before, text), Items: text, items: items}, err
}

// chain returns the digest of a plan that goes on with items.
func chain(before string, items jsontext.Value) string {
	sum := sha256.Sum256(append([]byte(before+"\n"), items...))
	return hex.EncodeToString(sum[:])
}

// newestFirst returns the sort key of an order: the complement of its ID, so that the newest comes first. It fails with fault.NotFound for
// what is no ID.
func newestFirst(id string) (string, error) {
	if _, err := ulid.ParseStrict(id); err != nil || strings.ToUpper(id) != id {
		return "", notFound()
	}
	return complement(id), nil
}

// complement returns the complement of every digit of a ULID.
func complement(text string) string {
	out := []byte(text)
	for i, c := range out {
		out[i] = ulid.Encoding[len(ulid.Encoding)-1-strings.IndexByte(ulid.Encoding, c)]
	}
	return string(out)
}

func (t Task) key() string { return t.Sync + record.Separator + t.Target.String() }

func (t Task) pageKey(n int) string { return fmt.Sprintf("%s%s%08d", t.key(), record.Separator, n) }

// lost reports whether another was first to write a row.
func lost(err error) bool {
	_, ok := errors.AsType[*driver.Conflict](err)
	return ok
}

// saveOrder writes an order and what goes with it, all or none. It fails with *driver.Conflict where another was first.
func (s *Service) saveOrder(ctx context.Context, o *order, with ...storage.SystemWrite) error {
	sk, err := newestFirst(o.ID)
	if err != nil {
		return err
	}
	value, err := record.EncodeAttributes(o)
	if err != nil {
		return err
	}
	row := storage.Row{Owner: owner, SK: sk, Version: o.version, Expires: o.expires, Value: value}
	if err := s.cfg.Orders.CommitUnpaused(ctx, append(with, s.cfg.Orders.Put(row))...); err != nil {
		return err
	}
	o.version++
	return nil
}

// order reads an order. It fails with fault.NotFound.
func (s *Service) order(ctx context.Context, id string) (*order, error) {
	sk, err := newestFirst(id)
	if err != nil {
		return nil, err
	}
	row, err := s.cfg.Orders.Get(ctx, owner, sk)
	if err != nil {
		return nil, err
	}
	if row.Version == 0 {
		return nil, notFound()
	}
	return orderOf(row, id)
}

func orderOf(row storage.Row, id string) (*order, error) {
	o := &order{ID: id, version: row.Version, expires: row.Expires}
	return o, row.Value.Decode(o)
}

// whole reads an order with all its parts.
func (s *Service) whole(ctx context.Context, id string) (*order, []*part, error) {
	o, err := s.order(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	parts, err := s.partsNow(ctx, id)
	return o, parts, err
}

// partsNow reads the parts of a sync, ordered by tenant code. Those that wait for a tenant which can't be written to stand still.
func (s *Service) partsNow(ctx context.Context, id string) ([]*part, error) {
	parts, err := s.parts(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if p.Phase == applied || p.Code != "" {
			continue
		}
		state, err := s.cfg.State(ctx, p.task.Target)
		if err != nil {
			return nil, err
		}
		p.stopUnless(state)
	}
	return parts, nil
}

// parts reads the parts of a sync, or of a rule, ordered by tenant code.
func (s *Service) parts(ctx context.Context, id string) (parts []*part, err error) {
	prefix := id + record.Separator
	for after := ""; ; {
		rows, err := s.cfg.Parts.List(ctx, owner, prefix, after, readAtOnce)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			code, err := tenant.Parse(strings.TrimPrefix(row.SK, prefix))
			if err != nil {
				return nil, err
			}
			p, err := partOf(row, Task{id, code})
			if err != nil {
				return nil, err
			}
			parts, after = append(parts, p), row.SK
		}
		if len(rows) < readAtOnce {
			return parts, nil
		}
	}
}

// part reads the part of a task, nil where there is none.
func (s *Service) part(ctx context.Context, t Task) (*part, error) {
	row, err := s.cfg.Parts.Get(ctx, owner, t.key())
	if err != nil || row.Version == 0 {
		return nil, err
	}
	return partOf(row, t)
}

func partOf(row storage.Row, t Task) (*part, error) {
	p := &part{task: t, version: row.Version, expires: row.Expires}
	return p, row.Value.Decode(p)
}

// partRow returns the write of a part, which wants that nobody else wrote it.
func (s *Service) partRow(p *part) (storage.SystemWrite, error) {
	value, err := record.EncodeAttributes(p)
	return s.cfg.Parts.Put(storage.Row{Owner: owner, SK: p.task.key(), Version: p.version, Expires: p.expires, Value: value}), err
}

// savePart writes a part and what goes with it, all or none. It fails with *driver.Conflict where another was first.
func (s *Service) savePart(ctx context.Context, p *part, with ...storage.SystemWrite) error {
	row, err := s.partRow(p)
	if err != nil {
		return err
	}
	if err := s.cfg.Parts.CommitUnpaused(ctx, append(with, row)...); err != nil {
		return err
	}
	p.version++
	return nil
}

// pageRow returns the write that makes pg page n of a part, whatever stood there.
func (s *Service) pageRow(p *part, n int, pg page) (storage.SystemWrite, error) {
	value, err := record.EncodeAttributes(pg)
	return s.cfg.Pages.Set(storage.Row{Owner: owner, SK: p.task.pageKey(n), Expires: p.expires, Value: value}), err
}

// page reads page n of a task, whose digest follows before. It fails with fault.Internal for one that is not what was planned.
func (s *Service) page(ctx context.Context, t Task, n int, before string) (pg page, err error) {
	if pg, err = s.stored(ctx, t, n); err != nil {
		return page{}, err
	}
	if chain(before, pg.Items) != pg.Digest {
		err = fault.New(fault.Internal, "tenantsync", "page %d of the plan is not the one that was planned; plan again", n)
	}
	return pg, err
}

func (s *Service) stored(ctx context.Context, t Task, n int) (pg page, err error) {
	row, err := s.cfg.Pages.Get(ctx, owner, t.pageKey(n))
	if err != nil {
		return page{}, err
	}
	if err := row.Value.Decode(&pg); err != nil {
		return page{}, err
	}
	return pg, record.Attributes(pg.Items).Decode(&pg.items)
}

// bornAt is the time that a part or an order keeps.
func bornAt(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

package tenantsync

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// Action is what a plan does to one record of a target.
type Action string

// The actions.
const (
	Create    Action = "create"
	Update    Action = "update"
	Delete    Action = "delete"
	Unchanged Action = "unchanged" // it says the same already
	Leave     Action = "skip"      // it differs, and stays as it is
)

// Reason is why a plan does that.
type Reason string

// The reasons.
const (
	Missing        Reason = "missing"         // the target doesn't have the record
	Deleted        Reason = "deleted"         // the target has it deleted
	DeletedLocally Reason = "deleted_locally" // the target itself deleted it, which is kept
	Same           Reason = "same"
	Exists         Reason = "exists"         // the target has it, and nothing is overwritten
	SourceChanged  Reason = "source_changed" // a copy as a sync left it
	LocalChanges   Reason = "local_changes"  // the target itself wrote it last
	Gone           Reason = "gone"           // a copy whose record in the source is gone
	Own            Reason = "own"            // not in the source, and no copy
	Written        Reason = "written"        // by the sync that is undone
	ChangedSince   Reason = "changed_since"  // it was written by the sync that is undone, and by somebody else after it
)

// item is what a plan says of one record. From and At fix what is written over what: applying needs nothing else.
// Its members stand in the order of their names: what is written of it is canonical as it is.
type item struct {
	At        int64  `json:"at,omitzero"` // the target's version, 0 for none
	Do        Action `json:"do"`
	From      int64  `json:"from,omitzero"` // the version that is copied, of the source's record; in an undo, of the target's, 0 where that had none
	SK        string `json:"k"`
	Partition string `json:"p,omitzero"` // segments after the tenant
	Why       Reason `json:"why"`
}

// writes reports whether applying the item writes.
func (it item) writes() bool { return it.Do != Unchanged && it.Do != Leave }

// What wrote a record, as its source says: an operator's sync, the undoing of one, or rules, in the order in which the
// record passed them.
const (
	bySync = "sync"
	byUndo = "sync undo"
	byRule = "sync by rule "
)

// ours reports whether this package wrote a version. Its request ID alone doesn't say so: callers choose theirs.
func ours(r *record.Record) bool { return isCopy(r) || r.Source == byUndo }

// isCopy reports whether a sync wrote the version.
func isCopy(r *record.Record) bool { return r.Source == bySync || strings.HasPrefix(r.Source, byRule) }

// passed returns the source of what a rule makes of a record of its source.
func passed(from *record.Record, rule string) string {
	if path, ok := strings.CutPrefix(from.Source, byRule); ok {
		return byRule + path + " " + rule
	}
	return byRule + rule
}

// copying makes copies as a Request asks for them.
type copying struct {
	request Request
	at      record.Time // what copies give as syncedAt
}

// decide returns what becomes of a record of the source, which is live, in a target that has into, nil for none.
func (c copying) decide(from, into *record.Record) (it item, err error) {
	it = item{SK: from.SK, Partition: segments(from.PK), From: from.Version}
	if into != nil {
		it.At = into.Version
	}
	keep := c.request.OnConflict == KeepLocal && into != nil && !isCopy(into)
	switch {
	case into == nil:
		it.Do, it.Why = Create, Missing
		return it, nil
	case into.IsDeleted && keep:
		it.Do, it.Why = Leave, DeletedLocally
		return it, nil
	case into.IsDeleted:
		it.Do, it.Why = Create, Deleted
		return it, nil
	}
	next, err := c.next(from, into)
	switch {
	case err != nil:
	case sameBut(next, into):
		it.Do, it.Why = Unchanged, Same
	case c.request.OnConflict == Skip:
		it.Do, it.Why = Leave, Exists
	case keep:
		it.Do, it.Why = Leave, LocalChanges
	case isCopy(into):
		it.Do, it.Why = Update, SourceChanged
	default:
		it.Do, it.Why = Update, LocalChanges
	}
	return it, err
}

// gone returns what becomes of a live record of a target that the source doesn't have.
func (c copying) gone(into *record.Record) item {
	it := item{SK: into.SK, Partition: segments(into.PK), At: into.Version, Do: Delete, Why: Gone}
	switch {
	case !c.isOf(into):
		it.Do, it.Why = Leave, Own
	case c.request.OnConflict == KeepLocal && !isCopy(into):
		it.Do, it.Why = Leave, LocalChanges
	}
	return it
}

// isOf reports whether a record says of itself that it is a copy of the source's record of its sort key.
func (c copying) isOf(into *record.Record) bool {
	var m metadata
	return into.Metadata != nil && into.Metadata.Decode(&m) == nil && m.SyncedFrom == c.idOf(into)
}

// idOf returns the ID of the source's record that a record of a target corresponds to.
func (c copying) idOf(r *record.Record) string {
	return pkIn(c.request, segments(r.PK)) + record.Separator + r.SK
}

func pkIn(r Request, segments string) string {
	pk := r.EntityType.String() + record.Separator + r.Source.String()
	if segments != "" {
		pk += record.Separator + segments
	}
	return pk
}

type metadata struct {
	SyncedAt   record.Time `json:"syncedAt"`
	SyncedFrom string      `json:"syncedFrom"`
}

// next returns the state that a record of the source has in a target that has into, nil for none.
func (c copying) next(from, into *record.Record) (*record.Record, error) {
	var kept record.Attributes
	exists := into != nil && !into.IsDeleted
	if exists {
		kept = into.Attributes
	}
	attributes, err := c.request.Mapping.apply(from.Attributes, kept, exists)
	if err != nil {
		return nil, err
	}
	next := &record.Record{Code: from.Code, Name: from.Name, Type: from.Type, Seq: from.Seq, TTL: from.TTL, Attributes: attributes}
	quoted, err := jsontext.AppendQuote(nil, from.ID())
	next.Metadata = fmt.Appendf(nil, `{"syncedAt":%q,"syncedFrom":%s}`, c.at.String(), quoted)
	return next, err
}

// sameBut reports whether next, a state without a key, says what r says, but for where it came from.
func sameBut(next, r *record.Record) bool {
	n := next.Clone()
	n.PK, n.SK, n.TenantCode, n.Metadata = r.PK, r.SK, r.TenantCode, r.Metadata
	return n.SameState(r)
}

// segments returns what follows the tenant in a PK, "" for a plain partition.
func segments(pk string) string {
	_, _, rest, _ := record.SplitPK(pk)
	return rest
}

// copiedFrom returns the tenant that a record says it is a copy from, the zero Code for none.
func copiedFrom(r *record.Record) tenant.Code {
	var m metadata
	if r.Metadata == nil || r.Metadata.Decode(&m) != nil {
		return tenant.Code{}
	}
	code, _ := record.TenantOfID(m.SyncedFrom)
	return code
}

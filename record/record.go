// Package record holds the data model: keys, versions, records, and the one codec between them and text.
//
// A record is named by its [Key], a [Partition] and a sort key; a Partition is made from a Scope, so nobody holds the
// key of a tenant that they may not touch. Its [Attributes] are any JSON object, kept as canonical text until someone asks
// for a member; numbers keep their exact value.
package record

import (
	"bytes"
)

// Versions with a meaning of their own. Any other version must equal the record's current one.
const (
	VersionFirst  int64 = 0  // the command creates the record
	VersionLatest int64 = -1 // whatever the current version is
)

// What a command row says of itself, so that services written with mbc-cqrs-serverless leave it alone.
const (
	StatusFinished = "finish:FINISHED"
	SyncModeSync   = "SYNC"
)

// Record is one item: a record's current state (data), a replaced state (history), or a command.
// Which one it is, is known from where it was read.
type Record struct {
	PK, SK     string // the SK without its version
	Code       string
	Name       string
	TenantCode string
	Type       string
	Version    int64 // 1 for the first
	IsDeleted  bool
	Seq        string     // a canonical number, "" for none
	TTL        int64      // Unix seconds after which the item may vanish, 0 for never
	Attributes Attributes // nil for none
	Metadata   Attributes // where a copy came from: {syncedFrom, syncedAt}; nil for none

	Source    string // the operation that made the command
	RequestID string
	CreatedAt Time
	CreatedBy string // a user ID
	CreatedIP string
	UpdatedAt Time
	UpdatedBy string
	UpdatedIP string

	Status   string // commands only
	SyncMode string // commands only

	// StoredPK is the PK under which the row stands where that isn't PK: older services wrote X#COMMON, which is
	// read as X#common; a change goes where the record stands. "" everywhere else.
	StoredPK string
}

// ID returns PK#SK.
func (r *Record) ID() string { return r.PK + Separator + r.SK }

// Clone returns a copy that may be changed; Attributes and Metadata are shared, they are immutable.
func (r *Record) Clone() *Record {
	c := *r
	return &c
}

// SameState reports whether r and other say the same of their subject: everything but version, provenance and status.
// A command whose state is the same as the record's is not dirty. TTL counts as state.
func (r *Record) SameState(other *Record) bool {
	return r.PK == other.PK && r.SK == other.SK && r.Code == other.Code && r.Name == other.Name && r.Type == other.Type &&
		r.TenantCode == other.TenantCode && r.IsDeleted == other.IsDeleted && r.Seq == other.Seq && r.TTL == other.TTL &&
		sameObject(r.Attributes, other.Attributes) && sameObject(r.Metadata, other.Metadata)
}

// sameObject takes none and the empty object for the same: which of the two was sent is no change.
func sameObject(a, b Attributes) bool {
	empty := func(x Attributes) bool { return len(x) == 0 || string(x) == "{}" }
	return empty(a) && empty(b) || bytes.Equal(a, b)
}

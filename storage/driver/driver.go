// Package driver is the seam between Tenantry and a store: what the author of an engine implements, and no more.
//
// The seam is cut for the engine that is weakest at transactions. The unit of writing is a [Batch] of conditional
// writes, all or none; there is no callback transaction. Reading is get, batch get and a range of one partition.
// The command collection doubles as the change feed.
//
// Whoever holds an [Engine] reaches every tenant. Applications never do: an engine package exports a [Source], and only
// package storage opens one. Scopes, the second tenant check, cursors, retries, limits and metrics are written once, above
// the seam. An engine is right when storagetest.Run passes on it.
package driver

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// Collection is one of the four places a row stands in.
type Collection uint8

// The collections. A row of Data and System is named by PK and SK, one of Command and History by PK, SK and Version.
// A row of System whose record's TTL lies in the past is absent, in reads and in conditions; elsewhere TTL is content.
const (
	Data    Collection = iota + 1 // current states
	Command                       // accepted commands: the log and the change feed
	History                       // replaced states
	System                        // what the system keeps beside records: directory of tenants, receipts, checkpoints
)

var names = map[Collection]string{Data: "data", Command: "command", History: "history", System: "system"}

// String returns the collection's name, "data".
func (c Collection) String() string { return names[c] }

// Collections returns all collections.
func Collections() []Collection { return []Collection{Data, Command, History, System} }

// Ref names one row. Version is 0 for Data and System. Keys are compared byte by byte, never folded.
type Ref struct {
	Collection Collection
	PK, SK     string
	Version    int64
}

// RefOf returns the Ref under which r stands in c.
func RefOf(c Collection, r *record.Record) Ref {
	ref := Ref{Collection: c, PK: r.PK, SK: r.SK}
	if c == Command || c == History {
		ref.Version = r.Version
	}
	return ref
}

// Range asks for rows of one partition of Data or System, ordered by the bytes of their SK.
// From is inclusive, To exclusive, Prefix a prefix of the SK; "" leaves that side open. After and Before, both
// exclusive, say where an earlier page ended: After with ascending order, Before with Descending.
type Range struct {
	Collection     Collection
	PK             string
	Prefix         string
	From, To       string
	After, Before  string
	Descending     bool
	IncludeDeleted bool // rows with IsDeleted too
	Limit          int  // at least 1; an engine may return fewer rows only where there are no more
}

// Position is a place in the change feed: with every engine a decimal number above 0 without leading zeros, of any length; "" is
// the beginning, before all of them. No position is given twice: a command that is put again keeps its own, one that is
// deleted leaves the feed with it.
type Position string

// Compare returns -1 where p is before q, 0 where they are one place, 1 where p is behind q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(len(p), len(q)), cmp.Compare(p, q))
}

// PositionAt returns the position with a number, "" for 0.
func PositionAt(n int64) Position {
	if n == 0 {
		return ""
	}
	return Position(strconv.FormatInt(n, 10))
}

// Number returns p's number, 0 for "". It fails with fault.InvalidCursor for what PositionAt does not return, leading zeros and
// signs included.
func (p Position) Number() (int64, error) {
	if p == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(p), 10, 64)
	if err != nil || n < 1 || PositionAt(n) != p {
		return 0, fault.New(fault.InvalidCursor, "driver.Position", "the position is not one that this store returned")
	}
	return n, nil
}

// Change is one entry of the change feed.
type Change struct {
	Position Position
	Command  *record.Record
}

// Condition says what must hold of the row that a write replaces.
type Condition struct {
	Kind    ConditionKind
	Version int64 // with IfVersion
}

// ConditionKind is the kind of a Condition. The zero kind is no condition.
type ConditionKind uint8

// The kinds of conditions.
const (
	Always    ConditionKind = iota
	IfAbsent                // no such row
	IfVersion               // the row exists with this Version
)

// Write puts or deletes one row. Deleting a row that isn't there is no failure; with IfAbsent it is nothing but the check.
type Write struct {
	Collection Collection
	Record     *record.Record // its key names the row; when deleting, only its key counts
	Delete     bool
	If         Condition

	// Was is the row as it was read at If's version, where that is known: an engine need not write what Record has in common with it.
	Was *record.Record
}

// Batch is the unit of writing. Its writes name different rows. The engine does not change it and does not
// keep it after Commit returns.
type Batch struct {
	Writes []Write
}

// Conflict is the error of a Commit one of whose conditions does not hold; nothing of the batch was written.
type Conflict struct {
	Write  int   // index of the first write whose condition failed
	Found  bool  // whether the row exists
	Actual int64 // its version, 0 where it doesn't exist
}

// Error names the write, not its content.
func (c *Conflict) Error() string {
	return fmt.Sprintf("write %d: its condition does not hold", c.Write)
}

// MaxBatch is the largest number of writes in a Batch that every engine takes: DynamoDB's limit.
const MaxBatch = 100

// Engine is a store. All methods may be called concurrently, before Close. Errors are *fault.Error with Unavailable
// (try again: locked, busy, out of space, connection lost), Internal (a corrupt row or file) or the context's own
// error; only Commit returns *Conflict too, and only Changes fault.InvalidCursor. An engine that can't say whether a commit
// was made returns Unavailable or the context's error: the caller finds out by reading the command row. A batch that is too large for
// the database fails with fault.TooLarge, whole.
//
// An engine may lack one thing, and declares it to storagetest as a gap with its reason: an immediate feed. Its Commit returns no
// position, and its Changes, End and Committed follow a commit within seconds; all else that is said of them holds.
//
// Records that are returned are the caller's own, but for their Attributes and Metadata, which nobody changes. An engine
// does not keep Record.StoredPK.
type Engine interface {
	// Get returns the row at ref, nil where there is none. The read is consistent: it sees every acknowledged commit.
	Get(ctx context.Context, ref Ref) (*record.Record, error)

	// BatchGet returns the rows at refs, in their order, nil where there is none. Rows of one collection
	// and one commit may be seen apart. At most MaxBatch refs.
	BatchGet(ctx context.Context, refs []Ref) ([]*record.Record, error)

	// Range returns the rows that r asks for, in order.
	Range(ctx context.Context, r Range) ([]*record.Record, error)

	// Scan returns at most limit rows of a whole collection, in the order of (PK, SK, Version), after the ref after;
	// the zero Ref begins. It is for verification, copying and export.
	Scan(ctx context.Context, c Collection, after Ref, limit int) ([]*record.Record, error)

	// Commit makes all writes of b, or none and says why, and returns the position of its last command row: "" for a
	// batch without one, and where the feed gives a command its place only later. When it returns nil the writes survive the death of the process and are visible to every read.
	Commit(ctx context.Context, b Batch) (Position, error)

	// Changes returns at most limit changes after a position, oldest first. Each command appears once, those of one
	// record in the order of their versions, and no change appears later before one that was returned earlier.
	// It fails with fault.InvalidCursor for a position that no engine of this kind makes.
	Changes(ctx context.Context, after Position, limit int) ([]Change, error)

	// End returns the position of the newest change, "" where there is none.
	End(ctx context.Context) (Position, error)

	// Committed returns a channel that receives after commits, those of other processes included within 250 ms.
	// Signals may be merged, and may come without a commit. The channel is never closed. Stop releases it.
	Committed() (signal <-chan struct{}, stop func())

	// Close waits for the commits under way, releases everything and lets no goroutine behind. Later calls of any
	// method return Unavailable; a second Close returns nil.
	Close() error
}

// KeyFeed is implemented by engines that can say which records changed without reading the changes.
type KeyFeed interface {
	// ChangedKeys looks at what Changes would return, and returns the keys of those commands whose PK begins with one of
	// types and a #, in their order, how many changes it looked at, and the position of the last of them.
	ChangedKeys(ctx context.Context, after Position, limit int, types map[string]bool) (keys []Ref, looked int, last Position, err error)
}

// Advancer is implemented by engines whose feed shows a commit only some time after it.
type Advancer interface {
	// Advance returns the end of the feed once it shows everything that was committed before the call. It waits until ctx ends.
	Advance(ctx context.Context) (Position, error)
}

// Walled is implemented by engines that can have a wall of their own between tenants, beside package storage's.
type Walled interface {
	// Within returns the engine for what is done for a Scope of a tenant, which stays behind the wall; the engine itself where there is none.
	// What it returns is not closed.
	Within(of tenant.Code) Engine
}

// Surveyor is implemented by engines to whose stores other programs write records too: what Tenantry noted of a tenant's partitions is not all that there may be.
type Surveyor interface {
	// Partitions returns the PKs of a tenant's partitions of Data that have rows, in any order. It may read all of Data.
	Partitions(ctx context.Context, of tenant.Code) ([]string, error)
}

// Backuper is implemented by engines that can copy themselves to a file while they are used.
type Backuper interface {
	// Backup writes a consistent copy of the store to path, which must not exist (fault.AlreadyExists).
	Backup(ctx context.Context, path string) error
}

// Source names a store and opens engines on it: opened twice, it gives two engines that share the store. Engine packages
// export functions that return one; the zero Source opens nothing.
type Source struct {
	name   string
	open   func(context.Context) (Engine, error)
	shared bool
}

// NewSource returns a Source. Name is the engine's, "sqlite".
func NewSource(name string, open func(context.Context) (Engine, error)) Source {
	return Source{name: name, open: open}
}

// Shared returns s as a store that processes on several hosts share: what they must agree on, as the keys that sign tokens, can't stand
// beside it in a directory.
func (s Source) Shared() Source {
	s.shared = true
	return s
}

// IsShared reports whether processes on several hosts share the store.
func (s Source) IsShared() bool { return s.shared }

// Name returns the engine's name, "" for the zero Source.
func (s Source) Name() string { return s.name }

// Open opens the engine. The second argument can't be made outside this module: applications open stores with
// storage.Open, which hands out scoped access only.
func (s Source) Open(ctx context.Context, root scope.Root) (Engine, error) {
	if err := root.Check(); err != nil {
		return nil, err
	}
	if s.open == nil {
		return nil, fault.New(fault.Unavailable, "driver.Open", "no store is configured; name one, for example sqlite.At(dir)")
	}
	return s.open(ctx)
}

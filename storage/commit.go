package storage

import (
	"context"
	"errors"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Change is one accepted command with what follows from it. It is written whole or not at all.
type Change struct {
	Command *record.Record // inserted: no other command may have its version
	Data    *record.Record // the new state
	Replace *record.Record // the state that was read, nil where there was none; it becomes history
	System  []SystemWrite  // what the system keeps in the same commit
}

// Commit writes Changes of the scope's tenant, all or none, and returns the place of the last in the change feed. It fails with
// *driver.Conflict where another command was first, whose Write is, for a single Change, 0 for the command, 1 for the state, and
// from SystemOffset(c) on for System, and with fault.Unavailable where writes are paused. All its writes together, and the conditions
// of pauses, which are one and one for each tenant that the writes are about, are at most driver.MaxBatch.
func (v View) Commit(ctx context.Context, changes ...Change) (driver.Position, error) {
	absent := driver.Condition{Kind: driver.IfAbsent}
	var writes []driver.Write
	for _, c := range changes {
		more, err := v.writes(c, absent, absent)
		if err != nil {
			return "", err
		}
		writes = append(writes, more...)
	}
	return v.commit(ctx, writes)
}

// commit makes writes unless the store, or a tenant that they are about, is paused.
func (v View) commit(ctx context.Context, writes []driver.Write) (driver.Position, error) {
	return v.commitIf(ctx, writes, v.store.unpaused(ctx, writes))
}

// repair is commit for writes past the change feed: it fails as in a pause while the store is copied.
func (v View) repair(ctx context.Context, writes []driver.Write) (driver.Position, error) {
	return v.commitIf(ctx, writes, unmoved(writes))
}

func (v View) commitIf(ctx context.Context, writes, conditions []driver.Write) (driver.Position, error) {
	began := v.store.began()
	position, err := v.engine().Commit(ctx, driver.Batch{Writes: append(writes, conditions...)})
	if lost, ok := errors.AsType[*driver.Conflict](err); ok && lost.Write >= len(writes) {
		err = paused()
	}
	v.store.done("commit", began, err)
	return position, err
}

// writes returns the writes of c, if logged holds of its command's row and past of the row that its history takes.
func (v View) writes(c Change, logged, past driver.Condition) ([]driver.Write, error) {
	if !v.sc.Writable() {
		return nil, fault.New(fault.TenantForbidden, "storage.Commit", "this scope reads shared records only")
	}
	key, pk, err := v.place(c.Command)
	if err != nil {
		return nil, err
	}
	if c.Data.PK != key.PK() || c.Data.SK != key.SK() || c.Data.Version != c.Command.Version {
		return nil, mixed()
	}
	unchanged := driver.Condition{Kind: driver.IfAbsent}
	var was *record.Record
	if c.Replace != nil {
		replaced, where, err := v.place(c.Replace)
		if err != nil {
			return nil, err
		}
		if replaced != key {
			return nil, mixed()
		}
		pk, was = where, at(where, c.Replace)
		unchanged = driver.Condition{Kind: driver.IfVersion, Version: c.Replace.Version}
	}
	writes := make([]driver.Write, 0, 3+len(c.System))
	writes = append(writes,
		driver.Write{Collection: driver.Command, Record: at(pk, c.Command), If: logged},
		driver.Write{Collection: driver.Data, Record: at(pk, c.Data), If: unchanged, Was: was})
	if c.Replace != nil {
		writes = append(writes, driver.Write{Collection: driver.History, Record: was, If: past})
	}
	for _, w := range c.System {
		writes = append(writes, w.write)
	}
	return writes, nil
}

func mixed() error {
	return fault.New(fault.Internal, "storage.Commit", "the rows of a change name different records")
}

// SystemOffset returns the index of c's first system write among all its writes, as *driver.Conflict counts them.
func SystemOffset(c Change) int {
	if c.Replace == nil {
		return 2
	}
	return 3
}

func at(pk string, r *record.Record) *record.Record {
	if r.PK == pk && r.StoredPK == "" {
		return r
	}
	r = r.Clone()
	r.PK, r.StoredPK = pk, ""
	return r
}

// SystemWrite is one write to what the system keeps beside records. It is made by a Keeper.
type SystemWrite struct{ write driver.Write }

// Distinct returns writes without those that have no condition and whose row a later one writes.
func Distinct(writes []SystemWrite) []SystemWrite {
	last := make(map[driver.Ref]int, len(writes))
	for i, w := range writes {
		last[driver.RefOf(driver.System, w.write.Record)] = i
	}
	out := writes[:0:0]
	for i, w := range writes {
		if w.write.If.Kind != driver.Always || last[driver.RefOf(driver.System, w.write.Record)] == i {
			out = append(out, w)
		}
	}
	return out
}

// Keeper reads and writes what the system keeps beside records: rows of the System collection, each named by a PK of
// the keeper's own word and a tenant, and a sort key. Applications can't make one.
type Keeper struct {
	store *Store
	word  string
}

// Keeper returns the keeper of one word, "DIRECTORY".
func (s *Store) Keeper(root scope.Root, word record.EntityType) (Keeper, error) {
	if err := root.Check(); err != nil {
		return Keeper{}, err
	}
	return Keeper{store: s, word: word.String()}, nil
}

// Row is one thing that the system keeps. Version counts its changes from 1; 0 names a row that is not there.
type Row struct {
	Owner   string // what its PK names after the word, a tenant code; "common" for the system's own
	SK      string
	Version int64
	Expires int64 // Unix seconds; 0 for never
	Value   record.Attributes
}

func (k Keeper) pk(owner string) string { return k.word + record.Separator + owner }

// Get returns a row; one with Version 0 and no value where there is none.
func (k Keeper) Get(ctx context.Context, owner, sk string) (Row, error) {
	began := k.store.began()
	rec, err := k.store.engine.Get(ctx, driver.Ref{Collection: driver.System, PK: k.pk(owner), SK: sk})
	k.store.done("get", began, err)
	if err != nil {
		return Row{}, err
	}
	if rec == nil {
		return Row{Owner: owner, SK: sk}, nil
	}
	return rowOf(owner, rec), nil
}

// List returns at most limit rows of an owner after a sort key, in the order of their sort keys.
func (k Keeper) List(ctx context.Context, owner, prefix, after string, limit int) ([]Row, error) {
	began := k.store.began()
	recs, err := k.store.engine.Range(ctx, driver.Range{Collection: driver.System, PK: k.pk(owner), Prefix: prefix, After: after, Limit: limit, IncludeDeleted: true})
	k.store.done("range", began, err)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, len(recs))
	for i, r := range recs {
		rows[i] = rowOf(owner, r)
	}
	return rows, nil
}

func rowOf(owner string, r *record.Record) Row {
	return Row{Owner: owner, SK: r.SK, Version: r.Version, Expires: r.TTL, Value: r.Attributes}
}

// Put returns the write that makes r the row, if the row still has r.Version; the row's version becomes the next.
func (k Keeper) Put(r Row) SystemWrite {
	cond := driver.Condition{Kind: driver.IfAbsent}
	if r.Version > 0 {
		cond = driver.Condition{Kind: driver.IfVersion, Version: r.Version}
	}
	return SystemWrite{driver.Write{Collection: driver.System, Record: k.record(r, r.Version+1), If: cond}}
}

// Set returns the write that makes r the row, whatever stood there.
func (k Keeper) Set(r Row) SystemWrite {
	return SystemWrite{driver.Write{Collection: driver.System, Record: k.record(r, max(1, r.Version))}}
}

// Replace returns the write that makes r the row, with r.Version, if there still is what was read as was.
func (k Keeper) Replace(was, r Row) SystemWrite {
	w := k.Set(r)
	w.write.If = k.Put(was).write.If
	return w
}

// Delete returns the write that removes the row, if there is one.
func (k Keeper) Delete(r Row) SystemWrite {
	return SystemWrite{driver.Write{Collection: driver.System, Record: k.record(r, r.Version), Delete: true}}
}

// Remove returns the write that removes the row, if it still has r.Version, which is at least 1.
func (k Keeper) Remove(r Row) SystemWrite {
	w := k.Delete(r)
	w.write.If = driver.Condition{Kind: driver.IfVersion, Version: r.Version}
	return w
}

// Absent returns the write that is nothing but the condition that there is no such row.
func (k Keeper) Absent(r Row) SystemWrite {
	w := k.Delete(r)
	w.write.If = driver.Condition{Kind: driver.IfAbsent}
	return w
}

func (k Keeper) record(r Row, version int64) *record.Record {
	return &record.Record{PK: k.pk(r.Owner), SK: r.SK, Version: version, TTL: r.Expires, Attributes: r.Value}
}

// Commit writes system rows by themselves, all or none. It fails with *driver.Conflict.
func (k Keeper) Commit(ctx context.Context, writes ...SystemWrite) error {
	return k.commit(ctx, raw(writes))
}

// CommitUnpaused is Commit for what must not change while the store, or a tenant that the writes are about, is paused: it fails with
// fault.Unavailable there.
func (k Keeper) CommitUnpaused(ctx context.Context, writes ...SystemWrite) error {
	own := raw(writes)
	err := k.commit(ctx, append(own, k.store.unpaused(ctx, own)...))
	if lost, ok := errors.AsType[*driver.Conflict](err); ok && lost.Write >= len(own) {
		return paused()
	}
	return err
}

func raw(writes []SystemWrite) []driver.Write {
	out := make([]driver.Write, len(writes))
	for i, w := range writes {
		out[i] = w.write
	}
	return out
}

func (k Keeper) commit(ctx context.Context, writes []driver.Write) error {
	began := k.store.began()
	_, err := k.store.engine.Commit(ctx, driver.Batch{Writes: writes})
	k.store.done("commit", began, err)
	return err
}

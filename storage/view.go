package storage

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// View is the records of one Scope's tenant. It is a small value and may be used concurrently.
type View struct {
	store *Store
	sc    scope.Scope
}

// In returns the View of sc's tenant. It fails with fault.TenantRequired for the zero Scope.
func (s *Store) In(sc scope.Scope) (View, error) {
	if err := sc.Check(); err != nil {
		return View{}, err
	}
	return View{store: s, sc: sc}, nil
}

// Scope returns the Scope whose records v shows.
func (v View) Scope() scope.Scope { return v.sc }

// engine returns the engine, behind its own wall between tenants where it has one.
func (v View) engine() driver.Engine {
	if v.store.walled == nil {
		return v.store.engine
	}
	return v.store.walled.Within(v.sc.Tenant())
}

// admit checks that the scope covers a partition, for reading.
func (v View) admit(p record.Partition) error {
	if v.store == nil || p.Tenant() != v.sc.Tenant() || p.PK() == "" {
		return fault.New(fault.TenantForbidden, "storage", "the key names a tenant that is not in scope")
	}
	if !v.sc.Writable() && !v.store.shared(p.Type()) {
		return fault.New(fault.TenantForbidden, "storage", "the common tenant's records of this entity type are not shared")
	}
	return nil
}

// Get returns the current state of the record at key, deleted or not; nil where there never was one.
func (v View) Get(ctx context.Context, key record.Key) (*record.Record, error) {
	return v.row(ctx, driver.Data, key, 0)
}

// Command returns the command that made a version of a record, nil where there is none.
func (v View) Command(ctx context.Context, key record.Key, version int64) (*record.Record, error) {
	return v.row(ctx, driver.Command, key, version)
}

// Past returns a state of a record that was replaced, nil where version is not one.
func (v View) Past(ctx context.Context, key record.Key, version int64) (*record.Record, error) {
	return v.row(ctx, driver.History, key, version)
}

func (v View) row(ctx context.Context, c driver.Collection, key record.Key, version int64) (*record.Record, error) {
	if err := v.admit(key.Partition); err != nil {
		return nil, err
	}
	rec, err := v.get(ctx, driver.Ref{Collection: c, PK: key.PK(), SK: key.SK(), Version: version})
	if rec != nil || err != nil {
		return rec, err
	}
	older, ok := olderPK(key.Partition)
	if !ok {
		return nil, nil
	}
	if c != driver.Data { // commands and history are those of the row that wins
		if ours, err := v.get(ctx, driver.Ref{Collection: driver.Data, PK: key.PK(), SK: key.SK()}); ours != nil || err != nil {
			return nil, err
		}
	}
	rec, err = v.get(ctx, driver.Ref{Collection: c, PK: older, SK: key.SK(), Version: version})
	return adopt(rec, key.PK()), err
}

func (v View) get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	began := v.store.began()
	rec, err := v.engine().Get(ctx, ref)
	v.store.done("get", began, err)
	if err != nil || rec == nil {
		return nil, err
	}
	if rec.PK != ref.PK || rec.SK != ref.SK {
		return nil, foreign(ctx, ref.PK, rec.PK)
	}
	return rec, nil
}

// BatchGet returns the current states of the records at keys, in their order, nil where there never was one.
func (v View) BatchGet(ctx context.Context, keys []record.Key) ([]*record.Record, error) {
	refs := make([]driver.Ref, len(keys))
	for i, k := range keys {
		if err := v.admit(k.Partition); err != nil {
			return nil, err
		}
		refs[i] = driver.Ref{Collection: driver.Data, PK: k.PK(), SK: k.SK()}
	}
	recs, err := v.batch(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if recs[i] != nil {
			continue
		}
		if older, ok := olderPK(k.Partition); ok {
			rec, err := v.get(ctx, driver.Ref{Collection: driver.Data, PK: older, SK: k.SK()})
			if err != nil {
				return nil, err
			}
			recs[i] = adopt(rec, k.PK())
		}
	}
	return recs, nil
}

// Versions returns the commands, or the replaced states, of one record for versions from down to to (both inclusive),
// nil where there is none. At most driver.MaxBatch versions.
func (v View) Versions(ctx context.Context, c driver.Collection, current *record.Record, from, to int64) ([]*record.Record, error) {
	key, pk, err := v.place(current)
	if err != nil {
		return nil, err
	}
	if err := v.admit(key.Partition); err != nil {
		return nil, err
	}
	refs := make([]driver.Ref, 0, max(0, from-to+1))
	for n := from; n >= to; n-- {
		refs = append(refs, driver.Ref{Collection: c, PK: pk, SK: current.SK, Version: n})
	}
	recs, err := v.batch(ctx, refs)
	for i := range recs {
		if current.StoredPK != "" {
			recs[i] = adopt(recs[i], current.PK)
		}
	}
	return recs, err
}

func (v View) batch(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	out := make([]*record.Record, 0, len(refs))
	for len(refs) > 0 {
		n := min(len(refs), driver.MaxBatch)
		began := v.store.began()
		recs, err := v.engine().BatchGet(ctx, refs[:n])
		v.store.done("batch_get", began, err)
		if err != nil {
			return nil, err
		}
		for i, r := range recs {
			if r != nil && (r.PK != refs[i].PK || r.SK != refs[i].SK) {
				return nil, foreign(ctx, refs[i].PK, r.PK)
			}
		}
		out, refs = append(out, recs...), refs[n:]
	}
	return out, nil
}

// Foreign returns the PKs of the tenant's partitions, noted ones among them, where other programs write to the store too and may have made some that are not
// noted; nil elsewhere. It may read the whole store.
func (v View) Foreign(ctx context.Context) ([]string, error) {
	engine, ok := v.store.engine.(driver.Surveyor)
	if !ok {
		return nil, nil
	}
	began := v.store.began()
	pks, err := engine.Partitions(ctx, v.sc.Tenant())
	v.store.done("partitions", began, err)
	return pks, err
}

// Query asks for records of one partition, ordered by the bytes of their sort keys.
type Query struct {
	Partition      record.Partition
	Prefix         string
	From, To       string // inclusive, exclusive; "" is open
	After          string // the last sort key of the page before, exclusive in the direction of the order; "" begins
	Descending     bool
	IncludeDeleted bool
	Limit          int // at least 1
}

// List returns at most q.Limit records. Fewer mean that there are no more.
func (v View) List(ctx context.Context, q Query) ([]*record.Record, error) {
	if err := v.admit(q.Partition); err != nil {
		return nil, err
	}
	older, ok := olderPK(q.Partition)
	if !ok {
		return v.list(ctx, q, q.Partition.PK())
	}
	return v.listBoth(ctx, q, older)
}

func (v View) list(ctx context.Context, q Query, pk string) ([]*record.Record, error) {
	r := driver.Range{Collection: driver.Data, PK: pk, Prefix: q.Prefix, From: q.From, To: q.To,
		Descending: q.Descending, IncludeDeleted: q.IncludeDeleted, Limit: q.Limit}
	if q.Descending {
		r.Before = q.After
	} else {
		r.After = q.After
	}
	began := v.store.began()
	recs, err := v.engine().Range(ctx, r)
	v.store.done("range", began, err)
	if err != nil {
		return nil, err
	}
	for _, rec := range recs {
		if rec.PK != pk {
			return nil, foreign(ctx, pk, rec.PK)
		}
	}
	return recs, nil
}

// listBoth merges X#common with X#COMMON; for a sort key that has both, the lower-case row wins, deleted or not.
func (v View) listBoth(ctx context.Context, q Query, older string) ([]*record.Record, error) {
	every := q
	every.IncludeDeleted = true
	var out []*record.Record
	for {
		ours, err := v.list(ctx, every, q.Partition.PK())
		if err != nil {
			return nil, err
		}
		theirs, err := v.list(ctx, every, older)
		if err != nil {
			return nil, err
		}
		oursEnd, theirsEnd := len(ours) < every.Limit, len(theirs) < every.Limit
		for (oursEnd || len(ours) > 0) && (theirsEnd || len(theirs) > 0) { // until a page is used up that another may follow
			if len(ours) == 0 && len(theirs) == 0 {
				return out, nil
			}
			order := compareHeads(ours, theirs, q.Descending)
			var next *record.Record
			if order <= 0 {
				next, ours = ours[0], ours[1:]
			}
			if order == 0 {
				theirs = theirs[1:]
			}
			if order > 0 {
				next, theirs = adopt(theirs[0], q.Partition.PK()), theirs[1:]
			}
			every.After = next.SK
			if q.IncludeDeleted || !next.IsDeleted {
				if out = append(out, next); len(out) == q.Limit {
					return out, nil
				}
			}
		}
	}
}

// compareHeads says which of two lists, at most one of them empty, comes first.
func compareHeads(a, b []*record.Record, descending bool) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	case descending:
		return strings.Compare(b[0].SK, a[0].SK)
	default:
		return strings.Compare(a[0].SK, b[0].SK)
	}
}

// olderPK returns the PK under which older services wrote the common tenant's records; ok is false for other tenants.
func olderPK(p record.Partition) (pk string, ok bool) {
	if !p.Tenant().IsCommon() {
		return "", false
	}
	return strings.Replace(p.PK(), "#common", "#COMMON", 1), true
}

// Shown returns a row as a View shows it: one that stands in X#COMMON as one of X#common. Ok is false for a row that no View
// shows, because its PK is not in its canonical form.
func Shown(rec *record.Record) (shown *record.Record, ok bool) {
	t, code, rest, err := record.SplitPK(rec.PK)
	if err != nil {
		return nil, false
	}
	pk := t.String() + record.Separator + code.String()
	if rest != "" {
		pk += record.Separator + rest
	}
	switch {
	case rec.PK == pk:
		return rec, true
	case code.IsCommon() && rec.PK == strings.Replace(pk, "#common", "#COMMON", 1):
		return adopt(rec, pk), true
	}
	return nil, false
}

// adopt shows a row that stands in an older partition as one of pk. Nil stays nil.
func adopt(rec *record.Record, pk string) *record.Record {
	if rec == nil {
		return nil
	}
	rec = rec.Clone()
	rec.StoredPK, rec.PK, rec.TenantCode = rec.PK, pk, "common"
	return rec
}

// place returns the key that rec names and the PK under which its row stands. Anyone can fill in a Record: where it
// says that it stands is believed only of the scope's own partitions.
func (v View) place(rec *record.Record) (key record.Key, pk string, err error) {
	if key, err = record.ParseKey(v.sc, rec.PK, rec.SK); err != nil {
		return key, "", err
	}
	older, ok := olderPK(key.Partition)
	switch {
	case rec.PK != key.PK():
		return key, "", fault.New(fault.InvalidKey, "storage", "the record's pk is not in its canonical form")
	case rec.StoredPK == "":
		return key, rec.PK, nil
	case ok && rec.StoredPK == older:
		return key, older, nil
	}
	return key, "", fault.New(fault.TenantForbidden, "storage", "the record stands in a partition that is not in scope")
}

package storagetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

var randomProperties = []property{
	{"any operations have the results of the memory engine", likeMemory},
}

// likeMemory does the same random operations on the engine and on the memory engine. A failure prints what it drew and
// the seed that repeats it; -rapid.checks and -rapid.steps make it try more.
func likeMemory(s *store) {
	rapid.Check(s, func(t *rapid.T) {
		m := &machine{ctx: s, late: s.late, src: s.open(s.TB), oracleSrc: memory.New()}
		m.start(t)
		defer m.close(t)
		actions := map[string]func(*rapid.T){
			"commit": m.commit, "commit again": m.commit, "get": m.get, "range": m.rangeOf, "scan": m.scan,
			"changes": m.changes, "restart": m.restart,
		}
		if m.late { // commands without their data rows are not in such a feed
			delete(actions, "changes")
		}
		t.Repeat(actions)
	})
}

// machine is two engines to which the same things happen.
type machine struct {
	ctx            testing.TB
	late           bool
	src, oracleSrc driver.Source
	engine, oracle driver.Engine
}

func (m *machine) start(t *rapid.T) {
	var err, oracleErr error
	m.engine, err = m.src.Open(m.ctx.Context(), scope.NewRoot())
	m.oracle, oracleErr = m.oracleSrc.Open(m.ctx.Context(), scope.NewRoot())
	if err = errors.Join(err, oracleErr); err != nil {
		t.Fatalf("opening the stores: %v", err)
	}
}

func (m *machine) close(t *rapid.T) {
	if err := errors.Join(m.engine.Close(), m.oracle.Close()); err != nil {
		t.Errorf("closing the stores: %v", err)
	}
}

func (m *machine) restart(t *rapid.T) {
	m.close(t)
	m.start(t)
}

// agree fails the test unless the engine's result is the oracle's.
func agree[T any](t *rapid.T, what string, got T, err error, want T, wantErr error) {
	t.Helper()
	var conflict, wantConflict *driver.Conflict
	if errors.As(wantErr, &wantConflict) && errors.As(err, &conflict) {
		err, wantErr = nil, nil
	}
	if err != nil || wantErr != nil {
		t.Fatalf("%s: got error %v, the memory engine has %v", what, err, wantErr)
	}
	options := cmp.Options{cmp.AllowUnexported(record.Time{})}
	if diff := cmp.Diff(want, got, options) + cmp.Diff(wantConflict, conflict, options); diff != "" {
		t.Fatalf("%s (-memory +engine):\n%s", what, diff)
	}
}

var (
	drawPK         = rapid.SampledFrom([]string{"A#acme", "A#acme2"})
	drawSK         = rapid.SampledFrom([]string{"a", "A", "a#1", "é", "\uffff", "\U0001f600"})
	drawSide       = rapid.OneOf(rapid.Just(""), drawSK)
	drawCollection = rapid.SampledFrom(driver.Collections())
	drawVersion    = rapid.Int64Range(1, 2)
	drawLimit      = rapid.SampledFrom([]int{1, 2, 3, 100})
)

func drawRef(t *rapid.T) driver.Ref {
	ref := driver.Ref{Collection: drawCollection.Draw(t, "collection"), PK: drawPK.Draw(t, "pk"), SK: drawSK.Draw(t, "sk")}
	if ref.Collection == driver.Command || ref.Collection == driver.History {
		ref.Version = drawVersion.Draw(t, "version")
	}
	return ref
}

func drawWrite(t *rapid.T) driver.Write {
	ref := drawRef(t)
	r := full(ref.PK, ref.SK, ref.Version)
	if ref.Version == 0 {
		r.Version = drawVersion.Draw(t, "version")
	}
	r.IsDeleted = rapid.Bool().Draw(t, "deleted")
	r.Name = rapid.String().Draw(t, "name")
	r.TTL = rapid.SampledFrom([]int64{0, time.Now().Unix() - 1000, time.Now().Unix() + 1000}).Draw(t, "ttl")
	w := driver.Write{Collection: ref.Collection, Record: r, Delete: rapid.IntRange(0, 4).Draw(t, "delete") == 0}
	w.If.Kind = rapid.SampledFrom([]driver.ConditionKind{driver.Always, driver.IfAbsent, driver.IfVersion}).Draw(t, "condition")
	if w.If.Kind == driver.IfVersion {
		w.If.Version = drawVersion.Draw(t, "condition version")
	}
	return w
}

// commit commits a batch of writes to different rows.
func (m *machine) commit(t *rapid.T) {
	var b driver.Batch
	taken := make(map[driver.Ref]bool)
	for _, w := range rapid.SliceOfN(rapid.Custom(drawWrite), 1, 5).Draw(t, "writes") {
		if ref := driver.RefOf(w.Collection, w.Record); !taken[ref] {
			taken[ref] = true
			b.Writes = append(b.Writes, w)
		}
	}
	at, err := m.engine.Commit(m.ctx.Context(), b)
	want, wantErr := m.oracle.Commit(m.ctx.Context(), b)
	agree(t, "commit", at != "", err, want != "" && !m.late, wantErr)
}

func (m *machine) get(t *rapid.T) {
	refs := rapid.SliceOfN(rapid.Custom(drawRef), 1, 5).Draw(t, "refs")
	got, err := m.engine.BatchGet(m.ctx.Context(), refs)
	want, wantErr := m.oracle.BatchGet(m.ctx.Context(), refs)
	agree(t, "batch get", got, err, want, wantErr)
	one, err := m.engine.Get(m.ctx.Context(), refs[0])
	agree(t, "get", one, err, want[0], nil)
}

func (m *machine) rangeOf(t *rapid.T) {
	r := driver.Range{
		Collection: rapid.SampledFrom([]driver.Collection{driver.Data, driver.System}).Draw(t, "collection"),
		PK:         drawPK.Draw(t, "pk"), Prefix: drawSide.Draw(t, "prefix"), From: drawSide.Draw(t, "from"), To: drawSide.Draw(t, "to"),
		Descending: rapid.Bool().Draw(t, "descending"), IncludeDeleted: rapid.Bool().Draw(t, "include deleted"), Limit: drawLimit.Draw(t, "limit"),
	}
	if r.Descending {
		r.Before = drawSide.Draw(t, "before")
	} else {
		r.After = drawSide.Draw(t, "after")
	}
	got, err := m.engine.Range(m.ctx.Context(), r)
	want, wantErr := m.oracle.Range(m.ctx.Context(), r)
	agree(t, fmt.Sprintf("range %+v", r), got, err, want, wantErr)
}

func (m *machine) scan(t *rapid.T) {
	after := driver.Ref{}
	if rapid.Bool().Draw(t, "from within") {
		after = drawRef(t)
	} else {
		after.Collection = drawCollection.Draw(t, "collection")
	}
	limit := drawLimit.Draw(t, "limit")
	got, err := m.engine.Scan(m.ctx.Context(), after.Collection, after, limit)
	want, wantErr := m.oracle.Scan(m.ctx.Context(), after.Collection, after, limit)
	agree(t, "scan", got, err, want, wantErr)
}

// changes compares the whole feed and a part of it. Positions are the engine's own: their order is what counts.
func (m *machine) changes(t *rapid.T) {
	const all = 1000
	got, err := m.engine.Changes(m.ctx.Context(), "", all)
	want, wantErr := m.oracle.Changes(m.ctx.Context(), "", all)
	agree(t, "changes", commands(got), err, commands(want), wantErr)
	end, err := m.engine.End(m.ctx.Context())
	if err != nil || len(got) == 0 && end != "" || len(got) > 0 && end != got[len(got)-1].Position {
		t.Fatalf("end is %q, %v; the last change is not there", end, err)
	}
	if len(got) == 0 {
		return
	}
	i, limit := rapid.IntRange(0, len(got)-1).Draw(t, "after"), drawLimit.Draw(t, "limit")
	part, err := m.engine.Changes(m.ctx.Context(), got[i].Position, limit)
	rest := got[i+1:]
	agree(t, "changes after a position", commands(part), err, commands(rest[:min(limit, len(rest))]), nil)
}

func commands(changes []driver.Change) []*record.Record {
	recs := make([]*record.Record, len(changes))
	for i, c := range changes {
		recs[i] = c.Command
	}
	return recs
}

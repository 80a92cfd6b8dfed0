// Package storagetest is the contract of driver.Engine as tests, fuzz seeds and benchmarks. An engine is right when [Run]
// passes on it:
//
//	func TestEngine(t *testing.T) {
//		storagetest.Run(t, func(t testing.TB) driver.Source { return mine.At(t.TempDir()) })
//	}
package storagetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Open returns the Source of a new, empty store. Opened twice, the Source gives the same store: tests restart it, and
// open it beside itself as another process would.
type Open func(testing.TB) driver.Source

// property is one part of the contract. It fails its testing.TB where an engine does not keep it.
type property struct {
	name  string
	check func(*store)
}

var properties = slices.Concat(rowProperties, conditionProperties, rangeProperties, scanProperties, expiryProperties,
	feedProperties, signalProperties, concurrencyProperties, lifeProperties, randomProperties)

// Run tests the whole contract, every property on a store of its own. Gaps are what the engine lacks.
func Run(t *testing.T, open Open, gaps ...Gap) {
	late := lacks(t, gaps)
	tested := properties
	if late {
		tested = append(slices.Clone(properties), property{"a declared gap is needed", feedIsLate})
	}
	run(t, tested, open, late)
}

// run checks each property on a store of its own.
func run(t *testing.T, properties []property, open Open, late bool) {
	for _, p := range properties {
		t.Run(strings.ReplaceAll(p.name, " ", "_"), func(t *testing.T) {
			s := start(t, open)
			s.late = late
			p.check(s)
		})
	}
}

// store is an open engine and the test that uses it.
type store struct {
	testing.TB
	driver.Engine
	open Open
	src  driver.Source
	late bool // the engine lacks ImmediateFeed
}

// start opens a new store; it is closed with the test.
func start(t testing.TB, open Open) *store {
	s := &store{TB: t, open: open, src: open(t)}
	s.Engine = s.another()
	return s
}

// another opens an engine on the same store, as another process does.
func (s *store) another() driver.Engine {
	s.Helper()
	engine, err := s.src.Open(s.Context(), scope.NewRoot())
	if err != nil {
		s.Fatalf("opening the store: %v", err)
	}
	s.Cleanup(func() {
		if err := engine.Close(); err != nil {
			s.Errorf("closing the store: %v", err)
		}
	})
	return engine
}

// restart closes the engine and opens the store again.
func (s *store) restart() {
	s.Helper()
	if err := s.Engine.Close(); err != nil {
		s.Fatalf("closing the store: %v", err)
	}
	s.Engine = s.another()
}

func (s *store) commit(writes ...driver.Write) driver.Position {
	s.Helper()
	at, err := s.Commit(s.Context(), driver.Batch{Writes: writes})
	if err != nil {
		s.Fatalf("a commit of %d writes: %v", len(writes), err)
	}
	return at
}

func (s *store) get(ref driver.Ref) *record.Record {
	s.Helper()
	rec, err := s.Get(s.Context(), ref)
	if err != nil {
		s.Fatalf("get %v: %v", ref, err)
	}
	return rec
}

func (s *store) list(r driver.Range) []*record.Record {
	s.Helper()
	recs, err := s.Range(s.Context(), r)
	if err != nil {
		s.Fatalf("range %+v: %v", r, err)
	}
	return recs
}

func (s *store) scan(c driver.Collection, after driver.Ref, limit int) []*record.Record {
	s.Helper()
	recs, err := s.Scan(s.Context(), c, after, limit)
	if err != nil {
		s.Fatalf("scan of %v after %v: %v", c, after, err)
	}
	return recs
}

func (s *store) changes(after driver.Position, limit int) []driver.Change {
	s.Helper()
	changes, err := s.Changes(s.Context(), after, limit)
	if err != nil {
		s.Fatalf("changes after %q: %v", after, err)
	}
	return changes
}

func (s *store) end() driver.Position {
	s.Helper()
	end, err := s.End(s.Context())
	if err != nil {
		s.Fatalf("end of the feed: %v", err)
	}
	return end
}

// same fails the test where two values differ.
func (s *store) same(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(record.Time{})); diff != "" {
		s.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// unavailable fails the test unless err is a *fault.Error with Unavailable.
func (s *store) unavailable(what string, err error) {
	s.Helper()
	if fault.CodeOf(err) != fault.Unavailable {
		s.Errorf("%s: got %v, want an error with code unavailable", what, err)
	}
}

// rec returns a small record that says its own key.
func rec(pk, sk string, version int64) *record.Record {
	return &record.Record{PK: pk, SK: sk, Version: version, Code: sk, Type: "PRODUCT",
		Attributes: record.Attributes(fmt.Sprintf(`{"version":%d}`, version))}
}

// full returns a record with every field set.
func full(pk, sk string, version int64) *record.Record {
	at := func(second int) record.Time {
		return record.At(time.Date(2026, 11, 23, 10, 0, second, 123e6, time.UTC))
	}
	return &record.Record{PK: pk, SK: sk, Version: version,
		Code: "code \"quoted\" \\ #@", Name: "名前\u0301\u2028<&>", TenantCode: "acme", Type: "PRODUCT", IsDeleted: true,
		Seq: "12345678901234567890.5", TTL: time.Now().Add(time.Hour).Unix(),
		Attributes: record.Attributes(`{"":null,"\u0000":"\\","a":[1,-2.5,1e+30,{"b":"\"}]{["}],"ключ":true}`),
		Metadata:   record.Attributes(`{"syncedFrom":"PRODUCT#common#1"}`),
		Source:     "POST /api/data/product", RequestID: "01HX7MBJK3V9WQBZ7XNDK5ZT2M",
		CreatedAt: at(1), CreatedBy: "user-1", CreatedIP: "2001:db8::1",
		UpdatedAt: at(2), UpdatedBy: "ann@example.com", UpdatedIP: "192.0.2.1",
		Status: record.StatusFinished, SyncMode: record.SyncModeSync}
}

func put(c driver.Collection, r *record.Record) driver.Write {
	return driver.Write{Collection: c, Record: r}
}

func add(c driver.Collection, r *record.Record) driver.Write {
	return driver.Write{Collection: c, Record: r, If: driver.Condition{Kind: driver.IfAbsent}}
}

func swap(c driver.Collection, r *record.Record, version int64) driver.Write {
	return driver.Write{Collection: c, Record: r, If: driver.Condition{Kind: driver.IfVersion, Version: version}}
}

func drop(c driver.Collection, r *record.Record) driver.Write {
	return driver.Write{Collection: c, Record: r, Delete: true}
}

// publish returns the writes of a command that makes version of a record.
func publish(pk, sk string, version int64) []driver.Write {
	writes := []driver.Write{add(driver.Command, rec(pk, sk, version))}
	if version == 1 {
		return append(writes, add(driver.Data, rec(pk, sk, 1)))
	}
	return append(writes, swap(driver.Data, rec(pk, sk, version), version-1), add(driver.History, rec(pk, sk, version-1)))
}

// within waits for a value, or fails the test.
func within[T any](s *store, what string, limit time.Duration, from <-chan T) (v T) {
	s.Helper()
	select {
	case v = <-from:
	case <-time.After(limit):
		s.Fatalf("%s did not come within %v", what, limit)
	}
	return v
}

// cancelled returns a context that is done.
func cancelled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

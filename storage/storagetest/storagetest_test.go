package storagetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("rapid.nofailfile", "true") // what finds a planted bug is not worth keeping,
	flag.Set("rapid.shrinktime", "0s")   // nor making small
	goleak.VerifyTestMain(m)
}

// recorder is a testing.TB that notes a failure instead of failing.
type recorder struct {
	testing.TB
	failed   atomic.Bool
	mu       sync.Mutex
	cleanups []func()
}

func (r *recorder) Helper()               {}
func (r *recorder) Log(...any)            {}
func (r *recorder) Logf(string, ...any)   {}
func (r *recorder) Fail()                 { r.failed.Store(true) }
func (r *recorder) Failed() bool          { return r.failed.Load() }
func (r *recorder) Error(...any)          { r.Fail() }
func (r *recorder) Errorf(string, ...any) { r.Fail() }
func (r *recorder) FailNow()              { r.Fail(); runtime.Goexit() }
func (r *recorder) Fatal(...any)          { r.FailNow() }
func (r *recorder) Fatalf(string, ...any) { r.FailNow() }
func (r *recorder) Cleanup(f func())      { r.mu.Lock(); r.cleanups = append(r.cleanups, f); r.mu.Unlock() }

// fails reports whether a property fails on an engine.
func fails(t *testing.T, p property, open Open) bool {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(r.cleanups) {
				f()
			}
		}()
		p.check(start(r, open))
	}()
	<-done
	return r.Failed()
}

// faulty is the memory engine with a bug: what is set replaces the engine's own.
type faulty struct {
	driver.Engine
	get       func(context.Context, driver.Ref) (*record.Record, error)
	list      func(context.Context, driver.Range) ([]*record.Record, error)
	scan      func(context.Context, driver.Collection, driver.Ref, int) ([]*record.Record, error)
	commit    func(context.Context, driver.Batch) (driver.Position, error)
	changes   func(context.Context, driver.Position, int) ([]driver.Change, error)
	committed func() (<-chan struct{}, func())
	close     func() error
}

func (f *faulty) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	if f.get != nil {
		return f.get(ctx, ref)
	}
	return f.Engine.Get(ctx, ref)
}

func (f *faulty) Range(ctx context.Context, r driver.Range) ([]*record.Record, error) {
	if f.list != nil {
		return f.list(ctx, r)
	}
	return f.Engine.Range(ctx, r)
}

func (f *faulty) Scan(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
	if f.scan != nil {
		return f.scan(ctx, c, after, limit)
	}
	return f.Engine.Scan(ctx, c, after, limit)
}

func (f *faulty) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if f.commit != nil {
		return f.commit(ctx, b)
	}
	return f.Engine.Commit(ctx, b)
}

func (f *faulty) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	if f.changes != nil {
		return f.changes(ctx, after, limit)
	}
	return f.Engine.Changes(ctx, after, limit)
}

func (f *faulty) Committed() (<-chan struct{}, func()) {
	if f.committed != nil {
		return f.committed()
	}
	return f.Engine.Committed()
}

func (f *faulty) Close() error {
	if f.close != nil {
		return f.close()
	}
	return f.Engine.Close()
}

// bugs are planted into a memory engine; each must be found by the properties named, which pass without it.
var bugs = map[string]struct {
	plant func(e driver.Engine, f *faulty)
	found []string
}{
	"keys are folded to lower case": {func(e driver.Engine, f *faulty) {
		f.get = func(ctx context.Context, ref driver.Ref) (*record.Record, error) {
			ref.SK = strings.ToLower(ref.SK)
			return e.Get(ctx, ref)
		}
	}, []string{"keys are compared byte by byte", "any operations have the results of the memory engine"}},
	"milliseconds are lost": {func(e driver.Engine, f *faulty) {
		f.get = func(ctx context.Context, ref driver.Ref) (*record.Record, error) {
			rec, err := e.Get(ctx, ref)
			if rec != nil && !rec.CreatedAt.IsZero() {
				rec.CreatedAt = record.At(rec.CreatedAt.Time().Truncate(1e9))
			}
			return rec, err
		}
	}, []string{"every field of a row comes back", "any operations have the results of the memory engine"}},
	"reads share one record": {func(e driver.Engine, f *faulty) {
		var shared sync.Map
		f.get = func(ctx context.Context, ref driver.Ref) (*record.Record, error) {
			rec, err := e.Get(ctx, ref)
			if rec == nil {
				return nil, err
			}
			kept, _ := shared.LoadOrStore(ref, rec)
			return kept.(*record.Record), err
		}
	}, []string{"a row that was read may be changed", "a read sees every acknowledged commit"}},
	"the batch's records are kept": {func(e driver.Engine, f *faulty) {
		kept := make(map[driver.Ref]*record.Record)
		f.commit = func(ctx context.Context, b driver.Batch) (driver.Position, error) {
			for _, w := range b.Writes {
				kept[driver.RefOf(w.Collection, w.Record)] = w.Record
			}
			return e.Commit(ctx, b)
		}
		f.get = func(_ context.Context, ref driver.Ref) (*record.Record, error) { return kept[ref], nil }
	}, []string{"a batch is neither changed nor kept"}},
	"a range forgets one side of its page": {func(e driver.Engine, f *faulty) {
		f.list = func(ctx context.Context, r driver.Range) ([]*record.Record, error) {
			r.Before = ""
			r.Limit = max(r.Limit, 1)
			return e.Range(ctx, r)
		}
	}, []string{"a range returns what it asks for, in order"}},
	"a page ends before its limit": {func(e driver.Engine, f *faulty) {
		f.list = func(ctx context.Context, r driver.Range) ([]*record.Record, error) {
			deleted := r.IncludeDeleted
			r.IncludeDeleted = true
			recs, err := e.Range(ctx, r)
			return slices.DeleteFunc(recs, func(r *record.Record) bool { return r.IsDeleted && !deleted }), err
		}
	}, []string{"a range returns what it asks for, in order", "pages make up the range"}},
	"a partition bleeds into its neighbour": {func(e driver.Engine, f *faulty) {
		f.list = func(ctx context.Context, r driver.Range) ([]*record.Record, error) {
			all, err := e.Scan(ctx, r.Collection, driver.Ref{}, 1000)
			return slices.DeleteFunc(all, func(rec *record.Record) bool { return !strings.HasPrefix(rec.PK, r.PK) }), err
		}
	}, []string{"a range stays in its partition"}},
	"a scan has no versions": {func(e driver.Engine, f *faulty) {
		f.scan = func(ctx context.Context, c driver.Collection, after driver.Ref, limit int) ([]*record.Record, error) {
			after.Version = 1000
			return e.Scan(ctx, c, after, limit)
		}
	}, []string{"a scan walks a whole collection in order"}},
	"conditions are not looked at": {func(e driver.Engine, f *faulty) {
		f.commit = func(ctx context.Context, b driver.Batch) (driver.Position, error) {
			b.Writes = slices.Clone(b.Writes)
			for i := range b.Writes {
				b.Writes[i].If = driver.Condition{}
			}
			return e.Commit(ctx, b)
		}
	}, []string{"a write is made when its condition holds", "of many who write one version, one wins"}},
	"a conflict says nothing": {func(e driver.Engine, f *faulty) {
		f.commit = func(ctx context.Context, b driver.Batch) (driver.Position, error) {
			at, err := e.Commit(ctx, b)
			if _, ok := errors.AsType[*driver.Conflict](err); ok {
				err = &driver.Conflict{}
			}
			return at, err
		}
	}, []string{"a conflict names the first write that fails", "of many who write one version, one wins"}},
	"writes are made one by one": {func(e driver.Engine, f *faulty) {
		f.commit = func(ctx context.Context, b driver.Batch) (at driver.Position, err error) {
			for _, w := range slices.Backward(b.Writes) {
				one, err := e.Commit(ctx, driver.Batch{Writes: []driver.Write{w}})
				if err != nil {
					return "", err
				}
				at = max(at, one)
				runtime.Gosched()
			}
			return at, nil
		}
	}, []string{"a batch with a conflict writes nothing", "a batch becomes visible as a whole"}},
	"every tenth commit is lost": {func(e driver.Engine, f *faulty) {
		var n atomic.Int64
		f.commit = func(ctx context.Context, b driver.Batch) (driver.Position, error) {
			if n.Add(1)%10 == 0 {
				return "1", nil
			}
			return e.Commit(ctx, b)
		}
	}, []string{"one who follows the feed misses nothing", "a conflict leaves other commits alone"}},
	"positions are texts of one length": {func(e driver.Engine, f *faulty) {
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := e.Changes(ctx, driver.Position(strings.TrimLeft(string(after), "0")), limit)
			for i, c := range changes {
				changes[i].Position = driver.Position(fmt.Sprintf("%019s", c.Position))
			}
			return changes, err
		}
	}, []string{"positions are numbers that grow along the feed"}},
	"a change appears behind one that was seen": {func(e driver.Engine, f *faulty) {
		var hidden sync.Map // a position that was taken before its commit
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := e.Changes(ctx, after, limit)
			return slices.DeleteFunc(changes, func(c driver.Change) bool {
				_, seen := hidden.LoadOrStore(c.Position, true)
				return !seen && c.Command.Version%5 == 0
			}), err
		}
	}, []string{"one who follows the feed misses nothing"}},
	"changes come newest first": {func(e driver.Engine, f *faulty) {
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := e.Changes(ctx, after, limit)
			slices.Reverse(changes)
			return changes, err
		}
	}, []string{"changes come oldest first, after a position", "one who follows the feed misses nothing"}},
	"changes begin with the position": {func(e driver.Engine, f *faulty) {
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			all, err := e.Changes(ctx, "", 1000)
			at := max(0, slices.IndexFunc(all, func(c driver.Change) bool { return c.Position == after }))
			return all[at:min(len(all), at+limit)], err
		}
	}, []string{"changes come oldest first, after a position", "a position that the store did not make is refused"}},
	"nothing is signalled": {func(e driver.Engine, f *faulty) {
		f.committed = func() (<-chan struct{}, func()) { return make(chan struct{}), func() {} }
	}, []string{"a commit is signalled", "a commit of another process is signalled"}},
	"contexts are not looked at": {func(e driver.Engine, f *faulty) {
		f.get = func(ctx context.Context, ref driver.Ref) (*record.Record, error) {
			return e.Get(context.WithoutCancel(ctx), ref)
		}
	}, []string{"a context that is done ends every call"}},
	"close does nothing": {func(e driver.Engine, f *faulty) {
		f.close = func() error { return nil }
	}, []string{"a closed engine refuses everything"}},
	"close fails the second time": {func(e driver.Engine, f *faulty) {
		var closed atomic.Bool
		f.close = func() error {
			if closed.Swap(true) {
				return errors.New("closed already")
			}
			return e.Close()
		}
	}, []string{"a closed engine refuses everything"}},
}

func TestPlantedBugsAreFound(t *testing.T) {
	named := make(map[string]property)
	for _, p := range properties {
		named[p.name] = p
	}
	for _, bug := range slices.Sorted(maps.Keys(bugs)) {
		t.Run(strings.ReplaceAll(bug, " ", "_"), func(t *testing.T) {
			open := func(t testing.TB) driver.Source {
				src := memory.New()
				return driver.NewSource("faulty", func(ctx context.Context) (driver.Engine, error) {
					e, err := src.Open(ctx, scope.NewRoot())
					f := &faulty{Engine: e}
					if err == nil {
						bugs[bug].plant(e, f)
					}
					return f, err
				})
			}
			for _, name := range bugs[bug].found {
				p, ok := named[name]
				if !ok {
					t.Fatalf("there is no property %q", name)
				}
				if !fails(t, p, open) {
					t.Errorf("%q does not find it", name)
				}
			}
		})
	}
}

// TestForgetfulStoreIsFound opens a new store every time.
func TestForgetfulStoreIsFound(t *testing.T) {
	forgetful := func(testing.TB) driver.Source {
		return driver.NewSource("forgetful", func(ctx context.Context) (driver.Engine, error) {
			return memory.New().Open(ctx, scope.NewRoot())
		})
	}
	for _, p := range lifeProperties[:1] {
		if !fails(t, p, forgetful) {
			t.Errorf("%q does not find a store that forgets", p.name)
		}
	}
}

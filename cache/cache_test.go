package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/cache"
	"github.com/tenantry/tenantry/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type key struct {
	owner tenant.Code
	name  string
}

func (k key) Owner() tenant.Code { return k.owner }

func keyOf(owner, name string) key {
	c, err := tenant.Parse(owner)
	if err != nil {
		panic(err)
	}
	return key{c, name}
}

// source is what a cache reads from.
type source struct {
	mu     sync.Mutex
	loads  map[key]int
	values map[key]string
	before func(ctx context.Context, k key) error // each load, outside of the lock
	stale  atomic.Bool
	hits   []bool
}

func (s *source) cache(size int) *cache.Cache[key, string] {
	s.loads, s.values = map[key]int{}, map[key]string{}
	return cache.New(cache.Options[key, string]{Name: "test", Size: size, Load: s.load, Fresh: func() bool { return !s.stale.Load() }, Observe: func(name string, hit bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hits = append(s.hits, hit && name == "test")
	}})
}

func (s *source) load(ctx context.Context, k key) (string, error) {
	s.mu.Lock()
	s.loads[k]++
	v, before := s.values[k], s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, k); err != nil {
			return "", err
		}
	}
	return v, nil
}

func (s *source) set(k key, v string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[k] = v
}

func (s *source) loaded(k key) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads[k]
}

func get(t testing.TB, c *cache.Cache[key, string], k key, want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), k); err != nil || got != want {
		t.Errorf("%s: %q %v; want %q", k.name, got, err, want)
	}
}

func TestRemembers(t *testing.T) {
	var s source
	c, k, twin := s.cache(10), keyOf("alpha", "a"), keyOf("bravo", "a")
	s.set(k, "1")
	s.set(twin, "2")
	for range 3 {
		get(t, c, k, "1")
		get(t, c, twin, "2")
	}
	if s.loaded(k) != 1 || s.loaded(twin) != 1 || c.Len() != 2 {
		t.Errorf("%d and %d loads, %d entries", s.loaded(k), s.loaded(twin), c.Len())
	}
	if fmt.Sprint(s.hits) != "[false false true true true true]" {
		t.Errorf("observed %v", s.hits)
	}
	s.set(k, "3")
	get(t, c, k, "1")
	c.Forget(k)
	get(t, c, k, "3")
	s.set(k, "4")
	s.set(twin, "5")
	c.ForgetAll()
	get(t, c, k, "4")
	get(t, c, twin, "5")
	c.Forget(keyOf("alpha", "not there"))
}

// TestFilledOnce has everybody who misses at once wait for one load.
func TestFilledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		c, k, finish := s.cache(10), keyOf("alpha", "a"), make(chan struct{})
		s.set(k, "1")
		s.before = func(context.Context, key) error { <-finish; return nil }
		for range 32 {
			go get(t, c, k, "1")
		}
		synctest.Wait()
		close(finish)
		synctest.Wait()
		if n := s.loaded(k); n != 1 {
			t.Errorf("%d loads", n)
		}
	})
}

// TestWhoGivesUp has nobody else fail where the one who loads gives up, and nobody who gives up wait on.
func TestWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s source
		c, k := s.cache(10), keyOf("alpha", "a")
		s.set(k, "1")
		first := true
		s.before = func(ctx context.Context, _ key) error {
			if first {
				first = false
				<-ctx.Done()
				return fmt.Errorf("the store: %w", ctx.Err())
			}
			return nil
		}
		leader, giveUp := context.WithCancel(t.Context())
		other, leave := context.WithCancel(t.Context())
		refused := func(ctx context.Context) {
			if _, err := c.Get(ctx, k); !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up: %v", err)
			}
		}
		go refused(leader)
		synctest.Wait()
		left := make(chan struct{})
		go func() { refused(other); close(left) }()
		for range 8 {
			go get(t, c, k, "1")
		}
		synctest.Wait()
		leave()
		<-left // while the load is under way
		giveUp()
		synctest.Wait()
		if n := s.loaded(k); n != 2 {
			t.Errorf("%d loads; want the one that was given up, and one for all others", n)
		}
		get(t, c, k, "1")
	})
}

// TestFailuresAreNotKept loads again what failed, and what panicked.
func TestFailuresAreNotKept(t *testing.T) {
	var s source
	c, k := s.cache(10), keyOf("alpha", "a")
	s.set(k, "1")
	broken := errors.New("broken")
	s.before = func(context.Context, key) error { return broken }
	for range 2 {
		if _, err := c.Get(t.Context(), k); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	}
	s.before = func(context.Context, key) error { panic("a bug") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		c.Get(t.Context(), k)
	}()
	s.before = nil
	get(t, c, k, "1")
	if s.loaded(k) != 4 || c.Len() != 1 {
		t.Errorf("%d loads, %d entries", s.loaded(k), c.Len())
	}
}

// TestForgetWhileLoading changes what is being loaded: nobody who asks afterwards sees what was there before.
func TestForgetWhileLoading(t *testing.T) {
	for name, forget := range map[string]func(*cache.Cache[key, string], key){
		"Forget":    func(c *cache.Cache[key, string], k key) { c.Forget(k) },
		"ForgetAll": func(c *cache.Cache[key, string], _ key) { c.ForgetAll() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s source
				c, k, finish := s.cache(10), keyOf("alpha", "a"), make(chan struct{})
				s.set(k, "old")
				s.before = func(context.Context, key) error { <-finish; return nil }
				go get(t, c, k, "old")
				synctest.Wait()
				s.set(k, "new")
				forget(c, k)
				s.mu.Lock()
				s.before = nil
				s.mu.Unlock()
				get(t, c, k, "new") // doesn't wait for the load that began before
				close(finish)
				synctest.Wait()
				get(t, c, k, "new") // and that load's value isn't kept
				if n := s.loaded(k); n != 2 {
					t.Errorf("%d loads", n)
				}
			})
		})
	}
}

// TestNotFresh reads everything from the source while it isn't known to be what it was, and keeps nothing of that.
func TestNotFresh(t *testing.T) {
	var s source
	c, k := s.cache(10), keyOf("alpha", "a")
	s.set(k, "1")
	s.stale.Store(true)
	for i := range 3 {
		get(t, c, k, "1")
		if s.loaded(k) != i+1 || c.Len() != 0 {
			t.Errorf("%d loads, %d entries", s.loaded(k), c.Len())
		}
	}
	s.stale.Store(false)
	s.before = func(context.Context, key) error { s.stale.Store(true); return nil }
	get(t, c, k, "1")
	if c.Len() != 0 {
		t.Error("what was loaded while it became stale is kept")
	}
	never := cache.New(cache.Options[key, string]{Load: s.load})
	get(t, never, k, "1")
	if never.Len() != 0 {
		t.Error("without a Fresh something is kept")
	}
}

// TestShares has a tenant that fills the cache push out its own entries, not another's below its share.
func TestShares(t *testing.T) {
	var s source
	c := s.cache(100)
	for i := range 20 {
		get(t, c, keyOf("alpha", fmt.Sprint(i)), "")
	}
	for i := range 10_000 {
		get(t, c, keyOf("greedy", fmt.Sprint(i)), "")
	}
	for i := range 20 {
		get(t, c, keyOf("alpha", fmt.Sprint(i)), "")
		if n := s.loaded(keyOf("alpha", fmt.Sprint(i))); n != 1 {
			t.Errorf("entry %d was pushed out", i)
		}
	}
	get(t, c, keyOf("greedy", "9999"), "")
	get(t, c, keyOf("greedy", "9919"), "")
	if s.loaded(keyOf("greedy", "9999")) != 1 || s.loaded(keyOf("greedy", "9919")) != 2 || c.Len() != 100 {
		t.Errorf("the oldest of the fullest is not what goes: %d entries", c.Len())
	}
}

// TestSharesProperty compares a cache with a model: what is remembered is bounded, and a full cache loses the entry used longest ago of one of
// the tenants that have most.
func TestSharesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s source
		size := rapid.IntRange(1, 12).Draw(t, "size")
		c := s.cache(size)
		model := map[tenant.Code][]key{} // by owner, used last at the end
		count := func() (n, most int) {
			for _, keys := range model {
				n, most = n+len(keys), max(most, len(keys))
			}
			return n, most
		}
		drop := func(k key) bool {
			keys := model[k.owner]
			for i := range keys {
				if keys[i] == k {
					model[k.owner] = append(keys[:i:i], keys[i+1:]...)
					return true
				}
			}
			return false
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			k := keyOf(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "owner"), rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "6"}).Draw(t, "name"))
			if rapid.IntRange(0, 9).Draw(t, "forget") == 0 {
				c.Forget(k)
				drop(k)
				continue
			}
			before := s.loaded(k)
			if _, err := c.Get(context.Background(), k); err != nil {
				t.Fatal(err)
			}
			known := drop(k)
			if loaded := s.loaded(k) > before; loaded == known {
				t.Fatalf("%v was loaded: %v; remembered: %v", k, loaded, known)
			}
			if n, most := count(); !known && n == size {
				lost := victim(c, model, most)
				if lost == (key{}) {
					t.Fatalf("nobody of those who have most (%d) lost their oldest: %v", most, model)
				}
				drop(lost)
			}
			model[k.owner] = append(model[k.owner], k)
			if n, _ := count(); c.Len() != n || n > size {
				t.Fatalf("%d entries, the model has %d", c.Len(), n)
			}
		}
	})
}

// victim returns which of the oldest entries of the fullest tenants is no longer remembered.
func victim(c *cache.Cache[key, string], model map[tenant.Code][]key, most int) key {
	for _, keys := range model {
		if len(keys) == most && !c.Has(keys[0]) {
			return keys[0]
		}
	}
	return key{}
}

func TestHitsDontAllocate(t *testing.T) {
	c := cache.New(cache.Options[key, string]{Load: func(context.Context, key) (string, error) { return "v", nil }, Fresh: func() bool { return true }})
	k, ctx := keyOf("alpha", "a"), t.Context()
	if n := testing.AllocsPerRun(1000, func() { c.Get(ctx, k) }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}

func BenchmarkHit(b *testing.B) {
	c := cache.New(cache.Options[key, string]{Load: func(context.Context, key) (string, error) { return "v", nil }, Fresh: func() bool { return true }})
	keys := make([]key, 1000)
	for i := range keys {
		keys[i] = keyOf(fmt.Sprint("t", i%10), fmt.Sprint(i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := c.Get(b.Context(), keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}

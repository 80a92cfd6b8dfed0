// Package cache remembers what was read from the store, for as long as it is known to be what the store holds.
//
// A cache is filled once under concurrent misses. What a commit of this process changes is forgotten before the commit is
// acknowledged; what other processes change is forgotten when the change feed shows it, and while the feed is not known to
// be up to date nothing that was remembered is used (package feed). Tenants share the room fairly: a full cache makes room
// at the cost of the tenant that has most in it, so that nobody loses an entry while another has more.
package cache

import (
	"container/heap"
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/tenantry/tenantry/tenant"
)

// Key names what is remembered: a struct that begins with the tenant it belongs to.
type Key interface {
	comparable
	Owner() tenant.Code
}

// Options are the options of a Cache. Load is required.
type Options[K Key, V any] struct {
	// Name names the cache in Observe.
	Name string

	// Size is how many entries are remembered, absences included. Defaults to 10,000.
	Size int

	// Load reads what a key stands for. An error is returned to those who asked, and not remembered.
	Load func(ctx context.Context, key K) (V, error)

	// Fresh reports whether what was remembered may be used. Defaults to never: everything is read again.
	Fresh func() bool

	// Observe is told of every Get. Defaults to nobody.
	Observe func(name string, hit bool)
}

// Cache remembers values by their keys. It may be used concurrently. Values are shared: nobody changes one.
type Cache[K Key, V any] struct {
	opts Options[K, V]

	mu      sync.Mutex
	entries map[K]*list.Element // of *entry
	shelves shelves
	byOwner map[tenant.Code]*shelf
	flights map[K]*flight[V]
}

type entry[K Key, V any] struct {
	key   K
	value V
}

// shelf holds the entries of one tenant, the one used last in front.
type shelf struct {
	owner tenant.Code
	used  list.List
	at    int // in the heap
}

// flight is a read under way. Stale says that what it reads may be older than a change that was made meanwhile.
type flight[V any] struct {
	done  chan struct{}
	stale bool
	value V
	err   error
}

// New returns an empty Cache.
func New[K Key, V any](opts Options[K, V]) *Cache[K, V] {
	if opts.Size == 0 {
		opts.Size = 10_000
	}
	if opts.Fresh == nil {
		opts.Fresh = func() bool { return false }
	}
	if opts.Observe == nil {
		opts.Observe = func(string, bool) {}
	}
	return &Cache[K, V]{opts: opts, entries: map[K]*list.Element{}, byOwner: map[tenant.Code]*shelf{}, flights: map[K]*flight[V]{}}
}

// Get returns what key stands for. It fails with what Load fails with, and with the context's error.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (V, error) {
	fresh := c.opts.Fresh()
	if fresh {
		c.mu.Lock()
		v, ok := c.known(key)
		c.mu.Unlock()
		if ok {
			c.opts.Observe(c.opts.Name, true)
			return v, nil
		}
	}
	c.opts.Observe(c.opts.Name, false)
	if !fresh {
		return c.opts.Load(ctx, key)
	}
	return c.fill(ctx, key)
}

// known returns what is remembered of key. The caller holds mu.
func (c *Cache[K, V]) known(key K) (v V, ok bool) {
	el := c.entries[key]
	if el == nil {
		return v, false
	}
	c.byOwner[key.Owner()].used.MoveToFront(el)
	return el.Value.(*entry[K, V]).value, true
}

// fill reads what key stands for, once for all who ask meanwhile.
func (c *Cache[K, V]) fill(ctx context.Context, key K) (V, error) {
	for {
		c.mu.Lock()
		if v, ok := c.known(key); ok && c.opts.Fresh() { // somebody's read ended since this caller looked
			c.mu.Unlock()
			return v, nil
		}
		if f := c.flights[key]; f != nil {
			c.mu.Unlock()
			select {
			case <-f.done:
			case <-ctx.Done():
				var none V
				return none, ctx.Err()
			}
			if cancelled(f.err) && ctx.Err() == nil {
				continue // whoever read it gave up; those who wait have not
			}
			return f.value, f.err
		}
		f := &flight[V]{done: make(chan struct{}), err: errGone}
		c.flights[key] = f
		c.mu.Unlock()
		return c.load(ctx, key, f)
	}
}

// errGone is what those who wait see of a read that panicked.
var errGone = context.Canceled

func (c *Cache[K, V]) load(ctx context.Context, key K, f *flight[V]) (V, error) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flights[key] == f {
			delete(c.flights, key)
		}
		if f.err == nil && !f.stale && c.opts.Fresh() {
			c.put(key, f.value)
		}
		close(f.done)
	}()
	f.value, f.err = c.opts.Load(ctx, key)
	return f.value, f.err
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// put remembers a value. The caller holds mu.
func (c *Cache[K, V]) put(key K, value V) {
	if el := c.entries[key]; el != nil {
		el.Value.(*entry[K, V]).value = value
		return
	}
	if len(c.entries) >= c.opts.Size {
		fullest := c.shelves[0]
		c.remove(fullest.used.Back().Value.(*entry[K, V]).key)
	}
	s := c.byOwner[key.Owner()]
	if s == nil {
		s = &shelf{owner: key.Owner()}
		c.byOwner[s.owner] = s
		heap.Push(&c.shelves, s)
	}
	c.entries[key] = s.used.PushFront(&entry[K, V]{key: key, value: value})
	heap.Fix(&c.shelves, s.at)
}

// remove drops an entry that exists. The caller holds mu.
func (c *Cache[K, V]) remove(key K) {
	s := c.byOwner[key.Owner()]
	s.used.Remove(c.entries[key])
	delete(c.entries, key)
	if s.used.Len() == 0 {
		heap.Remove(&c.shelves, s.at)
		delete(c.byOwner, s.owner)
		return
	}
	heap.Fix(&c.shelves, s.at)
}

// Forget drops what is remembered of key. A read under way that began before is not remembered either, and nobody who asks
// from now on waits for it.
func (c *Cache[K, V]) Forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		f.stale = true
		delete(c.flights, key)
	}
	if c.entries[key] != nil {
		c.remove(key)
	}
}

// ForgetAll forgets every key.
func (c *Cache[K, V]) ForgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flights {
		f.stale = true
	}
	clear(c.flights)
	clear(c.entries)
	clear(c.byOwner)
	c.shelves = nil
}

// Len returns how many entries are remembered.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// shelves is a heap with the fullest shelf first.
type shelves []*shelf

func (s shelves) Len() int           { return len(s) }
func (s shelves) Less(i, j int) bool { return s[i].used.Len() > s[j].used.Len() }
func (s shelves) Swap(i, j int)      { s[i], s[j] = s[j], s[i]; s[i].at, s[j].at = i, j }

// Push implements heap.Interface.
func (s *shelves) Push(x any) {
	added := x.(*shelf)
	added.at = len(*s)
	*s = append(*s, added)
}

// Pop implements heap.Interface.
func (s *shelves) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

package feed_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

var product = record.MustEntityType("PRODUCT")

// told keeps what a Tail tells.
type told struct {
	mu     sync.Mutex
	keys   []string
	resets int
}

func (k *told) follow(w *worldtest.World) {
	w.Tail.Follow([]record.EntityType{product}, func(pk, sk string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.keys = append(k.keys, pk+"/"+sk)
	}, func() { k.resets++ })
}

func (k *told) count(key string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, each := range k.keys {
		if each == key {
			n++
		}
	}
	return n
}

func world(t *testing.T, src driver.Source) *worldtest.World {
	return worldtest.New(t, src, worldtest.Options{Entities: []entity.Type{{Name: product}}})
}

func publish(t *testing.T, w *worldtest.World, typ record.EntityType, sk string) {
	t.Helper()
	key, err := record.NewKey(worldtest.Scope("acme"), typ, sk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commands.PublishSync(t.Context(), worldtest.Scope("acme"), command.Input{Key: key, Version: record.VersionLatest, Name: record.NewID()}); err != nil {
		t.Fatal(err)
	}
}

// What this process commits is told before the publish returns; what another does within a second; other types never.
func TestTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		here, there := world(t, src), world(t, src)
		var mine, theirs told
		mine.follow(here)
		theirs.follow(there)
		publish(t, here, product, "before")
		here.Follow()
		there.Follow()
		if mine.resets != 1 || theirs.resets != 1 {
			t.Errorf("%d and %d resets at the start", mine.resets, theirs.resets)
		}
		publish(t, here, product, "a")
		if mine.count("PRODUCT#acme/a") != 1 {
			t.Error("a commit of this process was not told before it was acknowledged")
		}
		publish(t, here, record.MustEntityType("ORDER"), "o")
		<-time.After(999 * time.Millisecond)
		if theirs.count("PRODUCT#acme/a") != 1 {
			t.Error("a commit of another process was not told within a second")
		}
		if theirs.count("PRODUCT#acme/before") != 0 {
			t.Error("what was committed before the start is told")
		}
		if mine.count("ORDER#acme/o")+theirs.count("ORDER#acme/o") != 0 {
			t.Error("a type is told that nobody follows")
		}
	})
}

// ailing is an engine whose feed can't be read, or takes its time.
type ailing struct {
	driver.Engine
	broken, slow *atomic.Bool
}

func (a ailing) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	if a.broken.Load() {
		return nil, fault.New(fault.Unavailable, "test", "the connection is lost")
	}
	if a.slow.Load() {
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return a.Engine.Changes(ctx, after, limit)
}

// Nothing is fresh before the start, after the end, and while the feed can't be read to its end in time.
func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken, slow atomic.Bool
		w := world(t, worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return ailing{e, &broken, &slow} }))
		want := func(fresh bool, when string) {
			t.Helper()
			if w.Tail.Fresh() != fresh {
				t.Errorf("%s: fresh is %v", when, !fresh)
			}
		}
		want(false, "before the start")
		w.Follow()
		want(true, "at the start")
		<-time.After(time.Hour)
		want(true, "an hour later")
		for what, ill := range map[string]*atomic.Bool{"can't be read": &broken, "is slow": &slow} {
			ill.Store(true)
			<-time.After(time.Second)
			want(false, "a second after it "+what)
			ill.Store(false)
			<-time.After(6 * time.Second)
			want(true, "after it "+what)
		}
		w.Close()
		want(false, "after the end")
	})
}

// A feed of more than the Tail reads at once is followed to its end.
func TestFollowsManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := memory.New()
		here, there := world(t, src), world(t, src)
		var theirs told
		theirs.follow(there)
		there.Follow()
		for range 2500 {
			publish(t, here, product, "a")
		}
		<-time.After(time.Second)
		if n := theirs.count("PRODUCT#acme/a"); n != 2500 {
			t.Errorf("%d of 2500 were told", n)
		}
	})
}

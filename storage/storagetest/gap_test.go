package storagetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// lateStore is the memory engine with a feed that shows commits some time after they were made, and returns no positions.
type lateStore struct {
	driver.Source
	mu     sync.Mutex
	behind map[driver.Position]time.Time // when a position is shown
}

const lateness = 20 * time.Millisecond

func (l *lateStore) open(ctx context.Context, plant func(driver.Engine, *faulty)) (driver.Engine, error) {
	e, err := l.Open(ctx, scope.NewRoot())
	if err != nil {
		return nil, err
	}
	f := &faulty{Engine: e}
	f.commit = func(ctx context.Context, b driver.Batch) (driver.Position, error) {
		_, err := e.Commit(ctx, b)
		return "", err
	}
	f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
		changes, err := e.Changes(ctx, after, 1000)
		shown := 0
		for i, c := range changes {
			if l.shown(c.Position) && shown == i && i < limit {
				shown++
			}
		}
		return changes[:shown], err
	}
	f.committed = func() (<-chan struct{}, func()) {
		tick := time.NewTicker(lateness / 2)
		signal, ended := make(chan struct{}, 1), make(chan struct{})
		go func() {
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					select {
					case signal <- struct{}{}:
					default:
					}
				}
			}
		}()
		return signal, sync.OnceFunc(func() { tick.Stop(); close(ended) })
	}
	plant(e, f)
	return f, nil
}

// shown reports whether a position was asked for long enough ago.
func (l *lateStore) shown(p driver.Position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.behind[p]
	if !ok {
		at = time.Now().Add(lateness)
		l.behind[p] = at
	}
	return !time.Now().Before(at)
}

func openLate(plant func(driver.Engine, *faulty)) Open {
	return func(testing.TB) driver.Source {
		l := &lateStore{Source: memory.New(), behind: make(map[driver.Position]time.Time)}
		return driver.NewSource("late", func(ctx context.Context) (driver.Engine, error) { return l.open(ctx, plant) })
	}
}

// lateBugs are planted into an engine that declares the gap; the weaker properties still find them.
var lateBugs = map[string]struct {
	plant func(e driver.Engine, f *faulty)
	found []string
}{
	"a change is missed": {func(_ driver.Engine, f *faulty) {
		late := f.changes
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := late(ctx, after, limit)
			for i, c := range changes {
				if c.Command.Version == 7 {
					return append(changes[:i:i], changes[i+1:]...), err
				}
			}
			return changes, err
		}
	}, []string{"one who follows the feed misses nothing"}},
	"versions are swapped": {func(_ driver.Engine, f *faulty) {
		late := f.changes
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := late(ctx, after, limit)
			for i := range changes {
				if i > 0 && changes[i].Command.SK == changes[i-1].Command.SK {
					changes[i].Command, changes[i-1].Command = changes[i-1].Command, changes[i].Command
				}
			}
			return changes, err
		}
	}, []string{"one who follows the feed misses nothing"}},
	"a change comes twice": {func(_ driver.Engine, f *faulty) {
		late := f.changes
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := late(ctx, after, limit)
			if after == "" && len(changes) > 1 {
				changes = append(changes[:1:1], changes[:min(len(changes), limit-1)]...)
			}
			return changes, err
		}
	}, []string{"changes come oldest first, after a position", "of many who write one version, one wins"}},
	"the feed changes when it is read again": {func(_ driver.Engine, f *faulty) {
		late := f.changes
		var reads atomic.Int64
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := late(ctx, after, limit)
			if n := len(changes); n > 20 && reads.Add(1)%2 == 1 {
				changes[n-1].Command.Name = "another"
			}
			return changes, err
		}
	}, []string{"changes come oldest first, after a position"}},
	"a command that was deleted stays": {func(_ driver.Engine, f *faulty) {
		late := f.changes
		seen := make(map[driver.Position]driver.Change)
		f.changes = func(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
			changes, err := late(ctx, after, limit)
			for _, c := range changes {
				seen[c.Position] = c
			}
			if c, ok := seen["1"]; ok && after == "" && (len(changes) == 0 || changes[0].Position != "1") {
				changes = append([]driver.Change{c}, changes...)
			}
			return changes, err
		}
	}, []string{"a command that is deleted leaves the feed"}},
}

func TestLateFeed(t *testing.T) {
	named := make(map[string]property)
	for _, p := range properties {
		named[p.name] = p
	}
	right := func(driver.Engine, *faulty) {}
	for _, p := range append(feedProperties, signalProperties...) {
		if failsLate(t, p, openLate(right)) {
			t.Errorf("%q fails on an engine that is only late", p.name)
		}
		if p.name == "a commit returns the position of its last command" && !fails(t, p, openLate(right)) {
			t.Errorf("%q passes on a late engine that does not declare it", p.name)
		}
	}
	for name, bug := range lateBugs {
		for _, found := range bug.found {
			if !failsLate(t, named[found], openLate(bug.plant)) {
				t.Errorf("%q does not find that %s", found, name)
			}
		}
	}
}

func TestGapsAreNeeded(t *testing.T) {
	p := property{"needed", feedIsLate}
	if !failsLate(t, p, func(testing.TB) driver.Source { return memory.New() }) {
		t.Error("a gap that the memory engine doesn't have is not found")
	}
	if failsLate(t, p, openLate(func(driver.Engine, *faulty) {})) {
		t.Error("a gap that is needed is refused")
	}
	for _, gaps := range [][]Gap{{{Capability: "speed", Reason: "it is slow"}}, {{Capability: ImmediateFeed}},
		{{ImmediateFeed, "streams"}, {ImmediateFeed, "streams"}}} {
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			lacks(r, gaps)
		}()
		if <-done; !r.Failed() {
			t.Errorf("the gaps %v are taken", gaps)
		}
	}
}

func failsLate(t *testing.T, p property, open Open) bool {
	check := p.check
	p.check = func(s *store) {
		s.late = true
		check(s)
	}
	return fails(t, p, open)
}

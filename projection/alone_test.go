package projection_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/storage/memory"
)

// TestAlone has three processes want to do one thing: one does at a time, and another when it ends.
func TestAlone(t *testing.T) {
	w := worldtest.New(t, memory.New(), worldtest.Options{})
	var working atomic.Int32
	began := make(chan int)
	var ending sync.WaitGroup
	defer ending.Wait()
	stops := make([]context.CancelFunc, 3)
	for n := range stops {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		stops[n] = stop
		alone := projection.Alone{Leases: w.Keeper("LEASE"), Name: "THING", Owner: string(rune('a' + n)), Term: time.Second, Log: slog.New(slog.DiscardHandler)}
		ending.Go(func() {
			alone.Run(ctx, func(ctx context.Context) {
				if working.Add(1) != 1 {
					t.Error("two work at once")
				}
				defer working.Add(-1)
				select {
				case began <- n:
					<-ctx.Done()
				case <-ctx.Done():
				}
			})
		})
	}
	seen := map[int]bool{}
	for range stops {
		select {
		case n := <-began:
			if seen[n] {
				t.Errorf("process %d works again though others wait", n)
			}
			seen[n] = true
			stops[n]()
		case <-time.After(time.Minute):
			t.Fatal("nobody works")
		}
	}
}

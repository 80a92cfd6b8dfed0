package load

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Offer calls do every so often until ctx ends, each time when it is due, whether the calls before have returned or not, and returns
// when all have: the next ones don't wait for who is served slowly. Due is when a call was to begin.
func Offer(ctx context.Context, every time.Duration, do func(due time.Time)) {
	var calls sync.WaitGroup
	defer calls.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due := time.Now(); ; due = due.Add(every) {
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		calls.Go(func() { do(due) })
	}
}

// Took collects how long things took. It may be used concurrently.
type Took struct {
	mu  sync.Mutex
	all []time.Duration
}

// Add adds one.
func (t *Took) Add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d)
}

// P99 returns the 99th percentile and how many there are, 0 where there is none.
func (t *Took) P99() (p99 time.Duration, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all) == 0 {
		return 0, 0
	}
	slices.Sort(t.all)
	return t.all[len(t.all)*99/100], len(t.all)
}

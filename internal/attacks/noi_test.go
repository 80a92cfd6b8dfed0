package attacks_test

import (
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestNOI(t *testing.T) {
	const limit = 200
	w := newWorld(t, func(o *apitest.Options) { o.HTTP.RateLimit = limit })
	ua, ub := w.token("ua"), w.token("ub")

	w.attack(t, "NOI-01", func(a *attack) {
		var (
			mu       sync.Mutex
			statuses = map[int]int{}
			callers  sync.WaitGroup
		)
		stop := make(chan struct{})
		for range 16 {
			callers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					answer, err := w.Send(get(ua, productList))
					if err != nil || answer.Status == 429 && (answer.Header.Get("Retry-After") == "" || answer.Code() != "rate_limited") {
						a.Errorf("a flood was answered %v %v", answer, err)
						return
					}
					mu.Lock()
					statuses[answer.Status]++
					mu.Unlock()
				}
			})
		}
		limited := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return statuses[429] > 0
		}
		apitest.Eventually(a, limited)
		for range 50 { // while alpha floods, bravo is served: a.honest fails on anything else, and on 2 seconds
			a.honest(get(ub, productList))
		}
		close(stop)
		callers.Wait()
		if statuses[200] == 0 || len(statuses) != 2 {
			a.Errorf("the flood was answered %v", statuses)
		}
		<-time.After(100 * time.Millisecond) // in which alpha may make 20 requests more
		a.honest(get(ua, productList))
		a.Logf("the flood was answered %v", statuses)
	})
}

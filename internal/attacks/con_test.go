package attacks_test

import (
	"sync"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestCON(t *testing.T) {
	w := newWorld(t)
	ua, sa := w.token("ua"), w.token("sa")
	// race sends n requests at once and returns how often each status came.
	race := func(a *attack, n int, request func(i int) apitest.Request) map[int]int {
		var (
			mu       sync.Mutex
			statuses = map[int]int{}
			callers  sync.WaitGroup
			start    = make(chan struct{})
		)
		for i := range n {
			callers.Go(func() {
				<-start
				r := request(i)
				answer, err := w.Send(r)
				if err != nil {
					a.Errorf("%v: %v", r, err)
					return
				}
				a.checkCanaries(r, answer)
				mu.Lock()
				defer mu.Unlock()
				statuses[answer.Status]++
			})
		}
		close(start)
		callers.Wait()
		return statuses
	}

	w.attack(t, "CON-01", func(a *attack) {
		a.writing("alpha")
		a.honest(post(ua, productList, `{"sk":"raced","name":"0"}`))
		got := race(a, 64, func(i int) apitest.Request {
			return patch(ua, productList+"/raced", `{"version":1,"attributes":{"by":%d}}`, i)
		})
		if got[200] != 1 || got[409] != 63 {
			a.Errorf("64 updates of one version: %v", got)
		}
		var history struct{ Items []any }
		if a.honest(get(ua, productList+"/raced/history")).Decode(a, &history); len(history.Items) != 2 {
			a.Errorf("the history has %d versions", len(history.Items))
		}
	})
	w.attack(t, "CON-03", func(a *attack) {
		a.writing("alpha", "raced")
		got := race(a, 32, func(int) apitest.Request { return post(ua, productList, `{"sk":"once","name":"N"}`) })
		if got[201] != 1 || got[409] != 31 {
			a.Errorf("32 creates of one sort key: %v", got)
		}
		letters := []string{"raced", "RACED", "Raced", "rAcEd"}
		got = race(a, 32, func(i int) apitest.Request { return post(sa, "/api/tenant", `{"code":"%s","name":"N"}`, letters[i%4]) })
		if got[201] != 1 || got[400] != 31 {
			a.Errorf("32 creates of one tenant: %v", got)
		}
		a.honest(get(ua, productList+"/once"))
	})
	w.attack(t, "CON-06", func(a *attack) {
		a.writing("alpha")
		a.honest(post(ua, productList, `{"sk":"same","name":"0"}`))
		for range 2 {
			a.honest(put(ua, productList+"/same", `{"version":-1,"name":"1"}`))
		}
		var history struct{ Items []any }
		if a.honest(get(ua, productList+"/same/history")).Decode(a, &history); len(history.Items) != 2 {
			a.Errorf("the history has %d versions", len(history.Items))
		}
	})
}

package attacks_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
)

func TestNOI(t *testing.T) {
	const limit = 200
	alphas := &gate{entered: make(chan struct{}, 64)}
	w := newWorld(t, func(o *apitest.Options) {
		o.HTTP.RateLimit = limit
		o.App.ReadModel = worldtest.Wrapped(sqlite.At(t.TempDir()), func(e driver.Engine) driver.Engine { return gated{e, e.(driver.Relational), alphas} })
	})
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
	w.class(t, "a limit tells nothing of others", func(a *attack) {
		a.honest(get(ua, productList))
		naming := func(code string) apitest.Request { return get(ua, "/api/tenants/"+code+"/data/PRODUCT") }
		before := alike(a.wants(naming("bravo"), 403))
		for range 2 * limit { // what is refused is nobody's share
			if answer, err := w.Send(naming("bravo")); err != nil || answer.Status != 403 {
				a.Fatalf("%v %v", answer, err)
			}
		}
		a.honest(get(ub, productList))
		a.honest(get(ua, productList))
		var limited atomic.Int64
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				for range limit / 2 {
					if answer, err := w.Send(get(ub, productList)); err == nil && answer.Status == 429 {
						limited.Add(1)
					}
				}
			})
		}
		callers.Wait()
		if limited.Load() == 0 {
			a.Error("bravo is not limited")
		}
		if answer := a.wants(naming("bravo"), 403); alike(answer) != before || alike(a.wants(naming("zulu9"), 403)) != before {
			a.Errorf("a tenant whose share is used up is answered %v", answer)
		}
		<-time.After(100 * time.Millisecond) // in which bravo may make 20 requests more
	})
	w.attack(t, "NOI-04", func(a *attack) {
		const reports = 20
		open := alphas.close()
		answers := make(chan *apitest.Answer, reports)
		var callers sync.WaitGroup
		for range reports {
			callers.Go(func() {
				answer, err := w.Send(get(ua, "/api/tenants/alpha/metrics?format=csv"))
				if err != nil {
					a.Error(err)
					return
				}
				answers <- answer
			})
		}
		apitest.Eventually(a, func() bool { return len(alphas.entered) == 2 && len(answers) == reports-18 })
		for range 20 { // while alpha's stand still: a.honest fails on anything but success, and on 2 seconds
			a.honest(get(ub, "/api/tenants/bravo/metrics?format=csv"))
			a.honest(get(ub, productList))
		}
		a.honest(get(w.token("sa"), "/api/admin/reports/system"))
		if n := len(alphas.entered); n != 2 {
			a.Errorf("%d of alpha's reports are under way at once", n)
		}
		open()
		callers.Wait()
		close(answers)
		statuses := map[int]int{}
		for answer := range answers {
			if statuses[answer.Status]++; answer.Status == 429 && (answer.Header.Get("Retry-After") == "" || answer.Code() != "rate_limited") {
				a.Errorf("a report was refused with %v", answer)
			}
		}
		if statuses[200] != 18 || statuses[429] != 2 {
			a.Errorf("the reports were answered %v", statuses)
		}
	})
}

// gate holds back what reads alpha's part of the read model, while it is closed.
type gate struct {
	mu      sync.Mutex
	shut    chan struct{} // closed when the gate opens; nil where it is open; guarded by mu
	entered chan struct{} // holds one for each that was held back
}

func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := make(chan struct{})
	g.shut = shut
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut = nil
		close(shut)
	}
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	g.entered <- struct{}{}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gated is a database with a gate before alpha's rows.
type gated struct {
	driver.Engine
	driver.Relational
	gate *gate
}

func (g gated) Read(ctx context.Context, f func(driver.Tx) error) error {
	return g.Relational.Read(ctx, func(tx driver.Tx) error { return f(gatedTx{tx, g.gate}) })
}

type gatedTx struct {
	driver.Tx
	gate *gate
}

func (tx gatedTx) As(ctx context.Context, tenant string) error {
	if tenant == "alpha" {
		if err := tx.gate.pass(ctx); err != nil {
			return err
		}
	}
	return tx.Tx.As(ctx, tenant)
}

package webhooks_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/webhooks"
)

// TestReceiversThatHangHoldUpNobody has as many deliveries of some tenants hang as there are workers: another tenant's is made before the first of them is given up.
func TestReceiversThatHangHoldUpNobody(t *testing.T) {
	hangs := func() (before int64) {
		w := newWorld(t, nil)
		var givenUp atomic.Int64
		w.answers(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hangs" {
				<-r.Context().Done()
				givenUp.Add(1)
			}
		})
		const tenants, each = 16, 4
		for n := range tenants {
			sc := w.Scope(fmt.Sprint("slow", n))
			w.hook(sc, "/hangs")
			for sk := range each {
				w.publish(sc, "PRODUCT", fmt.Sprint(sk), "Chair")
			}
		}
		for range tenants {
			w.next()
		}
		quick := w.Scope("quick")
		hook := w.hook(quick, "/")
		w.publish(quick, "PRODUCT", "1", "Chair")
		w.log(quick, hook, "its delivery", inState(webhooks.Delivered, 1))
		return givenUp.Load()
	}
	for range 2 { // a machine may be so slow that some are given up before all hang
		if hangs() == 0 {
			return
		}
	}
	t.Error("a tenant's delivery waits until others' are given up")
}

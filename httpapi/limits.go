package httpapi

import (
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// maxLimiters bounds how many tenants have a limiter at a time. One that is put out begins anew.
const maxLimiters = 100_000

// limits are the rate limits of tenants. Callers by a cross-tenant role share one of their own, so that an operator's
// work costs no tenant its share.
type limits struct {
	perSecond int
	limiters  *otter.Cache[limitKey, *rate.Limiter]
}

type limitKey struct {
	tenant  tenant.Code
	crosses bool
}

func newLimits(perSecond int) *limits {
	l := &limits{perSecond: perSecond}
	if perSecond > 0 {
		l.limiters = otter.Must(&otter.Options[limitKey, *rate.Limiter]{MaximumSize: maxLimiters})
	}
	return l
}

// take takes one request from a tenant's share. It fails with fault.RateLimited.
func (l *limits) take(code tenant.Code, crosses bool) error {
	if l.limiters == nil {
		return nil
	}
	key := limitKey{tenant: code}
	if crosses {
		key = limitKey{crosses: true}
	}
	limiter, ok := l.limiters.GetIfPresent(key)
	if !ok {
		limiter, _ = l.limiters.SetIfAbsent(key, rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond))
	}
	if limiter.Allow() {
		return nil
	}
	e := fault.New(fault.RateLimited, "httpapi", "the tenant makes more than %d requests per second; retry later", l.perSecond)
	e.Limit, e.RetryAfter = "tenant", time.Second
	return e
}

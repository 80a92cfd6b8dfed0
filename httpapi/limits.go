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
// work costs no tenant its share; of callers who act in no tenant each source has its own, so that none keeps the others from
// switching to theirs.
type limits struct {
	perSecond int
	limiters  *otter.Cache[limitKey, *rate.Limiter]
}

type limitKey struct {
	tenant  tenant.Code
	crosses bool
	source  string // where there is no tenant
}

func newLimits(perSecond int) *limits {
	l := &limits{perSecond: perSecond}
	if perSecond > 0 {
		l.limiters = otter.Must(&otter.Options[limitKey, *rate.Limiter]{MaximumSize: maxLimiters})
	}
	return l
}

// take takes one request from the share of a tenant, or of a source. It fails with fault.RateLimited.
func (l *limits) take(code tenant.Code, crosses bool, source string) error {
	if l.limiters == nil {
		return nil
	}
	key, whose := limitKey{tenant: code}, "tenant"
	switch {
	case crosses:
		key = limitKey{crosses: true}
	case code.IsZero():
		key, whose = limitKey{source: source}, "source"
	}
	limiter, ok := l.limiters.GetIfPresent(key)
	if !ok {
		limiter, _ = l.limiters.SetIfAbsent(key, rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond))
	}
	if limiter.Allow() {
		return nil
	}
	e := fault.New(fault.RateLimited, "httpapi", "the %s makes more than %d requests per second; retry later", whose, l.perSecond)
	e.Limit, e.RetryAfter = whose, time.Second
	return e
}

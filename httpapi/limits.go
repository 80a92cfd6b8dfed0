package httpapi

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// maxShares bounds how many tenants, users and sources have a share at a time. One that is put out begins anew.
const maxShares = 100_000

// limits give each tenant its share of the server: how many requests per second it may make, how many of them are served at a time, and
// how many wait for their turn. Callers by a cross-tenant role have one share together, so that an operator's
// work costs no tenant its own; of callers who act in no tenant, or in common, each user has one, wherever they call from, so that none keeps
// the others from switching to theirs; and where nobody is known yet, each source.
type limits struct {
	perSecond       int // 0 for no limit
	atOnce, waiting int
	shares          *otter.Cache[shareKey, *share]
}

// shareKey says whose a share is, by the first of these that is set.
type shareKey struct {
	crosses      bool
	tenant       tenant.Code
	issuer, user string
	source       string
}

// shareOf returns whose share a request takes.
func shareOf(c *call, source string) shareKey {
	switch code := c.tenant(); {
	case c.Grant.Crosses():
		return shareKey{crosses: true}
	case !code.IsZero() && !code.IsCommon():
		return shareKey{tenant: code}
	case c.Principal != nil:
		return shareKey{issuer: c.Principal.Issuer(), user: c.Principal.Subject()}
	}
	return shareKey{source: source}
}

// whose names the owner for who is refused.
func (k shareKey) whose() string {
	switch {
	case k.crosses:
		return "operators"
	case !k.tenant.IsZero():
		return "tenant"
	case k.user != "":
		return "user"
	}
	return "source"
}

func newLimits(perSecond, atOnce, waiting int) *limits {
	return &limits{perSecond, atOnce, waiting, otter.Must(&otter.Options[shareKey, *share]{MaximumSize: maxShares})}
}

// share is what one tenant, user or source has of the server.
type share struct {
	whose string
	rate  *rate.Limiter // nil for no limit
	slots chan struct{} // holds one for each request that is served; those that wait get one in the order in which they came
	queue atomic.Int64  // how many wait
	limit *limits
}

// take takes one request from a share. It fails with fault.RateLimited, also where so many wait already that
// the request would not get a turn: before anything is done for it.
func (l *limits) take(of shareKey) (*share, error) {
	s, ok := l.shares.GetIfPresent(of)
	if !ok {
		made := &share{whose: of.whose(), slots: make(chan struct{}, l.atOnce), limit: l}
		if l.perSecond > 0 {
			made.rate = rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond)
		}
		s, _ = l.shares.SetIfAbsent(of, made)
	}
	if s.rate != nil && !s.rate.Allow() {
		return nil, s.refusal("the limit of the %s is %d requests per second; retry later", l.perSecond)
	}
	if s.queue.Load() >= int64(l.waiting) {
		return nil, s.full()
	}
	return s, nil
}

// enter waits for the request's turn, which ends with leave. It fails with fault.RateLimited where too many wait, and with fault.Timeout
// where the turn does not come in time.
func (s *share) enter(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}: // nobody waits: a slot that gets free goes to who waits
		return nil
	default:
	}
	defer s.queue.Add(-1)
	if s.queue.Add(1) > int64(s.limit.waiting) {
		return s.full()
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Timeout, "httpapi", "other requests of the %s took all the time that this one had; nothing was done for it; retry later", s.whose)
	}
}

func (s *share) leave() { <-s.slots }

func (s *share) full() error {
	return s.refusal("of the %s as many requests are served or wait already as may be, %d; retry later", s.limit.atOnce+s.limit.waiting)
}

func (s *share) refusal(format string, n int) error {
	e := fault.New(fault.RateLimited, "httpapi", format, s.whose, n)
	e.Limit, e.RetryAfter = s.whose, time.Second
	return e
}

package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

// turns gives the tenants that may have jobs of one kind their turns: a look each, one after the other. Nobody looks at a tenant that
// another goroutine is looking at.
type turns struct {
	mu     sync.Mutex
	places map[tenant.Code]*standing
	quick  fifo
	slow   fifo // of slow tenants
}

// fifo are tenants whose look is due.
type fifo struct {
	codes []tenant.Code // in their order
	ready chan struct{} // receives when there is one
}

// standing is how a tenant stands in turns. Of queued and taken one is true at most.
type standing struct {
	queued, taken bool
	again         bool      // something came while it was taken
	version       int64     // of its row in the directory, when that was read last; 0 for never
	at            time.Time // when a job will be due, by Config.Now; zero where none is known
	poll          bool      // is looked at every second, for what nobody tells of
	slow          bool      // the attempt that was judged last was not quick
}

func newTurns() *turns {
	return &turns{places: map[tenant.Code]*standing{}, quick: fifo{ready: make(chan struct{}, 1)}, slow: fifo{ready: make(chan struct{}, 1)}}
}

// next waits for the next turn of some tenants and returns whose it is, with the version of its row in the directory. Ok is false when
// the context ends. Only one goroutine calls it for the same tenants. The turn ends with done.
func (t *turns) next(ctx context.Context, from *fifo) (code tenant.Code, version int64, ok bool) {
	for {
		t.mu.Lock()
		if len(from.codes) > 0 {
			code, from.codes = from.codes[0], from.codes[1:]
			s := t.places[code]
			s.queued, s.taken, version = false, true, s.version
			t.mu.Unlock()
			return code, version, ctx.Err() == nil
		}
		t.mu.Unlock()
		select {
		case <-ctx.Done():
			return code, 0, false
		case <-from.ready:
		}
	}
}

// found is what a look found.
type found struct {
	more bool      // there may be more to do at once
	at   time.Time // when a job will be due; zero for none
	poll bool      // something may change of which nobody tells
	gone bool      // there is nothing, and the directory says so
}

// done ends a turn.
func (t *turns) done(code tenant.Code, f found) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.places[code]
	again := s.again
	s.taken, s.again, s.at, s.poll = false, false, f.at, f.poll
	switch {
	case again || f.more:
		t.push(code, s)
	case f.gone:
		delete(t.places, code)
	}
}

func (t *turns) push(code tenant.Code, s *standing) {
	into := &t.quick
	if s.slow {
		into = &t.slow
	}
	s.queued = true
	into.codes = append(into.codes, code)
	select {
	case into.ready <- struct{}{}:
	default:
	}
}

// judge notes whether a tenant is slow.
func (t *turns) judge(code tenant.Code, slow bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.places[code]; s != nil {
		s.slow = slow
	}
}

func (t *turns) isSlow(code tenant.Code) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.places[code]
	return s != nil && s.slow
}

// wake makes a look at a tenant due.
func (t *turns) wake(code tenant.Code) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wakeLocked(code)
}

func (t *turns) wakeLocked(code tenant.Code) *standing {
	s := t.places[code]
	switch {
	case s == nil:
		s = &standing{}
		t.places[code] = s
		t.push(code, s)
	case s.taken:
		s.again = true
	case !s.queued:
		t.push(code, s)
	}
	return s
}

// read takes what the directory says of all tenants, and wakes those of whom it says something new, whose time has come, and, with poll,
// those that are polled. It returns when the next one is due, zero for none.
func (t *turns) read(versions map[tenant.Code]int64, now time.Time, poll bool) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for code, version := range versions {
		s := t.places[code]
		if s == nil || s.version != version || !s.at.IsZero() && !s.at.After(now) || poll && s.poll {
			s = t.wakeLocked(code)
		}
		s.version = version
		if !s.at.IsZero() && !s.queued && !s.taken && (next.IsZero() || s.at.Before(next)) {
			next = s.at
		}
	}
	for code, s := range t.places {
		if _, there := versions[code]; !there && !s.queued && !s.taken {
			delete(t.places, code)
		}
	}
	return next
}

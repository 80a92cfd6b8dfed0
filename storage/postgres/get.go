package postgres

import (
	"context"
	"sync"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// maxFlights is how many round trips of Get are under way at once; those who come meanwhile share the next.
const maxFlights = 2

// gets puts the single reads of many callers into one round trip each time. A caller who comes when there is a free flight
// asks by itself, under its own context.
type gets struct {
	lookUp func(context.Context, []driver.Ref) ([]*record.Record, error)

	mu      sync.Mutex
	flights int
	waiting []*seat
	running sync.WaitGroup // flights that no caller makes itself
}

// seat is a caller who waits, and what it gets.
type seat struct {
	ref  driver.Ref
	rec  *record.Record
	err  error
	done chan struct{} // closed when rec and err are set
}

func (g *gets) get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	g.mu.Lock()
	if g.flights < maxFlights {
		g.flights++
		g.mu.Unlock()
		defer g.land()
		return g.one(ctx, ref)
	}
	s := &seat{ref: ref, done: make(chan struct{})}
	g.waiting = append(g.waiting, s)
	g.mu.Unlock()
	select {
	case <-s.done:
		return s.rec, s.err
	case <-ctx.Done(): // the flight is others' too
		return nil, ctx.Err()
	}
}

func (g *gets) one(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	recs, err := g.lookUp(ctx, []driver.Ref{ref})
	if err != nil {
		return nil, err
	}
	return recs[0], nil
}

// land ends a flight, or lets those who wait have the next.
func (g *gets) land() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.flights--
		return
	}
	seats := g.waiting
	g.waiting = nil
	if len(seats) > driver.MaxBatch {
		seats, g.waiting = seats[:driver.MaxBatch], seats[driver.MaxBatch:]
	}
	g.running.Go(func() {
		defer g.land()
		g.fly(seats)
	})
}

// fly reads for all seats. An error that may be of one row only is found by reading each by itself.
func (g *gets) fly(seats []*seat) {
	ctx := context.Background() // lookUp has a limit of its own
	refs := make([]driver.Ref, len(seats))
	for i, s := range seats {
		refs[i] = s.ref
	}
	recs, err := g.lookUp(ctx, refs)
	for i, s := range seats {
		switch {
		case err == nil:
			s.rec = recs[i]
		case len(seats) > 1 && fault.CodeOf(err) == fault.Internal:
			s.rec, s.err = g.one(ctx, s.ref)
		default:
			s.err = err
		}
		close(s.done)
	}
}

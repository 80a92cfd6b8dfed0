package projection

import (
	"context"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry/storage"
)

// Alone has one of the processes that share a store do a thing: what follows the feed and is no handler.
type Alone struct {
	Leases storage.Keeper
	Name   string        // of the lease, in capitals: no handler has it
	Owner  string        // what this process is called; no other may have the same
	Term   time.Duration // as Config.Term
	Log    *slog.Logger
}

// Run calls work whenever this process gets the lease, with a context that ends when it loses it, until ctx ends. Work returns
// when its context ends; until the lease's term is over another process may not begin.
func (a Alone) Run(ctx context.Context, work func(context.Context)) {
	s := newLease(a.Leases, a.Name, a.Owner, a.Term)
	defer s.endWatch(ctx)
	failing := false
	for ctx.Err() == nil {
		held, lose := context.WithCancel(ctx)
		taken, err := s.take(ctx, lose)
		if err == nil && taken {
			err = s.hold(held, lose, work)
		}
		lose()
		if err != nil && !failing && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "a lease can't be taken, or was lost; it is tried again", "lease", a.Name, "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-time.After(a.Term / 16):
		}
	}
}

package tenantsync

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/route"
)

// SetPages has pages be about few records and steps about few pages, so that a few records make many.
func SetPages(s *Service, items, pages int) { s.pageItems, s.stepPages = items, pages }

// Progress returns one reader's view of where a sync stands.
func Progress(s *Service, id string) route.Stream {
	return &progress{service: s, id: id, timer: time.NewTimer(lookEvery)}
}

// Follower is a process that follows the feed for rules, look by look.
type Follower struct{ f *follower }

// NewFollower returns one that has not looked yet.
func NewFollower(ctx context.Context, s *Service, sys scope.System) (Follower, error) {
	across, err := s.cfg.Store.Across(ctx, sys)
	return Follower{s.follower(across)}, err
}

// Look looks once.
func (f Follower) Look(ctx context.Context) error {
	_, err := f.f.look(ctx)
	return err
}

// Release ends the process.
func (f Follower) Release(ctx context.Context) { f.f.release(ctx) }

// Wait has the process believe that time has passed since it last looked.
func (f Follower) Wait(d time.Duration) {
	f.f.since, f.f.due = f.f.since.Add(-d), f.f.due.Add(-d)
	for at, since := range f.f.healed {
		f.f.healed[at] = since.Add(-d)
	}
}

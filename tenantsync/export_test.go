package tenantsync

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
)

// SetPageItems has steps of a Service be about n records, so that a few make many pages.
func SetPageItems(s *Service, n int) { s.pageItems = n }

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

// Wait has the process believe that time has passed since it last looked.
func (f Follower) Wait(d time.Duration) {
	f.f.since = f.f.since.Add(-d)
	for at, since := range f.f.healed {
		f.f.healed[at] = since.Add(-d)
	}
}

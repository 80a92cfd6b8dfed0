package lambda

import (
	"context"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// appFeed is the Feed of an application that was started.
type appFeed struct {
	across   storage.Across
	handlers *projection.Runner
	system   scope.System
}

// NewFeed returns the Feed of an application that is started: its store's change feed, and its handlers, in whichever process they run.
func NewFeed(ctx context.Context, app *tenantry.App) (Feed, error) {
	system := scope.NewSystem("", scope.Actor{UserID: "system"}, "a stream's batch", nil)
	across, err := app.Store().Across(ctx, system)
	if err != nil {
		return nil, err
	}
	return &appFeed{across: across, handlers: app.Handlers(), system: system}, nil
}

// lookEvery is the time between two looks at where the handlers stand.
const lookEvery = 20 * time.Millisecond

// Advance implements Feed.
func (f *appFeed) Advance(ctx context.Context, commands []driver.Ref) (handled int, err error) {
	end, err := f.across.Advance(ctx)
	if err != nil {
		return 0, err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		at, err := f.slowest(ctx, end)
		switch {
		case err != nil:
			return 0, err
		case at.Compare(end) >= 0:
			return len(commands), nil
		}
		select {
		case <-ctx.Done():
			return f.behind(context.WithoutCancel(ctx), at, commands), ctx.Err()
		case <-tick.C:
		}
	}
}

// slowest returns the place of the handler that is farthest behind, end where none is behind it.
func (f *appFeed) slowest(ctx context.Context, end driver.Position) (driver.Position, error) {
	standing, err := f.handlers.Status(ctx, f.system)
	if err != nil {
		return "", err
	}
	for _, s := range standing {
		if at := driver.Position(s.Position); at.Compare(end) < 0 {
			end = at
		}
	}
	return end, nil
}

// behind returns how many of commands, from the first, all handlers have behind them: the feed has them all, and those that are to come
// begin at a place.
func (f *appFeed) behind(ctx context.Context, at driver.Position, commands []driver.Ref) int {
	ctx, cancel := context.WithTimeout(ctx, lastMoment/2)
	defer cancel()
	coming := map[driver.Ref]bool{}
	for {
		changes, err := f.across.Changes(ctx, at, driver.MaxBatch)
		if err != nil {
			return 0
		}
		for _, c := range changes {
			coming[driver.RefOf(driver.Command, c.Command)] = true
			at = c.Position
		}
		if len(changes) < driver.MaxBatch {
			break
		}
	}
	for i, ref := range commands {
		if coming[ref] {
			return i
		}
	}
	return len(commands)
}

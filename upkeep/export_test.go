package upkeep

import (
	"context"
	"time"
)

// RebuildStep does one step of a Runner that was not started. It panics on an error.
func RebuildStep(ctx context.Context, r *Runner) (more bool) {
	if err := r.Open(ctx); err != nil {
		panic(err)
	}
	more, err := r.rebuildStep(ctx)
	if err != nil {
		panic(err)
	}
	return more
}

// CatchUp applies what the feed holds. It panics on an error.
func CatchUp(ctx context.Context, r *Runner) {
	if err := r.Open(ctx); err != nil {
		panic(err)
	}
	if err := r.catchUp(ctx); err != nil {
		panic(err)
	}
}

// LimitTurns has a projection's commands of one tenant take no longer than limit. The Runner was not started.
func LimitTurns(r *Runner, limit time.Duration) { r.turnLimit = limit }

package upkeep

import "context"

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

package tenantsync

import (
	"context"
	"math"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// The kinds of jobs that tasks are, and the spreading of orders to their targets.
const (
	taskKind   = "sync"
	spreadKind = "sync-spread"
)

// atATime is how many targets a process works on at a time: one is written to while another is read. Records written together stand near
// each other then, which costs the store less; more targets would not be faster, since inFlight is for all of them.
const atATime = 2

// maxAttempts is how often a task is tried: for about a quarter of an hour. Spreading is tried until it succeeds, or the order is cancelled.
const maxAttempts = 20

// Jobs returns the Queue of jobs of q: a task is one in its target's tenant, of which one runs at a time; spreading is one in common.
func Jobs(q *jobs.Queue) Queue { return queue{q} }

type queue struct{ jobs *jobs.Queue }

type payload struct {
	Sync string `json:"sync"`
}

// Spread implements Queue.
func (q queue) Spread(ctx context.Context, sc scope.Scope, sync string) ([]storage.SystemWrite, error) {
	return q.writes(ctx, sc, spreadKind, sync)
}

// Task implements Queue.
func (q queue) Task(ctx context.Context, sc scope.Scope, sync string) ([]storage.SystemWrite, error) {
	return q.writes(ctx, sc, taskKind, sync)
}

func (q queue) writes(ctx context.Context, sc scope.Scope, kind, sync string) ([]storage.SystemWrite, error) {
	p, err := record.EncodeAttributes(payload{sync})
	if err != nil {
		return nil, err
	}
	_, writes, err := q.jobs.Writes(ctx, sc, jobs.Order{Kind: kind, Payload: p, Unique: sync})
	return writes, err
}

// Kinds returns the kinds of jobs that the Queue is to be registered with. A task whose attempts are used up has its target stand still, and
// leaves no dead job: resuming the sync tries again.
func (s *Service) Kinds() []jobs.Kind {
	task := s.kind(taskKind, func(ctx context.Context, sc scope.Scope, j jobs.Job, sync string) error {
		err := s.Work(ctx, sc, sync)
		if err == nil || ctx.Err() != nil || j.Attempts < maxAttempts {
			return err
		}
		return s.GiveUp(ctx, sc, sync, err)
	})
	task.PerTenant, task.Workers, task.Attempts = 1, atATime, maxAttempts
	spread := s.kind(spreadKind, func(ctx context.Context, _ scope.Scope, _ jobs.Job, sync string) error { return s.Spread(ctx, sync) })
	spread.Attempts = math.MaxInt
	return []jobs.Kind{task, spread}
}

func (s *Service) kind(name string, run func(ctx context.Context, sc scope.Scope, j jobs.Job, sync string) error) jobs.Kind {
	return jobs.Kind{Name: name, Timeout: 24 * time.Hour,
		Backoff: func(attempt int) time.Duration { return min(time.Minute, time.Second<<min(attempt-1, 6)) },
		Run: func(ctx context.Context, sc scope.Scope, j jobs.Job) error {
			var p payload
			if err := j.Payload.Decode(&p); err != nil {
				return jobs.Final(err)
			}
			return run(ctx, sc, j, p.Sync)
		}}
}

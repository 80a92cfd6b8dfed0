package tenantsync

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
)

// kind is the kind of jobs that tasks are.
const kind = "sync"

// atATime is how many targets a process works on at a time: one is written to while another is read. Records written together stand near
// each other then, which costs the store less; more targets would not be faster, since inFlight is for all of them.
const atATime = 2

// maxAttempts is how often a task is tried: for about a quarter of an hour.
const maxAttempts = 20

// Jobs returns the Queue whose tasks are jobs of q: each in its target's tenant, one of a tenant at a time.
func Jobs(q *jobs.Queue) Queue { return queue{q} }

type queue struct{ jobs *jobs.Queue }

type payload struct {
	Sync string `json:"sync"`
}

// Enqueue implements Queue.
func (q queue) Enqueue(ctx context.Context, sc scope.Scope, sync string) error {
	p, err := record.EncodeAttributes(payload{sync})
	if err == nil {
		_, err = q.jobs.Enqueue(ctx, sc, jobs.Order{Kind: kind, Payload: p, Unique: sync})
	}
	return err
}

// Kind returns the kind of jobs that the Queue is to be registered with. A task whose attempts are used up has its target stand still, and
// leaves no dead job: resuming the sync tries again.
func (s *Service) Kind() jobs.Kind {
	return jobs.Kind{Name: kind, PerTenant: 1, Workers: atATime, Attempts: maxAttempts, Timeout: 24 * time.Hour,
		Backoff: func(attempt int) time.Duration { return min(time.Minute, time.Second<<min(attempt-1, 6)) },
		Run: func(ctx context.Context, sc scope.Scope, j jobs.Job) error {
			var p payload
			if err := j.Payload.Decode(&p); err != nil {
				return jobs.Final(err)
			}
			err := s.Work(ctx, sc, p.Sync)
			if err == nil || ctx.Err() != nil || j.Attempts < maxAttempts {
				return err
			}
			return s.GiveUp(ctx, sc, p.Sync, err)
		}}
}

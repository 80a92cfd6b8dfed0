package jobs

import (
	"context"
	"strings"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

const (
	atOnce   = 1000                  // rows of the directory that are read at a time
	atLeast  = 20 * time.Millisecond // between two readings of the directory
	readPart = 10                    // one part of this many of the time is spent on reading it, at most
)

// follow reads the directory after commits, and every second, until the context ends.
func (q *Queue) follow(ctx context.Context) {
	signal, stop := q.cfg.Store.Committed()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var polled time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-signal:
		case <-timer.C:
		}
		began := time.Now()
		poll := began.Sub(polled) >= pause
		if poll {
			polled = began
		}
		next, err := q.read(ctx, poll)
		if err != nil && ctx.Err() == nil {
			q.cfg.Log.ErrorContext(ctx, "which tenants have jobs can't be read; it is tried again", "error", err)
		}
		rest := time.NewTimer(max(atLeast, readPart*time.Since(began)))
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
		wait := pause
		if !next.IsZero() {
			wait = min(wait, max(0, next.Sub(q.cfg.Now())))
		}
		timer.Reset(wait)
	}
}

// read reads the whole directory.
func (q *Queue) read(ctx context.Context, poll bool) (next time.Time, err error) {
	versions := make(map[string]map[tenant.Code]int64, len(q.lines))
	for kind := range q.lines {
		versions[kind] = map[tenant.Code]int64{}
	}
	for after := ""; ; {
		rows, err := q.cfg.Directory.List(ctx, common, "", after, atOnce)
		if err != nil {
			return next, err
		}
		for _, row := range rows {
			after = row.SK
			owner, kind, _ := strings.Cut(row.SK, record.Separator)
			if code, err := tenant.Parse(owner); err == nil && versions[kind] != nil {
				versions[kind][code] = row.Version
			}
		}
		if len(rows) < atOnce {
			break
		}
	}
	now := q.cfg.Now()
	for kind, l := range q.lines {
		if at := l.turns.read(versions[kind], now, poll); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, nil
}

package dynamodb

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/dynamodb/changelog"
)

// feed is the change feed of an open store: the log that one of the processes of the store keeps, and those who wait for it.
type feed struct {
	log     *changelog.Log
	life    context.Context // ends with stop
	stop    context.CancelFunc
	running sync.WaitGroup
	watch   *driver.Watch
	eager   atomic.Int32 // how many looks are still made at once, after a commit of this process
}

// While somebody watches, the log is looked at every lookSoon for eagerLooks times after a commit of this process, whose handlers a
// publish may wait for, and else every restLooks-th time, which is 150 ms.
const (
	lookSoon   = 30 * time.Millisecond
	eagerLooks = 20
	restLooks  = 5
)

func newFeed(s server) *feed {
	host, _ := os.Hostname()
	log := changelog.New(changelog.Config{DB: s.db, Streams: s.streams, SystemTable: s.systemTable(), Log: s.cfg.Log, Owner: fmt.Sprintf("%s/%d", host, os.Getpid()),
		DataTables: func(ctx context.Context) ([]string, error) { return s.tables(ctx, driver.Data) }})
	f := &feed{log: log}
	f.life, f.stop = context.WithCancel(context.Background())
	f.watch = driver.NewWatch(f.look)
	f.running.Go(func() { log.Run(f.life) })
	return f
}

// close ends the goroutines and forgets who watches.
func (f *feed) close() {
	f.stop()
	f.watch.Close()
	f.running.Wait()
}

// committed is called after each commit of this process.
func (f *feed) committed() {
	f.eager.Store(eagerLooks)
	f.log.Poke()
	f.watch.Notify()
}

// look notifies when the log has grown, until ctx ends.
func (f *feed) look(ctx context.Context, notify func()) {
	tick := time.NewTicker(lookSoon)
	defer tick.Stop()
	var seen uint64
	for n := 0; ; n++ {
		eager := f.eager.Load() > 0
		if eager {
			f.eager.Add(-1)
		}
		if eager || n%restLooks == 0 {
			if end, err := f.log.End(ctx); err == nil && end != seen {
				seen = end
				notify()
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Committed signals this process's commits at once, and every change again when the feed has it.
func (e *engine) Committed() (<-chan struct{}, func()) { return e.feed.watch.Subscribe() }

// Changes reads the log, and the commands that it names. What the log names whose command is not there is no change: the command
// was discarded, or the data row was put without one.
func (e *engine) Changes(ctx context.Context, after driver.Position, limit int) ([]driver.Change, error) {
	l, err := e.enter(ctx, "dynamodb.Changes")
	if err != nil {
		return nil, err
	}
	defer e.leave()
	number, err := after.Number()
	if err != nil {
		return nil, err
	}
	from := uint64(number)
	var changes []driver.Change
	for len(changes) < limit {
		asked := min(limit-len(changes), driver.MaxBatch)
		entries, err := e.feed.log.Read(ctx, from, asked)
		if err != nil {
			return nil, err
		}
		refs := make([]driver.Ref, len(entries))
		for i, entry := range entries {
			refs[i] = commandOf(l, entry)
		}
		commands, err := (caller{engine: e}).batchGet(ctx, l, refs)
		if err != nil {
			return nil, err
		}
		for i, entry := range entries {
			if from = entry.Number; commands[i] != nil {
				changes = append(changes, driver.Change{Position: driver.PositionAt(int64(entry.Number)), Command: commands[i]})
			}
		}
		if len(entries) < asked {
			break
		}
	}
	return changes, nil
}

// commandOf returns where the command of an entry stands. The log has partition keys as the stream tells them.
func commandOf(l *layout, entry changelog.Entry) driver.Ref {
	return driver.Ref{Collection: driver.Command, PK: l.pk(entry.PK), SK: entry.SK, Version: entry.Version}
}

// ChangedKeys implements driver.KeyFeed, for those who keep things in memory. It fails with fault.Unavailable where the feed may lack
// what was committed more than a moment ago, so that they ask the store.
func (e *engine) ChangedKeys(ctx context.Context, after driver.Position, limit int, kinds map[string]bool) (keys []driver.Ref, looked int, last driver.Position, err error) {
	l, err := e.enter(ctx, "dynamodb.ChangedKeys")
	if err != nil {
		return nil, 0, "", err
	}
	defer e.leave()
	number, err := after.Number()
	if err != nil {
		return nil, 0, "", err
	}
	entries, err := e.feed.log.Follow(ctx, uint64(number), limit)
	if err != nil {
		return nil, 0, "", err
	}
	last = after
	for _, entry := range entries {
		last = driver.PositionAt(int64(entry.Number))
		if kind, _, _ := strings.Cut(entry.PK, record.Separator); kinds[kind] {
			ref := commandOf(l, entry)
			ref.Version = 0
			keys = append(keys, ref)
		}
	}
	return keys, len(entries), last, nil
}

// End returns the end of the log, which may have grown past the newest command.
func (e *engine) End(ctx context.Context) (driver.Position, error) {
	if _, err := e.enter(ctx, "dynamodb.End"); err != nil {
		return "", err
	}
	defer e.leave()
	end, err := e.feed.log.End(ctx)
	return driver.PositionAt(int64(end)), err
}

// Advance implements driver.Advancer: it waits for the sequencer, in whichever process, until the store is closed.
func (e *engine) Advance(ctx context.Context) (driver.Position, error) {
	const op = "dynamodb.Advance"
	if _, err := e.enter(ctx, op); err != nil {
		return "", err
	}
	defer e.leave()
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.feed.life, cancel)()
	end, err := e.feed.log.Advance(waiting)
	if err != nil && ctx.Err() == nil && e.feed.life.Err() != nil {
		return "", closed(op)
	}
	return driver.PositionAt(int64(end)), err
}

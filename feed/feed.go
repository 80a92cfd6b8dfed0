// Package feed follows the change feed once for a whole process, for what the process keeps in memory: caches, and streams of
// events. What must run once for a command whatever dies is a handler's work (package projection).
package feed

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

const (
	lookEvery = 100 * time.Millisecond
	freshFor  = 700 * time.Millisecond // after a look began that came to the feed's end
	atOnce    = 1000                   // changes
)

// Tail tells those who follow it what was committed: by this process before the commit is acknowledged, by others within a
// second. Follow before Start. Its other methods may be used concurrently.
type Tail struct {
	store     *storage.Store
	log       *slog.Logger
	followers map[record.EntityType][]func(pk, sk string)
	types     map[string]bool // that are followed
	resets    []func()
	looked    atomic.Int64 // when the last look began that came to the end, as time since began; 0 for none
	began     time.Time    // with the monotonic clock, which no operator sets
}

// New returns a Tail that is not started: nothing is fresh.
func New(store *storage.Store, log *slog.Logger) *Tail {
	return &Tail{store: store, log: log, followers: map[record.EntityType][]func(pk, sk string){}, types: map[string]bool{}, began: time.Now()}
}

// Follow has forget called for every command on a record of one of types, more than once for some, by any goroutine. Reset is
// called when the Tail starts, before anything is fresh.
func (t *Tail) Follow(types []record.EntityType, forget func(pk, sk string), reset func()) {
	for _, typ := range types {
		t.followers[typ], t.types[typ.String()] = append(t.followers[typ], forget), true
	}
	t.resets = append(t.resets, reset)
}

// Committed tells the followers of a commit of this process. It is called before the commit is acknowledged, and also where
// its outcome is not known.
func (t *Tail) Committed(cmd *record.Record) { t.tell(cmd.PK, cmd.SK) }

func (t *Tail) tell(stored, sk string) {
	typ, code, rest, err := record.SplitPK(stored)
	if err != nil || t.followers[typ] == nil {
		return
	}
	pk := typ.String() + record.Separator + code.String() // also of X#COMMON, which is read as X#common
	if rest != "" {
		pk += record.Separator + rest
	}
	for _, forget := range t.followers[typ] {
		forget(pk, sk)
	}
}

// Fresh reports whether everything that any process committed more than a second ago has been told.
func (t *Tail) Fresh() bool {
	looked := t.looked.Load()
	return looked > 0 && time.Since(t.began)-time.Duration(looked) < freshFor
}

// caughtUp notes that a look which began at looked came to the feed's end.
func (t *Tail) caughtUp(looked time.Duration) { t.looked.Store(max(1, int64(looked))) }

// Start begins at the feed's end and tells what comes, in a goroutine of the caller's: it returns the function to run there,
// which ends with ctx. It fails where the feed can't be read.
func (t *Tail) Start(ctx context.Context) (run func(), err error) {
	across, err := t.store.Across(ctx, scope.NewSystem("", scope.Actor{UserID: "system"}, "follow the change feed", nil))
	if err != nil {
		return nil, err
	}
	looked := time.Since(t.began)
	position, err := across.End(ctx)
	if err != nil {
		return nil, err
	}
	for _, reset := range t.resets {
		reset()
	}
	t.caughtUp(looked)
	return func() { t.run(ctx, across, position) }, nil
}

func (t *Tail) run(ctx context.Context, across storage.Across, position driver.Position) {
	defer t.looked.Store(0)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	failing := false
	for ctx.Err() == nil {
		began := time.Since(t.began)
		keys, looked, last, err := across.ChangedKeys(ctx, position, atOnce, t.types)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			t.log.ErrorContext(ctx, "the change feed can't be read; what is kept in memory is read from the store until it can", "error", err)
		case err == nil && failing:
			t.log.InfoContext(ctx, "the change feed can be read again")
		}
		failing = err != nil
		if err == nil {
			for _, k := range keys {
				t.tell(k.PK, k.SK)
			}
			if position = last; looked == atOnce {
				continue
			}
			t.caughtUp(began)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

package projection

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// lease is a line's right to run its handler in this process and in no other. It is one row, whose version is its fencing number:
// every renewal and everything else that the holder keeps is a commit that wants the version of the commit before it, and
// raises it. So of two processes that both take themselves for the holder one can write nothing.
//
// No clocks of two processes are compared. Who watches takes the lease when it has seen one version for a whole term by its own
// monotonic clock. The holder stops when its last renewal began three quarters of a term ago by its own, which is earlier.
//
// Who watches has a row that says so, and counts its term from then on. Where there is none the holder need not raise the version: that nobody
// watched when it looked is a renewal too. A row of one that died is removed by the holder, which may do so with any: who takes the lease wants
// its own to be there, and who finds that it is not begins anew.
type lease struct {
	keeper storage.Keeper
	name   string // the handler's
	holder string // what this process is called
	term   time.Duration

	sighted int64 // the version that was seen last, and since when; of the watching goroutine
	since   time.Time
	watch   storage.Row // that this process watches; Version 0 for not, or not for certain

	watchers map[string]sighting // rows that the holder saw; of the renewing goroutine

	busy   chan struct{} // holds one while a commit is under way, so that they come one after the other
	row    storage.Row
	unsure bool        // the last commit may have been made or not
	alarm  *time.Timer // fires when the lease must be taken for lost
	lose   func()      // ends what runs under the lease
}

func newLease(keeper storage.Keeper, name, holder string, term time.Duration) *lease {
	return &lease{busy: make(chan struct{}, 1), keeper: keeper, name: name, holder: holder, term: term}
}

// sighting is the version of a row that was seen, and since when.
type sighting struct {
	version int64
	since   time.Time
}

type leaseValue struct {
	Holder string `json:"holder"` // "" after it was let go
}

// errLost is the error of a commit under a lease that another process has.
var errLost = fault.New(fault.Unavailable, "projection", "another process runs this handler now")

// read returns the lease as the store has it.
func (s *lease) read(ctx context.Context) (row storage.Row, holder string, err error) {
	row, err = s.keeper.Get(ctx, owner, s.name)
	if err != nil {
		return row, "", err
	}
	var v leaseValue
	err = row.Value.Decode(&v)
	return row, v.Holder, err
}

// take tries to become the holder: where nobody is, where the holder has not renewed for a term, and where this process is it
// by a commit whose answer was lost. What lose ends must be over three quarters of a term after the last renewal.
func (s *lease) take(ctx context.Context, lose func()) (bool, error) {
	began := time.Now()
	row, holder, err := s.read(ctx)
	if err != nil {
		return false, err
	}
	if row.Version != s.sighted || s.since.IsZero() {
		s.sighted, s.since = row.Version, time.Now() // after the answer: the renewal is at least as old
	}
	var unwatch []storage.SystemWrite
	switch others := holder != "" && holder != s.holder; {
	case others && s.watch.Version == 0:
		return false, s.beginWatch(ctx)
	case others && began.Sub(s.since) < s.term:
		return false, nil
	case others:
		unwatch = append(unwatch, s.keeper.Remove(s.watch))
	case s.watch.Version > 0:
		unwatch = append(unwatch, s.keeper.Delete(s.watch))
	}
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	s.row, s.unsure, s.lose = row, false, lose
	s.alarm = time.AfterFunc(s.patience(), lose)
	s.watch.Version = 0
	if err := s.write(ctx, s.holder, unwatch...); err != nil {
		s.alarm.Stop()
		if _, first := errors.AsType[*driver.Conflict](err); first {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

// watches is what the sort keys of those who watch begin with.
func (s *lease) watches() string { return s.name + "!" }

// beginWatch says that this process watches, and begins to count.
func (s *lease) beginWatch(ctx context.Context) error {
	row, err := s.keeper.Get(ctx, owner, s.watches()+s.holder)
	if err == nil && row.Version == 0 {
		if err = s.keeper.Commit(ctx, s.keeper.Put(row)); err == nil {
			row.Version = 1
		}
	}
	if err == nil {
		s.watch, s.since = row, time.Now()
	}
	return err
}

// endWatch says that this process watches no more. Where that fails the holder finds out.
func (s *lease) endWatch(ctx context.Context) {
	if s.watch.Version > 0 {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.term/4)
		defer cancel()
		s.keeper.Commit(ending, s.keeper.Delete(s.watch))
	}
}

// watched reports whether another process watches, and removes the rows of those that have been there for long: who lives comes again.
func (s *lease) watched(ctx context.Context) (bool, error) {
	rows, err := s.keeper.List(ctx, owner, s.watches(), "", batch)
	if err != nil {
		return false, err
	}
	now, seen := time.Now(), map[string]sighting{}
	for _, row := range rows {
		before, known := s.watchers[row.SK]
		if !known || before.version != row.Version {
			before = sighting{row.Version, now}
		}
		if now.Sub(before.since) < 16*s.term || s.keeper.Commit(ctx, s.keeper.Remove(row)) != nil {
			seen[row.SK] = before
		}
	}
	s.watchers = seen
	return len(rows) > 0, nil
}

func (s *lease) enter(ctx context.Context) error {
	select {
	case s.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *lease) leave() { <-s.busy }

// patience is how long a holder goes on after its last renewal began.
func (s *lease) patience() time.Duration { return s.term * 3 / 4 }

// keep renews the lease until the context ends or it is lost.
func (s *lease) keep(ctx context.Context) {
	tick := time.NewTicker(s.term / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if errors.Is(s.renew(ctx), errLost) {
			return
		}
	}
}

// renew raises the version where another process watches, or may, and looks whether the lease is still this one's else.
func (s *lease) renew(ctx context.Context) error {
	began := time.Now()
	if watched, err := s.watched(ctx); watched || err != nil {
		return s.commit(ctx)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.find(ctx); err != nil {
		return err
	}
	s.alarm.Reset(s.patience() - time.Since(began))
	return nil
}

// hold calls work under the lease, which was taken, renews it meanwhile, and lets it go when work has returned.
func (s *lease) hold(ctx context.Context, lose func(), work func(context.Context)) error {
	var renewing sync.WaitGroup
	renewing.Go(func() { s.keep(ctx) })
	work(ctx)
	lose()
	renewing.Wait()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.term/4)
	defer cancel()
	return s.release(ending)
}

// commit makes writes, if this process still has the lease, and renews it. It fails with errLost where another has it, which
// ends what runs under the lease.
func (s *lease) commit(ctx context.Context, writes ...storage.SystemWrite) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if s.unsure {
		if err := s.find(ctx); err != nil {
			return err
		}
	}
	err := s.write(ctx, s.holder, writes...)
	if _, first := errors.AsType[*driver.Conflict](err); first { // the lease's is the only condition
		if err := s.find(ctx); err != nil {
			return err
		}
		return fault.New(fault.Unavailable, "projection", "an earlier write was made after all; this one is tried again")
	}
	return err
}

// write makes the row the lease of holder, with writes beside it. The caller has entered.
func (s *lease) write(ctx context.Context, holder string, writes ...storage.SystemWrite) error {
	value, err := record.EncodeAttributes(leaseValue{Holder: holder})
	if err != nil {
		return err
	}
	row, began := s.row, time.Now()
	row.Owner, row.SK, row.Value = owner, s.name, value
	if err := s.keeper.Commit(ctx, append([]storage.SystemWrite{s.keeper.Put(row)}, writes...)...); err != nil {
		s.unsure = true
		return err
	}
	s.row.Version++
	s.unsure = false
	s.alarm.Reset(s.patience() - time.Since(began))
	return nil
}

// find looks where the lease stands after a commit whose outcome isn't known. The caller has entered.
func (s *lease) find(ctx context.Context) error {
	row, holder, err := s.read(ctx)
	switch {
	case err != nil:
		s.unsure = true
		return err
	case holder != s.holder:
		s.lose()
		return errLost
	}
	s.row, s.unsure = row, false
	return nil
}

// release lets the lease go, so that another process need not wait for its end. Where that fails, the term ends it.
func (s *lease) release(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	s.alarm.Stop()
	if s.unsure {
		if err := s.find(ctx); err != nil {
			return err
		}
	}
	err := s.write(ctx, "")
	s.alarm.Stop()
	return err
}

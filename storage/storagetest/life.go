package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage/driver"
)

var lifeProperties = []property{
	{"what was acknowledged is there after a restart", durable},
	{"a closed engine refuses everything", closedRefuses},
	{"close waits for commits and leaves no goroutine", closeWaits},
	{"a context that is done ends every call", doneContexts},
	{"only a root opens an engine", rootOpens},
}

func durable(s *store) {
	var want []driver.Change
	for life := range 3 {
		for i := range 5 {
			sk := fmt.Sprint(life, "-", i)
			want = append(want, driver.Change{Position: s.commit(publish("A#acme", sk, 1)...), Command: rec("A#acme", sk, 1)})
		}
		s.restart()
		s.sameChanges("changes after a restart", s.settled("", len(want)), want)
		for _, change := range want {
			s.same("a row after a restart", s.get(driver.RefOf(driver.Data, change.Command)), change.Command)
		}
	}
}

// calls are all methods that take a context.
var calls = map[string]func(context.Context, driver.Engine) error{
	"Get": func(ctx context.Context, e driver.Engine) error {
		_, err := e.Get(ctx, driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "1"})
		return err
	},
	"BatchGet": func(ctx context.Context, e driver.Engine) error {
		_, err := e.BatchGet(ctx, []driver.Ref{{Collection: driver.Data, PK: "A#acme", SK: "1"}})
		return err
	},
	"Range": func(ctx context.Context, e driver.Engine) error {
		_, err := e.Range(ctx, driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 1})
		return err
	},
	"Scan": func(ctx context.Context, e driver.Engine) error {
		_, err := e.Scan(ctx, driver.Data, driver.Ref{}, 1)
		return err
	},
	"Commit": func(ctx context.Context, e driver.Engine) error {
		_, err := e.Commit(ctx, driver.Batch{Writes: []driver.Write{put(driver.Data, rec("A#acme", "late", 1))}})
		return err
	},
	"Changes": func(ctx context.Context, e driver.Engine) error {
		_, err := e.Changes(ctx, "", 1)
		return err
	},
	"End": func(ctx context.Context, e driver.Engine) error {
		_, err := e.End(ctx)
		return err
	},
}

func closedRefuses(s *store) {
	s.commit(publish("A#acme", "1", 1)...)
	_, stop := s.Committed()
	for range 2 {
		if err := s.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
	}
	stop()
	for name, call := range calls {
		s.unavailable(name+" after Close", call(s.Context(), s.Engine))
	}
	signal, stop := s.Committed()
	stop()
	select {
	case <-signal:
		s.Error("a closed engine signals")
	default:
	}
}

func closeWaits(s *store) {
	if err := s.Close(); err != nil { // what it does beside calls is not what is looked for
		s.Errorf("close: %v", err)
	}
	before := goleak.IgnoreCurrent()
	engine := s.another()
	_, stop := engine.Committed() // left running, for Close to end
	defer stop()
	const writers = 8
	var acknowledged [writers]atomic.Int64
	begun, ended := make(chan struct{}, writers), make(chan struct{})
	go func() {
		defer close(ended)
		parallel(writers, func(n int) {
			for version := int64(1); ; version++ {
				_, err := engine.Commit(s.Context(), driver.Batch{Writes: publish("A#acme", fmt.Sprint(n), version)})
				if version == 1 {
					begun <- struct{}{}
				}
				if err != nil {
					s.unavailable("a commit after Close", err)
					return
				}
				acknowledged[n].Store(version)
			}
		})
	}()
	for range writers {
		within(s, "the first commit of every writer", 10*time.Second, begun)
	}
	if err := engine.Close(); err != nil {
		s.Errorf("close: %v", err)
	}
	within(s, "the end of the writers", 10*time.Second, ended)
	if err := goleak.Find(before); err != nil {
		s.Errorf("after Close: %v", err)
	}
	s.Engine = s.another()
	for n := range writers {
		version := int64(0)
		if got := s.get(driver.Ref{Collection: driver.Data, PK: "A#acme", SK: fmt.Sprint(n)}); got != nil {
			version = got.Version
		}
		s.same("the last version of a writer", version, acknowledged[n].Load())
	}
}

func doneContexts(s *store) {
	s.commit(publish("A#acme", "1", 1)...)
	deadline, cancel := context.WithDeadline(s.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for name, call := range calls {
		if err := call(cancelled(s.Context()), s.Engine); !errors.Is(err, context.Canceled) {
			s.Errorf("%s with a cancelled context: %v", name, err)
		}
		if err := call(deadline, s.Engine); !errors.Is(err, context.DeadlineExceeded) {
			s.Errorf("%s after its deadline: %v", name, err)
		}
		if err := call(s.Context(), s.Engine); err != nil {
			s.Errorf("%s with a live context, after cancelled ones: %v", name, err)
		}
	}
	if _, err := s.src.Open(cancelled(s.Context()), scope.NewRoot()); !errors.Is(err, context.Canceled) {
		s.Errorf("opening with a cancelled context: %v", err)
	}
	// Cancelled at any moment, a commit is made whole or not at all, and leaves the engine usable.
	parallel(8, func(n int) {
		for i := range 20 {
			ctx, cancel := context.WithCancel(s.Context())
			go cancel()
			sk := fmt.Sprint(n, "-", i)
			_, err := s.Commit(ctx, driver.Batch{Writes: publish("B#acme", sk, 1)})
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				s.Errorf("a commit that was cancelled under way: %v", err)
			}
			if err == nil && s.missing(driver.Data, sk) {
				s.Errorf("an acknowledged commit is missing")
			}
		}
	})
	s.commit(publish("A#acme", "1", 2)...) // behind everything that was queued
	for n := range 8 {
		for i := range 20 {
			if sk := fmt.Sprint(n, "-", i); s.missing(driver.Data, sk) != s.missing(driver.Command, sk) {
				s.Errorf("a cancelled commit was made in part")
			}
		}
	}
}

func (s *store) missing(c driver.Collection, sk string) bool {
	got, err := s.Get(s.Context(), driver.RefOf(c, rec("B#acme", sk, 1)))
	if err != nil {
		s.Errorf("get: %v", err)
	}
	return got == nil
}

func rootOpens(s *store) {
	if _, err := s.src.Open(s.Context(), scope.Root{}); !errors.Is(err, fault.RoleRequired) {
		s.Errorf("opening without a root: %v", err)
	}
	if _, err := (driver.Source{}).Open(s.Context(), scope.NewRoot()); !errors.Is(err, fault.Unavailable) {
		s.Errorf("opening the zero Source: %v", err)
	}
	if s.src.Name() == "" {
		s.Error("the source has no name")
	}
}

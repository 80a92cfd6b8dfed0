package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tenantry/tenantry/storage/driver"
)

var concurrencyProperties = []property{
	{"of many who write one version, one wins", racers},
	{"a batch becomes visible as a whole", visibleTogether},
	{"a read sees every acknowledged commit", readYourWrites},
	{"two processes share one store", twoProcesses},
}

// parallel calls f with 0 to n-1 at once and waits.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func racers(s *store) {
	const rounds, writers = 15, 32
	for version := int64(1); version <= rounds; version++ {
		s.race(writers, version, func(int) driver.Engine { return s.Engine })
	}
	s.same("the number of commands", len(s.settled("", rounds)), rounds)
}

// race makes many publish one version of a record through the engines that of returns.
func (s *store) race(writers int, version int64, of func(int) driver.Engine) {
	s.Helper()
	errs := make([]error, writers)
	parallel(writers, func(n int) {
		writes := publish("A#acme", "raced", version)
		command := rec("A#acme", "raced", version)
		command.CreatedBy = fmt.Sprint(n)
		writes[0].Record, writes[1].Record = command, command
		_, errs[n] = of(n).Commit(s.Context(), driver.Batch{Writes: writes})
	})
	winner := ""
	for n, err := range errs {
		var conflict *driver.Conflict
		switch {
		case err == nil && winner != "":
			s.Fatalf("version %d was written twice", version)
		case err == nil:
			winner = fmt.Sprint(n)
		case !errors.As(err, &conflict):
			s.Fatalf("a writer that lost: got %v, want a conflict", err)
		default:
			s.same("the conflict of a writer that lost", conflict, &driver.Conflict{Found: true, Actual: version})
		}
	}
	for _, c := range []driver.Collection{driver.Data, driver.Command} {
		if got := s.get(driver.RefOf(c, rec("A#acme", "raced", version))); got == nil || got.CreatedBy != winner || got.Version != version {
			s.Fatalf("the row of %v is not the winner's", c)
		}
	}
}

// visibleTogether reads the rows of a batch in the order opposite to their writing: whoever has seen the second at a version
// must find the first at no lower one.
func visibleTogether(s *store) {
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	version := func(c driver.Collection, sk string) int64 {
		rec, err := s.Get(s.Context(), driver.Ref{Collection: c, PK: "A#acme", SK: sk})
		if err != nil {
			s.Errorf("get: %v", err)
		}
		if rec == nil {
			return 0
		}
		return rec.Version
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				last := version(driver.System, "last")
				middle := version(driver.Data, "middle")
				if first := version(driver.Data, "first"); last > middle || middle > first {
					s.Errorf("saw the versions %d, %d, %d of one batch's rows", first, middle, last)
					return
				}
			}
		})
	}
	for v := int64(1); v <= 150; v++ {
		s.commit(put(driver.Data, rec("A#acme", "first", v)), put(driver.Data, rec("A#acme", "middle", v)), put(driver.System, rec("A#acme", "last", v)))
	}
	cancel()
	readers.Wait()
}

func readYourWrites(s *store) {
	parallel(8, func(n int) {
		pk, sk := fmt.Sprintf("A#t%d", n), "1"
		for version := int64(1); version <= 15; version++ {
			if _, err := s.Commit(s.Context(), driver.Batch{Writes: publish(pk, sk, version)}); err != nil {
				s.Errorf("a commit: %v", err)
				return
			}
			got, err := s.Get(s.Context(), driver.Ref{Collection: driver.Data, PK: pk, SK: sk})
			if err != nil || got == nil || got.Version != version {
				s.Errorf("get after the commit of version %d: %v, %v", version, got, err)
			}
			recs, err := s.Range(s.Context(), driver.Range{Collection: driver.Data, PK: pk, Limit: 2})
			if err != nil || len(recs) != 1 || recs[0].Version != version {
				s.Errorf("range after the commit of version %d: %d rows, %v", version, len(recs), err)
			}
			if end, err := s.End(s.Context()); err != nil || end == "" && !s.late {
				s.Errorf("the end of the feed after a commit: %q, %v", end, err)
			}
		}
	})
}

func twoProcesses(s *store) {
	engines := []driver.Engine{s.Engine, s.another()}
	for version := int64(1); version <= 8; version++ {
		s.race(8, version, func(n int) driver.Engine { return engines[n%2] })
	}
	var commits atomic.Int32
	parallel(8, func(n int) {
		for i := range 10 {
			if _, err := engines[n%2].Commit(s.Context(), driver.Batch{Writes: publish("B#acme", fmt.Sprint(n, "-", i), 1)}); err != nil {
				s.Errorf("a commit beside another process: %v", err)
				return
			}
			commits.Add(1)
		}
	})
	for _, engine := range engines {
		want := 8 + int(commits.Load())
		s.same("the number of changes", len(s.settledOn(engine, "", want)), want)
	}
}

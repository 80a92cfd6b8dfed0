package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
)

// until calls f until it succeeds, for as long as a server takes to come back.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("%s: %v", what, err)
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-limit:
			t.Errorf("%s: still %v", what, err)
			return
		}
	}
}

func get(e *engine, sk string) error {
	_, err := e.Get(context.Background(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: sk})
	return err
}

func TestServerIsRestarted(t *testing.T) {
	e := opened(t, postgrestest.New(t), impatient, tuning{findOut: 100 * time.Millisecond})
	signal, stop := e.Committed()
	defer stop()
	commit(t, e, creates("before"))
	for range 3 { // several connections
		if _, err := e.BatchGet(t.Context(), []driver.Ref{{Collection: driver.Data, PK: "A#acme", SK: "before"}}); err != nil {
			t.Fatal(err)
		}
	}
	restart := postgrestest.Kill(t)
	_, err := e.Commit(t.Context(), creates("meanwhile"))
	says(t, err, fault.Unavailable)
	says(t, get(e, "before"), fault.Unavailable, "can't be reached")
	restart()
	if err := get(e, "before"); err != nil {
		t.Errorf("the first read after the restart: %v", err)
	}
	commit(t, e, creates("after"))
	for len(signal) > 0 {
		<-signal
	}
	other := opened(t, e.writer.session.cfg.ConnString(), Options{}, tuning{})
	commit(t, other, creates("other"))
	select {
	case <-signal:
	case <-time.After(5 * time.Second):
		t.Error("after the restart nobody is told of commits")
	}
}

// TestServerIsKilled kills all of the server, and single processes of it, while engines work.
func TestServerIsKilled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	url := postgrestest.New(t)
	reader := opened(t, url, Options{}, tuning{findOut: 20 * time.Second})
	h := newHistory(t, reader)
	kills, total := calls(2, 50), 0
	for round := range kills {
		engines := []*engine{opened(t, url, Options{}, tuning{findOut: 20 * time.Second}), reader}
		var running sync.WaitGroup
		for worker := range 8 {
			total += 25
			running.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(round*100+worker)))
				h.work(t.Context(), engines[worker%2], random, fmt.Sprint(round, "-", worker), 25)
			})
		}
		if round%2 == 0 {
			postgrestest.Kill(t)()
		} else {
			admin := administrator(t, url)
			admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		}
		running.Wait()
	}
	until(t, "the last commit", func() error {
		_, err := reader.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: driver.System, Record: row("LAST#acme", "1", 1)}}})
		return err
	})
	h.verify()
	t.Logf("measured: %d kills, %d calls, %d acknowledged, %d refused, %d open, %d without an answer at first",
		kills, total, len(h.acknowledged), len(h.refused), len(h.open), h.unknown.Load())
	if len(h.acknowledged) == 0 {
		t.Error("this proves nothing")
	}
}

func TestCancelledReadLeavesThePool(t *testing.T) {
	e := opened(t, postgrestest.New(t), Options{MaxConns: 1}, tuning{})
	held, err := e.readers.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := e.End(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read that waits for the one connection there may be: %v, want its deadline", err)
	}
	held.Release()
	if _, err := e.End(t.Context()); err != nil {
		t.Errorf("a read when the connection is free: %v", err)
	}
}

// TestLockedFeed has another session keep the lock that commits need for longer than a statement may take.
func TestLockedFeed(t *testing.T) {
	url := postgrestest.New(t)
	e := opened(t, url, Options{StatementTimeout: 50 * time.Millisecond}, tuning{})
	other := administrator(t, url)
	run(t, other, "BEGIN")
	run(t, other, "SELECT FROM feed FOR UPDATE")
	_, err := e.Commit(t.Context(), creates("1"))
	says(t, err, fault.Unavailable, "statement timeout")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := e.Commit(ctx, creates("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller who doesn't wait: %v", err)
	}
	run(t, other, "COMMIT")
	until(t, "a commit after the lock is gone", func() error {
		_, err := e.Commit(t.Context(), creates("2"))
		return err
	})
}

func TestSweep(t *testing.T) {
	url := postgrestest.New(t)
	e := opened(t, url, Options{}, tuning{rest: 20 * time.Millisecond})
	var b driver.Batch
	for i := range 500 {
		r := row("A#acme", fmt.Sprint(i), 1)
		r.TTL = time.Now().Add(-time.Hour).Unix()
		b.Writes = append(b.Writes, driver.Write{Collection: driver.System, Record: r})
	}
	b.Writes = append(b.Writes, driver.Write{Collection: driver.System, Record: row("A#acme", "never", 1)})
	commit(t, e, b)
	admin := administrator(t, url)
	run(t, admin, "INSERT INTO session (id, used) VALUES ('old', now() - interval '2 days')")
	limit := time.After(20 * time.Second)
	for value[int64](t, admin, "SELECT count(*) FROM system") > 1 || value[int64](t, admin, "SELECT count(*) FROM session") > 1 {
		select {
		case <-limit:
			t.Fatalf("%d rows and %d sessions are left, want one of each", value[int64](t, admin, "SELECT count(*) FROM system"), value[int64](t, admin, "SELECT count(*) FROM session"))
		case <-time.After(10 * time.Millisecond):
		}
	}
	commit(t, e, creates("after"))
}

// TestListenerIsTold has nobody look, so that only the server tells of commits.
func TestListenerIsTold(t *testing.T) {
	url := postgrestest.New(t)
	e, other := opened(t, url, Options{}, tuning{look: time.Hour}), opened(t, url, Options{}, tuning{})
	signal, stop := e.Committed()
	defer stop()
	<-signal // the first look
	for i := range 3 {
		commit(t, other, creates(fmt.Sprint(i)))
		select {
		case <-signal:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody is told of a commit")
		}
	}
}

// TestHolderTells has a bystander hear what the server tells of the commits of the feed's holder: nothing while nobody else has the store
// open.
func TestHolderTells(t *testing.T) {
	// telling opens a store, and returns its holder's commit as a function that reports whether the server tells of it.
	telling := func(t *testing.T, tune tuning) (url string, tells func(sk string) bool) {
		url = postgrestest.New(t)
		holder := opened(t, url, Options{}, tune)
		admin, bystander := administrator(t, url), connected(t, url, "")
		run(t, bystander, "LISTEN "+channel)
		return url, func(sk string) bool {
			commit(t, holder, creates(sk))
			run(t, admin, "NOTIFY "+channel) // behind it
			told := 0
			for {
				n, err := bystander.WaitForNotification(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if n.PID == admin.PgConn().PID() {
					return told > 0
				}
				told++
			}
		}
	}
	t.Run("another opens the store", func(t *testing.T) {
		url, tells := telling(t, tuning{})
		if tells("alone") {
			t.Error("a holder that is alone tells of its commits")
		}
		opened(t, url, Options{}, tuning{})
		if !tells("beside another") {
			t.Error("a holder does not tell of its commits from when another opened the store")
		}
	})
	t.Run("the holder looks for others", func(t *testing.T) {
		url, tells := telling(t, tuning{rest: 20 * time.Millisecond})
		admin := administrator(t, url)
		settled := func(shared bool) {
			limit := time.After(20 * time.Second)
			for value[bool](t, admin, "SELECT shared FROM feed") != shared {
				select {
				case <-limit:
					t.Fatalf("the feed is never marked as shared = %t", shared)
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		if err := opened(t, url, Options{}, tuning{}).Close(); err != nil {
			t.Fatal(err)
		}
		settled(false)
		if tells("alone again") {
			t.Error("a holder that is alone again tells of its commits")
		}
		run(t, admin, "INSERT INTO session (id) VALUES ('older')") // of a Tenantry that does not mark the feed
		settled(true)
		if !tells("beside an older one") {
			t.Error("a holder that found another does not tell of its commits")
		}
	})
}

// TestListenerLooks has a commit that the server tells nobody of; looking does not end the connection that listens.
func TestListenerLooks(t *testing.T) {
	url := postgrestest.New(t)
	e := opened(t, url, Options{}, tuning{look: 20 * time.Millisecond})
	signal, stop := e.Committed()
	defer stop()
	<-signal // the first look
	admin := administrator(t, url)
	const listener = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND (query = 'LISTEN tenantry' OR query LIKE 'SELECT commits%')"
	pid := value[int32](t, admin, listener)
	for range 3 {
		run(t, admin, "UPDATE feed SET commits = commits + 1")
		select {
		case <-signal:
		case <-time.After(10 * time.Second):
			t.Fatal("a commit is not found by looking")
		}
	}
	if got := value[int32](t, admin, listener); got != pid {
		t.Errorf("process %d listens, it was %d", got, pid)
	}
}

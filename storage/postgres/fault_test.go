package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/postgres/postgrestest"
)

// impatient are Options and tuning under which a connection that nobody answers on is given up soon.
var (
	impatient      = Options{StatementTimeout: 400 * time.Millisecond, ConnectTimeout: 400 * time.Millisecond}
	impatientTuned = tuning{findOut: 2 * time.Second}
)

// isCommit reports whether a piece of what a client sends may be a group: it is larger than what comes before a group.
func isCommit(piece []byte) bool { return len(piece) > 300 }

// once returns what decides that the next commit has a fate.
func once(f fate) *func([]byte) fate {
	var done atomic.Bool
	decide := func(piece []byte) fate {
		if isCommit(piece) && done.CompareAndSwap(false, true) {
			return f
		}
		return delivered
	}
	return &decide
}

// TestLostAnswer loses connections around a commit. The writer finds out by itself: the caller gets the answer, or the conflict,
// that it would have got.
func TestLostAnswer(t *testing.T) {
	for name, f := range map[string]fate{"before the server had it": lostBefore, "after the server had it": lostAfter, "half open": halfOpen} {
		t.Run(name, func(t *testing.T) {
			p, url := proxied(t, postgrestest.New(t))
			e := opened(t, url, impatient, impatientTuned)
			commit(t, e, creates("first")) // the statement is prepared
			for i := range 3 {
				p.decide.Store(once(f))
				sk := fmt.Sprint(i)
				if at := commit(t, e, creates(sk)); at != driver.PositionAt(int64(i+2)) {
					t.Errorf("the position of a commit is %q, want %d", at, i+2)
				}
				p.decide.Store(once(f))
				var conflict *driver.Conflict
				if _, err := e.Commit(t.Context(), creates(sk)); !errors.As(err, &conflict) || *conflict != (driver.Conflict{Found: true, Actual: 1}) {
					t.Errorf("a commit that can't be made: %v, want a conflict", err)
				}
			}
			changes, err := e.Changes(t.Context(), "", 10)
			if err != nil || len(changes) != 4 {
				t.Errorf("%d changes, %v; want 4", len(changes), err)
			}
		})
	}
}

// TestSilentServer has no server that could be asked: the outcome is unknown, and said to be so in time.
func TestSilentServer(t *testing.T) {
	p, url := proxied(t, postgrestest.New(t))
	e := opened(t, url, impatient, tuning{findOut: 300 * time.Millisecond})
	commit(t, e, creates("first"))
	silence := func([]byte) fate { return lostAfter }
	p.decide.Store(&silence)
	_, err := e.Commit(t.Context(), creates("unknown"))
	says(t, err, fault.Unavailable, "lost during a commit", "read the record again")
	_, err = e.Commit(t.Context(), creates("later"))
	says(t, err, fault.Unavailable, "can't be reached")
	_, err = e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "first"})
	says(t, err, fault.Unavailable, "can't be reached")
	p.decide.Store(nil)
	commit(t, e, creates("later"))
	// A slow server may have learnt that the commit was given up before it made it. Who reads the record again knows.
	rec, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	var conflict *driver.Conflict
	if _, err := e.Commit(t.Context(), creates("unknown")); errors.As(err, &conflict) != (rec != nil) || conflict == nil && err != nil {
		t.Errorf("the commit again, where the record is %v: %v", rec, err)
	}
}

// TestFencedSession has a commit reach the server after the writer was told that it was not made.
func TestFencedSession(t *testing.T) {
	url := postgrestest.New(t)
	e := opened(t, url, Options{}, tuning{})
	commit(t, e, creates("first"))
	late := connected(t, url, appRole)
	s := &e.writer.session
	g := newGroup()
	g.join(newRequest(t.Context(), creates("late")))
	ghost := session{numbering: &inOrder, id: s.id, number: s.number + 1, statements: make(map[shape]string)}

	s.conn.Close(t.Context()) // the writer doesn't know yet
	if at := commit(t, e, creates("second")); at != "2" {
		t.Errorf("the commit after a lost connection has position %q, want 2", at)
	}
	if _, err := ghost.send(t.Context(), late, g); !has(err, divisionByZero) {
		t.Errorf("a session that was fenced: %v, want its group undone", err)
	}
	if rec, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "late"}); rec != nil || err != nil {
		t.Errorf("a session that was fenced has committed: %v, %v", rec, err)
	}
}

// TestFencedWhileWaiting fences a session whose commit waits for the feed, so that its snapshot is older than the fence.
func TestFencedWhileWaiting(t *testing.T) {
	for name, want := range map[string]func(error) bool{
		"holds the feed": func(err error) bool { return errors.Is(err, errFenced) },
		"does not":       func(err error) bool { return has(err, divisionByZero) },
	} {
		t.Run(name, func(t *testing.T) {
			url := postgrestest.New(t)
			e := opened(t, url, Options{}, tuning{})
			commit(t, e, creates("first"))
			admin, late := administrator(t, url), connected(t, url, appRole)
			ghost := session{numbering: &inOrder, id: "ghost", number: 1, holds: name == "holds the feed", statements: make(map[shape]string)}
			run(t, admin, "INSERT INTO session (id) VALUES ('ghost')")
			if ghost.holds {
				run(t, admin, "UPDATE feed SET holder = 'ghost', number = 0")
			}
			run(t, admin, "BEGIN")
			run(t, admin, "SELECT FROM feed FOR UPDATE")
			g := newGroup()
			g.join(newRequest(t.Context(), creates("late")))
			made := make(chan error, 1)
			go func() {
				_, err := ghost.send(t.Context(), late, g)
				made <- err
			}()
			watching := administrator(t, url)
			for !value[bool](t, watching, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") {
			}
			run(t, admin, letGo)
			run(t, admin, "UPDATE session SET fenced = true WHERE id = 'ghost'")
			run(t, admin, hold, "another")
			run(t, admin, "COMMIT")
			if err := <-made; !want(err) {
				t.Errorf("a session that was fenced while it waited: %v, want its group undone", err)
			}
			if n := value[int64](t, watching, "SELECT count(*) FROM data WHERE sk = 'late'"); n != 0 {
				t.Error("a session that was fenced while it waited has committed")
			}
			if at := commit(t, e, creates("second")); at != "2" {
				t.Errorf("the next commit has position %q, want 2", at)
			}
		})
	}
}

// TestHolder has the feed change hands: what its holder has marked there is then in its session's row.
func TestHolder(t *testing.T) {
	url := postgrestest.New(t)
	admin := administrator(t, url)
	holder := func() string { return value[string](t, admin, "SELECT holder FROM feed") }
	first := opened(t, url, Options{}, tuning{rest: 20 * time.Millisecond})
	commit(t, first, creates("1"))
	if number := value[int64](t, admin, "SELECT number FROM feed"); holder() != first.writer.session.id || number != 1 {
		t.Errorf("session %s holds the feed, at commit %d; want the only one, at its first", holder(), number)
	}
	gone := opened(t, url, Options{}, tuning{})
	commit(t, gone, creates("2"))
	if holder() != first.writer.session.id {
		t.Error("a second session took the feed")
	}
	// The holder says no more that it is there.
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, admin, "INSERT INTO session (id, number, used) VALUES ('silent', 6, now() - interval '1 hour')")
	run(t, admin, "UPDATE feed SET holder = 'silent', number = 7, base = 42")
	next := opened(t, url, Options{}, tuning{rest: 20 * time.Millisecond})
	if holder() != next.writer.session.id {
		t.Error("the feed was not taken from a session that is gone")
	}
	if got := value[bool](t, admin, "SELECT number = 7 AND answer = '{{-1,0,0,42}}' FROM session WHERE id = 'silent'"); !got {
		t.Error("what the session before had marked is lost")
	}
	// A holder that was taken for gone goes on without the feed, and takes it when it is free.
	run(t, admin, "UPDATE feed SET holder = $1, number = 0", gone.writer.session.id)
	for i, e := range []*engine{next, gone, next, gone} {
		if at, want := commit(t, e, creates(fmt.Sprint("more", i))), driver.PositionAt(int64(3+i)); at != want {
			t.Errorf("a commit is at %q, want %q", at, want)
		}
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	limit := time.After(20 * time.Second)
	for holder() != next.writer.session.id {
		select {
		case <-limit:
			t.Fatal("nobody takes the feed that is free")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if at := commit(t, next, creates("last")); at != "7" {
		t.Errorf("the last commit is at %q, want 7", at)
	}
}

// TestDeadlock makes two for real. The server ends the engine's transaction, which is made again.
func TestDeadlock(t *testing.T) {
	url := postgrestest.New(t)
	e := opened(t, url, Options{}, tuning{})
	commit(t, e, creates("1"))
	other := administrator(t, url)
	run(t, other, "SET deadlock_timeout = '1min'") // the engine notices first
	run(t, other, "BEGIN")
	run(t, other, "SELECT FROM data WHERE sk = '1' FOR UPDATE")
	update := driver.Batch{Writes: []driver.Write{
		{Collection: driver.Command, Record: row("A#acme", "1", 2), If: driver.Condition{Kind: driver.IfAbsent}},
		{Collection: driver.Data, Record: row("A#acme", "1", 2), If: driver.Condition{Kind: driver.IfVersion, Version: 1}}}}
	made := make(chan error, 1)
	go func() {
		_, err := e.Commit(t.Context(), update)
		made <- err
	}()
	watching := administrator(t, url)
	for !value[bool](t, watching, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") {
	}
	run(t, other, "SELECT FROM feed FOR UPDATE") // which the engine holds, while it waits for the row: to have it, the engine must lose it
	run(t, other, "COMMIT")
	if err := <-made; err != nil {
		t.Errorf("a commit that was ended for a deadlock: %v", err)
	}
	if got := value[int64](t, watching, "SELECT version FROM data WHERE sk = '1'"); got != 2 {
		t.Errorf("the record is at version %d, want 2", got)
	}
}

// TestSerializationFailures runs engines whose transactions see the state at their first statement, so that each that waited
// for the lock of the feed fails.
func TestSerializationFailures(t *testing.T) {
	for _, level := range []string{"repeatable%20read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			url := postgrestest.New(t) + "&default_transaction_isolation=" + level
			engines := []*engine{opened(t, url, Options{}, tuning{}), opened(t, url, Options{}, tuning{}), opened(t, url, Options{}, tuning{})}
			h := newHistory(t, engines[0])
			var running sync.WaitGroup
			for n, e := range engines {
				for worker := range 2 {
					running.Go(func() {
						h.work(t.Context(), e, rand.New(rand.NewPCG(uint64(n), uint64(worker))), fmt.Sprint(n, "-", worker), 20)
					})
				}
			}
			running.Wait()
			h.verify()
			if h.unknown.Load() > 0 {
				t.Errorf("%d commits failed", h.unknown.Load())
			}
		})
	}
}

// history is what callers were told, by the request ID of their commands.
type history struct {
	*testing.T
	reader *engine // past all faults
	hasty  bool    // some callers don't wait for an answer

	mu           sync.Mutex
	acknowledged map[string]driver.Position
	refused      map[string]bool
	open         map[string]bool // either
	unknown      atomic.Int64    // calls without an answer
}

func newHistory(t *testing.T, reader *engine) *history {
	return &history{T: t, reader: reader, acknowledged: make(map[string]driver.Position), refused: make(map[string]bool), open: make(map[string]bool)}
}

// records is how many records callers compete for.
const records = 6

// work makes calls: each makes the next version of some record, as its caller knows it. A call without an answer is looked up and,
// where it was not made, made again with the same request ID, as a caller does.
func (h *history) work(ctx context.Context, e *engine, random *rand.Rand, name string, calls int) {
	for call := range calls {
		pk, sk, id := fmt.Sprint("A#t", random.IntN(3)), fmt.Sprint(random.IntN(records)), fmt.Sprint(name, "-", call)
		current := h.read(ctx, driver.Ref{Collection: driver.Data, PK: pk, SK: sk})
		next := row(pk, sk, 1)
		next.RequestID = id
		b := driver.Batch{Writes: []driver.Write{
			{Collection: driver.Command, Record: next, If: driver.Condition{Kind: driver.IfAbsent}},
			{Collection: driver.Data, Record: next, If: driver.Condition{Kind: driver.IfAbsent}},
		}}
		if current != nil {
			next.Version = current.Version + 1
			b.Writes[1].If = driver.Condition{Kind: driver.IfVersion, Version: current.Version}
			b.Writes = append(b.Writes, driver.Write{Collection: driver.History, Record: current, If: driver.Condition{Kind: driver.IfAbsent}})
		}
		if !h.call(ctx, e, random, b, id) {
			return
		}
	}
}

// call makes a call until it has an answer, a few times, and reports whether to go on.
func (h *history) call(ctx context.Context, e *engine, random *rand.Rand, b driver.Batch, id string) bool {
	for range 4 {
		limited, cancel := ctx, context.CancelFunc(func() {})
		if h.hasty && random.IntN(20) == 0 {
			limited, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(3000))*time.Microsecond)
		}
		at, err := e.Commit(limited, b)
		cancel()
		var conflict *driver.Conflict
		switch {
		case err == nil:
			h.note(func() { h.acknowledged[id] = at })
			return true
		case errors.As(err, &conflict):
			if rec := h.read(ctx, driver.RefOf(driver.Command, b.Writes[0].Record)); rec != nil && rec.RequestID == id {
				h.note(func() { h.acknowledged[id] = "" }) // made by an earlier attempt, whose answer was lost
			} else {
				h.note(func() { h.refused[id] = true })
			}
			return true
		case fault.CodeOf(err) != fault.Unavailable && !errors.Is(err, context.DeadlineExceeded):
			h.Errorf("a commit under faults: %v", err)
			return false
		}
		if h.unknown.Add(1); !h.hasty {
			h.Logf("a commit without an answer: %v", err)
		}
	}
	h.note(func() { h.open[id] = true })
	return true
}

// read returns a row, or nil, when the server is there to say so.
func (h *history) read(ctx context.Context, ref driver.Ref) (rec *record.Record) {
	until(h.T, "the reader", func() (err error) {
		rec, err = h.reader.Get(ctx, ref)
		return err
	})
	return rec
}

func (h *history) note(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// verify compares the feed with what callers were told, and data and history with the feed.
func (h *history) verify() {
	h.Helper()
	found := make(map[string]driver.Position)
	versions := make(map[[2]string]int64)
	for after := driver.Position(""); ; {
		changes, err := h.reader.Changes(h.Context(), after, 1000)
		if err != nil {
			h.Fatal(err)
		}
		for _, c := range changes {
			id, key := c.Command.RequestID, [2]string{c.Command.PK, c.Command.SK}
			if _, twice := found[id]; twice {
				h.Errorf("the command of request %s is there twice", id)
			}
			if versions[key]++; c.Command.Version != versions[key] {
				h.Errorf("version %d of %v stands where version %d is due", c.Command.Version, key, versions[key])
			}
			found[id] = c.Position
			after = c.Position
		}
		if len(changes) == 0 {
			break
		}
	}
	for id, at := range h.acknowledged {
		if got, ok := found[id]; !ok || at != "" && got != at {
			h.Errorf("the acknowledged command of request %s is at %q, its caller was told %q", id, got, at)
		}
	}
	for id := range h.refused {
		if _, ok := found[id]; ok {
			h.Errorf("the refused command of request %s is there", id)
		}
	}
	for id := range found {
		if _, ok := h.acknowledged[id]; !ok && !h.open[id] {
			h.Errorf("the command of request %s is there, and nobody was told", id)
		}
	}
	for key, version := range versions {
		rec, err := h.reader.Get(h.Context(), driver.Ref{Collection: driver.Data, PK: key[0], SK: key[1]})
		if err != nil || rec == nil || rec.Version != version {
			h.Errorf("the state of %v is %v, %v; want version %d", key, rec, err, version)
		}
	}
}

// calls returns how many calls a test under faults makes.
func calls(few, many int) int {
	if os.Getenv("TENANTRY_LONG_RUN") != "" {
		return many
	}
	return few
}

// TestCallsUnderFaults makes calls while connections are lost in every way around commits and reads, for two processes.
func TestCallsUnderFaults(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	database := postgrestest.New(t)
	p, url := proxied(t, database)
	engines := []*engine{opened(t, url, impatient, impatientTuned), opened(t, url, impatient, impatientTuned)} // the first holds the feed
	h := newHistory(t, opened(t, database, Options{}, tuning{}))
	h.hasty = true
	var mu sync.Mutex
	fates := rand.New(rand.NewPCG(seed, 0))
	var injected [delayed + 1]int
	decide := func(piece []byte) fate {
		mu.Lock()
		defer mu.Unlock()
		f := delivered
		switch n := fates.IntN(1000); {
		case n < 40:
			f = lostBefore
		case n < 80:
			f = lostAfter
		case n < 82:
			f = halfOpen
		case n < 120:
			f = delayed
		}
		injected[f]++
		return f
	}
	p.decide.Store(&decide)
	const workers = 16
	total := calls(300_000/20, 300_000)
	var running sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			h.work(t.Context(), engines[worker%2], rand.New(rand.NewPCG(seed, uint64(worker+1))), fmt.Sprint(worker), total/workers)
		})
	}
	running.Wait()
	p.decide.Store(nil)
	for _, e := range engines { // what was sent last is made, or never will be
		commit(t, e, driver.Batch{Writes: []driver.Write{{Collection: driver.System, Record: row("LAST#acme", "1", 1)}}})
	}
	h.verify()
	t.Logf("measured: %d calls, %d acknowledged, %d refused, %d open, %d without an answer at first; pieces lost before the server %d, after it %d, half open %d, delayed %d",
		total, len(h.acknowledged), len(h.refused), len(h.open), h.unknown.Load(), injected[lostBefore], injected[lostAfter], injected[halfOpen], injected[delayed])
	if injected[lostAfter] == 0 || len(h.acknowledged) < total/20 {
		t.Error("this proves little")
	}
}

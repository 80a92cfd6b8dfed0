package changelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wire is the way to the server of one process, which can die or be held up.
type wire struct {
	mu    sync.Mutex
	calls int
	die   int    // at this call; 0 never
	late  bool   // dies after the server carried the call out, before the answer came
	dead  func() // is called then
	gone  bool

	hold   atomic.Pointer[func(op string)] // is called before a call is sent
	refuse string                          // calls of this operation are refused
}

// Do implements aws.HTTPClient.
func (w *wire) Do(r *http.Request) (*http.Response, error) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if hold := w.hold.Load(); hold != nil {
		(*hold)(op)
	}
	if op == w.refuse {
		return nil, errors.New("refused")
	}
	w.mu.Lock()
	w.calls++
	dies := w.die > 0 && w.calls >= w.die && !w.gone
	late := dies && w.late
	gone := w.gone
	w.gone = w.gone || dies
	w.mu.Unlock()
	if dies {
		defer w.dead()
	}
	if gone || dies && !late {
		return nil, errors.New("the process is dead")
	}
	out, err := http.DefaultClient.Do(r)
	if err == nil && late {
		_, _ = io.Copy(io.Discard, out.Body)
		return nil, errors.Join(errors.New("the process died before the answer"), out.Body.Close())
	}
	return out, err
}

// The sequencer dies before and after each of its first calls, and the next one takes over: once in a store that it finds new, where the calls lead
// from the lease over tables, shards and appends to the end of the scans; once where tables are settled, and nothing but the checkpoints
// knows what was appended.
func TestCrashAtEveryStep(t *testing.T) {
	for step := 1; step <= 40; step++ {
		late := step%3 > 0 // what is there then differs from before the next call in nothing
		crash(t, step, late, false)
		crash(t, step, late, true)
	}
}

func crash(t *testing.T, step int, late, settledBefore bool) {
	s := newStore(t, "order", "product", "tenant")
	if settledBefore {
		c := s.config("first", http.DefaultClient)
		c.Settle = time.Millisecond
		first := New(c)
		stop := s.run(first)
		s.eventually("the tables are settled", func() bool {
			rows, err := first.stateRows(t.Context(), tableKind)
			return err == nil && len(rows) == 3 && !slices.ContainsFunc(rows, func(it item) bool { return textOf(it, "phase") != string(settled) })
		})
		stop()
	}
	s.writeAll(2, 2, 1, 8)
	ctx, cancel := context.WithCancel(context.Background())
	w := &wire{die: step, late: late, dead: cancel}
	c := s.config("mortal", w)
	c.Settle = 2 * time.Millisecond
	mortal := New(c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		mortal.Run(ctx)
	}()
	for v := int64(9); ctx.Err() == nil && v < 400; v++ {
		s.put("order", "A#t0", "0-0", v)
	}
	cancel()
	<-done
	if !w.gone {
		t.Fatalf("the sequencer made %d calls, and did not come to call %d", w.calls, step)
	}
	c = s.config("heir", http.DefaultClient)
	c.Takeover = 40 * time.Millisecond
	heir := New(c)
	stop := s.run(heir)
	s.put("product", "A#t1", "9-9", 1)
	all := s.advanced(heir)
	newest := s.versions(all)
	if len(newest) != 5 || newest["A#t1/9-9"] != 1 || newest["A#t0/0-0"] < 8 || newest["A#t1/1-1"] != 8 {
		t.Errorf("died at call %d, late %v, settled before %v: the log has %v", step, late, settledBefore, newest)
	}
	stop()
}

// Processes die one after the other, anywhere, while many write.
func TestDeathsUnderLoad(t *testing.T) {
	s := newStore(t, modules...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writing sync.WaitGroup
	var written [8]int64
	for n := range written {
		writing.Go(func() {
			for ctx.Err() == nil {
				written[n]++
				s.put(modules[n%len(modules)], "A#acme", fmt.Sprint(n), written[n])
			}
		})
	}
	for death := range 6 {
		life, end := context.WithCancel(t.Context())
		w := &wire{die: 12 + rand.IntN(30), late: death%2 == 0, dead: end}
		c := s.config(fmt.Sprint("process ", death), w)
		c.Takeover, c.Settle = 20*time.Millisecond, 20*time.Millisecond
		New(c).Run(life)
		end()
	}
	stop()
	writing.Wait()
	l := s.log("last")
	s.run(l)
	newest := s.versions(s.advanced(l))
	for n, want := range written {
		if got := newest[fmt.Sprint("A#acme/", n)]; got != want {
			t.Errorf("the log has %d versions of record %d, want %d", got, n, want)
		}
	}
}

// A sequencer that is paused before a write, and wakes up when another has taken over, changes nothing.
func TestFencing(t *testing.T) {
	for _, paused := range []string{"TransactWriteItems", "UpdateItem", "GetRecords"} {
		s := newStore(t, "order", "product", "tenant")
		w := &wire{}
		stop := s.run(New(s.config("sleeper", w)))
		s.put("order", "A#acme", "1", 1)
		s.advanced(s.log("reader"))

		asleep, sleeping := make(chan struct{}), make(chan struct{})
		once, wake := sync.OnceFunc(func() { close(asleep) }), sync.OnceFunc(func() { close(sleeping) })
		t.Cleanup(wake)
		hold := func(op string) {
			if op == paused {
				once()
				<-sleeping
			}
		}
		w.hold.Store(&hold)
		s.put("order", "A#acme", "1", 2)
		<-asleep
		w.hold.Store(nil)

		heir := s.log("heir")
		s.run(heir)
		s.put("order", "A#acme", "1", 3)
		s.put("order", "A#acme", "2", 1)
		before := s.advanced(heir)
		if lease, err := heir.lease(t.Context()); err != nil || lease.owner != "heir" {
			t.Fatalf("paused in %s: the lease is %v, %v", paused, lease, err)
		}
		wake()
		s.put("order", "A#acme", "3", 1)
		after := s.advanced(heir)
		s.versions(after)
		if len(after) != 5 || !cmp.Equal(after[:len(before)], before) {
			t.Errorf("paused in %s: the log was %v and became %v", paused, before, after)
		}
		stop()
	}
}

// Two sequencers that both believe that they lead: only the one with the newest fence writes.
func TestOlderFenceWritesNothing(t *testing.T) {
	s := newStore(t, "order")
	first, second := s.log("first"), s.log("second")
	held, err := first.take(t.Context(), lease{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := first.load(t.Context(), held)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // the table is found, scanned and followed
		if _, err := old.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	seen, err := second.lease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.take(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	s.put("order", "A#acme", "1", 1)
	if err := old.appendPages(t.Context(), old.readShards(t.Context())); !errors.Is(err, errReplaced) {
		t.Errorf("an append with an old fence: %v", err)
	}
	if _, err := first.take(t.Context(), seen); !errors.Is(err, errReplaced) {
		t.Errorf("a lease is taken from a holder who was not seen: %v", err)
	}
	if entries, err := second.Read(t.Context(), 0, 10); err != nil || len(entries) > 0 {
		t.Errorf("the log has %v, %v", entries, err)
	}
	if _, err := first.load(t.Context(), held); !errors.Is(err, errReplaced) {
		t.Errorf("the state for an old fence: %v", err)
	}
}

// A write of the holder that was given up and arrives late is refused when the holder has gone on.
func TestLateWriteOfTheHolder(t *testing.T) {
	s := newStore(t, "order")
	l := s.log("a")
	held, err := l.take(t.Context(), lease{})
	if err != nil {
		t.Fatal(err)
	}
	next := held
	next.step, next.began = held.step+1, 1
	if err := l.advance(t.Context(), held, next, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.advance(t.Context(), held, next, nil); err != nil {
		t.Errorf("the same step, asked for again by the SDK: %v", err)
	}
	late := held
	late.step, late.end = held.step+1, 7
	if err := l.advance(t.Context(), held, late, nil); !errors.Is(err, errReplaced) {
		t.Errorf("another step after the same: %v", err)
	}
}

func TestTakeover(t *testing.T) {
	s := newStore(t, "order")
	patient := func(owner string) *Log {
		c := s.config(owner, http.DefaultClient)
		c.Takeover = 0 // the default
		return New(c)
	}
	stop := s.run(patient("first"))
	heir := patient("heir")
	s.advanced(heir)
	s.run(heir)
	took := func() time.Duration {
		began := time.Now()
		s.eventually("the heir holds the lease", func() bool {
			lease, err := heir.lease(t.Context())
			return err == nil && lease.owner == "heir"
		})
		return time.Since(began)
	}
	stop()
	if d := took(); d > time.Second {
		t.Errorf("a released lease was taken after %v", d)
	}

	s = newStore(t, "order")
	ctx, cancel := context.WithCancel(context.Background())
	w := &wire{dead: cancel}
	c := s.config("mortal", w)
	c.Takeover = 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		New(c).Run(ctx)
	}()
	heir = patient("heir")
	s.advanced(heir)
	s.run(heir)
	w.mu.Lock()
	w.die = 1
	w.mu.Unlock()
	<-done
	if d := took(); d < 3*time.Second || d > 5*time.Second {
		t.Errorf("the lease of a dead holder was taken after %v, want between 3 and 5 s", d)
	}
}

// A process that can't write, or can't read the streams, lets another one try.
func TestOneWhoCannotSequenceGivesUp(t *testing.T) {
	for _, refused := range []string{"TransactWriteItems", "GetRecords"} {
		s := newStore(t, "order")
		c := s.config("weak", &wire{refuse: refused})
		c.Takeover = time.Second
		s.run(New(c))
		l := s.log("reader")
		s.eventually("the weak one holds the lease", func() bool {
			lease, err := l.lease(t.Context())
			return err == nil && lease.owner == "weak"
		})
		c = s.config("strong", http.DefaultClient)
		c.Takeover = time.Minute
		s.run(New(c))
		s.put("order", "A#acme", "1", 1)
		if got := s.advanced(l); len(got) != 1 {
			t.Errorf("without %s: the log has %v", refused, got)
		}
	}
}

// A process that ends in the middle of whichever call lets the lease go, and has nothing to warn of.
func TestEndIsNoTrouble(t *testing.T) {
	for _, last := range []string{"UpdateItem", "Query", "ListTables", "DescribeTable", "DescribeStream", "GetShardIterator", "GetRecords", "Scan", "TransactWriteItems"} {
		s := newStore(t, "order", "product")
		ctx, end := context.WithCancel(t.Context())
		hold := func(op string) {
			if op == last {
				end()
			}
		}
		w := &wire{}
		w.hold.Store(&hold)
		c := s.config("a", w)
		c.DataTables = func(ctx context.Context) ([]string, error) {
			hold("ListTables")
			return *s.tables.Load(), ctx.Err()
		}
		var warnings bytes.Buffer
		c.Log = slog.New(slog.NewTextHandler(&warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))
		New(c).Run(ctx)
		if warnings.Len() > 0 {
			t.Errorf("who ends in %s warns: %s", last, &warnings)
		}
		if lease, err := s.log("reader").lease(t.Context()); err != nil || lease.fence > 0 && !lease.released {
			t.Errorf("who ends in %s keeps the lease: %+v (%v)", last, lease, err)
		}
	}
}

// A process that is paused in a round, wakes up, and finds that nobody took over, does not make older changes look told.
func TestPausedSequencerIsNotBelieved(t *testing.T) {
	s := newStore(t, "order")
	w := &wire{}
	c := s.config("a", w)
	c.Takeover = time.Minute
	s.run(New(c))
	l := s.log("reader")
	follows(t, l)

	asleep, sleeping := make(chan struct{}), make(chan struct{})
	once, wake := sync.OnceFunc(func() { close(asleep) }), sync.OnceFunc(func() { close(sleeping) })
	t.Cleanup(wake)
	read := false
	hold := func(op string) { // the mark that a round is done, after it has read the shard
		if read && op == "UpdateItem" {
			once()
			<-sleeping
		}
		read = op == "GetRecords"
	}
	w.hold.Store(&hold)
	<-asleep
	s.put("order", "A#acme", "1", 1) // while the sequencer sleeps
	s.eventually("a paused sequencer is not believed", func() bool {
		_, err := l.Follow(t.Context(), 0, 10)
		return err != nil
	})
	second, staying := make(chan struct{}), make(chan struct{}) // after the belated mark, before the next round reads
	held, goOn := sync.OnceFunc(func() { close(second) }), sync.OnceFunc(func() { close(staying) })
	t.Cleanup(goOn)
	stay := func(op string) {
		if op == "GetRecords" {
			held()
			<-staying
		}
	}
	w.hold.Store(&stay)
	wake()
	<-second
	if got, err := l.Follow(t.Context(), 0, 10); err == nil {
		t.Errorf("after the belated mark of a paused sequencer, Follow returns %v and lacks a change", got)
	}
	w.hold.Store(nil)
	goOn()
	s.eventually("it goes on", func() bool {
		got, err := l.Follow(t.Context(), 0, 10)
		return err == nil && len(got) == 1
	})
}

func TestBlocksThatAreNot(t *testing.T) {
	for _, it := range []item{
		key(blocks, "x"),
		key(blocks, "00000000000000000001"),
		block([]Entry{{PK: "A#a", SK: "1", Version: 1}, {PK: "A#a", SK: "2", Version: 1}}, 1),
	} {
		if _, err := entriesOf(it); err == nil {
			t.Errorf("%v is a block", it)
		}
	}
	if !Owns(blocks) || !Owns(state) || Owns("TENANTS#common") {
		t.Error("Owns")
	}
}

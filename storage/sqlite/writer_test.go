package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// grouped has batches committed in one transaction, in their order, and returns their requests.
func grouped(e *engine, batches ...driver.Batch) []*request {
	e.checkpoints.gate.Lock() // the writer waits here with the first
	requests := make([]*request, len(batches))
	for i, b := range batches {
		requests[i] = newRequest().(*request)
		requests[i].encode(context.Background(), b)
		e.writer.queue <- requests[i]
	}
	e.checkpoints.gate.Unlock()
	for _, r := range requests {
		<-r.done
	}
	return requests
}

// late returns the batch that creates a record and then fails, for a row that is taken.
func late(sk, taken string) driver.Batch {
	b := creates(sk)
	b.Writes = append(b.Writes, driver.Write{Collection: driver.Data, Record: row1(taken, 1), If: driver.Condition{Kind: driver.IfAbsent}})
	return b
}

func TestGroupIsExact(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	commit(t, e, creates("taken"))
	update := driver.Batch{Writes: []driver.Write{
		{Collection: driver.Data, Record: row1("b", 2), If: driver.Condition{Kind: driver.IfVersion, Version: 1}}}}
	requests := grouped(e,
		creates("a"),         // made
		creates("taken"),     // its first write fails: nothing to undo
		late("x", "taken"),   // its third write fails: the group is done again
		creates("b"),         // made
		creates("a"),         // fails because of the first of this group
		late("y", "b"),       // fails because of the fourth, looked at beforehand
		update,               // made, over the fourth
		late("z", "missing"), // made: nothing is there yet
		creates("missing"),   // its second write fails, because of the one before; its command must not stay
		creates("c"),         // made
	)
	var got []string
	for _, r := range requests {
		var conflict *driver.Conflict
		switch {
		case errors.As(r.err, &conflict):
			got = append(got, fmt.Sprint(conflict.Write, conflict.Found, conflict.Actual))
		case r.err != nil:
			t.Error(r.err)
		default:
			got = append(got, fmt.Sprint("made ", r.position))
		}
	}
	want := []string{"made 2", "0 true 1", "2 true 1", "made 3", "0 true 1", "2 true 1", "made 0", "made 4", "1 true 1", "made 5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	var rows []string
	recs, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		rows = append(rows, fmt.Sprint(rec.SK, rec.Version))
	}
	if diff := cmp.Diff([]string{"a1", "b2", "c1", "missing1", "taken1", "z1"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	changes, err := e.Changes(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var feed []string
	for _, c := range changes {
		feed = append(feed, fmt.Sprint(c.Position, c.Command.SK))
	}
	if diff := cmp.Diff([]string{"1taken", "2a", "3b", "4z", "5c"}, feed); diff != "" {
		t.Errorf("feed (-want +got):\n%s", diff)
	}
}

func TestGroupIsOneTransaction(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	commit(t, e, creates("first"))
	before := e.writer.conn.TotalChanges()
	var batches []driver.Batch
	for i := range 20 {
		batches = append(batches, creates(fmt.Sprint(i)))
	}
	commits := 0
	e.writer.conn.CommitHook(func() bool { commits++; return true })
	grouped(e, batches...)
	if made := e.writer.conn.TotalChanges() - before; commits != 1 || made != 40 {
		t.Errorf("%d rows were written in %d transactions, want 40 in 1", made, commits)
	}
}

func TestCallerWhoLeaves(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	ctx, cancel := context.WithCancel(t.Context())
	queue := func(ctx context.Context, sk string) *request {
		r := newRequest().(*request)
		r.encode(ctx, creates(sk))
		e.writer.queue <- r
		return r
	}
	e.checkpoints.gate.Lock()
	stays := queue(t.Context(), "stays")
	left := queue(ctx, "left")
	waits := make(chan error)
	go func() {
		_, err := e.Commit(ctx, creates("waits"))
		waits <- err
	}()
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) { // although the writer stands still
		t.Errorf("a caller who left got %v, want context.Canceled", err)
	}
	e.checkpoints.gate.Unlock()
	<-stays.done
	<-left.done
	if !errors.Is(left.err, context.Canceled) || stays.err != nil {
		t.Errorf("got %v for one who left and %v for one who stayed", left.err, stays.err)
	}
	if rec, err := e.Get(t.Context(), driver.RefOf(driver.Data, row1("left", 1))); rec != nil || err != nil {
		t.Errorf("got %v, %v; want no row for one who had left", rec, err)
	}
}

func TestLockedFile(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{busy: 30 * time.Millisecond})
	commit(t, e, creates("before"))
	other := tool(t, dir)
	if err := other.Exec("BEGIN IMMEDIATE; DELETE FROM data"); err != nil {
		t.Fatal(err)
	}
	for _, r := range grouped(e, creates("1"), creates("2"), creates("before")) {
		says(t, r.err, fault.Unavailable, FileName, "locked by another process", "try again")
	}
	if rec, err := e.Get(t.Context(), driver.RefOf(driver.Data, row1("before", 1))); rec == nil || err != nil {
		t.Errorf("a read beside another process's write: %v, %v", rec, err)
	}
	if err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	commit(t, e, creates("1"))
}

func TestFullFile(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{pages: 60})
	large := func(sk string) driver.Batch {
		b := creates(sk)
		for _, w := range b.Writes {
			w.Record.Attributes = record.Attributes(`{"text":"` + strings.Repeat("x", 9000) + `"}`)
		}
		return b
	}
	acknowledged := make(map[string]bool)
	var full error
	for i := 0; full == nil; i++ {
		sk := fmt.Sprint(i)
		if _, full = e.Commit(t.Context(), large(sk)); full == nil {
			acknowledged[sk] = true
		}
	}
	says(t, full, fault.Unavailable, FileName, "no space left", "nothing was written")

	// In a group, a conflict that rests on what was not committed is no conflict.
	small := driver.Batch{Writes: creates("small").Writes}
	for i, r := range grouped(e, small, small, large("too large")) {
		if !errors.Is(r.err, fault.Unavailable) {
			t.Errorf("request %d of a group that was not committed: %v", i, r.err)
		}
	}
	recs, err := e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 1000})
	if err != nil || len(recs) != len(acknowledged) {
		t.Errorf("%d rows, %v; want the %d that were acknowledged", len(recs), err, len(acknowledged))
	}
	for _, rec := range recs {
		if !acknowledged[rec.SK] {
			t.Errorf("row %s was not acknowledged", rec.SK)
		}
	}

	var free driver.Batch
	for sk := range acknowledged {
		free.Writes = append(free.Writes, driver.Write{Collection: driver.Data, Record: row1(sk, 1), Delete: true})
	}
	commit(t, e, free)
	commit(t, e, large("again"))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := value(t, tool(t, dir), "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("integrity: %s", got)
	}
}

// TestWriterConnectionIsReplaced has the writer's connection fail; the next commit opens another.
func TestWriterConnectionIsReplaced(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{})
	commit(t, e, creates("1"))
	failed := false
	e.writer.conn.CommitHook(func() bool {
		failed = true
		return false // SQLite rolls back
	})
	_, err := e.Commit(t.Context(), creates("2"))
	if err == nil || !failed {
		t.Fatalf("a commit that was rolled back: %v", err)
	}
	e.writer.conn.CommitHook(nil)
	if rec, err := e.Get(t.Context(), driver.RefOf(driver.Data, row1("2", 1))); rec != nil || err != nil {
		t.Errorf("got %v, %v; want no row", rec, err)
	}
	commit(t, e, creates("2"))

	e.checkpoints.gate.Lock()
	e.writer.conn.close()
	e.writer.conn = nil
	e.checkpoints.gate.Unlock()
	commit(t, e, creates("3"))
}

func TestExpiredRowsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{rest: 5 * time.Millisecond})
	signal, stop := e.Committed()
	defer stop()
	const expired = 3*sweepRows + 7
	write := func(i int, ttl int64) driver.Write {
		rec := row1(fmt.Sprint(i), 1)
		rec.TTL = ttl
		return driver.Write{Collection: driver.System, Record: rec}
	}
	var b driver.Batch
	for i := range expired {
		if b.Writes = append(b.Writes, write(i, time.Now().Unix()-10)); len(b.Writes) == driver.MaxBatch {
			commit(t, e, b)
			b.Writes = nil
		}
	}
	b.Writes = append(b.Writes, write(expired, 0), write(expired+1, time.Now().Unix()+1000))
	for _, c := range []driver.Collection{driver.Data, driver.Command, driver.History} {
		w := write(0, time.Now().Unix()-10)
		w.Collection = c
		b.Writes = append(b.Writes, w)
	}
	commit(t, e, b)
	c := tool(t, dir)
	for value(t, c, "SELECT count(*) FROM system") != "2" {
		select {
		case <-signal: // also of what the sweeps commit
		case <-time.After(10 * time.Second):
			t.Fatalf("%s rows are left, want 2", value(t, c, "SELECT count(*) FROM system"))
		}
	}
	for _, table := range []string{"data", "command", "history"} {
		if got := value(t, c, "SELECT count(*) FROM "+table); got != "1" {
			t.Errorf("%s rows are left in %s, want 1", got, table)
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	const limit = 2 * checkpointEvery
	dir := t.TempDir()
	e := opened(t, dir, tuning{log: limit})
	b := creates("large")
	for i := range b.Writes {
		b.Writes[i].If = driver.Condition{}
	}
	var largest int64
	for n := range 100 { // 100 MB; SQLite leaves pages alone that do not change
		for i := range b.Writes {
			b.Writes[i].Record.Attributes = record.Attributes(`{"text":"` + strings.Repeat(fmt.Sprintf("%010d", n), 50_000) + `"}`)
		}
		commit(t, e, b)
		info, err := os.Stat(filepath.Join(dir, FileName+"-wal"))
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, info.Size())
	}
	if bound := int64(3 * limit * 4096); largest > bound {
		t.Errorf("the write-ahead log grew to %d bytes, want at most %d", largest, bound)
	}
}

func TestCloseEmptiesTheLog(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{})
	reader := opened(t, dir, tuning{}) // as another process that keeps the file open
	commit(t, e, creates("1"))
	if _, err := reader.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, FileName+"-wal"))
	if err != nil || info.Size() != 0 {
		t.Errorf("the write-ahead log has %d bytes after Close, %v; want none", info.Size(), err)
	}
	commit(t, reader, creates("2"))
}

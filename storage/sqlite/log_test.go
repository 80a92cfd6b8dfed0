package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3/vfs"
)

// diskFile is a file in memory that counts what is written, and fails where it is told.
type diskFile struct {
	vfs.File
	bytes  []byte
	writes []int64 // where they began
	full   int     // length from which on there is no space; 0 for none
}

var errFull = errors.New("no space")

func (d *diskFile) WriteAt(p []byte, at int64) (int, error) {
	d.writes = append(d.writes, at)
	end := int(at) + len(p)
	if d.full > 0 && end > d.full {
		return 0, errFull
	}
	if end > len(d.bytes) {
		d.bytes = slices.Concat(d.bytes, make([]byte, end-len(d.bytes)))
	}
	return copy(d.bytes[at:], p), nil
}

func (d *diskFile) ReadAt(p []byte, at int64) (int, error) {
	if n := copy(p, d.bytes[at:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (d *diskFile) Sync(vfs.SyncFlag) error   { return nil }
func (d *diskFile) Size() (int64, error)      { return int64(len(d.bytes)), nil }
func (d *diskFile) Truncate(size int64) error { d.bytes = d.bytes[:size]; return nil }

// piece writes a piece of n bytes of b at a place, and returns the one behind it.
func piece(t *testing.T, f *logFile, b byte, n int, at int64) int64 {
	t.Helper()
	if written, err := f.WriteAt(bytes.Repeat([]byte{b}, n), at); written != n || err != nil {
		t.Fatal(written, err)
	}
	return at + int64(n)
}

func synced(t *testing.T, f *logFile) {
	t.Helper()
	if err := f.Sync(0); err != nil {
		t.Fatal(err)
	}
}

func TestLogWritesACommitAtOnce(t *testing.T) {
	d := &diskFile{}
	f := &logFile{File: d}
	at := piece(t, f, 1, 32, 0)
	synced(t, f)
	for commit := byte(2); commit < 30; commit++ {
		d.writes = nil
		from := at
		for range 5 {
			at = piece(t, f, commit, 24, at)
			at = piece(t, f, commit, 4096, at)
		}
		if len(d.writes) > 0 {
			t.Fatalf("commit %d was written before it was synced", commit)
		}
		synced(t, f)
		if inPlace := slices.DeleteFunc(d.writes, func(w int64) bool { return w >= at }); !slices.Equal(inPlace, []int64{from}) {
			t.Errorf("commit %d was written at %d, want once at %d", commit, inPlace, from)
		}
		if got := d.bytes[from:at]; !bytes.Equal(got, bytes.Repeat([]byte{commit}, len(got))) {
			t.Errorf("commit %d is not in the file", commit)
		}
		if rest := d.bytes[at:]; len(bytes.Trim(rest, "\x00")) > 0 {
			t.Errorf("behind commit %d stands something", commit)
		}
	}
	piece(t, f, 99, 10, at)
	got := make([]byte, 10)
	if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{99}, 10)) {
		t.Errorf("what was gathered is read as %v, %v", got, err)
	}
	piece(t, f, 98, gatherAtMost+1, at)
	piece(t, f, 97, 1, 7)
	if size, err := f.Size(); err != nil || size < at+gatherAtMost+1 || d.bytes[at+gatherAtMost] != 98 || d.bytes[7] != 97 {
		t.Errorf("a large piece, and one somewhere else: size %d, %v", size, err)
	}
}

func TestLogGrowsAhead(t *testing.T) {
	d := &diskFile{}
	f := &logFile{File: d}
	at, grown, length := int64(0), 0, 0
	for range 1000 {
		at = piece(t, f, 1, 20_600, at)
		synced(t, f)
		if len(d.bytes) != length {
			grown++
		}
		if length = len(d.bytes); int64(length) < at || int64(length) > 2*at+growAtLeast || int64(length) > at+growAtMost+growAtLeast {
			t.Fatalf("the log has %d bytes after %d", length, at)
		}
	}
	if grown > 30 {
		t.Errorf("the log's length changed %d times in 1000 commits", grown)
	}
	at = piece(t, f, 2, 32, 0)
	at = piece(t, f, 2, 4120, at)
	synced(t, f)
	if len(d.bytes) != length {
		t.Errorf("a log that starts over has %d bytes, want %d as before", len(d.bytes), length)
	}

	d.bytes = nil // another process emptied it
	at = piece(t, f, 3, 32, 0)
	synced(t, f)
	if len(d.bytes) < growAtLeast {
		t.Errorf("a log that was emptied has %d bytes", len(d.bytes))
	}
	if err := f.Truncate(0); err != nil || len(d.bytes) > 0 {
		t.Errorf("truncated it has %d bytes, %v", len(d.bytes), err)
	}
}

func TestLogOnAFullDisk(t *testing.T) {
	d := &diskFile{full: 5000}
	f := &logFile{File: d}
	at := piece(t, f, 1, 4000, 0)
	synced(t, f) // though there is no space for more
	piece(t, f, 2, 4000, at)
	if err := f.Sync(0); !errors.Is(err, errFull) {
		t.Errorf("a commit without space: %v", err)
	}
	if err := f.Sync(0); err != nil || len(d.bytes) != 4000 {
		t.Errorf("a sync after it: %v; %d bytes", err, len(d.bytes))
	}
	piece(t, f, 3, 1000, at)
	synced(t, f)
	if d.bytes[4999] != 3 {
		t.Error("a commit that has space was not written")
	}
}

// TestLogForgetsWhatWasRolledBack checks that a transaction that is larger than the cache, and rolled back, leaves nothing gathered that is
// written over the commits of another connection.
func TestLogForgetsWhatWasRolledBack(t *testing.T) {
	path, err := create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	open := func() *conn {
		c, err := connect(path, settings{cache: 64, busy: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.close() })
		return c
	}
	run := func(c *conn, query string) {
		t.Helper()
		if err := c.Exec(query); err != nil {
			t.Fatal(err)
		}
	}
	rows := func(n int) string {
		return fmt.Sprintf("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t (text) SELECT hex(randomblob(400)) FROM n;", n)
	}
	ours, other := open(), open()
	run(ours, "PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"+rows(10))
	logged := func() int64 {
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := logged()
	run(ours, "BEGIN IMMEDIATE;"+rows(2000))
	if n := logged(); n != before {
		t.Errorf("the log grew from %d to %d bytes before the commit", before, n)
	}
	run(ours, "ROLLBACK")
	for range 20 {
		run(other, rows(20))
	}
	run(ours, rows(1))
	last := open()
	if n, err := last.integer("SELECT count(*) FROM t"); err != nil || n != 411 {
		t.Errorf("%d rows, %v", n, err)
	}
	if n, err := last.integer("SELECT integrity_check = 'ok' FROM pragma_integrity_check"); err != nil || n != 1 {
		t.Errorf("the file is damaged: %v", err)
	}
}

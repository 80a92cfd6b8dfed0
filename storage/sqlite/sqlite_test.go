package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/storagetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func inTemp(t testing.TB) driver.Source { return At(t.TempDir()) }

func TestContract(t *testing.T) { storagetest.Run(t, inTemp) }

func TestRelational(t *testing.T) { storagetest.Relational(t, inTemp, false) }

func FuzzKeys(f *testing.F) { storagetest.FuzzKeys(f, inTemp) }

func Benchmark(b *testing.B) { storagetest.Bench(b, inTemp) }

// opened opens the store in dir and closes it with the test.
func opened(t testing.TB, dir string, tune tuning) *engine {
	t.Helper()
	e, err := open(context.Background(), dir, tune.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// tool opens the store's file as any SQLite tool does.
func tool(t testing.TB, dir string) *sqlite3.Conn {
	t.Helper()
	return toolAt(t, filepath.Join(dir, FileName))
}

func toolAt(t testing.TB, path string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.OpenFlags(path, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// value returns the first column of a query's first row.
func value(t testing.TB, c *sqlite3.Conn, query string) string {
	t.Helper()
	s, _, err := c.Prepare(query)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Step() {
		t.Fatalf("%s: %v", query, s.Err())
	}
	return s.ColumnText(0)
}

func row1(sk string, version int64) *record.Record {
	return &record.Record{PK: "A#acme", SK: sk, Version: version, Code: "code", Attributes: record.Attributes(`{"a":1}`)}
}

func creates(sk string) driver.Batch {
	return driver.Batch{Writes: []driver.Write{
		{Collection: driver.Command, Record: row1(sk, 1), If: driver.Condition{Kind: driver.IfAbsent}},
		{Collection: driver.Data, Record: row1(sk, 1), If: driver.Condition{Kind: driver.IfAbsent}},
	}}
}

func commit(t testing.TB, e driver.Engine, b driver.Batch) {
	t.Helper()
	if _, err := e.Commit(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

// says fails the test unless err has a code and its message names the things that the reader needs.
func says(t testing.TB, err error, code fault.Code, words ...string) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != code {
		t.Errorf("got error %v, want one with code %s", err, code)
		return
	}
	for _, word := range words {
		if msg := fault.As(err).Msg; !strings.Contains(msg, word) {
			t.Errorf("the message %q does not say %q", msg, word)
		}
	}
}

func TestFileCanBeReadByAPerson(t *testing.T) {
	dir := t.TempDir()
	commit(t, opened(t, dir, tuning{}), creates("1"))
	c := tool(t, dir)
	for query, want := range map[string]string{
		"SELECT position || pk || sk || version || (doc ->> 'code') FROM command":       "1A#acme11code",
		"SELECT pk || sk || version || deleted || (doc ->> '$.attributes.a') FROM data": "A#acme1101",
		"PRAGMA journal_mode":    "wal",
		"PRAGMA integrity_check": "ok",
	} {
		if got := value(t, c, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b c#?%41é")
	e := opened(t, dir, tuning{})
	commit(t, e, creates("1"))
	for name, want := range map[string]os.FileMode{
		"": 0o700 | os.ModeDir, FileName: 0o600, FileName + "-wal": 0o600, FileName + "-shm": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%q: mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "*")); err != nil || len(left) != 1 {
		t.Errorf("after Close: %q, %v; want the one file", left, err)
	}
	if mode := value(t, tool(t, dir), "PRAGMA integrity_check"); mode != "ok" {
		t.Errorf("integrity: %s", mode)
	}
}

func TestOpenExplainsWhatIsWrong(t *testing.T) {
	write := func(t *testing.T, name, text string) string {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, tc := range []struct {
		name  string
		dir   func(t *testing.T) string
		code  fault.Code
		words []string
	}{
		{"the directory is a file", func(t *testing.T) string {
			return write(t, filepath.Join(t.TempDir(), "file"), "")
		}, fault.Unavailable, []string{FileName, "name a directory"}},
		{"the directory is below a file", func(t *testing.T) string {
			return filepath.Join(write(t, filepath.Join(t.TempDir(), "file"), ""), "below")
		}, fault.Unavailable, []string{FileName, "name a directory"}},
		{"the file is a directory", func(t *testing.T) string {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
				t.Fatal(err)
			}
			return dir
		}, fault.Unavailable, []string{FileName, "can't be opened as a file"}},
		{"the file is no database", func(t *testing.T) string {
			dir := t.TempDir()
			write(t, filepath.Join(dir, FileName), strings.Repeat("this is a letter to my aunt. ", 100))
			return dir
		}, fault.Internal, []string{FileName, "damaged or is no store", "restore a backup"}},
		{"the file is another program's", func(t *testing.T) string {
			dir := t.TempDir()
			if err := tool(t, dir).Exec("CREATE TABLE letters (text)"); err != nil {
				t.Fatal(err)
			}
			return dir
		}, fault.Internal, []string{FileName, "no store of Tenantry", "another directory"}},
		{"a newer Tenantry wrote the file", func(t *testing.T) string {
			dir := t.TempDir()
			if err := opened(t, dir, tuning{}).Close(); err != nil {
				t.Fatal(err)
			}
			if err := tool(t, dir).Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
				t.Fatal(err)
			}
			return dir
		}, fault.Unavailable, []string{FileName, "newer Tenantry", "version 999", fmt.Sprint("knows ", newestSchema())}},
		{"another process keeps the file", func(t *testing.T) string {
			dir := t.TempDir()
			if err := tool(t, dir).Exec("PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE letters (text)"); err != nil {
				t.Fatal(err)
			}
			return dir
		}, fault.Unavailable, []string{FileName, "locked by another process"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := source(tc.dir(t), tuning{busy: 50e6}).Open(t.Context(), scope.NewRoot())
			says(t, err, tc.code, tc.words...)
		})
	}
}

func TestReadExplainsDamage(t *testing.T) {
	const tableLeaf = 0x0d // the first byte of a page that holds rows
	dir := t.TempDir()
	e := opened(t, dir, tuning{})
	for i := range 200 {
		commit(t, e, creates(fmt.Sprintf("%03d-%s", i, strings.Repeat("k", 400))))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for page := range slices.Chunk(content, 4096) {
		if page[0] == tableLeaf && bytes.Contains(page, []byte("A#acme")) {
			copy(page, "damage")
		}
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	e = opened(t, dir, tuning{})
	_, err = e.Range(t.Context(), driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 1000})
	says(t, err, fault.Internal, FileName, "damaged", "restore a backup")
	if strings.Contains(fault.As(err).Msg, dir) {
		t.Error("a message that callers see names the server's directory")
	}
	_, err = e.Scan(t.Context(), driver.Command, driver.Ref{}, 1000)
	says(t, err, fault.Internal, FileName, "damaged")
}

func TestReadExplainsADocumentThatIsNone(t *testing.T) {
	dir := t.TempDir()
	e := opened(t, dir, tuning{})
	commit(t, e, creates("secret"))
	if err := tool(t, dir).Exec(`UPDATE data SET doc = '{"stranger":"secret"}'`); err != nil {
		t.Fatal(err)
	}
	_, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "secret"})
	says(t, err, fault.Internal, "verify")
	if strings.Contains(fault.As(err).Error(), "secret") {
		t.Error("the error holds a tenant's data")
	}
	if _, err := e.End(t.Context()); err != nil {
		t.Errorf("the store is not usable after a bad row: %v", err)
	}
}

// patience is a context that is cancelled when it has been asked for its error a number of times.
type patience struct {
	context.Context
	left *atomic.Int64
}

func (p patience) Err() error {
	if p.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

func TestLongReadEndsWithItsContext(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	var b driver.Batch
	for i := range 20_000 { // deleted rows, which a range looks through and leaves out
		r := row1(fmt.Sprint(i), 1)
		r.IsDeleted = true
		b.Writes = append(b.Writes, driver.Write{Collection: driver.Data, Record: r})
	}
	commit(t, e, b)
	everything := driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 1}
	var left atomic.Int64
	left.Store(20)
	if _, err := e.Range(patience{t.Context(), &left}, everything); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if recs, err := e.Range(t.Context(), everything); err != nil || len(recs) != 0 {
		t.Errorf("the next read: %d rows, %v", len(recs), err)
	}
}

// TestEngineTablesAreTheEngines has read models write what is not theirs.
func TestEngineTablesAreTheEngines(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	write := func(statement string) (err error) {
		for _, transact := range []func(context.Context, func(driver.Tx) error) error{e.Write, e.Define} {
			err = errors.Join(err, transact(t.Context(), func(tx driver.Tx) error {
				_, err := tx.Exec(t.Context(), statement)
				if fault.CodeOf(err) != fault.Internal {
					t.Errorf("%s: %v", statement, err)
				}
				return err
			}))
		}
		return err
	}
	for _, table := range append(engineTables, "SYSTEM", `"Command"`, "main.data") {
		for _, statement := range []string{"DELETE FROM ", "DROP TABLE ", "ALTER TABLE $ RENAME TO gone", "ALTER TABLE $ ADD COLUMN n", "CREATE INDEX i ON $ (rowid)", "CREATE TABLE sub AS SELECT 1; DELETE FROM "} {
			if before, after, inside := strings.Cut(statement, "$"); inside {
				write(before + table + after)
			} else {
				write(statement + table)
			}
		}
	}
	for _, statement := range []string{"PRAGMA synchronous = OFF", "ATTACH 'other.db' AS other", "CREATE TRIGGER t AFTER INSERT ON data BEGIN DELETE FROM command; END",
		"CREATE VIEW v AS SELECT 1", "SAVEPOINT s", "VACUUM", "DELETE FROM sqlite_schema", "CREATE VIRTUAL TABLE f USING fts5(a)", "ANALYZE"} {
		write(statement)
	}
}

// TestTransactionsEnd has a read model hold the writer with a query that never ends, and with a function that looks at the clock too late.
func TestTransactionsEnd(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{hold: 50 * time.Millisecond})
	for what, f := range map[string]func(driver.Tx) error{
		"an endless query": func(tx driver.Tx) error {
			return tx.Query(t.Context(), func(driver.Row) error { return nil }, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")
		},
		"a function that takes its time": func(driver.Tx) error { <-time.After(100 * time.Millisecond); return nil },
	} {
		if err := e.Write(t.Context(), f); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	commit(t, e, creates("after"))
	if err := e.Write(t.Context(), func(driver.Tx) error { return nil }); err != nil {
		t.Errorf("a transaction that ends: %v", err)
	}
}

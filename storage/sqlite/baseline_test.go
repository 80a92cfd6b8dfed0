package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/storagetest"
)

// The baselines do what the engine does and nothing else, each in the fewest lines that are fast: no contexts, no
// conflicts, no feed, no other process, documents encoded beforehand and not parsed. Compare BenchmarkBaseline/create
// with Benchmark/create/writers=64, and so on; settings and rows are the engine's. Those of reading stand here twice: by
// the driver's own calls, as the engine makes them, and through database/sql, as most programs do.

const (
	baselineReading = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -2048"
	baselineWriting = baselineReading + "; PRAGMA cache_size = -16384"
)

func BenchmarkBaseline(b *testing.B) {
	b.Run("append", baselineAppend)
	b.Run("create/writers=64", baselineCreate)
	b.Run("get/readers=1", baselineGet)
	b.Run("get-sql/readers=1", baselineGetSQL)
	b.Run("list", baselineList)
	b.Run("list-sql", baselineListSQL)
}

// baselineAppend writes the bytes of the rows of a create to a file, and syncs it, for one writer.
func baselineAppend(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	must(b, err)
	defer f.Close()
	storagetest.Together(b, 1, func(i int) {
		var buf []byte
		for _, w := range storagetest.BenchCreate(i).Writes {
			buf = record.AppendDoc(append(append(buf, w.Record.PK...), w.Record.SK...), w.Record)
		}
		_, err := f.Write(buf)
		must(b, errors.Join(err, f.Sync()))
	})
}

// baselineCreate is a group commit by hand: one goroutine inserts what 64 send it, and acknowledges after COMMIT.
func baselineCreate(b *testing.B) {
	c := baselineOpen(b, baselineFile(b))
	must(b, c.Exec(baselineWriting))
	insertCommand := baselinePrepare(b, c, "INSERT INTO command (pk, sk, version, doc) VALUES (?1, ?2, 1, ?3) ON CONFLICT DO NOTHING")
	insertData := baselinePrepare(b, c, "INSERT INTO data (pk, sk, version, deleted, doc) VALUES (?1, ?2, 1, 0, ?3) ON CONFLICT DO NOTHING")
	begin, commit := baselinePrepare(b, c, "BEGIN IMMEDIATE"), baselinePrepare(b, c, "COMMIT")
	writes := storagetest.BenchCreate(0).Writes
	command, data := record.AppendDoc(nil, writes[0].Record), record.AppendDoc(nil, writes[1].Record)

	checkpoint := make(chan struct{}, 1)
	pages := 0
	c.WALHook(func(_ *sqlite3.Conn, _ string, n int) error {
		if n < pages || n-pages >= checkpointEvery {
			pages = n
			select {
			case checkpoint <- struct{}{}:
			default:
			}
		}
		return nil
	})
	other := baselineOpen(b, c.Filename("main").String())
	var goroutines sync.WaitGroup
	goroutines.Go(func() {
		for range checkpoint {
			other.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		}
	})

	type request struct {
		sk   string
		done chan struct{}
	}
	queue := make(chan request, 64)
	goroutines.Go(func() {
		defer close(checkpoint)
		var group []request
		for r := range queue {
			group = append(group[:0], r)
			must(b, begin.Exec())
			for i := 0; i < len(group); i++ {
				for _, insert := range []struct {
					stmt *sqlite3.Stmt
					doc  []byte
				}{{insertCommand, command}, {insertData, data}} {
					must(b, errors.Join(insert.stmt.BindText(1, storagetest.BenchPK), insert.stmt.BindText(2, group[i].sk),
						insert.stmt.BindRawText(3, insert.doc), insert.stmt.Exec()))
				}
				select {
				case r, open := <-queue:
					if open {
						group = append(group, r)
					}
				default:
				}
			}
			must(b, commit.Exec())
			for _, r := range group {
				r.done <- struct{}{}
			}
		}
	})
	storagetest.Together(b, 64, func(i int) {
		r := request{sk: storagetest.BenchSK(i), done: make(chan struct{}, 1)}
		queue <- r
		<-r.done
	})
	b.StopTimer()
	close(queue)
	goroutines.Wait()
}

const (
	baselineGetQuery  = "SELECT version, doc FROM data WHERE pk = ?1 AND sk = ?2"
	baselineListQuery = "SELECT sk, version, doc FROM data WHERE pk = ?1 AND sk > ?2 AND deleted = 0 ORDER BY sk LIMIT ?3"
)

// baselineGet is the bare statement: its row is read into a string.
func baselineGet(b *testing.B) {
	c := baselineOpen(b, baselineFilled(b))
	get := baselinePrepare(b, c, baselineGetQuery)
	storagetest.Together(b, 1, func(i int) {
		must(b, errors.Join(get.BindText(1, storagetest.BenchPK), get.BindText(2, storagetest.BenchSK(i*7919%storagetest.BenchRows))))
		if !get.Step() || get.ColumnInt64(0) != 1 || get.ColumnText(1) == "" {
			b.Error("no row", get.Err())
		}
		must(b, get.Reset())
	})
}

func baselineGetSQL(b *testing.B) {
	get := baselineSQL(b, baselineGetQuery)
	storagetest.Together(b, 1, func(i int) {
		var version int64
		var doc string
		must(b, get.QueryRow(storagetest.BenchPK, storagetest.BenchSK(i*7919%storagetest.BenchRows)).Scan(&version, &doc))
	})
}

// baselineList is the bare statement of a page: its rows are read into strings.
func baselineList(b *testing.B) {
	c := baselineOpen(b, baselineFilled(b))
	list := baselinePrepare(b, c, baselineListQuery)
	storagetest.Together(b, 1, func(i int) {
		after := baselineAfter(i)
		must(b, errors.Join(list.BindText(1, storagetest.BenchPK), list.BindText(2, after), list.BindInt(3, storagetest.BenchList)))
		n := 0
		for list.Step() {
			if list.ColumnText(0) != "" && list.ColumnInt64(1) == 1 && list.ColumnText(2) != "" {
				n++
			}
		}
		if n != storagetest.BenchList {
			b.Error("not a full list", n, list.Err())
		}
		must(b, list.Reset())
	})
}

func baselineListSQL(b *testing.B) {
	list := baselineSQL(b, baselineListQuery)
	storagetest.Together(b, 1, func(i int) {
		rows, err := list.Query(storagetest.BenchPK, baselineAfter(i), storagetest.BenchList)
		must(b, err)
		n := 0
		for ; rows.Next(); n++ {
			var sk, doc string
			var version int64
			must(b, rows.Scan(&sk, &version, &doc))
		}
		if n != storagetest.BenchList {
			b.Error("not a full list", n)
		}
		must(b, errors.Join(rows.Err(), rows.Close()))
	})
}

// baselineAfter returns where the i-th list begins.
func baselineAfter(i int) string {
	return storagetest.BenchSK(i * 7919 % (storagetest.BenchRows - storagetest.BenchList - 1))
}

// baselineSQL prepares a statement through database/sql.
func baselineSQL(b *testing.B, query string) *sql.Stmt {
	db, err := sql.Open("sqlite3", baselineFilled(b))
	must(b, err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec(baselineReading)
	must(b, err)
	s, err := db.Prepare(query)
	must(b, err)
	b.Cleanup(func() { must(b, errors.Join(s.Close(), db.Close())) })
	return s
}

// baselineFile returns a new file with the engine's tables.
func baselineFile(b *testing.B) string {
	dir := b.TempDir()
	e, err := open(b.Context(), dir, tuning{}.withDefaults())
	must(b, err)
	must(b, e.Close())
	return filepath.Join(dir, FileName)
}

// baselineFilled returns a file with storagetest.BenchRows records.
func baselineFilled(b *testing.B) string {
	dir := b.TempDir()
	e, err := open(b.Context(), dir, tuning{}.withDefaults())
	must(b, err)
	storagetest.Fill(e, b)
	must(b, e.Close())
	return filepath.Join(dir, FileName)
}

func baselineOpen(b *testing.B, path string) *sqlite3.Conn {
	c, err := sqlite3.OpenFlags(path, sqlite3.OPEN_READWRITE)
	must(b, err)
	must(b, c.Exec(baselineReading))
	b.Cleanup(func() {
		for _, s := range slices.Collect(c.Stmts()) {
			must(b, s.Close())
		}
		must(b, c.Close())
	})
	return c
}

func baselinePrepare(b *testing.B, c *sqlite3.Conn, query string) *sqlite3.Stmt {
	s, _, err := c.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
	must(b, err)
	return s
}

func must(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

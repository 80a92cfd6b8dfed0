// Package sqlite is the embedded engine: one SQLite file, tenantry.db, in a directory of its own, which a person can open
// with any SQLite tool. Several processes may open it at once, a server and the verbs of its command line.
//
// One goroutine writes; it puts all batches that came during the last fsync into one transaction. A commit is
// acknowledged when it has reached the disk (synchronous=FULL). Readers have connections of their own and wait for nobody.
//
// Rows of the system collection whose TTL has passed are removed in small steps while nothing else is to do; rows of the
// other collections are kept whatever their TTL, whoever reads them decides.
//
// The choice of the driver, of the tables and of the settings is explained in docs/adr/0002-sqlite-driver.md.
package sqlite

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/storage/driver"
)

// FileName is the name of the store's file in its directory. SQLite keeps FileName-wal and FileName-shm beside it while
// the store is open, and after a crash: they belong to it.
const FileName = "tenantry.db"

// At returns the store in a directory. Opening it creates the directory (mode 0700) and the file (mode 0600) where
// they are missing. It fails with fault.Unavailable where they can't be created, read or written, where the file is
// locked by another process, and where a newer Tenantry wrote it; with fault.Internal where it is damaged or something else.
func At(dir string) driver.Source { return source(dir, tuning{}) }

// tuning is what tests and benchmarks set; zero values are the defaults.
type tuning struct {
	busy  time.Duration // how long a statement waits for another process that writes; 5 s
	rest  time.Duration // between two looks for expired rows; 30 s
	pages int           // that the file may have; no limit
	log   int           // pages of the write-ahead log from which on the writer is held up; checkpointLimit
	hold  time.Duration // how long a read model's transaction may take; 10 s
}

func (t tuning) withDefaults() tuning {
	return tuning{
		busy:  cmp.Or(t.busy, 5*time.Second),
		rest:  cmp.Or(t.rest, 30*time.Second),
		pages: t.pages,
		log:   cmp.Or(t.log, checkpointLimit),
		hold:  cmp.Or(t.hold, 10*time.Second),
	}
}

func source(dir string, t tuning) driver.Source {
	return driver.NewSource("sqlite", func(ctx context.Context) (driver.Engine, error) {
		e, err := open(ctx, dir, t.withDefaults())
		if err != nil {
			return nil, err
		}
		return e, nil
	})
}

// Sizes of page caches in KiB. A reader's holds the inner pages of the indexes of a million records, and what is read again and again.
const (
	writerCache = 16 << 10
	readerCache = 4 << 10
	smallCache  = 256
)

// lookEvery is how often commits of other processes are looked for; the contract of driver.Engine allows 250 ms.
const lookEvery = 100 * time.Millisecond

// engine is an open store.
type engine struct {
	readers     *pool
	writer      *writer
	checkpoints *checkpointer
	watch       *driver.Watch
	requests    sync.Pool     // of *request, for Commit
	hold        time.Duration // how long a read model's transaction may take

	mu     sync.RWMutex // held for reading by every operation, for writing by Close
	closed bool
}

var (
	_ driver.Backuper = (*engine)(nil)
	_ driver.KeyFeed  = (*engine)(nil)
)

func open(ctx context.Context, dir string, t tuning) (*engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path, err := create(dir)
	if err != nil {
		return nil, translate(ctx, err, "sqlite.Open", filepath.Join(dir, FileName))
	}
	connector := func(cache int) func() (*conn, error) {
		return func() (*conn, error) { return connect(path, settings{cache: cache, busy: t.busy, limit: t.pages}) }
	}
	first, err := connector(smallCache)()
	if err == nil {
		if err = first.prepareFile(ctx, path, t.busy); err != nil {
			first.close()
		}
	}
	if err != nil {
		return nil, translate(ctx, err, "sqlite.Open", path)
	}

	checkpoints := newCheckpointer(first, t.log)
	watch := driver.NewWatch((&looker{connect: connector(smallCache), every: lookEvery}).look)
	e := &engine{
		readers:     newPool(min(max(4, 2*runtime.GOMAXPROCS(0)), 16), connector(readerCache)),
		checkpoints: checkpoints,
		watch:       watch,
		requests:    sync.Pool{New: newRequest},
		hold:        t.hold,
		writer: &writer{
			connect: connector(writerCache), name: FileName, rest: t.rest, notify: watch.Notify, checkpoints: checkpoints,
			queue: make(chan *request, groupBatches), done: make(chan struct{}),
		},
	}
	go e.checkpoints.run()
	go e.writer.run()
	return e, nil
}

// create makes the directory and the file where they are missing, so that they survive a power cut, and returns the
// file's absolute path.
func create(dir string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		return path, errors.Join(f.Close(), syncDir(filepath.Dir(path)), syncDir(filepath.Dir(filepath.Dir(path))))
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	f, err = os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	return path, f.Close()
}

// syncDir makes the names in a directory survive a power cut, where the system lets this user do so.
func syncDir(dir string) error {
	if err := syncFile(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// prepareFile puts the file into WAL mode, migrates it, and gives the files beside it its mode.
func (c *conn) prepareFile(ctx context.Context, path string, busy time.Duration) error {
	c.SetInterrupt(ctx)
	defer c.SetInterrupt(context.Background())
	if err := c.useLog(ctx, busy); err != nil {
		return err
	}
	if err := c.migrate(ctx, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	for _, beside := range []string{path + "-wal", path + "-shm"} {
		other, err := os.Stat(beside)
		if err == nil && other.Mode() != info.Mode() {
			err = os.Chmod(beside, info.Mode())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// useLog puts the file into WAL mode, which SQLite doesn't wait for while another process opens the file.
func (c *conn) useLog(ctx context.Context, busy time.Duration) error {
	deadline := time.NewTimer(busy)
	defer deadline.Stop()
	for {
		err := c.Exec("PRAGMA journal_mode = WAL")
		if !errors.Is(err, sqlite3.BUSY) {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline.C:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter begins an operation; the caller ends it with leave when there is no error.
func (e *engine) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.RLock()
	if e.closed {
		e.mu.RUnlock()
		return closed(op)
	}
	return nil
}

func (e *engine) leave() { e.mu.RUnlock() }

// read calls f with a connection for reading.
func (e *engine) read(ctx context.Context, op string, f func(*conn) error) error {
	if err := e.enter(ctx, op); err != nil {
		return err
	}
	defer e.leave()
	return translate(ctx, e.readers.use(ctx, f), op, FileName)
}

// Committed looks for the commits of other processes every 100 ms, while someone is subscribed.
func (e *engine) Committed() (<-chan struct{}, func()) { return e.watch.Subscribe() }

// Close copies the write-ahead log into the file, unless another process still uses it.
func (e *engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	close(e.writer.queue)
	<-e.writer.done
	e.watch.Close()
	e.readers.close()
	e.checkpoints.close()
	return nil
}

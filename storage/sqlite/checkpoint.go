package sqlite

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Sizes of the write-ahead log, in pages of 4 KiB.
const (
	checkpointEvery = 1000 // it may grow by before a checkpoint
	checkpointLimit = 4000 // from which on the writer is held up for one; it is read whole when a process died
)

// checkpointer copies the write-ahead log into the file, in a goroutine and on a connection of its own: commits go on
// meanwhile. The log starts over when all of it is copied and no reader uses it any more. Commits that go on for ever would
// keep that from happening, so above a limit the writer is held up, for the little that came since the copy before.
type checkpointer struct {
	gate  gate // held by whoever writes, during a transaction
	limit int  // checkpointLimit

	conn   *conn
	wake   chan struct{}
	copied atomic.Int64 // pages of the log at the last checkpoint
	done   chan struct{}
}

func newCheckpointer(c *conn, limit int) *checkpointer {
	return &checkpointer{gate: make(gate, 1), conn: c, limit: limit, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// follow makes the writer's commits on c set off checkpoints.
func (k *checkpointer) follow(c *conn) {
	c.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		if int64(pages) < k.copied.Load() { // the log has started over
			k.copied.Store(0)
		}
		if int64(pages)-k.copied.Load() >= checkpointEvery {
			select {
			case k.wake <- struct{}{}:
			default:
			}
		}
		return nil
	})
}

// run makes checkpoints until wake is closed. One that fails is made again when the log has grown.
func (k *checkpointer) run() {
	defer close(k.done)
	for range k.wake {
		pages, _, err := k.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		if err == nil && pages >= k.limit {
			k.gate.Lock()
			pages, _, _ = k.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
			k.gate.Unlock()
		}
		k.copied.Store(int64(max(pages, 0)))
	}
}

// close ends the goroutine, copies the whole log and truncates it, unless another process uses the file.
func (k *checkpointer) close() {
	close(k.wake)
	<-k.done
	k.conn.BusyTimeout(100 * time.Millisecond)
	k.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	k.conn.close()
}

// gate is a lock that is given to those who wait for it in their order, and that a context ends the wait for. Whoever has it
// uses the writer's connection.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) Lock()   { g <- struct{}{} }
func (g gate) Unlock() { <-g }

package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// watch tells subscribers of commits: those of this engine at once, those of others when the server tells of them (NOTIFY). It
// listens only while someone is subscribed.
type watch struct {
	cfg   *pgx.ConnConfig
	every time.Duration // between two looks

	mu          sync.Mutex
	subscribers map[chan struct{}]struct{}
	stop        context.CancelFunc // ends the goroutine that listens; nil while there is none
	closed      bool
	running     sync.WaitGroup
}

func newWatch(cfg *pgx.ConnConfig, every time.Duration) *watch {
	return &watch{cfg: cfg, every: every, subscribers: make(map[chan struct{}]struct{})}
}

func (w *watch) subscribe() (<-chan struct{}, func()) {
	signal := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return signal, func() {}
	}
	w.subscribers[signal] = struct{}{}
	if w.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w.stop = cancel
		w.running.Go(func() { w.listen(ctx) })
	}
	return signal, func() { w.unsubscribe(signal) }
}

func (w *watch) unsubscribe(signal chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subscribers, signal)
	if len(w.subscribers) == 0 {
		w.rest()
	}
}

// rest ends the goroutine that listens. The caller holds mu.
func (w *watch) rest() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// notify signals every subscriber; one that has not received the last signal yet needs no other.
func (w *watch) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for signal := range w.subscribers {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
}

// listen notifies of what the server tells of, and of every look that finds another number of commits than the one before. What
// happened before the first look, or while there was no connection, is not known, so it notifies then too.
func (w *watch) listen(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			hangUp(conn)
		}
	}()
	seen := int64(-1)
	for ctx.Err() == nil {
		if conn == nil {
			conn = w.connect(ctx)
			seen = -1
		}
		if conn == nil {
			select {
			case <-time.After(w.every):
			case <-ctx.Done():
			}
			continue
		}
		commits, err := w.commits(ctx, conn)
		if err == nil && commits != seen {
			seen = commits
			w.notify()
		}
		if err == nil {
			err = w.hear(ctx, conn)
		}
		if err != nil {
			hangUp(conn)
			conn = nil
		}
	}
}

// connect returns a connection that listens, nil where there can't be one now.
func (w *watch) connect(ctx context.Context) *pgx.Conn {
	conn, err := pgx.ConnectConfig(ctx, w.cfg.Copy())
	if err != nil {
		return nil
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		hangUp(conn)
		return nil
	}
	return conn
}

// commits returns how many commits there were.
func (w *watch) commits(ctx context.Context, conn *pgx.Conn) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.ConnectTimeout)
	defer cancel()
	b := named(everyone)
	b.Queue("SELECT commits FROM feed WHERE id = 1")
	answers := conn.SendBatch(ctx, b)
	if _, err = answers.Exec(); err == nil {
		err = answers.QueryRow().Scan(&n)
	}
	if e := answers.Close(); err == nil {
		err = e
	}
	return n, err
}

// hear returns when the server tells of a commit, and without an error when it doesn't for a while.
func (w *watch) hear(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	_, err := conn.WaitForNotification(ctx)
	if err != nil && ctx.Err() != nil && !conn.IsClosed() {
		return nil
	}
	return err
}

// close ends the goroutine and forgets the subscribers.
func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	clear(w.subscribers)
	w.rest()
	w.mu.Unlock()
	w.running.Wait()
}

package postgres

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// listener finds the commits of other processes: those that the server tells of (NOTIFY), and by looking.
type listener struct {
	cfg   *pgx.ConnConfig
	every time.Duration  // between two looks
	own   *atomic.Uint32 // the server's process that this one commits by: its commits are known
}

// listen notifies of what the server tells of others, and of every look that finds another number of commits than the one before. What
// happened before the first look, or while there was no connection, is not known, so it notifies then too.
func (l *listener) listen(ctx context.Context, notify func()) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			hangUp(conn)
		}
	}()
	seen := int64(-1)
	for ctx.Err() == nil {
		if conn == nil {
			conn = l.connect(ctx)
			seen = -1
		}
		if conn == nil {
			select {
			case <-time.After(l.every):
			case <-ctx.Done():
			}
			continue
		}
		commits, err := l.commits(ctx, conn)
		if err == nil && commits != seen {
			seen = commits
			notify()
		}
		if err == nil {
			err = l.hear(ctx, conn, notify)
		}
		if err != nil {
			hangUp(conn)
			conn = nil
		}
	}
}

// connect returns a connection that listens, nil where there can't be one now.
func (l *listener) connect(ctx context.Context) *pgx.Conn {
	conn, err := pgx.ConnectConfig(ctx, l.cfg.Copy())
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
func (l *listener) commits(ctx context.Context, conn *pgx.Conn) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
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

// hear notifies of the commits of others that the server tells of, until it is time to look.
func (l *listener) hear(ctx context.Context, conn *pgx.Conn, notify func()) error {
	ctx, cancel := context.WithTimeout(ctx, l.every)
	defer cancel()
	for {
		told, err := conn.WaitForNotification(ctx)
		switch {
		case err != nil && ctx.Err() != nil && !conn.IsClosed():
			return nil
		case err != nil:
			return err
		case told.PID != l.own.Load():
			notify()
		}
	}
}

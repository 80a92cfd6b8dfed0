// Package postgres is the engine on a PostgreSQL server, version 13 or newer, in a schema of its own, tenantry. Many processes
// share the store.
//
// One goroutine of each engine writes: it sends all batches that came during the last commit as one statement, in one
// round trip, and acknowledges them when the server has. Whoever commits, in whichever process, locks the one row of the table
// feed first: commits are made one after the other, so a batch's conditions are exact, and places in the change feed become
// visible in their order. A commit whose answer was lost with its connection is found out about on the next one.
//
// Row-level security is a second wall behind package storage: every transaction names its tenants, and sees no row of another.
// The URL's user owns the tables and migrates them; what the engine does afterwards it does as the role tenantry_app.
//
// Times are those of this process. Rows of the system collection whose TTL has passed are removed in small steps while nothing
// else is to do.
//
// The decisions are explained in docs/adr/0009-postgresql.md.
package postgres

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/storage/driver"
)

// Options are how the engine uses the server.
type Options struct {
	// MaxConns is the largest number of connections for reading, and again for read models where there are some. One for writing comes
	// on top, and one to hear of others' commits while somebody follows the feed. Defaults to 10.
	MaxConns int

	// StatementTimeout is how long the server may work on one statement, or wait for others, before it gives up and the call
	// fails with fault.Unavailable. Defaults to 10 s.
	StatementTimeout time.Duration

	// ConnectTimeout is how long making a connection may take. Defaults to 5 s.
	ConnectTimeout time.Duration
}

func (o Options) withDefaults() Options {
	return Options{
		MaxConns:         cmp.Or(o.MaxConns, 10),
		StatementTimeout: cmp.Or(o.StatementTimeout, 10*time.Second),
		ConnectTimeout:   cmp.Or(o.ConnectTimeout, 5*time.Second),
	}
}

// roundTrip returns how long a round trip may take at all. The server gives up by itself, on each of the statements; what takes
// longer is a connection that nobody answers on.
func (o Options) roundTrip() time.Duration { return 2*o.StatementTimeout + o.ConnectTimeout }

// At returns the store in a database, which url names as libpq does: postgres://user:password@host:5432/database?sslmode=verify-full.
// Opening it brings its tables up to date. It fails with fault.Unavailable where the server can't be reached, where the user may not
// do what is missing, where row-level security would not bind it, and where a newer Tenantry made the tables; with
// fault.Internal where the schema holds something else.
func At(url string, opts Options) driver.Source { return source(url, opts, tuning{}) }

// tuning is what tests set; zero values are the defaults.
type tuning struct {
	rest      time.Duration // between two looks for expired rows; 30 s
	findOut   time.Duration // how long to try to learn the outcome of a commit whose answer was lost; 5 s
	look      time.Duration // between two looks for commits that the server did not tell of; 200 ms, driver.Engine allows 250 ms
	numbering *numbering    // how commands get their places; inOrder
	hold      time.Duration // how long a read model's transaction may take; 10 s
}

func (t tuning) withDefaults() tuning {
	return tuning{
		rest:      cmp.Or(t.rest, 30*time.Second),
		findOut:   cmp.Or(t.findOut, 5*time.Second),
		look:      cmp.Or(t.look, 200*time.Millisecond),
		numbering: cmp.Or(t.numbering, &inOrder),
		hold:      cmp.Or(t.hold, 10*time.Second),
	}
}

func source(url string, opts Options, t tuning) driver.Source {
	return driver.NewSource("postgres", func(ctx context.Context) (driver.Engine, error) {
		e, err := open(ctx, url, opts.withDefaults(), t.withDefaults())
		if err != nil {
			return nil, err
		}
		return e, nil
	}).Shared()
}

// engine is an open store.
type engine struct {
	readers    *pgxpool.Pool
	limit      time.Duration // of one round trip
	gets       gets
	writer     *writer
	watch      *driver.Watch
	relational *relational

	mu     sync.RWMutex // held for reading by every operation, for writing by Close
	closed bool
}

var _ driver.KeyFeed = (*engine)(nil)

func open(ctx context.Context, url string, opts Options, t tuning) (*engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	const op = "postgres.Open"
	cfg, err := configure(url, opts)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, cfg); err != nil {
		return nil, translate(ctx, err, op)
	}
	readers, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, translate(ctx, err, op)
	}
	models, err := newRelational(ctx, cfg, t.hold)
	if err != nil {
		readers.Close()
		return nil, translate(ctx, err, op)
	}
	w := newWriter(cfg.ConnConfig, opts, t)
	watch := driver.NewWatch((&listener{cfg: cfg.ConnConfig, every: t.look, own: &w.session.process}).listen)
	w.notify = watch.Notify
	if err := w.session.connect(ctx); err != nil {
		readers.Close()
		models.pool.Close()
		return nil, translate(ctx, err, op)
	}
	go w.run()
	e := &engine{readers: readers, limit: opts.roundTrip(), writer: w, watch: watch, relational: models}
	e.gets.lookUp = e.lookUp
	return e, nil
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

// everyone is the list of tenants of a transaction that crosses them.
var everyone = []string{"#"}

const nameTenants = "SELECT set_config('tenantry.tenants', $1, true)"

// setting returns how the policies have tenants named: an array's text, "" for none.
func setting(tenants []string) string {
	switch {
	case len(tenants) == 0:
		return ""
	case slices.Equal(tenants, everyone):
		return "{#}"
	}
	var text []byte
	for _, t := range tenants {
		text = append(text, `,"`...)
		for _, c := range []byte(t) {
			if c == '"' || c == '\\' {
				text = append(text, '\\')
			}
			text = append(text, c)
		}
		text = append(text, '"')
	}
	text[0] = '{'
	return string(append(text, '}'))
}

// named begins a batch of statements with the one that says which tenants they are for. They are one transaction, sent in one
// round trip.
func named(tenants []string) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue(nameTenants, setting(tenants))
	return b
}

// read runs the statements of b and has f take the answers behind the first.
func (e *engine) read(ctx context.Context, op string, b *pgx.Batch, f func(pgx.BatchResults) error) error {
	if err := e.enter(ctx, op); err != nil {
		return err
	}
	defer e.leave()
	return e.ask(ctx, op, b, f)
}

// ask is read within an operation. A connection that turns out to be dead, as all are when the server was restarted, is replaced
// once.
func (e *engine) ask(ctx context.Context, op string, b *pgx.Batch, f func(pgx.BatchResults) error) error {
	err := e.send(ctx, b, f)
	if err != nil && ctx.Err() == nil && disconnected(err) {
		e.readers.Reset()
		anew := &pgx.Batch{} // b remembers what was prepared on the first connection
		for _, q := range b.QueuedQueries {
			anew.Queue(q.SQL, q.Arguments...)
		}
		err = e.send(ctx, anew, f)
	}
	return translate(ctx, err, op)
}

func (e *engine) send(ctx context.Context, b *pgx.Batch, f func(pgx.BatchResults) error) error {
	ctx, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	conn, err := e.readers.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	answers := conn.SendBatch(ctx, b)
	if _, err = answers.Exec(); err == nil {
		err = f(answers)
	}
	if e := answers.Close(); err == nil {
		err = e
	}
	return err
}

// Committed hears of the commits of other processes from the server, and looks for them every 200 ms beside that, while
// someone is subscribed.
func (e *engine) Committed() (<-chan struct{}, func()) { return e.watch.Subscribe() }

// Close leaves nothing of the engine on the server but the store.
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
	e.gets.running.Wait()
	e.readers.Close()
	e.relational.pool.Close()
	return nil
}

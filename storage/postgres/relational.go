package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

// relational is the connections for read models. Their statements are somebody else's, who may look at whole tables: the planner is
// free to choose.
type relational struct {
	pool  *pgxpool.Pool
	owner *pgx.ConnConfig
	hold  time.Duration // how long a transaction may take that writes
}

// plans are the settings that keep the planner from what the engine's own statements never want.
var plans = []string{"plan_cache_mode", "enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"}

// newRelational returns connections that are made when they are needed.
func newRelational(ctx context.Context, cfg *pgxpool.Config, hold time.Duration) (*relational, error) {
	cfg = cfg.Copy()
	for _, name := range plans {
		delete(cfg.ConnConfig.RuntimeParams, name)
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &relational{pool: pool, owner: ownerOf(cfg.ConnConfig), hold: hold}, nil
}

var _ driver.Relational = (*engine)(nil)

// Dialect implements driver.Relational.
func (e *engine) Dialect() driver.Dialect { return driver.PostgreSQL }

// defineLimit is how long making and changing tables may take.
const defineLimit = 10 * time.Minute

// Write implements driver.Relational. Two that change one row at a time are made one after the other: the database asks the second to
// come again.
func (e *engine) Write(ctx context.Context, f func(driver.Tx) error) error {
	return e.transact(ctx, "postgres.Write", pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, e.relational.hold, f)
}

// Read implements driver.Relational.
func (e *engine) Read(ctx context.Context, f func(driver.Tx) error) error {
	return e.transact(ctx, "postgres.Read", pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, 0, f)
}

// transact runs f until the database is content. A connection that turns out to be dead before f wrote on it is replaced once.
func (e *engine) transact(ctx context.Context, op string, kind pgx.TxOptions, limit time.Duration, f func(driver.Tx) error) error {
	if err := e.enter(ctx, op); err != nil {
		return err
	}
	defer e.leave()
	replaced := false
	for attempt := 1; ; attempt++ {
		begun := false
		err := e.onPool(ctx, op, kind, limit, &begun, f)
		switch {
		case err == nil:
			return nil
		case attempt < attempts && ctx.Err() == nil && has(err, serializationFailure, deadlockDetected, planChanged):
			select {
			case <-time.After(rand.N(time.Millisecond << min(attempt, 7))):
			case <-ctx.Done():
				return ctx.Err()
			}
		case !begun && !replaced && ctx.Err() == nil && disconnected(err):
			e.relational.pool.Reset()
			replaced = true
		default:
			return err
		}
	}
}

func (e *engine) onPool(ctx context.Context, op string, kind pgx.TxOptions, limit time.Duration, begun *bool, f func(driver.Tx) error) error {
	conn, err := e.relational.pool.Acquire(ctx)
	if err != nil {
		return translate(ctx, err, op)
	}
	defer conn.Release()
	return inside(ctx, conn.Conn(), op, kind, limit, begun, f)
}

// Define implements driver.Relational, as the user that owns the tables, under the lock of migrations.
func (e *engine) Define(ctx context.Context, f func(driver.Tx) error) error {
	const op = "postgres.Define"
	if err := e.enter(ctx, op); err != nil {
		return err
	}
	defer e.leave()
	conn, err := pgx.ConnectConfig(ctx, e.relational.owner.Copy())
	if err != nil {
		return translate(ctx, err, op)
	}
	defer hangUp(conn)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(advisoryKey)); err != nil {
		return translate(ctx, err, op)
	}
	begun := false
	return inside(ctx, conn, op, pgx.TxOptions{}, defineLimit, &begun, func(t driver.Tx) error {
		if err := f(t); err != nil {
			return err
		}
		return secure(ctx, t)
	})
}

// secure puts the wall around tables that have none, and lets the application's role use them.
func secure(ctx context.Context, t driver.Tx) error {
	type table struct {
		name   string
		tenant bool
	}
	var tables []table
	err := t.Query(ctx, func(r driver.Row) error {
		var t table
		err := r.Scan(&t.name, &t.tenant)
		tables = append(tables, t)
		return err
	}, `SELECT quote_ident(relname), EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = $2 AND NOT attisdropped)
		FROM pg_class c WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' AND relname <> 'goose_db_version'
			AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid))`, schema, driver.TenantColumn)
	for _, table := range tables {
		policy := "current_setting('tenantry.tenants', true) = '{#}'"
		if table.tenant {
			policy = driver.TenantColumn + ` = ANY ((SELECT NULLIF(current_setting('tenantry.tenants', true), '')::text[])::text[])
				OR (SELECT current_setting('tenantry.tenants', true)) = '{#}'`
		}
		for _, statement := range []string{
			"ALTER TABLE " + table.name + " ENABLE ROW LEVEL SECURITY",
			"ALTER TABLE " + table.name + " FORCE ROW LEVEL SECURITY",
			"CREATE POLICY tenants ON " + table.name + " USING (" + policy + ")",
			"GRANT SELECT, INSERT, UPDATE, DELETE ON " + table.name + " TO " + appRole,
		} {
			if err == nil {
				_, err = t.Exec(ctx, statement)
			}
		}
	}
	return err
}

// inside calls f with a transaction on conn. Begun says that the database has answered to its beginning.
func inside(ctx context.Context, conn *pgx.Conn, op string, kind pgx.TxOptions, limit time.Duration, begun *bool, f func(driver.Tx) error) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fault.New(fault.Unavailable, op, "a transaction took longer than %v; do less at once", limit))
		defer cancel()
	}
	begin, err := conn.BeginTx(ctx, kind)
	if err != nil {
		return explain(ctx, err, op)
	}
	*begun = true
	t := &tx{conn: conn, whole: ctx, unsent: &pgx.Batch{}, explain: func(err error) error { return explain(ctx, err, op) }}
	committed := false
	defer func() {
		t.conn = nil
		if !committed {
			undo(begin, conn)
		}
	}()
	if err := cmp.Or(f(t), t.failed, context.Cause(ctx)); err != nil {
		return err
	}
	if err := t.Settle(ctx); err != nil {
		return err
	}
	if kind.AccessMode == pgx.ReadOnly { // nothing is to outlive it: a setting that a query changed goes, too
		return nil
	}
	if conn.PgConn().TxStatus() != inTransaction {
		return ended(op)
	}
	if err := begin.Commit(ctx); err != nil {
		return explain(ctx, err, op)
	}
	committed = true
	return nil
}

// inTransaction is what the server says after a statement in a transaction that goes on.
const inTransaction = 'T'

func ended(op string) error {
	return fault.New(fault.Internal, op, "a statement ended the transaction; return from its function instead")
}

// undo rolls back, or closes the connection where that is not possible.
func undo(begin pgx.Tx, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if begin.Rollback(ctx) != nil || conn.PgConn().TxStatus() == inTransaction {
		conn.Close(ctx)
	}
}

// explain is translate for the statements of read models.
func explain(ctx context.Context, err error, op string) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case has(err, uniqueViolation):
		return fault.Wrap(err, fault.AlreadyExists, op, "a row with the same values in unique columns is there already")
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return ended(op)
	}
	return translate(ctx, err, op)
}

// tx is a transaction of a read model.
type tx struct {
	conn    *pgx.Conn       // nil when it has ended
	whole   context.Context // of all of it; statements may have shorter ones
	within  bool            // the rows of a query
	failed  error           // what a statement failed with
	explain func(error) error

	tenants []string   // for whom the next statement is to be
	changed bool       // the server doesn't know yet
	unsent  *pgx.Batch // what goes to the server with the next statement that is answered
}

// maxUnsent is how many statements wait to be sent: their arguments are in memory as long.
const maxUnsent = 512

// As implements driver.Tx. What it says goes to the server with the next statement.
func (t *tx) As(_ context.Context, tenant string) error {
	if err := t.usable(); err != nil {
		return err
	}
	var tenants []string
	switch tenant {
	case "":
	case driver.All:
		tenants = everyone
	case everyone[0]:
		return fault.New(fault.Internal, "postgres.Tx", "no tenant is called so")
	default:
		tenants = []string{tenant}
	}
	t.changed = t.changed || !slices.Equal(tenants, t.tenants)
	t.tenants = tenants
	return nil
}

func (t *tx) usable() error {
	switch {
	case t.conn == nil:
		return fault.New(fault.Internal, "postgres.Tx", "the transaction has ended; use it in the function that got it only")
	case t.within:
		return fault.New(fault.Internal, "postgres.Tx", "a query's rows are being read; read them all before the next statement")
	}
	return t.failed
}

// Exec implements driver.Tx.
func (t *tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := t.queue(ctx, query, args); err != nil {
		return 0, err
	}
	var tag pgconn.CommandTag
	err := t.send(ctx, 1, func(answers pgx.BatchResults) (err error) {
		tag, err = answers.Exec()
		return err
	})
	if err != nil || tag.Select() {
		return 0, err
	}
	return tag.RowsAffected(), nil
}

// Send implements driver.Tx.
func (t *tx) Send(ctx context.Context, query string, args ...any) error {
	if err := t.queue(ctx, query, args); err != nil || t.unsent.Len() < maxUnsent {
		return err
	}
	return t.Settle(ctx)
}

// Settle implements driver.Tx.
func (t *tx) Settle(ctx context.Context) error {
	if err := cmp.Or(t.usable(), ctx.Err()); err != nil || t.unsent.Len() == 0 {
		return err
	}
	return t.send(ctx, 0, func(pgx.BatchResults) error { return nil })
}

// Query implements driver.Tx.
func (t *tx) Query(ctx context.Context, f func(driver.Row) error, query string, args ...any) error {
	if err := t.queue(ctx, query, args); err != nil {
		return err
	}
	var stopped error
	err := t.send(ctx, 1, func(answers pgx.BatchResults) error {
		found, err := answers.Query()
		if err != nil {
			return err
		}
		defer found.Close()
		t.within = true
		defer func() { t.within = false }()
		r := &modelRow{rows: found}
		defer func() { r.rows = nil }()
		for stopped == nil && found.Next() {
			stopped = f(r)
		}
		found.Close()
		return found.Err()
	})
	return cmp.Or(stopped, err)
}

// queue has a statement sent with those before it, behind what As said.
func (t *tx) queue(ctx context.Context, query string, args []any) error {
	if err := cmp.Or(t.usable(), ctx.Err()); err != nil {
		return err
	}
	if t.changed {
		t.unsent.Queue(nameTenants, setting(t.tenants))
		t.changed = false
	}
	t.unsent.Queue(query, args...)
	return nil
}

// send sends what waits to be sent, and has f take the answers of the last of it: answered of them.
func (t *tx) send(ctx context.Context, answered int, f func(pgx.BatchResults) error) error {
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.whole, cancel)()
	b := t.unsent
	t.unsent = &pgx.Batch{}
	answers := t.conn.SendBatch(ctx, b)
	defer answers.Close() // a panic in f leaves the connection as it was
	var err error
	for n := b.Len() - answered; n > 0 && err == nil; n-- {
		_, err = answers.Exec()
	}
	if err == nil {
		err = f(answers)
	}
	if e := answers.Close(); err == nil {
		err = e
	}
	if err == nil && t.conn.PgConn().TxStatus() != inTransaction {
		err = ended("postgres.Tx")
	}
	if err != nil {
		t.failed = cmp.Or(caller.Err(), t.explain(err))
	}
	return t.failed
}

// modelRow is the row that a query's answer stands at.
type modelRow struct {
	rows    pgx.Rows
	columns []string
}

// Columns implements driver.Row.
func (r *modelRow) Columns() []string {
	if r.columns == nil && r.rows != nil {
		for _, f := range r.rows.FieldDescriptions() {
			r.columns = append(r.columns, f.Name)
		}
	}
	return r.columns
}

// Scan implements driver.Row.
func (r *modelRow) Scan(to ...any) error {
	if r.rows == nil {
		return fault.New(fault.Internal, "postgres.Tx", "the row is gone; read it in the function that got it")
	}
	if err := r.rows.Scan(to...); err != nil {
		return fault.Wrap(err, fault.Internal, "postgres.Tx", "a column does not hold what it is read as")
	}
	for i, p := range to {
		if p, ok := p.(*any); ok {
			if err := simplify(p, r.rows.FieldDescriptions()[i].DataTypeOID); err != nil {
				return err
			}
		}
		if p, ok := p.(*time.Time); ok {
			*p = p.UTC()
		}
		if p, ok := p.(**time.Time); ok && *p != nil {
			**p = (*p).UTC()
		}
	}
	return nil
}

// simplify makes what pgx reads a column as one of the values of driver.Tx.
func simplify(p *any, oid uint32) error {
	switch v := (*p).(type) {
	case int16:
		*p = int64(v)
	case int32:
		*p = int64(v)
	case float32:
		*p = float64(v)
	case time.Time:
		*p = v.UTC()
	case pgtype.Numeric: // what sum of a bigint is; its exact text
		if !v.Valid {
			*p = nil
			return nil
		}
		text, err := v.Value()
		if err != nil {
			return err
		}
		*p = text
	case nil, string, int64, float64, bool, []byte:
	default:
		return fault.Wrap(fmt.Errorf("a %T (type %d)", v, oid), fault.InvalidRequest, "postgres.Tx", "a column is of a type that can't be read; cast it to text")
	}
	return nil
}

package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
)

// defineLimit is how long making and changing tables may take.
const defineLimit = 10 * time.Minute

var _ driver.Relational = (*engine)(nil)

// Dialect implements driver.Relational.
func (e *engine) Dialect() driver.Dialect { return driver.SQLite }

// Write implements driver.Relational. It borrows the writer's connection between two groups of commits: there is one writer in the
// process still, and whoever waits for the connection gets it in turn.
func (e *engine) Write(ctx context.Context, f func(driver.Tx) error) error {
	return e.borrow(ctx, "sqlite.Write", writing, e.hold, f)
}

// Define implements driver.Relational.
func (e *engine) Define(ctx context.Context, f func(driver.Tx) error) error {
	return e.borrow(ctx, "sqlite.Define", defining, defineLimit, f)
}

func (e *engine) borrow(ctx context.Context, op string, as rights, limit time.Duration, f func(driver.Tx) error) error {
	if err := e.enter(ctx, op); err != nil {
		return err
	}
	defer e.leave()
	w := e.writer
	if err := w.checkpoints.gate.enter(ctx); err != nil {
		return err
	}
	defer w.checkpoints.gate.Unlock()
	if err := w.begin(); err != nil {
		return translate(ctx, err, op, w.name)
	}
	within, cancel := context.WithTimeoutCause(ctx, limit,
		fault.New(fault.Unavailable, op, "a transaction on %s took longer than %v; do less at once", w.name, limit))
	defer cancel()
	defer w.settle()
	if err := w.conn.run(within, op, as, f); err != nil {
		return err
	}
	return explain(ctx, w.conn.exec("COMMIT"), op)
}

// settle ends the transaction of whoever borrowed the connection, if it didn't.
func (w *writer) settle() {
	w.conn.rollback()
	if !w.conn.GetAutocommit() {
		w.conn.close()
		w.conn = nil
	}
}

// Read implements driver.Relational.
func (e *engine) Read(ctx context.Context, f func(driver.Tx) error) error {
	const op = "sqlite.Read"
	if err := e.enter(ctx, op); err != nil {
		return err
	}
	defer e.leave()
	var result error
	err := e.readers.use(ctx, func(c *conn) error {
		if err := c.exec("BEGIN"); err != nil {
			return err
		}
		defer c.rollback()
		result = c.run(ctx, op, reading, f)
		return result
	})
	if result != nil { // which may be f's own
		return result
	}
	return translate(ctx, err, op, FileName)
}

// explain is translate for the statements of read models.
func explain(ctx context.Context, err error, op string) error {
	switch {
	case errors.Is(err, sqlite3.CONSTRAINT_UNIQUE) || errors.Is(err, sqlite3.CONSTRAINT_PRIMARYKEY):
		return fault.Wrap(err, fault.AlreadyExists, op, "a row with the same values in unique columns is there already")
	case errors.Is(err, sqlite3.AUTH):
		return fault.Wrap(err, fault.Internal, op, "a statement is one that a read model may not use here; its cause is in the log")
	case errors.Is(err, sqlite3.INTERRUPT) && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return translate(ctx, err, op, FileName)
}

// rights are what the statements of a connection may do.
type rights uint8

const (
	everything rights = iota // the engine's own statements
	reading
	writing
	defining
)

// engineTables are the tables of the engine.
var engineTables = []string{"command", "data", "history", "system", "goose_db_version"}

// authorize is asked while a statement is prepared. It keeps those of read models from the engine's own tables, and from what
// reaches beyond their transaction.
func (c *conn) authorize(action sqlite3.AuthorizerActionCode, name, other, _, _ string) sqlite3.AuthorizerReturnCode {
	may := true
	switch action {
	case sqlite3.AUTH_SELECT, sqlite3.AUTH_READ, sqlite3.AUTH_FUNCTION, sqlite3.AUTH_RECURSIVE:
	case sqlite3.AUTH_INSERT, sqlite3.AUTH_UPDATE, sqlite3.AUTH_DELETE:
		may = c.rights == defining || c.rights == writing && !strings.HasPrefix(strings.ToLower(name), "sqlite_")
		may = may && !slices.Contains(engineTables, strings.ToLower(name))
	case sqlite3.AUTH_CREATE_TABLE, sqlite3.AUTH_DROP_TABLE, sqlite3.AUTH_DROP_INDEX, sqlite3.AUTH_REINDEX:
		may = c.rights == defining && !slices.Contains(engineTables, strings.ToLower(name))
	case sqlite3.AUTH_CREATE_INDEX, sqlite3.AUTH_ALTER_TABLE:
		may = c.rights == defining && !slices.Contains(engineTables, strings.ToLower(other))
	default:
		may = false
	}
	if may || c.rights == everything {
		return sqlite3.AUTH_OK
	}
	return sqlite3.AUTH_DENY
}

// run calls f with a transaction, which has begun, on c.
func (c *conn) run(ctx context.Context, op string, as rights, f func(driver.Tx) error) error {
	t := &tx{conn: c, explain: func(err error) error { return explain(ctx, err, op) }}
	c.rights = as
	c.SetInterrupt(ctx)
	defer func() {
		c.rights = everything
		c.SetInterrupt(context.Background())
		t.conn = nil
		if as == defining {
			c.forget()
		}
	}()
	return cmp.Or(f(t), t.failed, context.Cause(ctx))
}

// tx is a transaction of a read model.
type tx struct {
	conn    *conn // nil when it has ended
	within  bool  // the rows of a query
	failed  error // what a statement failed with
	explain func(error) error
}

// As implements driver.Tx. SQLite has no walls inside a file.
func (t *tx) As(context.Context, string) error { return t.usable() }

func (t *tx) usable() error {
	switch {
	case t.conn == nil:
		return fault.New(fault.Internal, "sqlite.Tx", "the transaction has ended; use it in the function that got it only")
	case t.within:
		return fault.New(fault.Internal, "sqlite.Tx", "a query's rows are being read; read them all before the next statement")
	}
	return t.failed
}

// Exec implements driver.Tx.
func (t *tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	var changed int64
	err := t.statement(ctx, query, args, func(s *statement) error {
		before := t.conn.TotalChanges()
		if err := s.Exec(); err != nil {
			return err
		}
		if changed = t.conn.Changes(); t.conn.TotalChanges() == before { // of an earlier statement
			changed = 0
		}
		return nil
	})
	return changed, err
}

// Send implements driver.Tx. The database is in the process: it is done at once.
func (t *tx) Send(ctx context.Context, query string, args ...any) error {
	_, err := t.Exec(ctx, query, args...)
	return err
}

// Settle implements driver.Tx.
func (t *tx) Settle(context.Context) error { return t.usable() }

// Query implements driver.Tx.
func (t *tx) Query(ctx context.Context, f func(driver.Row) error, query string, args ...any) error {
	var stopped error
	err := t.statement(ctx, query, args, func(s *statement) error {
		t.within = true
		defer func() { t.within = false }()
		r := &row{statement: s}
		defer func() { r.statement = nil }()
		for stopped == nil && s.Step() {
			stopped = f(r)
		}
		return finish(s.Stmt, nil)
	})
	return cmp.Or(stopped, err)
}

// statement calls f with the statement of a query, whose parameters are bound.
func (t *tx) statement(ctx context.Context, query string, args []any, f func(*statement) error) error {
	if err := t.usable(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := t.conn.relational(query)
	if err == nil {
		defer s.Reset() // a panic in f leaves it as it was
		if err = s.bind(args); err == nil {
			err = f(s)
		}
	}
	if err != nil {
		t.failed = t.explain(err)
	}
	return t.failed
}

// maxStatements is how many statements of read models a connection keeps prepared.
const maxStatements = 256

// statement is a prepared statement with the arguments that its parameters stand for.
type statement struct {
	*sqlite3.Stmt
	rights  rights // that it was prepared with
	args    []int  // the argument of each parameter, from 0
	wants   int    // arguments
	columns []string
}

// relational returns the prepared statement of a read model's query.
func (c *conn) relational(query string) (*statement, error) {
	if s := c.statements[query]; s != nil && s.rights == c.rights {
		return s, nil
	} else if s != nil {
		s.Close()
		delete(c.statements, query)
	}
	raw, tail, err := c.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, err
	}
	s := &statement{Stmt: raw, rights: c.rights}
	if raw == nil || strings.TrimSpace(tail) != "" {
		err = errors.New("a text is one statement")
	}
	for i := 1; err == nil && i <= raw.BindCount(); i++ {
		n, malformed := strconv.Atoi(strings.TrimPrefix(raw.BindName(i), "$"))
		if malformed != nil || n < 1 || !strings.HasPrefix(raw.BindName(i), "$") {
			err = errors.New("a parameter is written $1, $2 …")
		}
		s.args, s.wants = append(s.args, n-1), max(s.wants, n)
	}
	if err != nil {
		if raw != nil {
			raw.Close()
		}
		return nil, fault.Wrap(err, fault.Internal, "sqlite.Tx", "a statement is malformed; its cause is in the log")
	}
	for i := range raw.ColumnCount() {
		s.columns = append(s.columns, raw.ColumnName(i))
	}
	if len(c.statements) >= maxStatements {
		c.forget()
	}
	if c.statements == nil {
		c.statements = map[string]*statement{}
	}
	c.statements[query] = s
	return s, nil
}

// forget closes the statements of read models.
func (c *conn) forget() {
	for _, s := range c.statements {
		s.Close()
	}
	clear(c.statements)
}

// timeForm is how times stand in text: they sort as they come.
const timeForm = "2006-01-02T15:04:05.000Z"

func (s *statement) bind(args []any) error {
	if len(args) != s.wants {
		return fault.New(fault.Internal, "sqlite.Tx", "a statement with %d parameters got %d arguments", s.wants, len(args))
	}
	for i, n := range s.args {
		var err error
		switch v := args[n].(type) {
		case nil:
			err = s.BindNull(i + 1)
		case string:
			err = s.BindText(i+1, v)
		case int64:
			err = s.BindInt64(i+1, v)
		case int:
			err = s.BindInt64(i+1, int64(v))
		case float64:
			err = s.BindFloat(i+1, v)
		case bool:
			err = s.BindBool(i+1, v)
		case []byte:
			err = s.BindBlob(i+1, v)
		case time.Time:
			err = s.BindText(i+1, v.UTC().Format(timeForm))
		default:
			err = fault.New(fault.Internal, "sqlite.Tx", "an argument is a %T, which no column holds", v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// row is the row that a statement stands at.
type row struct{ *statement }

// Columns implements driver.Row.
func (r *row) Columns() []string { return r.columns }

// Scan implements driver.Row.
func (r *row) Scan(to ...any) error {
	if r.statement == nil {
		return fault.New(fault.Internal, "sqlite.Tx", "the row is gone; read it in the function that got it")
	}
	if len(to) != len(r.columns) {
		return fault.New(fault.Internal, "sqlite.Tx", "a row of %d columns is read into %d values", len(r.columns), len(to))
	}
	for i, p := range to {
		if err := r.into(i, p); err != nil {
			return fault.Wrap(err, fault.Internal, "sqlite.Tx", "column %s does not hold what it is read as", r.columns[i])
		}
	}
	return nil
}

func (r *row) into(i int, to any) error {
	v := r.value(i)
	switch to := to.(type) {
	case *any:
		*to = v
		return nil
	case **string:
		return nullable(to, v)
	case **int64:
		return nullable(to, v)
	case **float64:
		return nullable(to, v)
	case **bool:
		return nullable(to, v)
	case **time.Time:
		return nullable(to, v)
	case *string:
		return assign(to, v)
	case *int64:
		return assign(to, v)
	case *int:
		var n int64
		err := assign(&n, v)
		*to = int(n)
		return err
	case *float64:
		return assign(to, v)
	case *bool:
		return assign(to, v)
	case *[]byte:
		if v == nil {
			*to = nil
			return nil
		}
		return assign(to, v)
	case *time.Time:
		return assign(to, v)
	}
	return fmt.Errorf("a %T", to)
}

// value returns a column as SQLite holds it.
func (r *row) value(i int) any {
	switch r.ColumnType(i) {
	case sqlite3.INTEGER:
		return r.ColumnInt64(i)
	case sqlite3.FLOAT:
		return r.ColumnFloat(i)
	case sqlite3.TEXT:
		return r.ColumnText(i)
	case sqlite3.BLOB:
		return r.ColumnBlob(i, []byte{})
	}
	return nil
}

func nullable[T any](to **T, v any) error {
	if v == nil {
		*to = nil
		return nil
	}
	var held T
	err := assign(&held, v)
	*to = &held
	return err
}

// assign sets to to v, which SQLite holds as another type where it has none of to's.
func assign[T any](to *T, v any) (err error) {
	if same, ok := v.(T); ok {
		*to = same
		return nil
	}
	switch to := any(to).(type) {
	case *bool:
		if n, ok := v.(int64); ok && (n == 0 || n == 1) {
			*to = n == 1
			return nil
		}
	case *float64:
		if n, ok := v.(int64); ok {
			*to = float64(n)
			return nil
		}
	case *time.Time:
		if text, ok := v.(string); ok {
			*to, err = time.Parse(timeForm, text)
			return err
		}
	}
	return fmt.Errorf("a %T into a %T", v, to)
}

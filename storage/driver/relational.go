package driver

import "context"

// Relational is implemented by engines whose database holds tables that are declared, too: read models. Names of tables and columns
// in queries are the caller's; values are arguments always. The functions that are passed run in the caller's goroutine, don't use the
// engine but for their Tx, and have their transaction undone where they fail or panic. Errors are those of Engine, and fault.AlreadyExists
// where a unique index refused a row. An error that says Unavailable may be of a transaction that was made: what it left tells.
type Relational interface {
	// Dialect says how queries are written.
	Dialect() Dialect

	// Write runs f in one transaction on one state of the database: all of it is made or nothing. It is durable when Write returns
	// nil, and does not stand in the way of Commit for longer than f runs, which is ended after 10 seconds. F may be called again where
	// the database asked for it. The engine's own tables, and the form of all tables, are not to be written.
	Write(ctx context.Context, f func(Tx) error) error

	// Read runs f on one state of the database, which f can't change. Readers wait for nobody.
	Read(ctx context.Context, f func(Tx) error) error

	// Define is Write for what makes and changes tables, one process at a time and with more time. It fails with fault.Unavailable
	// where the database does not let this process do so. A table with a column TenantColumn shows and takes the rows of the tenant
	// that As names only, where the database can hold that; one without it shows rows to All only.
	Define(ctx context.Context, f func(Tx) error) error
}

// TenantColumn is the name of the column that says whose a row is.
const TenantColumn = "tenant_code"

// Dialect is a way to write queries.
type Dialect uint8

// The dialects.
const (
	SQLite Dialect = iota + 1
	PostgreSQL
)

// Tx is a transaction of a Relational. It is for one goroutine, and only while the function that got it runs. A statement that
// fails has the whole transaction undone: those after it fail as it did. Values are nil, string, int64, int, float64, bool, []byte and
// time.Time, whose column is text in SQLite.
type Tx interface {
	// As has what follows see and write the rows of one tenant only, where the database can hold that: the wall behind the conditions
	// that each query has of its own. "" begins each transaction and shows no rows; All shows everything.
	As(ctx context.Context, tenant string) error

	// Exec runs a statement and returns how many rows it changed. Parameters are written $1, $2 … in both dialects.
	Exec(ctx context.Context, query string, args ...any) (int64, error)

	// Send is Exec without an answer, for statements of which there are many: where the database is far away they go there together, in
	// their order, with the next statement that has one, or Settle, or the function's end. What one of them fails with, those say.
	Send(ctx context.Context, query string, args ...any) error

	// Settle returns when everything that was sent is done. It fails with what the first statement failed with that did, sent or not: so
	// it tells whether the transaction is one that can still be made.
	Settle(ctx context.Context) error

	// Query calls row for each row of a query's answer, until row fails, with row's error. Row does not use the Tx.
	Query(ctx context.Context, row func(Row) error, query string, args ...any) error
}

// All is what As takes for every tenant. No tenant code is spelt so.
const All = "*"

// Row is one row of an answer.
type Row interface {
	// Columns returns the names of the answer's columns.
	Columns() []string

	// Scan reads the row into pointers to values, to pointers to values (which NULL sets to nil), and to any.
	Scan(to ...any) error
}

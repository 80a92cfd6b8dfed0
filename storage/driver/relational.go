package driver

import "context"

// Relational is implemented by engines whose database holds tables that are declared, too: read models. Names of tables and columns
// in queries are the caller's; values are arguments always.
type Relational interface {
	// Dialect says how queries are written.
	Dialect() Dialect

	// Write runs f in one transaction: all of it is made or nothing. It is durable when Write returns nil, and does not stand in the
	// way of Commit for longer than f runs. F may be called again where the database asked for it.
	Write(ctx context.Context, f func(Tx) error) error

	// Read runs f on one state of the database, which f can't change. Readers wait for nobody.
	Read(ctx context.Context, f func(Tx) error) error
}

// Dialect is a way to write queries.
type Dialect uint8

// The dialects.
const (
	SQLite Dialect = iota + 1
	PostgreSQL
)

// Tx is a transaction of a Relational. It is for one goroutine, and only while the function that got it runs.
type Tx interface {
	// As has what follows see and write the rows of one tenant only, where the database can hold that: the wall behind the conditions
	// that each query has of its own. "" begins each transaction and shows no rows; All shows everything.
	As(ctx context.Context, tenant string) error

	// Exec runs a statement and returns how many rows it changed. Parameters are written $1, $2 … in both dialects.
	Exec(ctx context.Context, query string, args ...any) (int64, error)

	// Query calls row for each row of a query's answer, until row fails.
	Query(ctx context.Context, row func(Row) error, query string, args ...any) error
}

// All is what As takes for every tenant. No tenant code is spelt so.
const All = "*"

// Row reads the columns of one row into pointers, as database/sql does.
type Row interface {
	Scan(to ...any) error
}

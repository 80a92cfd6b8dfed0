package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/tenantry/tenantry/fault"
)

// migrations holds one file for every version of the schema, which its name begins with. None rewrites a table: a column that is
// added has a constant default, an index is built CONCURRENTLY.
//
//go:embed migrations/*.sql
var migrations embed.FS

// newestSchema returns the version that the last migration makes.
func newestSchema() int64 {
	names, _ := fs.Glob(migrations, "migrations/*.sql")
	number, _, _ := strings.Cut(filepath.Base(names[len(names)-1]), "_")
	version, _ := strconv.ParseInt(number, 10, 64)
	return version
}

// migrate brings the schema of the database up to date, as the URL's user. A database that a newer Tenantry has migrated, and
// a schema that holds something else, are refused.
func migrate(ctx context.Context, app *pgx.ConnConfig) error {
	owner := ownerOf(app)
	conn, err := pgx.ConnectConfig(ctx, owner)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if encoding := conn.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return fault.New(fault.Unavailable, "postgres.Open", "the database's encoding is %s; create one with ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	current, err := schemaVersion(ctx, conn)
	if err != nil {
		return err
	}
	newest := newestSchema()
	if current > newest {
		return fault.New(fault.Unavailable, "postgres.Open", "the database was migrated by a newer Tenantry (its schema is version %d, this one knows %d); start that one, or restore an older backup",
			current, newest)
	}
	if current == newest {
		return nil
	}
	if err := createRole(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil && !has(err, uniqueViolation, duplicateSchema) { // by another process, just now
		return err
	}
	return goUp(ctx, owner)
}

// ownerOf returns how the URL's user connects, to make and change tables.
func ownerOf(app *pgx.ConnConfig) *pgx.ConnConfig {
	owner := app.Copy()
	for _, name := range []string{"role", "statement_timeout", "idle_in_transaction_session_timeout", "enable_seqscan"} {
		delete(owner.RuntimeParams, name) // a migration may take its time
	}
	return owner
}

// schemaVersion returns the version of the database's schema, 0 where there is none.
func schemaVersion(ctx context.Context, conn *pgx.Conn) (version int64, err error) {
	var tables, ours int
	err = conn.QueryRow(ctx, `SELECT count(c.oid), count(c.oid) FILTER (WHERE relname = 'goose_db_version')
		FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
		WHERE nspname = $1 GROUP BY n.oid`, schema).Scan(&tables, &ours)
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && tables == 0:
		return 0, nil
	case err != nil:
		return 0, err
	case ours == 0:
		return 0, fault.New(fault.Internal, "postgres.Open", "the database has a schema %s that is no store of Tenantry; name another database", schema)
	}
	err = conn.QueryRow(ctx, "SELECT COALESCE(max(version_id), 0) FROM goose_db_version").Scan(&version)
	return version, err
}

// createRole creates the application's role where the cluster lacks it, and lets the user of conn take it.
func createRole(ctx context.Context, conn *pgx.Conn) error {
	var exists, member bool
	if err := conn.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_roles WHERE rolname = $1", appRole).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE ROLE "+appRole+" NOLOGIN"); err != nil && !has(err, uniqueViolation, duplicateObject) {
			return lacksRole(err)
		}
	}
	if err := conn.QueryRow(ctx, "SELECT pg_has_role($1, 'MEMBER')", appRole).Scan(&member); err != nil || member {
		return err
	}
	if _, err := conn.Exec(ctx, "GRANT "+appRole+" TO CURRENT_USER"); err != nil && !has(err, uniqueViolation, tupleUpdated) {
		return lacksRole(err)
	}
	return nil
}

func lacksRole(err error) error {
	if !has(err, insufficientPrivilege) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "postgres.Open", "the store's user may not create the role %[1]s; as an administrator: CREATE ROLE %[1]s NOLOGIN; GRANT %[1]s TO <the user>", appRole)
}

// goUp runs the migrations that the database lacks. Of several processes that start at once one does so, and the others wait.
func goUp(ctx context.Context, owner *pgx.ConnConfig) error {
	db := stdlib.OpenDB(*owner)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(advisory{}),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// advisory is the lock under which migrations run; it goes with its connection.
type advisory struct{}

const advisoryKey = 0x74656e616e747279 // "tenantry"

func (advisory) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(advisoryKey))
	return err
}

func (advisory) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(advisoryKey))
	return err
}

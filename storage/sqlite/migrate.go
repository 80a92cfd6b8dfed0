package sqlite

import (
	"context"
	"embed"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	sqldriver "github.com/ncruces/go-sqlite3/driver"
	"github.com/pressly/goose/v3"

	"github.com/tenantry/tenantry/fault"
)

// migrations holds one file for every version of the schema, which its name begins with.
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

// migrate brings the schema of the file at path up to date. A file that a newer Tenantry has migrated, and one that
// holds something else, are refused.
func (c *conn) migrate(ctx context.Context, path string) error {
	current, err := c.schema(path)
	if err != nil {
		return err
	}
	if err := checkSchema(path, current); err != nil {
		return err
	}
	if newest := newestSchema(); current < newest {
		return goUp(ctx, path, newest)
	}
	return nil
}

// checkSchema refuses the version of a schema that this program does not know.
func checkSchema(path string, version int64) error {
	if newest := newestSchema(); version > newest {
		return fault.New(fault.Unavailable, "sqlite.Open", "%s was written by a newer Tenantry (its schema is version %d, this one knows %d); start that one, or restore an older backup",
			path, version, newest)
	}
	return nil
}

// schema returns the version of the file's schema, 0 for an empty file.
func (c *conn) schema(path string) (int64, error) {
	const empty, ours = 0, 1 // anything else is somebody else's; asked at once, for another process may migrate just now
	kind, err := c.integer(`SELECT iif(count(*) = 0, 0, iif(count(*) FILTER (WHERE name = 'goose_db_version') > 0, 1, 2)) FROM sqlite_schema`)
	switch {
	case err != nil || kind == empty:
		return 0, err
	case kind == ours:
		return c.integer("SELECT max(version_id) FROM goose_db_version")
	default:
		return 0, fault.New(fault.Internal, "sqlite.Open", "%s is a SQLite file, but no store of Tenantry; name another directory", path)
	}
}

// goUp runs the migrations that the file lacks. Another process may run them at the same time: each is one transaction
// with the row that says so, so every migration is made by one of them, and the other fails and looks again.
func goUp(ctx context.Context, path string, newest int64) error {
	db, err := sqldriver.Open(uri(path, "_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	for range newest + 2 { // the version table and each migration can be lost to the other process once
		if _, err = provider.Up(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

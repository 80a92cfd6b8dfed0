package sqlite

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/fault"
)

// Backup writes a compact copy of the store as it is at one moment. Commits go on meanwhile; the write-ahead log can't
// start over until it is done, so it grows. The copy is synced and has mode 0600. A backup that fails leaves nothing behind.
// It fails with fault.AlreadyExists where path exists, and as opening a store does.
func (e *engine) Backup(ctx context.Context, path string) error {
	const op = "sqlite.Backup"
	if err := refuseExisting(op, path); err != nil {
		return err
	}
	temp, err := emptyBeside(path)
	if err != nil {
		return translate(ctx, err, op, path)
	}
	defer os.Remove(temp)
	err = e.read(ctx, op, func(c *conn) error {
		b := c.bind("VACUUM INTO ?1")
		b.text(temp)
		if b.err == nil {
			b.err = b.stmt.Exec()
		}
		return b.err
	})
	if err != nil {
		return err
	}
	return translate(ctx, moveInto(op, temp, path), op, path)
}

// Restore makes a backup the store of a directory, for At to open. The backup is checked first, page by page; the store
// appears whole or not at all. It fails with fault.AlreadyExists where the directory has a store, fault.NotFound where there
// is no backup, fault.InvalidRequest where the backup is damaged or none, and with fault.Unavailable where a newer
// Tenantry wrote it and where the directory can't be written.
func Restore(ctx context.Context, backup, dir string) error {
	const op = "sqlite.Restore"
	switch info, err := os.Stat(backup); {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(err, fault.NotFound, op, "there is no backup at %s", backup)
	case err != nil:
		return translate(ctx, err, op, backup)
	case !info.Mode().IsRegular(): // reading a pipe may wait for ever, and a device never ends
		return fault.New(fault.InvalidRequest, op, "%s is not a regular file; name one that tenantry backup wrote", backup)
	}
	from, err := os.Open(backup)
	if err != nil {
		return translate(ctx, err, op, backup)
	}
	defer from.Close()
	path, err := filepath.Abs(filepath.Join(dir, FileName))
	if err != nil {
		return translate(ctx, err, op, path)
	}
	for _, file := range []string{path, path + "-wal"} {
		if err := refuseExisting(op, file); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return translate(ctx, err, op, dir)
	}
	temp, err := emptyBeside(path)
	if err != nil {
		return translate(ctx, err, op, path)
	}
	defer os.Remove(temp)
	if err := copyInto(ctx, temp, from); err != nil {
		return translate(ctx, err, op, path)
	}
	if err := verify(ctx, temp, backup); err != nil {
		if errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return translate(ctx, err, op, backup)
		}
		return fault.Wrap(err, fault.InvalidRequest, op, "%s is damaged or is no backup of Tenantry; restore another one", backup)
	}
	return translate(ctx, moveInto(op, temp, path), op, path)
}

func refuseExisting(op, path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, fault.AlreadyExists, op, "%s exists already; it is not overwritten, move it away or name another place", path)
	}
	return nil
}

// emptyBeside creates an empty file in path's directory, with mode 0600.
func emptyBeside(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+FileName+"-")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func copyInto(ctx context.Context, path string, from io.Reader) error {
	to, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for err == nil {
		if err = ctx.Err(); err == nil {
			_, err = io.CopyN(to, from, 64<<20)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, to.Close())
}

// verify checks that the file at path, a copy of the backup, is a sound store that this version can open.
func verify(ctx context.Context, path, backup string) error {
	c, err := connect(path, settings{cache: smallCache, busy: time.Second})
	if err != nil {
		return err
	}
	defer c.close()
	c.SetInterrupt(ctx)
	version, err := c.schema(backup)
	if err != nil {
		return err
	}
	if version == 0 {
		return sqlite3.NOTADB
	}
	if err := checkSchema(backup, version); err != nil {
		return err
	}
	s, err := c.stmt("PRAGMA integrity_check(1)")
	if err != nil {
		return err
	}
	sound := s.Step() && s.ColumnText(0) == "ok"
	if err := finish(s, nil); err != nil || sound {
		return err
	}
	return sqlite3.CORRUPT
}

// moveInto gives a file that is complete its name, which nothing else has, and makes both survive a power cut.
func moveInto(op, temp, path string) error {
	if err := syncFile(temp); err != nil {
		return err
	}
	err := os.Link(temp, path)
	if errors.Is(err, fs.ErrExist) {
		return refuseExisting(op, path)
	}
	if err != nil { // a file system without links
		if err := refuseExisting(op, path); err != nil {
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"github.com/tenantry/tenantry/fault"
)

// translate returns err as a *fault.Error that names the file and says what to do. What already is one, and the
// context's own errors, stay as they are; a statement that was interrupted has the error of its ctx.
func translate(ctx context.Context, err error, op, file string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sqlite3.INTERRUPT) && ctx.Err() != nil {
		return ctx.Err()
	}
	if _, known := errors.AsType[*fault.Error](err); known || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, k := range kinds {
		for _, cause := range k.causes {
			if errors.Is(err, cause) {
				return fault.Wrap(err, k.code, op, k.message, file)
			}
		}
	}
	return fault.Wrap(err, fault.Internal, op, "a statement on %s failed; its cause is in the log", file)
}

// kinds are what can go wrong with a file, the more special first: an input/output error may be a full disk.
var kinds = []struct {
	code    fault.Code
	message string // with the file's name
	causes  []error
}{
	{fault.Unavailable, "%s is locked by another process that did not finish in time; try again, or stop that process",
		[]error{sqlite3.BUSY, sqlite3.LOCKED, sqlite3.PROTOCOL}},
	{fault.Unavailable, "there is no space left for %s; free some on its disk and try again: nothing was written",
		[]error{sqlite3.FULL, syscall.ENOSPC, syscall.EDQUOT}},
	{fault.Unavailable, "%s or its directory can't be written; give them back to the user that runs Tenantry (file mode 0600, directory 0700), on a disk that is not read-only",
		[]error{sqlite3.READONLY, sqlite3.PERM, sqlite3.AUTH, fs.ErrPermission, syscall.EROFS}},
	{fault.Internal, "%s is damaged or is no store of Tenantry; keep a copy of it and restore a backup with tenantry restore",
		[]error{sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.FORMAT}},
	{fault.Unavailable, "%s can't be opened as a file; name a directory that Tenantry may keep its store in",
		[]error{sqlite3.CANTOPEN, syscall.ENOTDIR, syscall.EISDIR, fs.ErrNotExist}},
	{fault.Unavailable, "memory ran out while working on %s; try again, with less at once", []error{sqlite3.NOMEM}},
	{fault.Unavailable, "reading or writing %s failed; check its disk, then try again", []error{sqlite3.IOERR}},
}

func closed(op string) error {
	return fault.New(fault.Unavailable, op, "the store is closed; open it again")
}

// broken reports whether a connection on which err happened should not be used again.
func broken(err error) bool {
	if err == nil {
		return false
	}
	for _, code := range []sqlite3.ErrorCode{sqlite3.CORRUPT, sqlite3.NOTADB, sqlite3.IOERR, sqlite3.CANTOPEN, sqlite3.NOMEM,
		sqlite3.PROTOCOL, sqlite3.MISUSE, sqlite3.INTERNAL, sqlite3.READONLY} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

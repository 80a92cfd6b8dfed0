package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/fault"
)

// Codes of SQLSTATE that the engine acts on.
const (
	insufficientPrivilege = "42501"
	uniqueViolation       = "23505"
	duplicateObject       = "42710"
	duplicateSchema       = "42P06"
	tupleUpdated          = "XX000" // "tuple concurrently updated", of two GRANTs at once
	divisionByZero        = "22012"
	serializationFailure  = "40001"
	deadlockDetected      = "40P01"
	planChanged           = "0A000" // a prepared query would yield other columns than before
)

// has reports whether err is the server's, with one of some codes.
func has(err error, codes ...string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pgErr.Code)
}

// again reports whether a transaction that failed with err may succeed when it is made again.
func again(err error) bool { return has(err, serializationFailure, deadlockDetected, uniqueViolation) }

// disconnected reports whether err is that of a connection which is no more, or was never made.
func disconnected(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(pgErr.Code, "57P") || strings.HasPrefix(pgErr.Code, "08")
	}
	_, network := errors.AsType[net.Error](err)
	_, connect := errors.AsType[*pgconn.ConnectError](err)
	return network || connect || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// translate returns err as a *fault.Error that says what to do. What already is one, and the context's own errors, stay as
// they are; a statement that was interrupted has the error of its ctx.
func translate(ctx context.Context, err error, op string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		for _, k := range kinds {
			if slices.ContainsFunc(k.prefixes, func(prefix string) bool { return strings.HasPrefix(pgErr.Code, prefix) }) {
				return fault.Wrap(err, k.code, op, k.message)
			}
		}
		return fault.Wrap(err, fault.Internal, op, "the database refused a statement; its cause is in the log")
	}
	if disconnected(err) || errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return fault.Wrap(err, fault.Unavailable, op, "the database can't be reached, or the connection was lost; try again when it is back")
	}
	return fault.Wrap(err, fault.Internal, op, "a statement on the database failed; its cause is in the log")
}

// kinds are what a server reports, by the beginnings of its codes, the more special first.
var kinds = []struct {
	code     fault.Code
	message  string
	prefixes []string
}{
	{fault.Unavailable, "the database's statement timeout passed; try again, or give it more time", []string{"57014", "25P03", "55P03"}},
	{fault.Unavailable, "the database is starting, stopping or failing over; try again", []string{"57P", "08", "25006"}},
	{fault.Unavailable, "there is no space left for the database; free some on its disk and try again: nothing was written", []string{"53100"}},
	{fault.Unavailable, "the database has no connection or memory left; allow it more, or give this process fewer (MaxConns)", []string{"53"}},
	{fault.Unavailable, "others write the same rows all the time; try again", []string{"40", uniqueViolation}},
	{fault.Unavailable, "the database does not let this user in; check user, password, database and pg_hba.conf", []string{"28", "3D000"}},
	{fault.Unavailable, "the store's user lacks a privilege that it needs; let the owner of the schema migrate it, or grant tenantry_app to the user", []string{insufficientPrivilege, "22023", "42704"}},
}

func closed(op string) error {
	return fault.New(fault.Unavailable, op, "the store is closed; open it again")
}

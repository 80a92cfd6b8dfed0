// Package fault holds the error codes of Tenantry and the one error type that carries them.
//
// Every error that leaves an exported function is, or wraps, an [*Error]. A [Code] is an error
// itself, so callers branch on it with [errors.Is] and never on a message:
//
//	if errors.Is(err, fault.VersionConflict) { … }
//
// An Error's Msg may be shown to the caller; its Err never leaves the process.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Code names a kind of failure, in the words of the HTTP contract. The zero Code is no failure.
type Code string

// The codes, grouped by the HTTP status that they answer with.
const (
	InvalidRequest Code = "invalid_request"
	InvalidKey     Code = "invalid_key"
	InvalidCursor  Code = "invalid_cursor"
	TenantConflict Code = "tenant_conflict"
	AlreadyExists  Code = "already_exists"

	Unauthenticated Code = "unauthenticated"
	TokenExpired    Code = "token_expired"

	TenantRequired  Code = "tenant_required"
	TenantMismatch  Code = "tenant_mismatch"
	TenantForbidden Code = "tenant_forbidden"
	TenantSuspended Code = "tenant_suspended"
	RoleRequired    Code = "role_required"
	NotAMember      Code = "not_a_member"

	NotFound         Code = "not_found"
	MethodNotAllowed Code = "method_not_allowed"
	NotAcceptable    Code = "not_acceptable"
	Timeout          Code = "timeout"

	VersionConflict     Code = "version_conflict"
	IdempotencyConflict Code = "idempotency_conflict"
	TenantNotPurged     Code = "tenant_not_purged"
	LastAdmin           Code = "last_admin"

	TooLarge             Code = "too_large"
	UnsupportedMediaType Code = "unsupported_media_type"

	ValidationFailed Code = "validation_failed"
	RateLimited      Code = "rate_limited"

	Internal    Code = "internal"
	Unavailable Code = "unavailable"
	Behind      Code = "behind"
)

// Error makes a Code usable with errors.Is.
func (c Code) Error() string { return string(c) }

// Field is one problem with one member of an input.
type Field struct {
	Field   string `json:"field"`   // dotted path, "attributes.price"
	Problem string `json:"problem"` // what is wrong and which form is expected
}

// Versions are the two sides of a version conflict. Actual is 0 where the record does not exist.
type Versions struct {
	Expected int64
	Actual   int64
}

// Error is a failure with its code. It is immutable once returned.
type Error struct {
	Code Code
	Op   string // the operation that failed, "command.PublishSync"
	Msg  string // safe to show: names the field, its form and what to do; no tenant's data
	Err  error  // the cause; for logs only

	Fields     []Field       // with ValidationFailed
	Versions   *Versions     // with VersionConflict
	RetryAfter time.Duration // with RateLimited and Unavailable; zero where unknown
	Limit      string        // with RateLimited: whose limit, "tenant"
	Status     int           // overrides the code's HTTP status; zero for the code's own
}

// New returns an Error without a cause. The message is formatted as by fmt.Sprintf.
func New(code Code, op, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, Msg: sprintf(format, args)}
}

// Wrap returns an Error with a cause. The message is formatted as by fmt.Sprintf and does not
// repeat the cause, which may hold what a caller must not see.
func Wrap(err error, code Code, op, format string, args ...any) *Error {
	return &Error{Code: code, Op: op, Msg: sprintf(format, args), Err: err}
}

func sprintf(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// Conflict returns the VersionConflict between an expected and the actual version of a record.
func Conflict(op string, expected, actual int64) *Error {
	e := New(VersionConflict, op, "version %d was expected, but the record is at version %d; read it again and retry", expected, actual)
	if actual == 0 {
		e.Msg = fmt.Sprintf("version %d was expected, but there is no such record; create it with version 0", expected)
	}
	e.Versions = &Versions{Expected: expected, Actual: actual}
	return e
}

// Invalid returns a ValidationFailed that names the fields.
func Invalid(op string, fields ...Field) *Error {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Field + ": " + f.Problem
	}
	e := New(ValidationFailed, op, "%s", strings.Join(names, "; "))
	e.Fields = fields
	return e
}

// Error returns "op: code: message: cause" without the parts that are empty. It is for logs; show Msg instead.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(string(e.Code))
	if e.Msg != "" {
		b.WriteString(": " + e.Msg)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the error's Code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// CodeOf returns the code of err: "" for nil, Internal for an error without a code.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return As(err).Code
}

// As returns err as an *Error. One without a code becomes Internal with the original as its cause; nil stays nil.
func As(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if c, ok := errors.AsType[Code](err); ok {
		return &Error{Code: c, Err: err}
	}
	return &Error{Code: Internal, Msg: "the request failed inside the server; its request ID finds the cause in the log", Err: err}
}

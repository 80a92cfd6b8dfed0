package fault_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
)

func TestACodeIsAnError(t *testing.T) {
	err := fmt.Errorf("handler: %w", fault.Wrap(io.ErrUnexpectedEOF, fault.Unavailable, "sqlite.Get", "the store is busy; retry in %d s", 2))
	if !errors.Is(err, fault.Unavailable) || errors.Is(err, fault.Internal) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if got := fault.CodeOf(err); got != fault.Unavailable {
		t.Errorf("code %s", got)
	}
	if got, want := err.Error(), "handler: sqlite.Get: unavailable: the store is busy; retry in 2 s: unexpected EOF"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	if got := (&fault.Error{Code: fault.NotFound}).Error(); got != "not_found" {
		t.Errorf("a bare error is %q", got)
	}
}

func TestAs(t *testing.T) {
	if fault.As(nil) != nil || fault.CodeOf(nil) != "" {
		t.Error("nil has a code")
	}
	plain := fault.As(context.Canceled)
	if plain.Code != fault.Internal || !errors.Is(plain, context.Canceled) || strings.Contains(plain.Msg, "canceled") {
		t.Errorf("an error without a code: %+v", plain)
	}
	if bare := fault.As(fmt.Errorf("x: %w", fault.LastAdmin)); bare.Code != fault.LastAdmin {
		t.Errorf("a bare code: %+v", bare)
	}
	inner := fault.New(fault.NotFound, "a", "b")
	if got := fault.As(fault.Wrap(inner, fault.Timeout, "c", "d")); got.Code != fault.Timeout {
		t.Errorf("the outermost code doesn't win: %v", got)
	}
}

func TestMessagesAreFormattedOnce(t *testing.T) {
	if got := fault.New(fault.InvalidKey, "op", "100% of %s").Msg; got != "100% of %s" {
		t.Errorf("a message without arguments is formatted: %q", got)
	}
	if got := fault.New(fault.InvalidKey, "op", "%s", "100%").Msg; got != "100%" {
		t.Errorf("%q", got)
	}
}

func TestConflict(t *testing.T) {
	e := fault.Conflict("command.Change", 3, 5)
	if diff := cmp.Diff(&fault.Versions{Expected: 3, Actual: 5}, e.Versions); diff != "" || !strings.Contains(e.Msg, "3") || !strings.Contains(e.Msg, "5") {
		t.Errorf("%s %s", e.Msg, diff)
	}
	missing := fault.Conflict("command.Change", 3, 0)
	if missing.Versions.Actual != 0 || !strings.Contains(missing.Msg, "no such record") {
		t.Errorf("%+v", missing)
	}
}

func TestInvalid(t *testing.T) {
	fields := []fault.Field{{Field: "name", Problem: "is missing"}, {Field: "attributes.price", Problem: "is 1 to 100%"}}
	e := fault.Invalid("op", fields...)
	if e.Msg != "name: is missing; attributes.price: is 1 to 100%" || cmp.Diff(fields, e.Fields) != "" || e.Code != fault.ValidationFailed {
		t.Errorf("%+v", e)
	}
}

// contract is the table of section 3 of the HTTP contract.
const contract = `
400 invalid_request invalid_key invalid_cursor tenant_conflict already_exists
401 unauthenticated token_expired
403 tenant_required tenant_mismatch tenant_forbidden tenant_suspended role_required not_a_member
404 not_found
405 method_not_allowed
406 not_acceptable
408 timeout
409 version_conflict idempotency_conflict tenant_not_purged last_admin
413 too_large
415 unsupported_media_type
422 validation_failed
429 rate_limited
500 internal
503 unavailable behind`

func TestStatuses(t *testing.T) {
	stated := map[fault.Code]bool{}
	for line := range strings.Lines(strings.TrimSpace(contract)) {
		words := strings.Fields(line)
		status, err := strconv.Atoi(words[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range words[1:] {
			code := fault.Code(word)
			stated[code] = true
			if got := code.HTTPStatus(); got != status {
				t.Errorf("%s answers %d; want %d", code, got, status)
			}
			if exit := code.ExitCode(); exit < 1 || exit > 6 {
				t.Errorf("%s exits with %d", code, exit)
			}
		}
	}
	for _, code := range fault.Codes() {
		if !stated[code] {
			t.Errorf("%s is not in the contract", code)
		}
	}
	if len(fault.Codes()) != len(stated) {
		t.Errorf("%d codes; the contract has %d", len(fault.Codes()), len(stated))
	}
	if unknown := fault.Code("nonsense"); unknown.HTTPStatus() != 500 || unknown.ExitCode() != 1 {
		t.Error("an unknown code")
	}
	e := fault.Conflict("op", 1, 2)
	e.Status = 412
	if e.HTTPStatus() != 412 || fault.New(fault.VersionConflict, "", "").HTTPStatus() != 409 {
		t.Error("an error's own status doesn't go before its code's")
	}
}

// Every constant of the type Code has its status: a new one without would answer 500.
func TestEveryCodeHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known, found := fault.Codes(), 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Code" {
			return true
		}
		found++
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(known, fault.Code(text)) {
			t.Errorf("%s has no status", spec.Names[0].Name)
		}
		return true
	})
	if found != len(known) {
		t.Errorf("%d constants, %d codes with a status", found, len(known))
	}
}

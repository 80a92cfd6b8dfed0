package storage_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

func cursors(t testing.TB, fill byte) *storage.Cursors {
	t.Helper()
	c, err := storage.NewCursors(bytes.Repeat([]byte{fill}, storage.CursorKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCursorRoundTrip(t *testing.T) {
	c, sc := cursors(t, 1), scopeOf("acme", scope.Full)
	for _, place := range []string{"", "1", "bob@example.com", "日本語", strings.Repeat("x", 512)} {
		text := c.Seal(sc, place, "list", "PRODUCT#acme", "")
		if got, err := c.Open(sc, text, "list", "PRODUCT#acme", ""); err != nil || got != place {
			t.Errorf("%q: %q, %v", place, got, err)
		}
		if len(place) > 4 && strings.Contains(text, place) {
			t.Errorf("%s shows its place %q", text, place)
		}
		if c.Seal(sc, place) == c.Seal(sc, place) {
			t.Error("two cursors are alike: the nonce repeats")
		}
	}
	if got, err := c.Open(sc, "", "list"); got != "" || err != nil {
		t.Errorf("no cursor: %q, %v", got, err)
	}
}

// TestCursorsAreOfOneLength has places in the change feed, however many digits they have.
func TestCursorsAreOfOneLength(t *testing.T) {
	c, sc := cursors(t, 1), scopeOf("acme", scope.Full)
	want := len(c.Seal(sc, "", "events"))
	for _, place := range []string{"1", "9999999", "9223372036854775807"} {
		if got := len(c.Seal(sc, place, "events")); got != want {
			t.Errorf("the cursor of %s has %d characters, and that of no place %d", place, got, want)
		}
	}
}

func TestACursorWorksNowhereElse(t *testing.T) {
	c := cursors(t, 1)
	born := time.Unix(1_700_000_000, 0)
	acme := func(born time.Time, user string, access scope.Access) scope.Scope {
		code, err := tenant.Parse("acme")
		if err != nil {
			t.Fatal(err)
		}
		return scope.New(code, access, born, &scope.Actor{UserID: user})
	}
	here := acme(born, "a", scope.Full)
	text := c.Seal(here, "place", "list", "PRODUCT#acme", "ab", "c")
	if got, err := c.Open(acme(born, "b", scope.Full), text, "list", "PRODUCT#acme", "ab", "c"); err != nil || got != "place" {
		t.Errorf("another user of the tenant: %q, %v", got, err)
	}
	for name, open := range map[string]func() (string, error){
		"another tenant": func() (string, error) {
			return c.Open(scopeOf("bravo", scope.Full), text, "list", "PRODUCT#acme", "ab", "c")
		},
		"a later tenant of the same code": func() (string, error) {
			return c.Open(acme(born.Add(time.Second), "a", scope.Full), text, "list", "PRODUCT#acme", "ab", "c")
		},
		"another query":          func() (string, error) { return c.Open(here, text, "list", "PRODUCT#acme", "ab", "d") },
		"less of the query":      func() (string, error) { return c.Open(here, text, "list", "PRODUCT#acme", "ab") },
		"parts divided anew":     func() (string, error) { return c.Open(here, text, "list", "PRODUCT#acme", "a", "bc") },
		"a query of another use": func() (string, error) { return c.Open(here, text, "history", "PRODUCT#acme", "ab", "c") },
		"another key":            func() (string, error) { return cursors(t, 2).Open(here, text, "list", "PRODUCT#acme", "ab", "c") },
	} {
		if got, err := open(); !errors.Is(err, fault.InvalidCursor) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for bit := range 8 {
			flipped := bytes.Clone(sealed)
			flipped[i] ^= 1 << bit
			if got, err := c.Open(here, base64.RawURLEncoding.EncodeToString(flipped), "list", "PRODUCT#acme", "ab", "c"); !errors.Is(err, fault.InvalidCursor) {
				t.Fatalf("byte %d, bit %d: %q, %v", i, bit, got, err)
			}
		}
	}
	for i := range text {
		for _, other := range []byte("A-_=~") {
			changed := []byte(text)
			changed[i] = other
			if _, err := c.Open(here, string(changed), "list", "PRODUCT#acme", "ab", "c"); string(changed) != text && !errors.Is(err, fault.InvalidCursor) {
				t.Fatalf("character %d as %c opens: %v", i, other, err)
			}
		}
	}
	for _, bad := range []string{" ", "x", "AAAA", text + "=", text + "A", text[1:], text[:len(text)-1], text + "\n", strings.ToUpper(text), strings.Repeat("A", 100_000)} {
		if got, err := c.Open(here, bad, "list", "PRODUCT#acme", "ab", "c"); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("%.60q: %q, %v", bad, got, err)
		}
	}
}

func TestCursorKeys(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33} {
		if _, err := storage.NewCursors(make([]byte, size)); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("a key of %d bytes: %v", size, err)
		}
	}
}

// FuzzCursor holds that no text opens but what was sealed.
func FuzzCursor(f *testing.F) {
	c, sc := cursors(f, 1), scopeOf("acme", scope.Full)
	sealed := c.Seal(sc, "place", "list")
	f.Add(sealed)
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add(sealed + "==")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := c.Open(sc, text, "list")
		switch {
		case err != nil:
			if !errors.Is(err, fault.InvalidCursor) || got != "" {
				t.Fatalf("%q: %q, %v", text, got, err)
			}
		case text != "" && (got != "place" || len(text) != len(sealed)): // every fuzzing process seals its own
			t.Fatalf("%q opens: %q", text, got)
		}
	})
}

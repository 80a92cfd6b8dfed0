package tenant_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

func TestParse(t *testing.T) {
	longest := strings.Repeat("a", tenant.MaxLength)
	for text, want := range map[string]string{
		"a": "a", "0": "0", "acme": "acme", "ACME": "acme", "Acme-2_B": "acme-2_b", "9999": "9999", "a-": "a-", "a_": "a_", "true": "true",
		longest: longest, "ISTANBUL": "istanbul", "COMMON": "common", "null": "null",
	} {
		if got, err := tenant.Parse(text); err != nil || got.String() != want || got.IsZero() {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "-", "_", "-a", "_a", "__proto__", ".", "..", "*", "%", "a b", " a", "a ", "a\n", "a#b", "a@b", "a/b", `a\b`, "a.b", "../a", "a:b", "a|b", "a,b", "a%23b",
		"\x00", "a\x00", "a\x7f", "\u212Ailo", "\u0130stanbul", "ıstanbul", "é", "bravo\u00a0", "bravo\u200b", "bra\u00advo", "\ufeffbravo", "bravo\u0301",
		"\uff19999", "\xff", strings.Repeat("a", tenant.MaxLength+1), strings.Repeat("a", 10_000),
	} {
		got, err := tenant.Parse(text)
		if !errors.Is(err, fault.InvalidKey) || !got.IsZero() {
			t.Errorf("%q: %v, %v; want %s", text, got, err, fault.InvalidKey)
		}
		if len(text) > 3 && err != nil && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats %q", text)
		}
	}
}

func TestSpecialCodes(t *testing.T) {
	parse := func(text string) tenant.Code {
		c, err := tenant.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if parse("COMMON") != tenant.Common() || parse("single") != tenant.Single() || !tenant.Common().IsCommon() || tenant.Single().IsCommon() {
		t.Error("common and single are not what their texts parse to")
	}
	for _, text := range []string{"common", "COMMON", "single", "system", "master", "admin", "all", "null", "undefined"} {
		if !parse(text).Reserved() {
			t.Errorf("%s can be created", text)
		}
	}
	if parse("acme").Reserved() || parse("common2").Reserved() || (tenant.Code{}).Reserved() {
		t.Error("an ordinary code is reserved")
	}
	if !(tenant.Code{}).IsZero() || (tenant.Code{}).String() != "" {
		t.Error("the zero code names a tenant")
	}
	codes := []tenant.Code{parse("b"), parse("a-b"), parse("a"), parse("9")}
	slices.SortFunc(codes, tenant.Code.Compare)
	if codes[0] != parse("9") || codes[1] != parse("a") || codes[2] != parse("a-b") || codes[3] != parse("b") {
		t.Errorf("order %v", codes)
	}
	text, err := json.Marshal(map[tenant.Code]tenant.Code{parse("a"): parse("b")})
	if err != nil || string(text) != `{"a":"b"}` {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}

var form = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// FuzzParse holds that a code has its form, that only letters' case differs from what was parsed, and that what is
// refused doesn't have the form.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"acme", "ACME", "-a", "\u212Ailo", "a#b", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lower := []byte(text)
		for i, c := range lower {
			if c >= 'A' && c <= 'Z' {
				lower[i] = c + 'a' - 'A'
			}
		}
		got, err := tenant.Parse(text)
		if err != nil {
			if !errors.Is(err, fault.InvalidKey) || form.Match(lower) && !strings.HasSuffix(text, "\n") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if got.String() != string(lower) || !form.MatchString(got.String()) {
			t.Fatalf("%q is %q", text, got)
		}
		if again, err := tenant.Parse(got.String()); err != nil || again != got {
			t.Fatalf("%q is %v, and that %v, %v", text, got, again, err)
		}
	})
}

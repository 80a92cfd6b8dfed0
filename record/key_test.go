package record_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

func scopeOf(t testing.TB, code string) scope.Scope {
	t.Helper()
	parsed, err := tenant.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	return scope.New(parsed, scope.Full, time.Time{}, &scope.Actor{UserID: "tester"})
}

var product = record.MustEntityType("PRODUCT")

func TestParseEntityType(t *testing.T) {
	for _, text := range []string{"A", "PRODUCT", "ORDER_ITEM", "A9", "Z_", "A" + strings.Repeat("B", 62)} {
		if got, err := record.ParseEntityType(text); err != nil || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "product", "Product", "9A", "_A", "A-B", "A B", "A#B", "A@", "Ä", "\u212a", "A\n", "A" + strings.Repeat("B", 63)} {
		if got, err := record.ParseEntityType(text); !errors.Is(err, fault.InvalidKey) || !got.IsZero() {
			t.Errorf("%q: %v, %v; want %s", text, got, err, fault.InvalidKey)
		}
	}
}

func TestSplitPK(t *testing.T) {
	segment := strings.Repeat("s", 64)
	tests := []struct{ pk, entity, tenant, rest string }{
		{"PRODUCT#acme", "PRODUCT", "acme", ""},
		{"PRODUCT#ACME", "PRODUCT", "acme", ""},
		{"PRODUCT#9999", "PRODUCT", "9999", ""},
		{"LOG#acme#2026-11", "LOG", "acme", "2026-11"},
		{"LOG#acme#Other#c", "LOG", "acme", "Other#c"}, // the tenant is the second segment, never the last
		{"LOG#acme#" + segment + "#b#c", "LOG", "acme", segment + "#b#c"},
		{"PRODUCT#COMMON", "PRODUCT", "common", ""},
	}
	for _, tt := range tests {
		entity, code, rest, err := record.SplitPK(tt.pk)
		if err != nil || entity.String() != tt.entity || code.String() != tt.tenant || rest != tt.rest {
			t.Errorf("SplitPK(%q) = %v, %v, %q, %v", tt.pk, entity, code, rest, err)
		}
	}
	for _, pk := range []string{
		"", "PRODUCT", "PRODUCT#", "#acme", "##acme", "PRODUCT##acme", "PRODUCT#acme#", "PRODUCT#acme##a", "PRODUCT #acme", "PRODUCT# acme",
		"PRODUCT#acme\n", "PRODUCT\x00#acme", "product#acme", "PRODUCT#a b", "PRODUCT#a@1", "PRODUCT#-a", "PRODUCT#\u212Ailo",
		"PRODUCT#acme#a#b#c#d", "PRODUCT#acme#" + segment + "s", "PRODUCT#acme#a@1", "PRODUCT#acme#a b", "PRODUCT#acme#é",
		"PRODUCT%23acme", "PRODUCT#" + strings.Repeat("a", 64),
	} {
		if entity, code, rest, err := record.SplitPK(pk); !errors.Is(err, fault.InvalidKey) || !entity.IsZero() || !code.IsZero() || rest != "" {
			t.Errorf("SplitPK(%q) = %v, %v, %q, %v; want %s", pk, entity, code, rest, err, fault.InvalidKey)
		}
	}
}

func TestCheckSortKey(t *testing.T) {
	for _, sk := range []string{
		"a", "1", "#", "@", "ORDER_ITEM#o1#001", "bob@example.com", "bob@", "a@1b", "a@1@", "@a", "日本語", "emoji 👩‍👩‍👧", " leading", "1@a1",
		strings.Repeat("x", 512), strings.Repeat("é", 256), "@１", // full-width digits are no version
	} {
		if err := record.CheckSortKey(sk); err != nil {
			t.Errorf("%q: %v", sk, err)
		}
	}
	for _, sk := range []string{
		"", "a@1", "@0", "bob@example.com@12", "a@@9", strings.Repeat("x", 513), "a\x00", "a\n", "a\x7f", "a\tb", "\xff", "a\xc0\xae", "\xed\xa0\x80",
		"\u202Eabc", "\u200b", "\ufeffa", "a\u00a0b", "\u2028", "\u00ad",
	} {
		if err := record.CheckSortKey(sk); !errors.Is(err, fault.InvalidKey) {
			t.Errorf("%q: %v; want %s", sk, err, fault.InvalidKey)
		}
	}
}

func TestKeysOfAScope(t *testing.T) {
	acme := scopeOf(t, "acme")
	key, err := record.NewKey(acme, product, "bob@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if key.PK() != "PRODUCT#acme" || key.SK() != "bob@example.com" || key.ID() != "PRODUCT#acme#bob@example.com" ||
		key.Type() != product || key.Tenant() != acme.Tenant() || key.Segments() != "" {
		t.Errorf("key %+v", key)
	}
	log, err := record.NewPartition(acme, record.MustEntityType("LOG"), "2026", "11", "Ab_-9")
	if err != nil || log.PK() != "LOG#acme#2026#11#Ab_-9" || log.Segments() != "2026#11#Ab_-9" {
		t.Errorf("partition %q, %q, %v", log.PK(), log.Segments(), err)
	}
	if got := record.VersionedSK("bob@example.com", 7); got != "bob@example.com@7" {
		t.Errorf("VersionedSK = %q", got)
	}

	refused := []struct {
		name string
		make func() error
		want fault.Code
	}{
		{"zero scope", func() error { _, err := record.NewPartition(scope.Scope{}, product); return err }, fault.TenantRequired},
		{"zero scope, key", func() error { _, err := record.NewKey(scope.Scope{}, product, "a"); return err }, fault.TenantRequired},
		{"zero scope, parse", func() error { _, err := record.ParseKey(scope.Scope{}, "PRODUCT#acme", "a"); return err }, fault.TenantRequired},
		{"zero type", func() error { _, err := record.NewPartition(acme, record.EntityType{}); return err }, fault.InvalidKey},
		{"zero partition", func() error { _, err := record.Partition{}.Key("a"); return err }, fault.InvalidKey},
		{"empty segment", func() error { _, err := record.NewPartition(acme, product, ""); return err }, fault.InvalidKey},
		{"segment with #", func() error { _, err := record.NewPartition(acme, product, "a#b"); return err }, fault.InvalidKey},
		{"four segments", func() error { _, err := record.NewPartition(acme, product, "a", "b", "c", "d"); return err }, fault.InvalidKey},
		{"bad sort key", func() error { _, err := record.NewKey(acme, product, "a@1"); return err }, fault.InvalidKey},
		{"foreign tenant", func() error { _, err := record.ParseKey(acme, "PRODUCT#bravo", "a"); return err }, fault.TenantForbidden},
		{"neighbour", func() error { _, err := record.ParseKey(acme, "PRODUCT#acme2", "a"); return err }, fault.TenantForbidden},
		{"own tenant last", func() error { _, err := record.ParseKey(acme, "PRODUCT#bravo#acme", "a"); return err }, fault.TenantForbidden},
	}
	for _, tt := range refused {
		if err := tt.make(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %s", tt.name, err, tt.want)
		}
	}
	if upper, err := record.ParseKey(acme, "PRODUCT#ACME#x", "a"); err != nil || upper.PK() != "PRODUCT#acme#x" {
		t.Errorf("upper case: %q, %v", upper.PK(), err)
	}
}

func TestTenantOfID(t *testing.T) {
	for id, want := range map[string]string{"PRODUCT#acme#1": "acme", "PRODUCT#ACME#1#2": "acme", "LOG#acme#2026#x@1": "acme", "A#b##": "b"} {
		if got, err := record.TenantOfID(id); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %s", id, got, err, want)
		}
	}
	for _, id := range []string{"", "PRODUCT", "PRODUCT#acme", "PRODUCT#acme#", "#acme#1", "PRODUCT##1", "product#acme#1", "PRODUCT#a b#1"} {
		if got, err := record.TenantOfID(id); !errors.Is(err, fault.InvalidKey) || !got.IsZero() {
			t.Errorf("%q: %v, %v; want %s", id, got, err, fault.InvalidKey)
		}
	}
}

// FuzzKeys holds that a PK splits one way only, that what parses is what it parses to, and that no accepted part can be
// mistaken for a separator or a version.
func FuzzKeys(f *testing.F) {
	f.Add("PRODUCT#acme", "1")
	f.Add("LOG#ACME#2026-11", "ORDER_ITEM#o1#001")
	f.Add("PRODUCT#acme#acme", "bob@example.com")
	f.Add("PRODUCT#\u212Ailo", "a@1")
	f.Fuzz(func(t *testing.T, pk, sk string) {
		entity, code, rest, err := record.SplitPK(pk)
		if err != nil {
			if !errors.Is(err, fault.InvalidKey) {
				t.Fatalf("SplitPK(%q): %v", pk, err)
			}
			if _, err := record.ParseKey(scopeOf(t, "acme"), pk, sk); err == nil {
				t.Fatalf("ParseKey accepts the pk %q, which SplitPK refuses", pk)
			}
			return
		}
		parts := strings.Split(pk, "#")
		if parts[0] != entity.String() || !strings.EqualFold(parts[1], code.String()) || strings.Join(parts[2:], "#") != rest {
			t.Fatalf("SplitPK(%q) = %v, %v, %q", pk, entity, code, rest)
		}
		if strings.ContainsAny(entity.String()+code.String(), "#@") || strings.Contains(rest, "@") {
			t.Fatalf("SplitPK(%q) accepts a separator inside a part", pk)
		}
		if _, err := record.ParseKey(scopeOf(t, "stranger"), pk, sk); err == nil && code.String() != "stranger" {
			t.Fatalf("another tenant's scope parses %q", pk)
		}
		key, err := record.ParseKey(scopeOf(t, code.String()), pk, sk)
		if err != nil {
			if !errors.Is(err, fault.InvalidKey) || record.CheckSortKey(sk) == nil {
				t.Fatalf("ParseKey(%q, %q): %v", pk, sk, err)
			}
			return
		}
		if key.SK() != sk || key.Segments() != rest || key.Tenant() != code || key.Type() != entity {
			t.Fatalf("ParseKey(%q, %q) = %+v", pk, sk, key)
		}
		again, err := record.ParseKey(scopeOf(t, code.String()), key.PK(), key.SK())
		if err != nil || again != key {
			t.Fatalf("%q, %q parse to %+v and that to %+v, %v", pk, sk, key, again, err)
		}
		if owner, err := record.TenantOfID(key.ID()); err != nil || owner != code {
			t.Fatalf("TenantOfID(%q) = %v, %v", key.ID(), owner, err)
		}
		versioned := record.VersionedSK(sk, 7)
		if at := strings.LastIndex(versioned, "@"); versioned[:at] != sk || record.CheckSortKey(versioned) == nil {
			t.Fatalf("%q can be mistaken for a sort key", versioned)
		}
	})
}

package auth_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// builtin returns a Verifier that trusts the built-in issuer, with fuzzKey, and the external one.
func builtin(t testing.TB, change func(*auth.Config)) *auth.Verifier {
	t.Helper()
	dir := t.TempDir()
	text := object{
		"active": "k1", "cursorKey": base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"keys": []any{jose.JSONWebKey{Key: fuzzKey, KeyID: "k1", Algorithm: "EdDSA", Use: "sig"}},
	}.json()
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k := openKeyring(t, dir)
	return verifier(t, func(cfg *auth.Config) {
		cfg.Keyring = k
		if change != nil {
			change(cfg)
		}
	})
}

func builtinClaims() object {
	return goodClaims().with(object{"iss": auth.BuiltinIssuer, "aud": auth.BuiltinIssuer, "custom:roles": `[{"tenant":"alpha","role":"user"}]`})
}

// builtinToken returns a token that the built-in issuer signed, as Issue never would.
func builtinToken(claims object) string { return fuzzToken(builtinClaims().with(claims).json()) }

func goodAct() object { return object{"iss": issuerName, "sub": "admin-1", "jti": "t9"} }

func TestAct(t *testing.T) {
	k := newKeyring(t)
	v := verifier(t, func(cfg *auth.Config) { cfg.Keyring = k })
	for _, want := range []auth.Act{
		{Issuer: issuerName, Subject: "admin-1", TokenID: "t9"},
		{Issuer: auth.BuiltinIssuer, Subject: "operator"},
	} {
		p := admit(t, v, issue(t, k, auth.Claims{Subject: "s", Epoch: "e1 #~", Act: want, Tenant: code("alpha"), Roles: []auth.RoleGrant{{Tenant: code("alpha"), Role: "user"}}}))
		if got, ok := p.Act(); !ok || got != want || p.Epoch() != "e1 #~" || p.Subject() != "s" {
			t.Errorf("Act = %+v, %v, Epoch = %q; want %+v", got, ok, p.Epoch(), want)
		}
	}
	p := admit(t, v, issue(t, k, auth.Claims{Subject: "s"}))
	if got, ok := p.Act(); ok || got != (auth.Act{}) || p.Epoch() != "" {
		t.Errorf("without: Act = %+v, %v, Epoch = %q", got, ok, p.Epoch())
	}
	var zero auth.Principal
	if _, ok := zero.Act(); ok || zero.Epoch() != "" {
		t.Error("the zero Principal has an actor or an epoch")
	}
	if n := testing.AllocsPerRun(100, func() { p.Act(); p.Epoch() }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestIssueRefusesActors(t *testing.T) {
	k := must(auth.NewKeyring(auth.KeyringOptions{CrossTenantRoles: must(auth.ParseCrossTenantRoles("auditor"))}))
	act := auth.Act{Issuer: issuerName, Subject: "admin-1", TokenID: "t9"}
	for name, c := range map[string]struct {
		claims auth.Claims
		field  string
	}{
		"no issuer":              {auth.Claims{Act: auth.Act{Subject: "a"}}, "act"},
		"no subject":             {auth.Claims{Act: auth.Act{Issuer: "i"}}, "act"},
		"token ID alone":         {auth.Claims{Act: auth.Act{TokenID: "t"}}, "act"},
		"subject with #":         {auth.Claims{Act: auth.Act{Issuer: "i", Subject: "a#b"}}, "act"},
		"long issuer":            {auth.Claims{Act: auth.Act{Issuer: repeat("i", 256), Subject: "a"}}, "act"},
		"token ID not printable": {auth.Claims{Act: auth.Act{Issuer: "i", Subject: "a", TokenID: "\n"}}, "act"},
		"system_admin":           {auth.Claims{Act: act, Role: "SYSTEM_ADMIN"}, "act"},
		"cross-tenant role":      {auth.Claims{Act: act, Role: "auditor"}, "act"},
		"system_admin in a list": {auth.Claims{Act: act, Roles: []auth.RoleGrant{{Role: "user"}, {Role: "System_Admin"}}}, "act"},
		"long epoch":             {auth.Claims{Epoch: repeat("e", 65)}, "epoch"},
		"epoch not ASCII":        {auth.Claims{Epoch: "\u00e9"}, "epoch"},
		"epoch with a newline":   {auth.Claims{Epoch: "a\n"}, "epoch"},
	} {
		t.Run(name, func(t *testing.T) {
			c.claims.Subject = "s"
			tok, err := k.Issue(c.claims)
			if tok != "" || !errors.Is(err, fault.ValidationFailed) {
				t.Fatalf("Issue = %q, %v; want fault.ValidationFailed", tok, err)
			}
			if !slices.ContainsFunc(fault.As(err).Fields, func(f fault.Field) bool { return f.Field == c.field }) {
				t.Errorf("Fields = %v, want %s", fault.As(err).Fields, c.field)
			}
		})
	}
	issue(t, k, auth.Claims{Subject: "s", Act: act, Role: "user", Epoch: repeat("~", 64)})
	issue(t, k, auth.Claims{Subject: "s", Role: "auditor", Epoch: " "})
}

func TestActForms(t *testing.T) {
	v := builtin(t, func(cfg *auth.Config) { cfg.CrossTenantRoles = must(auth.ParseCrossTenantRoles("auditor")) })
	var attacks []attack
	act := func(name string, value any) {
		attacks = append(attacks, attack{name, builtinToken(object{"act": value}), "act"})
	}
	act("a string", issuerName)
	act("a string that is JSON", goodAct().json())
	act("an array", []any{goodAct()})
	act("null", nil)
	act("a number", 1)
	act("true", true)
	act("empty", object{})
	act("nested", goodAct().with(object{"act": goodAct()}))
	act("nested null", goodAct().with(object{"act": nil}))
	act("an unknown member", goodAct().with(object{"role": "system_admin"}))
	act("a member in other letters", goodAct().with(object{"Sub": "x"}))
	act("a member with an empty name", goodAct().with(object{"": "x"}))
	act("without issuer", goodAct().with(object{"iss": absent}))
	act("without subject", goodAct().with(object{"sub": absent}))
	act("an issuer that is not configured", goodAct().with(object{"iss": "https://gone.example"}))
	for member, values := range map[string][]any{
		"iss": {"", 1, nil, []string{issuerName}, "a\nb", repeat("i", 256)},
		"sub": {"", 1, nil, "a#b", "caf\u00e9", repeat("s", 256), object{}},
		"jti": {1, nil, "\u202e", repeat("t", 256), []string{}},
	} {
		for _, value := range values {
			act(member, goodAct().with(object{member: value}))
		}
	}
	both := func(name string, claims object) {
		attacks = append(attacks, attack{name, builtinToken(claims.with(object{"act": goodAct()})), "act"})
	}
	both("with system_admin", object{"custom:role": "SYSTEM_ADMIN"})
	both("with a configured cross-tenant role", object{"custom:role": "Auditor"})
	both("with system_admin everywhere", object{"custom:roles": `[{"role":"system_admin"}]`})
	both("with system_admin where it would not count", object{"custom:roles": `[{"tenant":"alpha","role":"system_admin"}]`})
	for name, members := range map[string]string{
		"subject twice":          `"iss":"tenantry","sub":"a","sub":"b"`,
		"subject twice, escaped": `"iss":"tenantry","sub":"a","s\u0075b":"b"`,
		"actor twice":            `"iss":"tenantry","sub":"a"},"act":{"iss":"tenantry","sub":"b"`,
	} { // no object with distinct names: refused before anything in it is read
		payload := builtinClaims().json()
		attacks = append(attacks, attack{name, fuzzToken(payload[:len(payload)-1] + `,"act":{` + members + `}}`), "form"})
	}
	for _, epoch := range []any{"", repeat("e", 65), repeat("e", 10<<10), "a\nb", "caf\u00e9", "\x7f", 1, nil, []string{"e"}, object{"e": 1}} {
		attacks = append(attacks, attack{"epoch", builtinToken(object{"custom:epoch": epoch}), "custom:epoch"})
	}
	refuseAll(t, v, builtinToken(object{"act": goodAct(), "custom:epoch": repeat("e", 64)}), attacks)
	admit(t, v, builtinToken(object{"act": goodAct().with(object{"jti": absent})}))
}

// TestActOfOthers takes act and an epoch of an external issuer, which say nothing, whatever their form.
func TestActOfOthers(t *testing.T) {
	v := builtin(t, nil)
	for _, claims := range []object{
		{"act": goodAct(), "custom:epoch": "e1"},
		{"act": goodAct(), "custom:role": "system_admin"},
		{"act": "x", "custom:epoch": 1},
		{"act": []any{goodAct()}, "custom:epoch": repeat("e", 10<<10)},
		{"act": goodAct().with(object{"act": goodAct()}), "custom:epoch": nil},
	} {
		p := admit(t, v, token(nil, claims))
		if act, ok := p.Act(); ok || act != (auth.Act{}) || p.Epoch() != "" {
			t.Errorf("%v: Act = %+v, Epoch = %q, want none", claims, act, p.Epoch())
		}
	}
	k := newKeyring(t) // another installation's tokens are external too
	v = verifier(t, func(cfg *auth.Config) {
		cfg.Issuers = []auth.Issuer{{Name: auth.BuiltinIssuer, Audience: auth.BuiltinIssuer, Keys: k}}
	})
	p := admit(t, v, issue(t, k, auth.Claims{Subject: "s", Epoch: "e1", Act: auth.Act{Issuer: issuerName, Subject: "a"}}))
	if _, ok := p.Act(); ok || p.Epoch() != "" {
		t.Error("another installation's token has an actor or an epoch here")
	}
}

// TestBuiltinAlgorithms holds the built-in issuer to Ed25519 by its own keys, of which the public halves are known.
func TestBuiltinAlgorithms(t *testing.T) {
	v := builtin(t, nil)
	with := func(header object, key any) string {
		return sign(goodHeader().with(object{"alg": "EdDSA"}).with(header).json(), builtinClaims().with(object{"act": goodAct()}).json(), key)
	}
	public := []byte(fuzzKey.Public().(ed25519.PublicKey))
	refuseAll(t, v, with(nil, fuzzKey), []attack{
		{"HS256 with the public key", with(object{"alg": "HS256"}, public), "alg"},
		{"EdDSA with the public key as a secret", with(nil, public), "signature"},
		{"RS256 by the external issuer's key", with(object{"alg": "RS256"}, fixtures().rsa), "alg"},
		{"the external issuer's key", with(nil, fixtures().rsa), "signature"},
		{"none", with(object{"alg": "none"}, fuzzKey), "alg"},
		{"a key of nobody", with(object{"kid": "k2"}, fixtures().ed), "kid"},
		{"another key under its kid", with(nil, fixtures().ed), "signature"},
	})
}

var epochForm = regexp.MustCompile(`^[ -~]{1,64}$`)

// FuzzAct compares act and the epoch with a reading of them that is slower and simpler.
func FuzzAct(f *testing.F) {
	good := goodAct().json()
	for _, act := range []string{
		good, `"x"`, `[` + good + `]`, `null`, `{}`, `{"iss":"tenantry","sub":"a"}`, `{"iss":"tenantry","sub":"a","act":` + good + `}`,
		`{"iss":"tenantry","sub":"a","sub":"b"}`, `{"iss":"tenantry","sub":"a","s\u0075b":"b"}`, `{"iss":"gone","sub":"a"}`, `{"iss":"tenantry","sub":"a"},"custom:role":"system_admin"`,
	} {
		f.Add(act, `"e1"`)
	}
	f.Add(good, `"`+repeat("e", 10<<10)+`"`)
	f.Add(good, `""`)
	f.Add(good, `"\n"`)
	f.Add(good, `1`)
	v := builtin(f, nil)
	base := builtinClaims().json()
	f.Fuzz(func(t *testing.T, act, epoch string) {
		payload := base[:len(base)-1] + `,"act":` + act + `,"custom:epoch":` + epoch + `}`
		p, err := v.Verify(t.Context(), fuzzToken(payload))
		if err != nil {
			return
		}
		var claims struct {
			Act   map[string]string `json:"act"`
			Epoch string            `json:"custom:epoch"`
		}
		if err := json.Unmarshal([]byte(payload), &claims); err != nil {
			t.Fatalf("claims that passed are no object of strings: %v", err)
		}
		got, ok := p.Act()
		want := map[string]string{"iss": got.Issuer, "sub": got.Subject}
		if got.TokenID != "" || maps.Equal(claims.Act, map[string]string{"iss": got.Issuer, "sub": got.Subject, "jti": ""}) {
			want["jti"] = got.TokenID
		}
		if diff := cmp.Diff(want, claims.Act); diff != "" || !ok || !subjectForm.MatchString(got.Subject) || got.Issuer != issuerName && got.Issuer != auth.BuiltinIssuer {
			t.Errorf("act %+v, %v: %s", got, ok, diff)
		}
		if p.Epoch() != claims.Epoch || !epochForm.MatchString(p.Epoch()) {
			t.Errorf("epoch %q of %q", p.Epoch(), claims.Epoch)
		}
		if role, cross := p.CrossTenantRole(); cross {
			t.Errorf("an actor beside the cross-tenant role %q", role)
		}
	})
}

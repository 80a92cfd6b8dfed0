package auth_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

func openKeyring(t testing.TB, dir string) *auth.Keyring {
	t.Helper()
	k, err := auth.OpenKeyring(dir, auth.KeyringOptions{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKeyring(t testing.TB) *auth.Keyring {
	t.Helper()
	k, err := auth.NewKeyring(auth.KeyringOptions{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func issue(t testing.TB, k *auth.Keyring, c auth.Claims) string {
	t.Helper()
	tok, err := k.Issue(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestIssuedTokens(t *testing.T) {
	k := newKeyring(t)
	v := verifier(t, func(cfg *auth.Config) { cfg.Keyring = k })
	p := admit(t, v, issue(t, k, auth.Claims{
		Subject: "user-1", Tenant: code("alpha"), UserCode: "9999#ann", Email: "ann@example.com", EmailVerified: true, TTL: 90 * time.Second,
		Role: "Viewer", Roles: []auth.RoleGrant{{Role: "user"}, {Tenant: code("alpha"), Role: "ADMIN"}},
		Groups: []auth.GroupGrant{{Tenant: code("alpha"), Groups: []string{"sales"}}, {Groups: []string{"all"}}},
	}))
	want := rights{InAlpha: []string{"admin"}, InBravo: []string{"viewer", "user"}, GroupsInAlpha: []string{"sales", "all"}}
	if diff := cmp.Diff(want, rightsOf(p)); diff != "" {
		t.Error(diff)
	}
	if p.Issuer() != auth.BuiltinIssuer || p.External() || p.Subject() != "user-1" || p.UserCode() != "9999#ann" || p.Tenant() != code("alpha") || !p.EmailVerified() ||
		!p.IssuedAt().Equal(start) || !p.ExpiresAt().Equal(start.Add(90*time.Second)) || len(p.TokenID()) < 26 {
		t.Errorf("unexpected principal %+v", p)
	}
	least := admit(t, v, issue(t, k, auth.Claims{Subject: "s"}))
	if least.UserCode() != "s" || !least.Tenant().IsZero() || !least.ExpiresAt().Equal(start.Add(time.Hour)) || least.TokenID() == p.TokenID() {
		t.Errorf("unexpected principal %+v", least)
	}
	admin := admit(t, v, issue(t, k, auth.Claims{Subject: "sa", Role: auth.SystemAdmin}))
	if role, ok := admin.CrossTenantRole(); !ok || role != auth.SystemAdmin {
		t.Errorf("cross-tenant role %q, %v", role, ok)
	}

	another := newKeyring(t)
	if _, err := v.Verify(t.Context(), issue(t, another, auth.Claims{Subject: "s"})); auth.ReasonOf(err) != "kid" {
		t.Errorf("a token of another keyring: %v", err)
	}
}

func TestIssueRefuses(t *testing.T) {
	k, err := auth.NewKeyring(auth.KeyringOptions{CrossTenantRoles: must(auth.ParseCrossTenantRoles("auditor"))})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*auth.Claims)
		field  string
	}{
		"no subject":           {func(c *auth.Claims) { c.Subject = "" }, "subject"},
		"subject with #":       {func(c *auth.Claims) { c.Subject = "a#b" }, "subject"},
		"long subject":         {func(c *auth.Claims) { c.Subject = repeat("s", 256) }, "subject"},
		"user code":            {func(c *auth.Claims) { c.UserCode = "a\nb" }, "userCode"},
		"long user code":       {func(c *auth.Claims) { c.UserCode = repeat("u", 256) }, "userCode"},
		"user code not UTF-8":  {func(c *auth.Claims) { c.UserCode = "\xff" }, "userCode"},
		"email":                {func(c *auth.Claims) { c.Email = "a\nb" }, "email"},
		"origin":               {func(c *auth.Claims) { c.Origin = "\xff" }, "origin"},
		"token ID":             {func(c *auth.Claims) { c.TokenID = "\xff" }, "tokenId"},
		"role":                 {func(c *auth.Claims) { c.Role = "no role" }, "role"},
		"role of an entry":     {func(c *auth.Claims) { c.Roles = []auth.RoleGrant{{Role: "user"}, {Role: ""}} }, "roles[1]"},
		"system_admin bound":   {func(c *auth.Claims) { c.Roles = []auth.RoleGrant{{Tenant: code("alpha"), Role: "SYSTEM_ADMIN"}} }, "roles[0]"},
		"cross-tenant bound":   {func(c *auth.Claims) { c.Roles = []auth.RoleGrant{{Tenant: code("alpha"), Role: "auditor"}} }, "roles[0]"},
		"group":                {func(c *auth.Claims) { c.Groups = []auth.GroupGrant{{Groups: []string{"a", ""}}} }, "groups[0]"},
		"too many roles":       {func(c *auth.Claims) { c.Roles = make([]auth.RoleGrant, 1001) }, "roles"},
		"too many groups":      {func(c *auth.Claims) { c.Groups = make([]auth.GroupGrant, 1001) }, "groups"},
		"too long for a token": {func(c *auth.Claims) { c.Groups = []auth.GroupGrant{{Groups: slicesRepeat(repeat("g", 200), 100)}} }, "roles"},
		"negative TTL":         {func(c *auth.Claims) { c.TTL = -time.Hour }, "ttl"},
		"TTL below a second":   {func(c *auth.Claims) { c.TTL = time.Millisecond }, "ttl"},
	} {
		t.Run(name, func(t *testing.T) {
			claims := auth.Claims{Subject: "user-1", Role: "auditor", Roles: []auth.RoleGrant{{Role: auth.SystemAdmin}}}
			issue(t, k, claims) // the control
			c.change(&claims)
			tok, err := k.Issue(claims)
			if tok != "" || !errors.Is(err, fault.ValidationFailed) {
				t.Fatalf("Issue = %q, %v; want fault.ValidationFailed", tok, err)
			}
			for _, f := range fault.As(err).Fields {
				if f.Field == c.field {
					return
				}
			}
			t.Errorf("Fields = %v, want %s", fault.As(err).Fields, c.field)
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func slicesRepeat(text string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = text
	}
	return list
}

func TestBlankNames(t *testing.T) {
	for _, opts := range []auth.KeyringOptions{{Issuer: " "}, {Audience: "\t"}} {
		if _, err := auth.NewKeyring(opts); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("NewKeyring(%+v) = %v, want fault.InvalidRequest", opts, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	k := newKeyring(t)
	v := verifier(t, func(cfg *auth.Config) {
		cfg.Keyring = k
		cfg.Issuers[0].Tenants, cfg.Issuers[0].CrossTenant = []tenant.Code{code("alpha")}, new(false)
	})
	user := admit(t, v, token(nil, nil))
	p := admit(t, v, issue(t, k, auth.Claims{Subject: user.Subject(), Origin: user.Issuer(), Tenant: code("alpha"), Role: auth.SystemAdmin, Roles: []auth.RoleGrant{{Role: "user"}}}))
	if p.Issuer() != user.Issuer() || p.TokenIssuer() != auth.BuiltinIssuer || p.External() {
		t.Errorf("issuer %q, token issuer %q, external %v", p.Issuer(), p.TokenIssuer(), p.External())
	}
	if _, ok := p.CrossTenantRole(); ok || p.MayAssert(code("bravo")) || p.HasRole(code("alpha"), auth.SystemAdmin) || !p.HasRole(code("alpha"), "user") {
		t.Error("a token from switching has rights that its origin may not assert")
	}
	if _, err := v.Verify(t.Context(), issue(t, k, auth.Claims{Subject: "s", Origin: "https://gone.example"})); auth.ReasonOf(err) != "idp" {
		t.Errorf("an origin that is not configured: %v", err)
	}
	for _, idp := range []any{auth.BuiltinIssuer, "https://gone.example", 17} { // of an external issuer it says nothing
		if got := admit(t, v, token(nil, object{"idp": idp})).Issuer(); got != issuerName {
			t.Errorf("idp %v makes the issuer %q", idp, got)
		}
	}
}

func TestKeyringFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := openKeyring(t, dir)
	path := filepath.Join(dir, "keys.json")
	for name, want := range map[string]os.FileMode{dir: 0o700, path: 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if entries := must(os.ReadDir(dir)); len(entries) != 1 {
		t.Errorf("the directory holds %v, want keys.json alone", entries)
	}

	again := openKeyring(t, dir)
	v := verifier(t, func(cfg *auth.Config) { cfg.Keyring = again })
	admit(t, v, issue(t, first, auth.Claims{Subject: "s"}))
	if string(first.CursorKey()) != string(again.CursorKey()) || len(first.CursorKey()) != 32 {
		t.Error("the cursor key did not survive")
	}
	if other := openKeyring(t, t.TempDir()); string(other.CursorKey()) == string(first.CursorKey()) {
		t.Error("two installations share a cursor key")
	}
	again.CursorKey()[0]++
	again.JWKS()[0]++
	if again.CursorKey()[0] != first.CursorKey()[0] || again.JWKS()[0] != first.JWKS()[0] {
		t.Error("a caller changed the keyring")
	}

	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.OpenKeyring(dir, auth.KeyringOptions{}); !errors.Is(err, fault.InvalidRequest) || !strings.Contains(fault.As(err).Msg, "chmod 600") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func TestBadKeyringFiles(t *testing.T) {
	dir := t.TempDir()
	openKeyring(t, dir)
	path := filepath.Join(dir, "keys.json")
	good := string(must(os.ReadFile(path)))
	change := func(f func(map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(good), &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		return string(must(json.Marshal(m)))
	}
	rsaKey := must(json.Marshal(jose.JSONWebKey{Key: fixtures().rsa, KeyID: "k1"}))
	for name, text := range map[string]string{
		"empty":            "",
		"cut":              good[:len(good)/2],
		"trailing data":    good + "{}",
		"no keys":          change(func(m map[string]any) { m["keys"] = []any{} }),
		"active is absent": change(func(m map[string]any) { m["active"] = "other" }),
		"short cursor key": change(func(m map[string]any) { m["cursorKey"] = "c2hvcnQ=" }),
		"no cursor key":    change(func(m map[string]any) { delete(m, "cursorKey") }),
		"public key":       change(func(m map[string]any) { delete(m["keys"].([]any)[0].(map[string]any), "d") }),
		"RSA key":          change(func(m map[string]any) { m["keys"] = []any{json.RawMessage(rsaKey)} }),
	} {
		t.Run(name, func(t *testing.T) {
			replace(t, path, text)
			if _, err := auth.OpenKeyring(dir, auth.KeyringOptions{}); !errors.Is(err, fault.Internal) || !strings.Contains(fault.As(err).Msg, path) {
				t.Errorf("OpenKeyring = %v; want fault.Internal that names the file", err)
			}
			if got := string(must(os.ReadFile(path))); got != text {
				t.Error("the file was replaced")
			}
		})
	}
	replace(t, path, good)
	openKeyring(t, dir)
}

func TestKeyringsStartedAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	rings := make([]*auth.Keyring, 16)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() { rings[i] = openKeyring(t, dir) })
	}
	wg.Wait()
	for _, k := range rings {
		if string(k.JWKS()) != string(rings[0].JWKS()) || string(k.CursorKey()) != string(rings[0].CursorKey()) {
			t.Fatal("processes that started at once have different keys")
		}
	}
	if entries := must(os.ReadDir(dir)); len(entries) != 1 {
		t.Errorf("the directory holds %v, want keys.json alone", entries)
	}
}

func TestPublicKeys(t *testing.T) {
	k := openKeyring(t, t.TempDir())
	if strings.Contains(string(k.JWKS()), `"d"`) {
		t.Fatal("the JWK set holds private keys")
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(k.JWKS(), &set); err != nil || len(set.Keys) != 1 || !set.Keys[0].IsPublic() || set.Keys[0].Algorithm != "EdDSA" || set.Keys[0].Use != "sig" {
		t.Fatalf("JWKS = %s, %v", k.JWKS(), err)
	}
	path := filepath.Join(t.TempDir(), "jwks.json")
	replace(t, path, string(k.JWKS()))
	for name, keys := range map[string]auth.KeySource{"as published": auth.KeyFile(path), "as a source": k} {
		v := verifier(t, func(cfg *auth.Config) {
			cfg.Issuers = []auth.Issuer{{Name: auth.BuiltinIssuer, Audience: auth.BuiltinIssuer, Keys: keys}}
		})
		if p := admit(t, v, issue(t, k, auth.Claims{Subject: "s"})); !p.External() {
			t.Errorf("%s: another installation's tokens are external", name)
		}
	}
}

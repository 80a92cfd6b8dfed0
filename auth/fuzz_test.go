package auth_test

import (
	"crypto/ed25519"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/tenant"
)

// fuzzKey is always the same, so that a corpus stays signed.
var fuzzKey = ed25519.NewKeyFromSeed([]byte("a seed of thirty-two bytes, fixed"[:32]))

func fuzzVerifier(f *testing.F) *auth.Verifier {
	return verifier(f, func(cfg *auth.Config) {
		cfg.Issuers[0].Keys = keyFile(f, jose.JSONWebKey{Key: fuzzKey.Public(), KeyID: "k1"})
	})
}

func fuzzToken(payload string) string { return sign(`{"alg":"EdDSA","kid":"k1"}`, payload, fuzzKey) }

// FuzzToken holds against another implementation: what passes here passes there, and says the same.
func FuzzToken(f *testing.F) {
	good := fuzzToken(goodClaims().json())
	f.Add(good)
	f.Add(good + "=")
	f.Add(strings.ReplaceAll(good, ".", ".."))
	f.Add(sign(`{"alg":"none"}`, goodClaims().json(), fuzzKey))
	f.Add(sign(`{"alg":"EdDSA","kid":"k1","crit":["b64"],"b64":false}`, goodClaims().json(), fuzzKey))
	v := fuzzVerifier(f)
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := v.Verify(t.Context(), token); err != nil {
			return
		}
		parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatalf("go-jose doesn't parse a token that passed: %v", err)
		}
		if _, err := parsed.Verify(fuzzKey.Public()); err != nil {
			t.Fatalf("go-jose doesn't verify a token that passed: %v", err)
		}
		if again, err := parsed.CompactSerialize(); err != nil || again != token {
			t.Fatalf("a token that passed has another spelling: %q, %v", again, err)
		}
	})
}

var (
	subjectForm = regexp.MustCompile(`^[ -"$-~]{1,255}$`)
	tenantForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	roleForm    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// FuzzClaims checks what a Principal promises, for every payload that an issuer signs.
func FuzzClaims(f *testing.F) {
	f.Add(goodClaims().json())
	f.Add(goodClaims().with(object{"custom:role": "SYSTEM_ADMIN", "custom:groups": `[{"groups":["a"]}]`, "custom:user_code": "9999#a"}).json())
	f.Add(goodClaims().with(object{"aud": []string{"x", audience}, "exp": 1.5e12, "nbf": 0, "email": "a@b", "email_verified": "false"}).json())
	f.Add(strings.Replace(goodClaims().json(), `{`, `{"sub":"\u0075",`, 1))
	v := fuzzVerifier(f)
	f.Fuzz(func(t *testing.T, payload string) {
		p, err := v.Verify(t.Context(), fuzzToken(payload))
		if err != nil {
			return
		}
		var claims map[string]any
		if err := json.Unmarshal([]byte(payload), &claims); err != nil {
			t.Fatalf("a payload that passed is no object: %v", err)
		}
		if claims["iss"] != issuerName || p.Issuer() != issuerName || claims["sub"] != p.Subject() || !subjectForm.MatchString(p.Subject()) {
			t.Errorf("issuer %q, subject %q", p.Issuer(), p.Subject())
		}
		exp, iat := claims["exp"].(float64), claims["iat"].(float64)
		if now := float64(start.Unix()); exp <= now-60 || iat > now+60 || math.Floor(exp) != float64(p.ExpiresAt().Unix()) || math.Floor(min(iat, now)) != float64(p.IssuedAt().Unix()) {
			t.Errorf("exp %v, iat %v", exp, iat)
		}
		if text, _ := claims["custom:tenant"].(string); text != "" && !strings.EqualFold(text, p.Tenant().String()) || text == "" && !p.Tenant().IsZero() {
			t.Errorf("tenant %q of %q", p.Tenant(), text)
		}
		if c := p.Tenant(); !c.IsZero() && !tenantForm.MatchString(c.String()) {
			t.Errorf("tenant %q", c)
		}
		if u := p.UserCode(); u == "" || len(u) > 255 || !utf8.ValidString(u) || strings.ContainsAny(u, "\n\x00\u202e") {
			t.Errorf("user code %q", u)
		}
		agree(t, p)
	})
}

// FuzzRoles compares custom:roles with a reading of it that is slower and simpler.
func FuzzRoles(f *testing.F) {
	for _, text := range []string{
		`[]`, `[{"tenant":"","role":"user"},{"tenant":"alpha","role":"admin"}]`, `[{"tenant":"ALPHA","role":"System_Admin"}]`, `[{"role":"SYSTEM_ADMIN"}]`,
		`[{"tenant":"alpha ","role":"admin"}]`, `[{"tenant":"\u212Ailo","role":"admin"}]`, `[{"tenant":null,"role":"admin"}]`, `[{"role":"a","role":"b"}]`,
		`[{"Tenant":"alpha","role":"admin"}]`, `[[]]`, `[{}]x`, `null`,
	} {
		f.Add(text)
	}
	v := fuzzVerifier(f)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := v.Verify(t.Context(), fuzzToken(goodClaims().with(object{"custom:roles": text}).json()))
		if err != nil {
			return
		}
		var entries []map[string]string
		if err := json.Unmarshal([]byte(strings.ToValidUTF8(text, "\ufffd")), &entries); err != nil {
			t.Fatalf("roles that passed are no array of objects of strings: %v", err)
		}
		var (
			everywhere []string
			cross      string
			bound      = make(map[string][]string)
		)
		for _, e := range entries {
			role, in := asciiLower(e["role"]), asciiLower(e["tenant"])
			switch {
			case !roleForm.MatchString(role):
			case in == "":
				everywhere = append(everywhere, role)
				if role == auth.SystemAdmin && cross == "" {
					cross = role
				}
			case tenantForm.MatchString(in) && role != auth.SystemAdmin:
				bound[in] = append(bound[in], role)
			}
		}
		if got, _ := p.CrossTenantRole(); got != cross {
			t.Errorf("cross-tenant role %q, want %q", got, cross)
		}
		for _, in := range []string{"alpha", "bravo", "kilo"} {
			want := bound[in]
			if want == nil {
				want = everywhere
			}
			c, err := tenant.Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, p.RolesIn(c)); diff != "" {
				t.Errorf("roles in %s: %s", in, diff)
			}
		}
	})
}

func asciiLower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

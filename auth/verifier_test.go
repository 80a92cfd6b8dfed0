package auth_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

func TestSeenTokens(t *testing.T) {
	var c handClock
	v := verifier(t, func(cfg *auth.Config) { cfg.Now = c.now })
	tok := token(nil, nil) // lives for 60 s, and 60 s of leeway
	p := admit(t, v, tok)
	c.advance(119 * time.Second)
	if admit(t, v, tok) != p {
		t.Error("the token was verified again")
	}
	c.advance(time.Second)
	if _, err := v.Verify(t.Context(), tok); !errors.Is(err, fault.TokenExpired) {
		t.Errorf("an expired token that was seen before: %v", err)
	}
	forged := tok[:len(tok)-8] + "AAAAAAAA"
	if _, err := v.Verify(t.Context(), forged); auth.ReasonOf(err) != "signature" {
		t.Errorf("a token like one seen before: %v", err)
	}
}

// revokedSubject is Revocations of everything of one user.
type revokedSubject struct{ subject atomic.Pointer[string] }

func (r *revokedSubject) Revoked(_ context.Context, p *auth.Principal) (bool, error) {
	s := r.subject.Load()
	return s != nil && *s == p.Subject() && p.Issuer() == issuerName, nil
}

func TestRevocations(t *testing.T) {
	var r revokedSubject
	v := verifier(t, func(cfg *auth.Config) { cfg.Revocations = &r })
	seen, unseen, others := token(nil, nil), token(nil, object{"jti": "t2"}), token(nil, object{"sub": "user-2"})
	admit(t, v, seen)
	admit(t, v, others)
	r.subject.Store(new("user-1"))
	for _, tok := range []string{seen, unseen, seen} {
		if _, err := v.Verify(t.Context(), tok); !errors.Is(err, fault.Unauthenticated) || auth.ReasonOf(err) != "revoked" {
			t.Errorf("a revoked token: %v", err)
		}
	}
	admit(t, v, others)
	r.subject.Store(nil)
	admit(t, v, seen)
}

// blind are Revocations that can't tell while failing says so.
type blind struct{ failing atomic.Bool }

func (b *blind) Revoked(ctx context.Context, _ *auth.Principal) (bool, error) {
	if b.failing.Load() {
		return false, errors.New("the list is out of reach")
	}
	return false, ctx.Err()
}

func TestRevocationsThatFail(t *testing.T) {
	var b blind
	v := verifier(t, func(cfg *auth.Config) { cfg.Revocations = &b })
	seen, unseen := token(nil, nil), token(nil, object{"jti": "t2"})
	admit(t, v, seen)
	refused := func(ctx context.Context, tok string) {
		t.Helper()
		p, err := v.Verify(ctx, tok)
		if p != nil || !errors.Is(err, fault.Unavailable) || auth.ReasonOf(err) != "" || strings.Contains(fault.As(err).Msg, "out of reach") {
			t.Errorf("Verify = %v, %v; want fault.Unavailable", p, err)
		}
	}
	b.failing.Store(true)
	refused(t.Context(), seen)
	refused(t.Context(), unseen)
	b.failing.Store(false)
	admit(t, v, seen)
	admit(t, v, unseen)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	refused(ended, seen) // the caller's context is what is asked with
}

func TestCacheIsBounded(t *testing.T) {
	v := verifier(t, func(cfg *auth.Config) { cfg.CacheSize = 10 })
	for i := range 100 {
		admit(t, v, token(nil, object{"jti": repeat("x", i+1)}))
	}
	if n := auth.Remembered(v); n > 10 {
		t.Errorf("%d tokens are remembered, want 10 at most", n)
	}
	for range 3 {
		if _, err := v.Verify(t.Context(), token(nil, object{"sub": ""})); err == nil {
			t.Fatal("a bad token was admitted")
		}
	}
}

func TestConfig(t *testing.T) {
	ring, err := auth.NewKeyring(auth.KeyringOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := keyFile(t, k1())
	alpha := []tenant.Code{code("alpha")}
	one := auth.Issuer{Name: issuerName, Audience: audience, Keys: file}
	full := func(name string) auth.Issuer {
		return auth.Issuer{Name: name, Audience: audience, Keys: file, Tenants: alpha, CrossTenant: new(false)}
	}
	change := func(f func(*auth.Issuer)) auth.Issuer {
		iss := full("https://second.example")
		f(&iss)
		return iss
	}
	for name, c := range map[string]struct {
		cfg  auth.Config
		want string // part of the message, "" for none
	}{
		"nobody":           {auth.Config{}, "nobody could call"},
		"keyring only":     {auth.Config{Keyring: ring}, ""},
		"one":              {auth.Config{Issuers: []auth.Issuer{one}}, ""},
		"one and keyring":  {auth.Config{Keyring: ring, Issuers: []auth.Issuer{one}}, ""},
		"two":              {auth.Config{Issuers: []auth.Issuer{full("a"), full("b")}}, ""},
		"two, all tenants": {auth.Config{Issuers: []auth.Issuer{full("a"), change(func(i *auth.Issuer) { i.Tenants, i.AllTenants = nil, true })}}, ""},
		"two, one without tenants": {auth.Config{Issuers: []auth.Issuer{full("a"), change(func(i *auth.Issuer) { i.Tenants = nil })}},
			`issuer "https://second.example": tenants: must be given`},
		"two, one without cross-tenant": {auth.Config{Issuers: []auth.Issuer{full("a"), change(func(i *auth.Issuer) { i.CrossTenant = nil })}},
			`issuer "https://second.example": cross-tenant: must be given`},
		"the same twice":         {auth.Config{Issuers: []auth.Issuer{full("a"), full("a")}}, `issuer "a": is configured twice`},
		"the built-in one":       {auth.Config{Keyring: ring, Issuers: []auth.Issuer{full(auth.BuiltinIssuer)}}, "configured twice"},
		"blank issuer":           {auth.Config{Issuers: []auth.Issuer{full(" ")}}, "issuer: is blank"},
		"blank audience":         {auth.Config{Issuers: []auth.Issuer{change(func(i *auth.Issuer) { i.Audience = "\t" })}}, `"https://second.example": audience: is blank`},
		"no keys":                {auth.Config{Issuers: []auth.Issuer{change(func(i *auth.Issuer) { i.Keys = nil })}}, "jwks: is missing"},
		"some tenants and all":   {auth.Config{Issuers: []auth.Issuer{change(func(i *auth.Issuer) { i.AllTenants = true })}}, "choose one"},
		"an empty list":          {auth.Config{Issuers: []auth.Issuer{change(func(i *auth.Issuer) { i.Tenants = []tenant.Code{} })}}, "names no tenant"},
		"the zero tenant":        {auth.Config{Issuers: []auth.Issuer{change(func(i *auth.Issuer) { i.Tenants = []tenant.Code{{}} })}}, "names no tenant"},
		"negative leeway":        {auth.Config{Keyring: ring, Leeway: -1}, "leeway"},
		"negative size of cache": {auth.Config{Keyring: ring, CacheSize: -1}, "cacheSize"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Log = quiet()
			v, err := auth.NewVerifier(c.cfg)
			if err == nil {
				v.Close()
			}
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, fault.ValidationFailed) || !strings.Contains(fault.As(err).Msg, c.want)) {
				t.Errorf("NewVerifier = %v, want %q", err, c.want)
			}
		})
	}
}

func TestParseIssuer(t *testing.T) {
	for text, want := range map[string]auth.Issuer{
		"issuer=https://idp,jwks=keys.json,audience=ours": {Name: "https://idp", Audience: "ours", Keys: auth.KeyFile("keys.json")},
		"audience=ours,issuer=https://idp?a=b":            {Name: "https://idp?a=b", Audience: "ours", Keys: auth.Discovery{}},
		"issuer=x,jwks=https://idp/jwks,audience=a=b,tenants=Acme;globex,cross-tenant=true,prefix=https://c/": {
			Name: "x", Audience: "a=b", Keys: auth.KeyURL("https://idp/jwks"), Tenants: []tenant.Code{code("acme"), code("globex")}, CrossTenant: new(true), ClaimPrefix: "https://c/",
		},
		"issuer=x,jwks=f,audience=a,tenants=acme+globex,cross-tenant=false": {
			Name: "x", Audience: "a", Keys: auth.KeyFile("f"), Tenants: []tenant.Code{code("acme"), code("globex")}, CrossTenant: new(false),
		},
		"issuer=x,jwks=f,audience=a,tenants=*": {Name: "x", Audience: "a", Keys: auth.KeyFile("f"), AllTenants: true},
	} {
		got, err := auth.ParseIssuer(text)
		if err != nil {
			t.Errorf("ParseIssuer(%q): %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b tenant.Code) bool { return a == b })); diff != "" {
			t.Errorf("ParseIssuer(%q): %s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"":                                   "has no value",
		"issuer=x":                           "audience: is missing",
		"audience=x":                         "issuer: is missing",
		"issuer=x,audience=":                 "audience: has no value",
		"issuer=x,audience=a,":               "has no value",
		"issuer=x,audience=a,audience=b":     "audience: is given twice",
		"issuer=x,audience=a,aud=b":          "aud: is not known",
		"issuer=x,audience=a,Tenants=b":      "Tenants: is not known",
		"issuer=x,audience=a,tenants=;":      "names no tenant",
		"issuer=x,audience=a,tenants=a b":    "tenants: the tenant code",
		"issuer=x,audience=a,tenants=a;*":    "tenants: the tenant code",
		"issuer=x,audience=a,cross-tenant=1": "cross-tenant: is true or false",
		"issuer=x,audience=a,prefix":         "prefix: has no value",
		"issuer=x,audience=a,jwks=f,jwks=g":  "jwks: is given twice",
		"issuer=x, audience=a":               " audience: is not known",
	} {
		if _, err := auth.ParseIssuer(text); !errors.Is(err, fault.ValidationFailed) || !strings.Contains(fault.As(err).Msg, want) {
			t.Errorf("ParseIssuer(%q) = %v, want %q", text, err, want)
		}
	}
}

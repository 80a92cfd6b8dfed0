package attacks_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/tenant"
)

// TestTokenForms sends tokens that some library or other takes for good.
func TestTokenForms(t *testing.T) {
	w := newWorld(t)
	header, payload := w.IdP.Header().Text(), w.claims("ua").Text()
	good := w.keep(apitest.Sign(header, payload, apitest.TrustedKey()), "alpha")
	parts := strings.Split(good, ".")
	signed := func(header, payload string) string {
		return w.keep(apitest.Sign(header, payload, apitest.TrustedKey()), "alpha")
	}
	in := func(text, member string) string { return strings.Replace(text, "{", "{"+member+",", 1) }

	w.class(t, "encodings and parts", func(a *attack) {
		a.honest(get(good, productList))
		for _, token := range []string{
			good + ".", "." + good, good + "." + parts[2], strings.Join(parts[:2], "."), parts[0] + ".." + parts[2], "..", ".", good + "=", parts[0] + "=." + parts[1] + "." + parts[2],
			parts[0] + "." + parts[1] + "==." + parts[2], strings.Replace(good, ".", ". ", 1), strings.ToUpper(good), good + "\u00e9", good + ",", good + "," + good, `"` + good + `"`, "Bearer " + good,
			parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-2], parts[0] + "." + parts[1] + "." + parts[2] + "AA", parts[0] + "." + parts[1] + "A." + parts[2],
			base64.RawURLEncoding.EncodeToString([]byte(good)), "{" + good + "}", strings.Repeat("a.", 5000),
		} {
			a.wants(get(token, productList), 401)
		}
		for _, scheme := range []string{"Basic ", "Bearer", "Bearer\t", "Token ", "JWT ", "", "Bearer:", "bearer=", "Digest "} {
			a.wants(with(get("", productList), "Authorization", scheme+good), 401)
		}
		a.wants(with(get(good, productList), "Authorization", "Bearer "+good), 400) // twice
	})
	w.class(t, "headers that change what is signed", func(a *attack) {
		a.honest(get(signed(in(header, `"x":1`), payload), productList))
		for _, member := range []string{`"crit":["exp"]`, `"crit":[]`, `"b64":false`, `"zip":"DEF"`, `"enc":"A256GCM"`, `"cty":"JWT"`, `"alg":"none"`, `"\u0061lg":"none"`, `"kid":"k2"`} {
			a.wants(get(signed(in(header, member), payload), productList), 401)
		}
		for _, kid := range []any{"../../../../dev/null", "k1\x00", "K1", "k1 ", "' OR '1'='1", 1, nil, []string{"k1"}, map[string]any{}, "http://127.0.0.1/k1", strings.Repeat("k", 10_000)} {
			a.wants(get(signed(w.IdP.Header().With(apitest.Claims{"kid": kid}).Text(), payload), productList), 401)
		}
		for _, alg := range []any{"RS512", "PS256", "rs256", "RS256 ", "HS256", "EdDSA", "ES256", 1, nil, []string{"RS256"}} {
			a.wants(get(signed(w.IdP.Header().With(apitest.Claims{"alg": alg}).Text(), payload), productList), 401)
		}
		for _, typ := range []string{"logout+jwt", "secevent+jwt", "JOSE", ""} {
			a.wants(get(signed(w.IdP.Header().With(apitest.Claims{"typ": typ}).Text(), payload), productList), 401)
		}
		psychic := w.IdP.Header().With(apitest.Claims{"alg": "ES256"}).Text()
		a.wants(get(apitest.Base64(psychic)+"."+apitest.Base64(payload)+"."+base64.RawURLEncoding.EncodeToString(make([]byte, 64)), productList), 401)
		a.wants(get(apitest.Base64(header)+"."+apitest.Base64(payload)+"."+base64.RawURLEncoding.EncodeToString(make([]byte, 256)), productList), 401)
	})
	w.class(t, "claims twice, and in other letters", func(a *attack) {
		a.honest(get(good, productList))
		for _, member := range []string{`"custom:tenant":"bravo"`, `"custom:\u0074enant":"bravo"`, `"sub":"ub"`, `"custom:roles":"[]"`, `"exp":9999999999`, `"iss":"other"`} {
			a.wants(get(signed(header, in(payload, member)), productList), 401)
		}
		for _, text := range []string{payload + payload, payload + " x", "[" + payload + "]", `"` + payload + `"`, "\ufeff" + payload, strings.Replace(payload, `"sub"`, `"sub":"a\ud800","x"`, 1), "null", "{}", ""} {
			a.wants(get(signed(header, text), productList), 401)
		}
		for name, value := range map[string]any{"nbf": w.App.Clock.Now().Unix() + 61, "iat": apitest.Absent, "exp": "9999999999", "aud": nil, "email_verified": "maybe"} {
			a.wants(get(w.signed("ua", apitest.Claims{name: value}), productList), 401)
		}
	})
	w.class(t, "roles in every form of the claims", func(a *attack) {
		audit := func(claims apitest.Claims) apitest.Request {
			return get(w.keep(w.IdP.Token("x", apitest.Claims{"custom:tenant": "alpha"}.With(claims)), "alpha"), "/api/audit")
		}
		a.honest(audit(apitest.Claims{"custom:roles": `[{"tenant":"ALPHA","role":"ADMIN"}]`}))
		for _, claims := range []apitest.Claims{
			{}, {"custom:roles": `[{"tenant":"bravo","role":"admin"}]`}, {"custom:roles": `[{"tenant":"alpha ","role":"admin"}]`}, {"custom:roles": `[{"tenant":"alph","role":"admin"}]`},
			{"custom:roles": `[{"tenant":"alpha2","role":"admin"}]`}, {"custom:roles": `[{"tenant":"*","role":"admin"}]`}, {"custom:roles": `[{"tenant":"alpha","role":" admin"}]`},
			{"custom:roles": `[{"tenant":"alpha","role":"admin,user"}]`}, {"custom:roles": `[{"tenant":"alpha","role":"\u0430dmin"}]`}, {"custom:roles": `[{"tenant":"\u0251lpha","role":"admin"}]`},
			{"custom:roles": `[{"tenant":"","role":"admin"},{"tenant":"alpha","role":"user"}]`}, {"custom:groups": `[{"tenant":"alpha","groups":["admin","system_admin"]}]`},
			{"roles": []string{"admin"}, "role": "admin", "groups": []string{"admin"}, "scope": "admin", "custom:Role": "admin", "cognito:groups": []string{"admin", "system_admin"}},
			{"custom:role": "admin "}, {"custom:role": "administrator"}, {"custom:role": `["admin"]`}, {"custom:user_code": "admin"}, {"cognito:username": "admin"}, {"email": "admin@alpha"},
		} {
			a.wants(audit(claims), 403)
		}
		crossing := func(claims apitest.Claims) apitest.Request {
			return get(w.keep(w.IdP.Token("x", claims), "alpha"), "/api/tenant")
		}
		for _, claims := range []apitest.Claims{
			{"custom:roles": `[{"tenant":"alpha","role":"system_admin"}]`, "custom:tenant": "alpha"}, {"custom:roles": `[{"tenant":"common","role":"system_admin"}]`, "custom:tenant": "common"},
			{"custom:groups": `[{"tenant":"","groups":["system_admin"]}]`}, {"custom:role": "system-admin"}, {"custom:role": "system_admin\u0000"}, {"custom:role": "\u017fystem_admin"},
			{"custom:roles": `[{"tenant":" ","role":"system_admin"}]`}, {"custom:roles": `[{"tenant":"*","role":"system_admin"}]`}, {"custom:roles": `[{"tenant":"all","role":"system_admin"}]`},
		} {
			a.wants(crossing(claims), 401, 403)
		}
	})
	w.class(t, "names that fold into others", func(a *attack) {
		sa := w.token("sa")
		a.honest(with(get(sa, productList), tenantHeader, "istanbul"))
		for _, code := range []string{"\u0130stanbul", "\u0131stanbul", "i\u0307stanbul", "\uff49stanbul", "istanbu\u2113", "istan\u00adbul", "istanbul\u2060", "\u202eistanbul", "istanbul\t", "istanbul#", "istanbul@1", "istanbul/../bravo", "istanbul;bravo", "istanbul,bravo", "istanbul bravo", "%69stanbul"} {
			if strings.HasSuffix(code, "\t") {
				continue // white space around a value is no part of it
			}
			a.wants(with(get(sa, productList), tenantHeader, code), 400)
			token := w.keep(w.IdP.Token("x", apitest.Claims{"custom:tenant": code, "custom:roles": `[{"tenant":"","role":"admin"}]`}))
			a.wants(get(token, productList), 401)
			a.wants(post(sa, "/api/tenant", `{"code":%q,"name":"N"}`, code), 400, 422)
		}
	})
}

// TestIssuers has two identity providers, each with tenants of its own, whose users have the same sub.
func TestIssuers(t *testing.T) {
	clock := time.Now().Truncate(time.Second)
	second := apitest.NewIdP(t, func() time.Time { return clock })
	second.Name, second.Audience = "https://second.example", "theirs"
	code := func(text string) tenant.Code {
		c, err := tenant.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	yes, no := true, false
	opts := apitest.Options{App: tenantry.Config{Now: func() time.Time { return clock }}}
	first := apitest.NewIdP(t, opts.App.Now)
	trust := func(p *apitest.IdP, cross *bool, tenants ...tenant.Code) auth.Issuer {
		iss := p.Issuer()
		iss.Tenants, iss.CrossTenant = tenants, cross
		return iss
	}
	opts.App.Issuers = []auth.Issuer{trust(first, &yes, code("alpha"), code("bravo")), trust(second, &no, code("bravo"), code("charlie"))}
	opts.Tenants = []string{"alpha", "bravo", "charlie"}
	s := apitest.Start(t, opts)
	token := func(p *apitest.IdP, tenant string) string {
		return p.Token("u", apitest.Claims{"custom:tenant": tenant, "custom:role": "user"})
	}
	expect := func(r apitest.Request, statuses ...int) *apitest.Answer {
		t.Helper()
		a := s.Do(t, r)
		if !slices.Contains(statuses, a.Status) {
			t.Errorf("%v: %v; want %v", r, a, statuses)
		}
		return a
	}
	expect(get(token(first, "alpha"), productList), 200)
	expect(get(token(first, "bravo"), productList), 200)
	expect(get(token(first, "charlie"), productList), 403)
	expect(get(token(second, "alpha"), productList), 403)
	expect(get(token(second, "bravo"), productList), 200)
	expect(get(token(second, "charlie"), productList), 200)
	expect(get(token(first, "common"), "/api/common/TEMPLATE"), 403, 404)

	admin := func(p *apitest.IdP) string { return p.Token("u", apitest.Claims{"custom:role": "system_admin"}) }
	expect(get(admin(first), "/api/tenant"), 200)
	expect(get(admin(second), "/api/tenant"), 403)
	expect(with(get(admin(second), productList), tenantHeader, "alpha"), 403)

	// One's key, name or audience doesn't pass for the other's: a token names its issuer, and that decides about everything.
	for _, claims := range []apitest.Claims{{"iss": second.Name}, {"aud": second.Audience}, {"iss": second.Name, "aud": first.Audience}} {
		expect(get(first.Token("u", claims.With(apitest.Claims{"custom:tenant": "alpha"})), productList), 401, 403)
	}

	// The same sub of two issuers is two users: their keys don't answer for each other.
	create := func(p *apitest.IdP) apitest.Request {
		return with(post(token(p, "bravo"), productList, `{"name":"N"}`), "Idempotency-Key", "same")
	}
	one, other := expect(create(first), 201), expect(create(second), 201)
	if string(one.Body) == string(other.Body) || other.Header.Get("Idempotency-Replayed") != "" {
		t.Error("one user was answered with what another was")
	}
	if again := expect(create(first), 201); string(again.Body) != string(one.Body) {
		t.Errorf("the replay is %v", again)
	}
	if me := expect(get(token(second, "bravo"), "/api/me"), 200); !strings.Contains(string(me.Body), fmt.Sprintf("%q", second.Name)) {
		t.Errorf("me: %v", me)
	}
}

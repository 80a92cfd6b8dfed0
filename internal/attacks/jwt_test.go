package attacks_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/tenant"
)

const productList = "/api/data/PRODUCT"

func TestJWT(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024) // the smallest that can be made; the server takes 2048 bits and more
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("a symmetric key of thirty-two by")
	k1 := &apitest.TrustedKey().PublicKey
	w := newWorld(t, func(o *apitest.Options) {
		o.Keys = []any{jose.JSONWebKey{Key: secret, KeyID: "o1"}, jose.JSONWebKey{Key: &weak.PublicKey, KeyID: "s1", Use: "sig", Algorithm: "RS256"},
			jose.JSONWebKey{Key: k1, KeyID: "n1", Use: "enc"}, jose.JSONWebKey{Key: k1, KeyID: "k9", Use: "sig", Algorithm: "RS512"}}
	})
	listed := func(token string) apitest.Request { return get(token, productList) }
	header := w.IdP.Header().Text()

	w.attack(t, "JWT-01", func(a *attack) {
		a.honest(listed(w.token("ua")))
		swept, secured := 0, 0
		for _, op := range w.Doc.Operations {
			if strings.HasPrefix(op.Path, "/api") && op.Policy.Reach != "anyone" {
				secured++
			}
			if !op.Secured {
				continue
			}
			swept++
			r := apitest.Request{Method: op.Method, Path: filled(op, sample)}
			if op.Body != nil {
				r.Body = `{}`
			}
			a.wants(r, 401)
		}
		if swept != secured || swept == 0 {
			a.Errorf("swept %d operations; %d are under /api", swept, secured)
		}
	})
	w.attack(t, "JWT-02", func(a *attack) {
		a.honest(listed(w.token("ab")))
		payload := w.claims("ab").Text()
		for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
			parts := apitest.Base64(fmt.Sprintf(`{"alg":%q,"kid":"k1","typ":"JWT"}`, alg)) + "." + apitest.Base64(payload)
			for _, token := range []string{parts + ".", parts + ".AAAA", parts} {
				a.wants(listed(token), 401)
			}
		}
		if !w.Log.Holds(`"reason":"alg"`) {
			a.Error("no line names the algorithm as the reason")
		}
	})
	w.attack(t, "JWT-03", func(a *attack) {
		a.honest(listed(w.token("ab")))
		spki, err := x509.MarshalPKIXPublicKey(k1)
		if err != nil {
			a.Fatal(err)
		}
		jwk, err := json.Marshal(jose.JSONWebKey{Key: k1, KeyID: "k1"})
		if err != nil {
			a.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
		for _, secret := range [][]byte{text, pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(k1)}),
			text[:len(text)-1], spki, jwk, k1.N.Bytes()} {
			a.wants(listed(apitest.Sign(`{"alg":"HS256","kid":"k1","typ":"JWT"}`, w.claims("ab").Text(), secret)), 401)
		}
	})
	var hits atomic.Int64
	listener := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer listener.Close()
	w.attack(t, "JWT-05", func(a *attack) {
		a.honest(listed(w.token("ab")))
		host := strings.TrimPrefix(listener.URL, "http://")
		port := host[strings.LastIndex(host, ":"):]
		for _, url := range []string{listener.URL + "/jwks", "http://[::ffff:127.0.0.1]" + port + "/jwks", "file:///srv/e1.json", "https://idp.example@" + host + "/jwks"} {
			for _, member := range []string{"jku", "x5u"} {
				h := w.IdP.Header().With(apitest.Claims{member: url, "kid": "e1"})
				a.wants(listed(apitest.Sign(h.Text(), w.claims("ab").Text(), apitest.UnknownKey())), 401)
			}
		}
	})
	w.attack(t, "JWT-07", func(a *attack) {
		before := w.IdP.Hits()
		ua := w.token("ua")
		for i := range 200 {
			h := w.IdP.Header().With(apitest.Claims{"kid": fmt.Sprintf("k-%d", i)})
			a.wants(listed(apitest.Sign(h.Text(), w.claims("ab").Text(), apitest.UnknownKey())), 401)
			if i%5 == 0 {
				a.honest(listed(ua))
			}
		}
		if n := w.IdP.Hits() - before; n > 5 {
			a.Errorf("200 unknown keys caused %d fetches of the key set", n)
		}
	})
	now := w.App.Clock.Now().Unix()
	w.attack(t, "JWT-08", func(a *attack) {
		a.honest(listed(w.signed("ua", apitest.Claims{"exp": now + 60})))
		answer := a.wants(listed(w.signed("ua", apitest.Claims{"exp": now - 65})), 401)
		if answer.Code() != "token_expired" {
			a.Errorf("an expired token is refused as %s", answer.Code())
		}
	})
	w.attack(t, "JWT-10", func(a *attack) {
		a.honest(listed(w.token("ua")))
		a.wants(listed(w.signed("ua", apitest.Claims{"exp": apitest.Absent})), 401)
	})
	w.attack(t, "JWT-12", func(a *attack) {
		a.honest(listed(w.token("ua")))
		for _, iss := range []any{"https://other.example", w.IdP.Name + "/", strings.ToUpper(w.IdP.Name), []string{w.IdP.Name}, apitest.Absent} {
			a.wants(listed(w.signed("ua", apitest.Claims{"iss": iss})), 401)
		}
	})
	w.attack(t, "JWT-13", func(a *attack) {
		ours := w.IdP.Audience
		a.honest(listed(w.signed("ua", apitest.Claims{"aud": []string{ours, "other"}})))
		for _, aud := range []any{"other", apitest.Absent, []string{}, []string{"other"}, ours + ",other", ours[:len(ours)-1]} {
			a.wants(listed(w.signed("ua", apitest.Claims{"aud": aud})), 401)
		}
		a.wants(listed(w.signed("ua", apitest.Claims{"aud": "other", "client_id": ours, "token_use": "access"})), 401)
	})
	w.attack(t, "JWT-16", func(a *attack) {
		a.honest(listed(w.token("ua")))
		for _, name := range []string{"Custom:Tenant", "CUSTOM:TENANT", "custom:tenant ", "custom:tenant\x00"} {
			for _, extra := range []apitest.Claims{{name: "bravo"}, {name: "bravo", "custom:role ": "system_admin", "Custom:Role": "system_admin"}} {
				a.wants(listed(w.signed("ua", extra)), 200, 401)
			}
		}
		escaped := strings.Replace(w.claims("ua").Text(), "{", `{"custom:tenan\u0074":"bravo",`, 1) // the same name twice, once escaped
		a.wants(listed(w.keep(apitest.Sign(header, escaped, apitest.TrustedKey()), "alpha")), 401)
	})
	w.attack(t, "JWT-17", func(a *attack) {
		gated := func(roles any) apitest.Request {
			return get(w.signed("ua", apitest.Claims{"custom:roles": roles}), "/api/audit")
		}
		a.honest(gated(`[{"tenant":"alpha","role":"admin"}]`))
		entry := `{"tenant":"alpha","role":"admin"},`
		for _, roles := range []any{"admin", `{}`, `null`, `"x"`, `[1]`, `[{"tenant":1}]`, strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
			"[" + strings.Repeat(entry, 1001) + `{"tenant":"alpha","role":"admin"}]`, []any{apitest.Claims{"tenant": "alpha", "role": "admin"}},
			`[{"tenant":"bravo","tenant":"alpha","role":"admin"}]`} {
			a.wants(gated(roles), 401, 403)
		}
		for _, roles := range []string{strings.Repeat("[", 10_001), "[" + strings.Repeat(entry, 1<<20/len(entry)) + "{}]"} { // a token of 1.7 MB
			a.wants(gated(roles), 401, 403)
		}
	})
	w.attack(t, "JWT-18", func(a *attack) {
		granted := func(code string) apitest.Request {
			return with(listed(w.keep(w.IdP.Token("sa", apitest.Claims{"custom:roles": fmt.Sprintf(`[{"tenant":%q,"role":"system_admin"}]`, code)}), "bravo")), tenantHeader, "bravo")
		}
		a.honest(granted(""))
		a.wants(granted("alpha"), 403)
		a.wants(granted("bravo"), 403)
	})
	w.attack(t, "JWT-21", func(a *attack) {
		a.honest(listed(w.token("ua")))
		for _, sub := range []any{apitest.Absent, "", 17, nil, strings.Repeat("u", 5<<10), "a#b", "a\nb"} {
			a.wants(listed(w.signed("ua", apitest.Claims{"sub": sub})), 401)
		}
	})
	w.attack(t, "JWT-25", func(a *attack) {
		token := w.signed("ua", apitest.Claims{"jti": "elsewhere"})
		a.honest(listed(token))
		for _, r := range []apitest.Request{get("", productList+"?access_token="+token), get("", productList+"?token="+token),
			with(listed(""), "Cookie", "access_token="+token+"; token="+token), with(listed(""), "X-Amzn-Oidc-Data", token), with(listed(""), "X-Forwarded-Access-Token", token)} {
			a.wants(r, 401)
		}
		if signature := token[strings.LastIndex(token, ".")+1:]; w.Log.Holds(signature) {
			a.Error("the log holds a token")
		}
	})
	w.attack(t, "JWT-27", func(a *attack) {
		a.honest(listed(w.token("ab")))
		for kid, key := range map[string]any{"o1": secret, "s1": weak, "n1": apitest.TrustedKey(), "k9": apitest.TrustedKey()} {
			h := w.IdP.Header().With(apitest.Claims{"kid": kid})
			if kid == "o1" {
				h["alg"] = "HS256"
			}
			a.wants(listed(apitest.Sign(h.Text(), w.claims("ab").Text(), key)), 401)
		}
	})
	w.attack(t, "JWT-29", func(a *attack) {
		code, err := tenant.Parse("alpha")
		if err != nil {
			a.Fatal(err)
		}
		issued := w.keep(w.App.Token(auth.Claims{Subject: "ua", Tenant: code, Roles: []auth.RoleGrant{{Tenant: code, Role: "user"}}}), "alpha")
		for _, token := range []string{issued, a.session(w.token("um"), "charlie").Token} {
			a.honest(listed(token))
			for _, r := range forged(a, token) {
				a.wants(listed(r), 401)
			}
		}
	})
	if n := hits.Load(); n > 0 {
		t.Errorf("headers of tokens made the server call %d times", n)
	}
}

// forged returns a token signed anew with secrets that somebody might have left in.
func forged(t testing.TB, token string) (all []string) {
	t.Helper()
	header, payload := part(t, token, 0), part(t, token, 1)
	var h apitest.Claims
	if err := json.Unmarshal(header, &h); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"", "secret", "changeme", "test", "dev", "password", "alpha", "charlie", tenantry.Version()} {
		for _, alg := range []string{"HS256", h["alg"].(string)} {
			all = append(all, apitest.Sign(h.With(apitest.Claims{"alg": alg}).Text(), string(payload), []byte(secret)))
		}
	}
	return all
}

// part returns a part of a token, decoded.
func part(t testing.TB, token string, n int) []byte {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sample are parameters of paths for a caller who has none of their own.
var sample = map[string]string{"tenantCode": "alpha", "tenantGroupCode": "alpha", "entityType": "PRODUCT", "sk": "1", "pk": "TENANT%23alpha", "version": "1"}

// filled returns the path of an operation with its parameters.
func filled(op *apitest.Operation, values map[string]string) string {
	path := op.Path
	for name, value := range values {
		path = strings.ReplaceAll(path, "{"+name+"}", value)
	}
	return path
}

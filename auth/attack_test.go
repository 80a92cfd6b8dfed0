package auth_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
)

// The attacks of the matrix on tokens, each refused for its own reason, beside a control: the same token without what
// makes it hostile. A table that refuses its control shows nothing.

type attack struct {
	name   string
	token  string
	reason auth.Reason
}

func refuseAll(t *testing.T, v *auth.Verifier, control string, attacks []attack) {
	t.Helper()
	admit(t, v, control)
	messages := make(map[string]bool)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			p, err := v.Verify(t.Context(), a.token)
			if p != nil || !errors.Is(err, fault.Unauthenticated) {
				t.Fatalf("Verify = %v, %v; want fault.Unauthenticated", p, err)
			}
			if got := auth.ReasonOf(err); got != a.reason {
				t.Errorf("reason = %q, want %q", got, a.reason)
			}
			messages[fault.As(err).Msg] = true
		})
	}
	if len(messages) > 1 {
		t.Errorf("refusals differ in what they show: %v", messages)
	}
	admit(t, v, control)
}

func TestUnsignedTokens(t *testing.T) { // JWT-02
	var attacks []attack
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		header := goodHeader().with(object{"alg": alg}).json()
		unsigned := b64(header) + "." + b64(goodClaims().json())
		attacks = append(attacks,
			attack{fmt.Sprintf("alg %q, signature empty", alg), unsigned + ".", "alg"},
			attack{fmt.Sprintf("alg %q, signature AAAA", alg), unsigned + ".AAAA", "alg"},
			attack{fmt.Sprintf("alg %q, two segments", alg), unsigned, "form"},
			attack{fmt.Sprintf("alg %q, good signature", alg), sign(header, goodClaims().json(), fixtures().rsa), "alg"},
		)
	}
	attacks = append(attacks, attack{"alg absent", token(object{"alg": absent}, nil), "alg"})
	refuseAll(t, verifier(t, nil), token(nil, nil), attacks)
}

func TestForm(t *testing.T) {
	good := token(nil, nil)
	parts := strings.Split(good, ".")
	header, payload, signature := parts[0], parts[1], parts[2]
	spare := func(text string) string { // the same bytes with spare bits set in the last character
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, text[len(text)-1])
		return text[:len(text)-1] + string(alphabet[last|1])
	}
	signed := func(header, payload string) string { return sign(header, payload, fixtures().rsa) }
	claims := goodClaims().json()
	refuseAll(t, verifier(t, nil), good, []attack{
		{"empty", "", "form"},
		{"dots", "..", "form"},
		{"four segments", good + ".x", "form"},
		{"five segments, a JWE", good + "." + header + "." + payload, "form"},
		{"JSON serialization", `{"payload":"` + payload + `","protected":"` + header + `","signature":"` + signature + `"}`, "form"},
		{"space before", " " + good, "form"},
		{"newline after", good + "\n", "form"},
		{"newline inside", header + "." + payload + ".\r\n" + signature, "form"},
		{"padding", good + "==", "form"},
		{"base64 of another alphabet", header + "." + payload + "." + "+/" + signature[2:], "form"},
		{"spare bits", header + "." + payload + "." + spare(signature), "form"},
		{"too long", token(nil, object{"x": repeat("x", 16<<10)}), "form"},
		{"payload changed", header + "." + b64(goodClaims().with(object{"custom:tenant": "bravo"}).json()) + "." + signature, "signature"},
		{"header not an object", signed(`"x"`, claims), "form"},
		{"header null", signed(`null`, claims), "form"},
		{"header with trailing data", signed(goodHeader().json()+`{}`, claims), "form"},
		{"header with duplicates", signed(`{"alg":"RS256","kid":"k1","kid":"k1"}`, claims), "form"},
		{"header with invalid UTF-8", signed("{\"alg\":\"RS256\",\"kid\":\"k1\",\"x\":\"\xff\"}", claims), "form"},
		{"alg a number", token(object{"alg": 1}, nil), "form"},
		{"kid null", token(object{"kid": nil}, nil), "kid"},
		{"kid empty", token(object{"kid": ""}, nil), "kid"},
		{"kid a number", token(object{"kid": 1}, nil), "kid"},
		{"kid in other letters", token(object{"kid": "K1"}, nil), "kid"},
		{"kid a path", token(object{"kid": "../../dev/null"}, nil), "kid"},
		{"crit", token(object{"crit": []string{"exp"}}, nil), "header"},
		{"crit empty", token(object{"crit": []string{}}, nil), "header"},
		{"crit null", token(object{"crit": nil}, nil), "header"},
		{"b64 false", token(object{"b64": false, "crit": []string{"b64"}}, nil), "header"},
		{"b64 true", token(object{"b64": true}, nil), "header"},
		{"zip", token(object{"zip": "DEF"}, nil), "header"},
		{"enc", token(object{"enc": "A128GCM"}, nil), "header"},
		{"nested", token(object{"cty": "JWT"}, nil), "header"},
		{"a logout token", token(object{"typ": "logout+jwt"}, nil), "header"},
		{"typ a number", token(object{"typ": 1}, nil), "header"},
		{"payload an array", signed(goodHeader().json(), `[]`), "form"},
		{"payload null", signed(goodHeader().json(), `null`), "form"},
		{"payload with trailing data", signed(goodHeader().json(), claims+`{}`), "form"},
		{"payload with invalid UTF-8", signed(goodHeader().json(), strings.Replace(claims, `"t1"`, "\"t\xff\"", 1)), "form"},
		{"payload with duplicates", signed(goodHeader().json(), strings.Replace(claims, `{`, `{"custom:tenant":"bravo",`, 1)), "form"},
		{"payload with duplicates, one escaped", signed(goodHeader().json(), strings.Replace(claims, `{`, `{"custom:tenan\u0074":"bravo",`, 1)), "form"},
		{"payload nested deeply", signed(goodHeader().json(), strings.Replace(claims, `{`, `{"x":`+repeat("[", 10001)+repeat("]", 10001)+`,`, 1)), "form"},
	})
}

func TestHeaderControls(t *testing.T) {
	v := verifier(t, nil)
	for name, header := range map[string]object{
		"typ absent":        {"typ": absent},
		"typ at+jwt":        {"typ": "at+jwt"},
		"typ long form":     {"typ": "application/at+jwt"},
		"unknown parameter": {"x5t": "AAAA", "nonce": "n"},
		"kid absent":        {"kid": absent}, // the set has exactly one key
	} {
		t.Run(name, func(t *testing.T) { admit(t, v, token(header, nil)) })
	}
}

func TestSecretsMadeOfPublicKeys(t *testing.T) { // JWT-03, JWT-29
	public := &fixtures().rsa.PublicKey
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	spki := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	text, err := json.Marshal(k1())
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string][]byte{
		"PEM SPKI": spki, "PEM without newline": spki[:len(spki)-1], "DER": der, "DER PKCS1": pkcs1,
		"PEM PKCS1": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
		"JWK":       text, "modulus": public.N.Bytes(), "empty": {},
	}
	for _, guess := range []string{"secret", "changeme", "test", "dev", "password", "alpha", "tenantry"} {
		secrets[guess] = []byte(guess)
	}
	var attacks []attack
	for name, secret := range secrets {
		for _, alg := range []string{"HS256", "RS256"} {
			reason := auth.Reason("alg")
			if alg == "RS256" {
				reason = "signature"
			}
			forged := sign(goodHeader().with(object{"alg": alg}).json(), goodClaims().json(), secret)
			attacks = append(attacks, attack{alg + " with " + name, forged, reason})
		}
	}
	refuseAll(t, verifier(t, nil), token(nil, nil), attacks)
}

func TestKeysInTheToken(t *testing.T) { // JWT-05
	var hits atomic.Int64
	attacker := fixtures().rsaOther
	evil := jose.JSONWebKey{Key: &attacker.PublicKey, KeyID: "e1", Algorithm: "RS256", Use: "sig"}
	l := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		fmt.Fprint(w, jwks(evil))
	}))
	defer l.Close()
	port := l.URL[strings.LastIndexByte(l.URL, ':'):]
	urls := []string{l.URL + "/jwks", "http://[::ffff:127.0.0.1]" + port, "file:///srv/e1.json", "https://idp.example@127.0.0.1" + port}
	var attacks []attack
	add := func(name string, header object) {
		for _, kid := range []string{"e1", "k1"} {
			reason := auth.Reason("kid")
			if kid == "k1" {
				reason = "signature"
			}
			h := goodHeader().with(header).with(object{"kid": kid}).json()
			attacks = append(attacks, attack{name + ", kid " + kid, sign(h, goodClaims().json(), attacker), reason})
		}
	}
	for _, url := range urls {
		add("jku "+url, object{"jku": url})
		add("x5u "+url, object{"x5u": url})
	}
	add("jwk", object{"jwk": evil})
	add("x5c", object{"x5c": []string{"AAAA"}})
	refuseAll(t, verifier(t, nil), token(nil, nil), attacks)
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests went to a URL that a token named", n)
	}
}

func TestSizesOfSignatures(t *testing.T) {
	v := verifier(t, func(cfg *auth.Config) {
		cfg.Issuers[0].Keys = keyFile(t, k1(), jose.JSONWebKey{Key: &fixtures().ec.PublicKey, KeyID: "ec"}, jose.JSONWebKey{Key: fixtures().ed.Public(), KeyID: "ed"})
	})
	for kid, key := range map[string]crypto.Signer{"k1": fixtures().rsa, "ec": fixtures().ec, "ed": fixtures().ed} {
		t.Run(kid, func(t *testing.T) {
			alg := map[string]string{"k1": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid]
			good := sign(goodHeader().with(object{"kid": kid, "alg": alg}).json(), goodClaims().json(), key)
			dot := strings.LastIndexByte(good, '.') + 1
			signature := must(base64.RawURLEncoding.DecodeString(good[dot:]))
			with := func(sig []byte) string { return good[:dot] + base64.RawURLEncoding.EncodeToString(sig) }
			half := len(signature) / 2
			stretched := slices.Concat(signature[:half], []byte{0}, signature[half:]) // r and a longer s, of the same values
			refuseAll(t, v, good, []attack{
				{"empty", with(nil), "signature"},
				{"short", with(signature[:5]), "signature"},
				{"half", with(signature[:half]), "signature"},
				{"one less", with(signature[:len(signature)-1]), "signature"},
				{"one more", with(append(slices.Clone(signature), 0)), "signature"},
				{"zero in front", with(append([]byte{0}, signature...)), "signature"},
				{"zero between", with(stretched), "signature"},
				{"zeros", with(make([]byte, len(signature))), "signature"},
			})
		})
	}
}

func TestKeysThatAreLeftOut(t *testing.T) { // JWT-27
	secret := []byte(repeat("s", 32))
	keys := []any{
		k1(),
		jose.JSONWebKey{Key: secret, KeyID: "o1", Algorithm: "HS256"},
		jose.JSONWebKey{Key: &fixtures().rsaWeak.PublicKey, KeyID: "s1", Algorithm: "RS256"},
		jose.JSONWebKey{Key: &fixtures().rsaOther.PublicKey, KeyID: "n1", Use: "enc"},
		jose.JSONWebKey{Key: &fixtures().rsaOther.PublicKey, KeyID: "k9", Algorithm: "RS512"},
		jose.JSONWebKey{Key: &fixtures().rsaOther.PublicKey, KeyID: "plain"},
		jose.JSONWebKey{Key: &fixtures().ec.PublicKey, KeyID: "ec"},
		jose.JSONWebKey{Key: &fixtures().ec.PublicKey, KeyID: "ec384", Algorithm: "ES384"},
		jose.JSONWebKey{Key: fixtures().rsaOther, KeyID: "private", Algorithm: "RS256"},
		jose.JSONWebKey{Key: &fixtures().rsaOther.PublicKey, KeyID: "twice"},
		jose.JSONWebKey{Key: &fixtures().ec.PublicKey, KeyID: "twice"},
		json.RawMessage(`{"kty":"XYZ","kid":"x1"}`),
		json.RawMessage(`17`),
	}
	ops, err := json.Marshal(jose.JSONWebKey{Key: &fixtures().rsaOther.PublicKey, KeyID: "ops"})
	if err != nil {
		t.Fatal(err)
	}
	keys = append(keys, json.RawMessage(strings.Replace(string(ops), `{`, `{"key_ops":["wrapKey"],`, 1)))
	v := verifier(t, func(cfg *auth.Config) { cfg.Issuers[0].Keys = keyFile(t, keys...) })

	with := func(kid, alg string, key any) string {
		return sign(goodHeader().with(object{"kid": kid, "alg": alg}).json(), goodClaims().json(), key)
	}
	other := fixtures().rsaOther
	admit(t, v, with("plain", "RS256", other))
	admit(t, v, with("ec", "ES256", fixtures().ec))
	refuseAll(t, v, token(nil, nil), []attack{
		{"symmetric", with("o1", "HS256", secret), "kid"},
		{"weak RSA", with("s1", "RS256", fixtures().rsaWeak), "kid"},
		{"for encryption", with("n1", "RS256", other), "kid"},
		{"alg of the key is another", with("k9", "RS256", other), "alg"},
		{"alg of the header is a lie", with("k9", "RS512", other), "signature"},
		{"PS256 with a key for RS256", with("plain", "PS256", other), "alg"},
		{"curve of another alg", with("ec384", "ES384", fixtures().ec), "kid"},
		{"EC key with alg RS256", with("ec", "RS256", fixtures().ec), "alg"},
		{"private key in the set", with("private", "RS256", other), "kid"},
		{"kid used twice", with("twice", "RS256", other), "kid"},
		{"key_ops without verify", with("ops", "RS256", other), "kid"},
		{"no kid with several keys", token(object{"kid": absent}, nil), "kid"},
	})
}

func TestExpiry(t *testing.T) { // JWT-08, JWT-10
	v := verifier(t, nil)
	now := start.Unix()
	refuseAll(t, v, token(nil, nil), []attack{
		{"exp absent", token(nil, object{"exp": absent}), "exp"},
		{"exp null", token(nil, object{"exp": nil}), "exp"},
		{"exp a string", token(nil, object{"exp": "9999999999"}), "exp"},
		{"exp beyond time", token(nil, object{"exp": 1e300}), "exp"},
		{"exp beyond numbers", sign(goodHeader().json(), strings.Replace(goodClaims().json(), `"exp":`, `"exp":1e999,"x":`, 1), fixtures().rsa), "exp"},
		{"exp negative", token(nil, object{"exp": -1}), "exp"},
		{"nbf in the future", token(nil, object{"nbf": now + 61}), "nbf"},
		{"iat in the future", token(nil, object{"iat": now + 61}), "iat"},
		{"iat absent", token(nil, object{"iat": absent}), "iat"},
		{"expired and for another audience", token(nil, object{"exp": now - 100, "aud": "other"}), "aud"},
	})
	for name, claims := range map[string]object{
		"within leeway":   {"exp": now - 59},
		"a fraction left": {"exp": float64(now) - 59.5},
		"nbf in leeway":   {"nbf": now + 60},
		"iat in leeway":   {"iat": now + 60},
	} {
		t.Run(name, func(t *testing.T) { admit(t, v, token(nil, claims)) })
	}
	for name, exp := range map[string]any{"at the end of leeway": now - 60, "after it": now - 65, "long ago": 0, "by a fraction": float64(now) - 60.5} {
		t.Run(name, func(t *testing.T) {
			tok := token(nil, object{"exp": exp})
			for range 2 { // the second time from the cache
				if p, err := v.Verify(t.Context(), tok); p != nil || !errors.Is(err, fault.TokenExpired) {
					t.Fatalf("Verify = %v, %v; want fault.TokenExpired", p, err)
				}
			}
		})
	}
}

func TestIssuerAndAudience(t *testing.T) { // JWT-12, JWT-13
	v := verifier(t, nil)
	iss := func(v any) string { return token(nil, object{"iss": v}) }
	aud := func(v any) string { return token(nil, object{"aud": v}) }
	access := func(use, client any) string {
		return token(nil, object{"aud": absent, "token_use": use, "client_id": client})
	}
	refuseAll(t, v, token(nil, nil), []attack{
		{"another issuer", iss("https://other.example"), "iss"},
		{"issuer with a slash", iss(issuerName + "/"), "iss"},
		{"issuer in upper case", iss(strings.ToUpper(issuerName)), "iss"},
		{"issuer in an array", iss([]string{issuerName}), "iss"},
		{"issuer absent", iss(absent), "iss"},
		{"issuer the built-in one, which is off", iss(auth.BuiltinIssuer), "iss"},
		{"another audience", aud("other"), "aud"},
		{"a refresh token", token(nil, object{"token_use": "refresh"}), "token_use"},
		{"a use in upper case", token(nil, object{"token_use": "ACCESS"}), "token_use"},
		{"audience absent", aud(absent), "aud"},
		{"audience null", aud(nil), "aud"},
		{"audiences none", aud([]string{}), "aud"},
		{"audiences others", aud([]string{"other"}), "aud"},
		{"audiences in one string", aud("ours,other"), "aud"},
		{"audience a prefix", aud("our"), "aud"},
		{"audience longer", aud("ours2"), "aud"},
		{"audience in upper case", aud("OURS"), "aud"},
		{"audiences of two kinds", aud([]any{"ours", 1}), "aud"},
		{"client right, audience wrong", token(nil, object{"aud": "other", "client_id": audience, "token_use": "access"}), "aud"},
		{"client right, audiences none", token(nil, object{"aud": []string{}, "client_id": audience, "token_use": "access"}), "aud"},
		{"an ID token without audience", access("id", audience), "aud"},
		{"an access token of another client", access("access", "other"), "aud"},
		{"no client and no audience", access("access", absent), "aud"},
	})
	admit(t, v, aud([]string{"ours", "other"}))
	admit(t, v, access("access", audience)) // as Cognito writes them
	admit(t, v, token(nil, object{"token_use": "id"}))
}

func TestClaimNames(t *testing.T) { // JWT-16
	v := verifier(t, nil)
	for _, name := range []string{"Custom:Tenant", "CUSTOM:TENANT", "custom:tenant ", "custom:tenant\x00", "custom_tenant", "tenant", "custom:Tenant", "custom:\u0442enant"} {
		t.Run(name, func(t *testing.T) {
			if got := admit(t, v, token(nil, object{name: "bravo"})).Tenant(); got != code("alpha") {
				t.Errorf("tenant = %q, want alpha", got)
			}
			if got := admit(t, v, token(nil, object{"custom:tenant": absent, name: "bravo"})).Tenant(); !got.IsZero() {
				t.Errorf("tenant = %q, want none", got)
			}
		})
	}
}

func TestClaimForms(t *testing.T) { // JWT-21, KEY-24, and the class of it: every claim that becomes part of a key or a log
	v := verifier(t, nil)
	var attacks []attack
	bad := func(claim string, values ...any) {
		for i, value := range values {
			attacks = append(attacks, attack{fmt.Sprintf("%s %d", claim, i), token(nil, object{claim: value}), auth.Reason(claim)})
		}
	}
	bad("sub", absent, "", 17, nil, repeat("s", 256), repeat("s", 5<<10), "a#b", "u#alpha", "a\nb", "a\x00b", "caf\u00e9", "\u202euser", "a\x7fb", []string{"u"})
	bad("custom:tenant", "bravo ", " bravo", "bra\u00advo", "bravo\u00a0", "bravo\u200b", "\ufeffbravo", "bravo\u0301", "bravo\x00", "\u212Ailo", "*", "%", ".", "../alpha", "-a", repeat("a", 64), 9999, nil, []string{"alpha"})
	bad("custom:user_code", "a\nb", "\u202euser", repeat("u", 256), 1, nil)
	bad("cognito:username", "a\nb", 1)
	bad("custom:role", 1, nil, []string{"admin"})
	bad("email", "a\nb@example.com", repeat("e", 321), 1)
	bad("email_verified", 1, "yes", nil, object{})
	bad("jti", 1)
	refuseAll(t, v, token(nil, nil), attacks)
	for name, claims := range map[string]object{
		"longest sub":      {"sub": repeat("s", 255)},
		"printable sub":    {"sub": `a b!"$%&'()*+,-./:;<=>?@[\]^_{|}~`},
		"user code with #": {"custom:user_code": "9999#admin"},
		"emoji":            {"custom:user_code": "\U0001F468\u200d\U0001F469"},
		"longest tenant":   {"custom:tenant": repeat("a", 63)},
		"digits":           {"custom:tenant": "9999"},
		"e-mail":           {"email": "ann@example.com", "email_verified": "true"},
	} {
		t.Run(name, func(t *testing.T) { admit(t, v, token(nil, claims)) })
	}
}

func TestRolesText(t *testing.T) { // JWT-17
	v := verifier(t, nil)
	entries := func(n int) string { return "[" + strings.TrimSuffix(repeat("{},", n), ",") + "]" }
	var attacks []attack
	for claim, texts := range map[string][]any{
		"custom:roles": {
			``, `x`, `{}`, `null`, `"x"`, `[1]`, `[null]`, `[[]]`, `[{"tenant":1}]`, `[{"role":null}]`, `[{"tenant":null,"role":"admin"}]`,
			`[{"tenant":"","role":"admin","role":"user"}]`, `[{"role":"admin","r\u006fle":"user"}]`, `[{"role":["admin"]}]`, `[{"tenant":{"x":1},"role":"admin"}]`,
			`[{"Tenant":"alpha","role":"admin"}]`, `[{"role":"admin","until":"2020"}]`,
			`[{"role":"admin"}]x`, `[{"role":"admin"}][]`, `[{"role":"admin"},]`, `[{"role":"admin"}`,
			repeat("[", 5000) + repeat("]", 5000), entries(1001), []any{object{"role": "admin"}}, 1, nil,
		},
		"custom:groups": {
			`x`, `{}`, `null`, `[1]`, `[{"tenant":1}]`, `[{"groups":"sales"}]`, `[{"groups":[1]}]`, `[{"groups":[["x"]]}]`,
			`[{"groups":["a"],"groups":["b"]}]`, `[{"Groups":["a"]}]`, `[{"groups":["a"]}]x`, entries(1001),
			`[{"groups":[` + strings.TrimSuffix(repeat(`"a",`, 1001), ",") + `]}]`, nil,
		},
	} {
		for i, text := range texts {
			attacks = append(attacks, attack{fmt.Sprintf("%s %d", claim, i), token(nil, object{claim: text}), auth.Reason(claim)})
		}
	}
	refuseAll(t, v, token(nil, nil), attacks)
	admit(t, v, token(nil, object{"custom:roles": entries(1000)}))
	admit(t, v, token(nil, object{"custom:roles": `[]`, "custom:groups": `[{"groups":[]}]`}))
}

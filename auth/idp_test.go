package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuerName = "https://idp.example/pool"
	audience   = "ours"
)

// fixtures are keys that are costly to make.
var fixtures = sync.OnceValue(func() (f struct {
	rsa, rsaOther, rsaWeak *rsa.PrivateKey
	ec                     *ecdsa.PrivateKey
	ed                     ed25519.PrivateKey
}) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	f.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	f.rsaOther, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	f.rsaWeak, err = rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	f.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	_, f.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return f
})

// object is a JSON object of a token. A member that is absent in it can't be told from one set to absent.
type object map[string]any

var absent = new(int)

// with returns o with other members, without those that are absent.
func (o object) with(other object) object {
	merged := maps.Clone(o)
	maps.Copy(merged, other)
	maps.DeleteFunc(merged, func(_ string, v any) bool { return v == absent })
	return merged
}

func (o object) json() string {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(text)
}

var start = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func clock() time.Time { return start }

// goodHeader and goodClaims are those of a token that passes; a case spoils one member.
func goodHeader() object { return object{"alg": "RS256", "kid": "k1", "typ": "JWT"} }

func goodClaims() object {
	return object{
		"iss": issuerName, "aud": audience, "sub": "user-1", "jti": "t1",
		"iat": start.Unix() - 10, "exp": start.Unix() + 60,
		"custom:tenant": "alpha", "custom:roles": `[{"tenant":"","role":"user"},{"tenant":"alpha","role":"admin"}]`,
	}
}

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// sign returns header and payload signed with key by the algorithm that the key implies, whatever the header says: a
// []byte is an HMAC secret.
func sign(header, payload string, key any) string {
	signed := b64(header) + "." + b64(payload)
	digest := sha256.Sum256([]byte(signed))
	var (
		sig []byte
		err error
	)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, key, digest[:])
		sig, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), signErr
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(signed))
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		sig = mac.Sum(nil)
	}
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// token returns a token signed with k1, good but for what is changed.
func token(header, claims object) string {
	return sign(goodHeader().with(header).json(), goodClaims().with(claims).json(), fixtures().rsa)
}

// jwks returns a set of the keys as JSON.
func jwks(keys ...any) string {
	text, err := json.Marshal(map[string]any{"keys": append([]any{}, keys...)})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func k1() jose.JSONWebKey {
	return jose.JSONWebKey{Key: &fixtures().rsa.PublicKey, KeyID: "k1", Use: "sig", Algorithm: "RS256"}
}

// keyFile writes a set of keys to a file.
func keyFile(t testing.TB, keys ...any) auth.KeyFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, []byte(jwks(keys...)), 0o600); err != nil {
		t.Fatal(err)
	}
	return auth.KeyFile(path)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// verifier returns a Verifier that trusts one external issuer with k1.
func verifier(t testing.TB, change func(*auth.Config)) *auth.Verifier {
	t.Helper()
	cfg := auth.Config{
		Issuers: []auth.Issuer{{Name: issuerName, Audience: audience}},
		Now:     clock,
		Log:     quiet(),
	}
	if change != nil {
		change(&cfg)
	}
	for i := range cfg.Issuers {
		if cfg.Issuers[i].Keys == nil {
			cfg.Issuers[i].Keys = keyFile(t, k1())
		}
	}
	v, err := auth.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// admit fails the test unless the token is valid.
func admit(t testing.TB, v *auth.Verifier, token string) *auth.Principal {
	t.Helper()
	p, err := v.Verify(context.Background(), token)
	if err != nil {
		t.Fatalf("a good token was refused: %v", err)
	}
	return p
}

func code(text string) tenant.Code {
	c, err := tenant.Parse(text)
	if err != nil {
		panic(err)
	}
	return c
}

func repeat(text string, n int) string { return strings.Repeat(text, n) }

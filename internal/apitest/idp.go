package apitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/auth"
)

// Claims are the payload of a token, or its header. A member set to Absent is left out.
type Claims map[string]any

// Absent leaves a member out that would be there by default.
var Absent = new(int)

// With returns c with other members.
func (c Claims) With(other Claims) Claims {
	merged := maps.Clone(c)
	maps.Copy(merged, other)
	maps.DeleteFunc(merged, func(_ string, v any) bool { return v == Absent })
	return merged
}

// Text returns c as JSON.
func (c Claims) Text() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TrustedKey returns k1, the key of the identity provider, and UnknownKey e1, which the server doesn't know. They are the same for
// the whole process, because making them takes long.
var (
	TrustedKey = sync.OnceValue(newKey)
	UnknownKey = sync.OnceValue(newKey)
)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// IdP is an identity provider with the key k1. It serves its key set on a loopback address.
type IdP struct {
	Name     string // what its tokens have as iss
	Audience string
	URL      string // of its key set

	now  func() time.Time
	hits atomic.Int64
	set  []byte
}

// NewIdP starts an identity provider, until the test ends. Extra keys stand in its key set beside k1, as JSON or as
// jose.JSONWebKey.
func NewIdP(t testing.TB, now func() time.Time, extra ...any) *IdP {
	t.Helper()
	p := &IdP{Name: "https://idp.example/pool", Audience: "ours", now: now}
	keys := append([]any{jose.JSONWebKey{Key: &TrustedKey().PublicKey, KeyID: "k1", Use: "sig", Algorithm: "RS256"}}, extra...)
	var err error
	if p.set, err = json.Marshal(map[string]any{"keys": keys}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.hits.Add(1)
		w.Write(p.set)
	}))
	t.Cleanup(server.Close)
	p.URL = server.URL + "/jwks"
	return p
}

// Issuer returns how a server is told to trust p.
func (p *IdP) Issuer() auth.Issuer {
	return auth.Issuer{Name: p.Name, Audience: p.Audience, Keys: auth.KeyURL(p.URL)}
}

// Hits returns how often the key set was fetched.
func (p *IdP) Hits() int64 { return p.hits.Load() }

// Header returns the header of a good token.
func (p *IdP) Header() Claims { return Claims{"alg": "RS256", "kid": "k1", "typ": "JWT"} }

// Claims returns the claims of a good token for a user, valid for an hour.
func (p *IdP) Claims(subject string) Claims {
	now := p.now().Unix()
	return Claims{"iss": p.Name, "aud": p.Audience, "sub": subject, "jti": fmt.Sprintf("%s-%d", subject, now), "iat": now, "exp": now + 3600}
}

// Token returns a good token for a user with further claims.
func (p *IdP) Token(subject string, claims Claims) string {
	return Sign(p.Header().Text(), p.Claims(subject).With(claims).Text(), TrustedKey())
}

// Sign returns header and payload, signed with key by the algorithm that the key implies, whatever the header says: a []byte is an
// HMAC secret, and nil signs nothing.
func Sign(header, payload string, key any) string {
	signed := Base64(header) + "." + Base64(payload)
	digest := sha256.Sum256([]byte(signed))
	var (
		signature []byte
		err       error
	)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, key, digest[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), signErr
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, []byte(signed))
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		signature = mac.Sum(nil)
	}
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Base64 returns text as a part of a token.
func Base64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// claimsOf returns what a user of the form role@tenant claims: "admin@alpha" is an admin of alpha, "user" a user everywhere
// whose token is bound to no tenant.
func claimsOf(user string) Claims {
	role, code, bound := strings.Cut(user, "@")
	if !bound {
		return Claims{"custom:role": role}
	}
	return Claims{"custom:tenant": code, "custom:roles": fmt.Sprintf(`[{"tenant":%q,"role":%q}]`, code, role)}
}

package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/auth"
)

// TestAlgorithms takes signatures of another implementation, each algorithm with a key that is pinned to it and with
// one of the same kind that is pinned to another.
func TestAlgorithms(t *testing.T) {
	rsaKey := fixtures().rsa
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(c, rand.Reader)) }
	p256, p384, p521 := fixtures().ec, curve(elliptic.P384()), curve(elliptic.P521())
	for _, c := range []struct {
		alg    jose.SignatureAlgorithm
		key    crypto.Signer
		pinned string // alg in the key set
		reason auth.Reason
	}{
		{jose.EdDSA, fixtures().ed, "", ""},
		{jose.EdDSA, fixtures().ed, "EdDSA", ""},
		{jose.ES256, p256, "", ""},
		{jose.ES256, p256, "ES256", ""},
		{jose.ES384, p384, "", ""},
		{jose.ES512, p521, "", ""},
		{jose.RS256, rsaKey, "", ""},
		{jose.RS256, rsaKey, "RS256", ""},
		{jose.RS384, rsaKey, "RS384", ""},
		{jose.RS512, rsaKey, "RS512", ""},
		{jose.PS256, rsaKey, "PS256", ""},
		{jose.PS384, rsaKey, "PS384", ""},
		{jose.PS512, rsaKey, "PS512", ""},
		{jose.PS256, rsaKey, "", "alg"},
		{jose.RS384, rsaKey, "", "alg"},
		{jose.RS256, rsaKey, "PS256", "alg"},
		{jose.PS256, rsaKey, "RS256", "alg"},
		{jose.RS256, rsaKey, "RSA-OAEP", "kid"},
		{jose.RS256, rsaKey, "HS256", "kid"},
		{jose.ES256, p256, "ES384", "kid"},
		{jose.EdDSA, fixtures().ed, "ES256", "kid"},
	} {
		t.Run(string(c.alg)+" by a key for "+c.pinned, func(t *testing.T) {
			signer := must(jose.NewSigner(jose.SigningKey{Algorithm: c.alg, Key: jose.JSONWebKey{Key: c.key, KeyID: "k1"}}, nil))
			tok := must(must(signer.Sign([]byte(goodClaims().json()))).CompactSerialize())
			v := verifier(t, func(cfg *auth.Config) {
				other := jose.JSONWebKey{Key: &fixtures().rsaOther.PublicKey, KeyID: "k2"}
				cfg.Issuers[0].Keys = keyFile(t, jose.JSONWebKey{Key: c.key.Public(), KeyID: "k1", Algorithm: c.pinned}, other)
			})
			if _, err := v.Verify(t.Context(), tok); auth.ReasonOf(err) != c.reason {
				t.Errorf("Verify = %v, want the reason %q", err, c.reason)
			}
		})
	}
}

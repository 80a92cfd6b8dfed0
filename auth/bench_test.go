package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/auth"
)

// The cost of a token beside that of the bare check of its signature, which is the least that a first verification can
// cost. Seen is what all requests but the first pay.

type benchKey struct {
	alg     string
	private crypto.Signer
}

func benchKeys() []benchKey {
	f := fixtures()
	return []benchKey{{"EdDSA", f.ed}, {"RS256", f.rsa}, {"ES256", f.ec}}
}

func (k benchKey) token(jti string) string {
	return sign(goodHeader().with(object{"alg": k.alg}).json(), goodClaims().with(object{"jti": jti, "email": "ann@example.com", "email_verified": true, "custom:user_code": "9999#ann"}).json(), k.private)
}

func (k benchKey) verifier(b *testing.B, change func(*auth.Config)) *auth.Verifier {
	return verifier(b, func(cfg *auth.Config) {
		cfg.Issuers[0].Keys = keyFile(b, jose.JSONWebKey{Key: k.private.Public(), KeyID: "k1"})
		change(cfg)
	})
}

// bare returns the check of a token's signature and nothing else.
func (k benchKey) bare(token string) func() bool {
	dot := strings.LastIndexByte(token, '.')
	signed := []byte(token[:dot])
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		panic(err)
	}
	switch key := k.private.Public().(type) {
	case ed25519.PublicKey:
		return func() bool { return ed25519.Verify(key, signed, sig) }
	case *rsa.PublicKey:
		return func() bool {
			digest := sha256.Sum256(signed)
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) == nil
		}
	case *ecdsa.PublicKey:
		return func() bool {
			digest := sha256.Sum256(signed)
			return ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		}
	}
	return nil
}

func BenchmarkVerify(b *testing.B) {
	ctx := context.Background()
	for _, k := range benchKeys() {
		tokens := make([]string, 256)
		for i := range tokens {
			tokens[i] = k.token(fmt.Sprint(i))
		}
		b.Run(k.alg+"/bare", func(b *testing.B) {
			check := k.bare(tokens[0])
			b.ReportAllocs()
			for b.Loop() {
				if !check() {
					b.Fatal("the signature is not valid")
				}
			}
		})
		b.Run(k.alg+"/first", func(b *testing.B) {
			v := k.verifier(b, func(cfg *auth.Config) { cfg.CacheSize = 1 }) // which forgets each token before it comes again
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := v.Verify(ctx, tokens[i%len(tokens)]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.alg+"/seen", func(b *testing.B) {
			v := k.verifier(b, func(*auth.Config) {})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(ctx, tokens[0]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.alg+"/seen, revocable", func(b *testing.B) {
			v := k.verifier(b, func(cfg *auth.Config) { cfg.Revocations = new(revokedSubject) })
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(ctx, tokens[0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerifyBuiltin is what requests pay for a token of the built-in issuer, whose keys follow their file.
func BenchmarkVerifyBuiltin(b *testing.B) {
	ctx := context.Background()
	k := openRotating(b, b.TempDir(), time.Now)
	v := verifier(b, func(cfg *auth.Config) { cfg.Keyring, cfg.Now, cfg.Revocations = k, time.Now, new(revokedSubject) })
	tok := issue(b, k, auth.Claims{Subject: "s", Epoch: "e1", Act: auth.Act{Issuer: issuerName, Subject: "admin"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(ctx, tok); err != nil {
			b.Fatal(err)
		}
	}
}

package bench

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenantrytest"
)

// BenchmarkAdmit is what every request pays before anything is read: token, guard, scope.
func BenchmarkAdmit(b *testing.B) {
	app := open(b, b.TempDir())
	sc := app.Scope("acme")
	admit := func(token string) error {
		p, err := app.Verifier().Verify(context.Background(), token)
		if err != nil {
			return err
		}
		_, err = app.Guard().Admit(context.Background(), &guard.Request{Principal: p, Policy: guard.Policy{Reach: guard.Tenant}})
		return err
	}
	issue := func(n int) []string { // tokens of as many users, each of them new
		tokens := make([]string, n)
		for i := range tokens {
			tokens[i] = app.Token(auth.Claims{Subject: "user-" + record.NewID(), Tenant: sc.Tenant(), Role: "user"})
		}
		return tokens
	}
	b.Run("first/by=tenantry", func(b *testing.B) {
		tokens := issue(b.N)
		b.ReportAllocs()
		b.ResetTimer()
		for _, token := range tokens {
			must(b, admit(token))
		}
	})
	b.Run("first/by=signature", func(b *testing.B) {
		key, tokens := publicKey(b, app), issue(b.N)
		b.ReportAllocs()
		b.ResetTimer()
		for _, token := range tokens {
			signed, signature := split(b, token)
			if !ed25519.Verify(key, signed, signature) {
				b.Fatal("the signature does not verify")
			}
		}
	})
	tokens := issue(1)
	b.Run("seen", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := admit(tokens[0]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("guard", func(b *testing.B) {
		p, err := app.Verifier().Verify(context.Background(), tokens[0])
		if err != nil {
			b.Fatal(err)
		}
		requests := make([]guard.Request, 1024)
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			r := &requests[n%len(requests)]
			*r = guard.Request{Principal: p, Policy: guard.Policy{Reach: guard.Tenant}}
			if _, err := app.Guard().Admit(context.Background(), r); err != nil {
				b.Fatal(err)
			}
			n++
		}
	})
}

func publicKey(b *testing.B, app *tenantrytest.App) ed25519.PublicKey {
	b.Helper()
	var set struct {
		Keys []struct {
			X string `json:"x"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(app.Keyring().JWKS(), &set); err != nil {
		b.Fatal(err)
	}
	key, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	if err != nil {
		b.Fatal(err)
	}
	return key
}

// split returns what is signed, and its signature, as every verification has to.
func split(b *testing.B, token string) (signed, signature []byte) {
	b.Helper()
	i := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil {
		b.Fatal(err)
	}
	return []byte(token[:i]), signature
}

package auth

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The sizes of RSA keys that are used, in bits: smaller ones are weak, larger ones cost too much to verify with.
const (
	minRSA = 2048
	maxRSA = 8192
)

// publicKey verifies signatures by the one algorithm that it is pinned to, whatever a token's header says.
type publicKey struct {
	id        string // kid, "" when the set gives none
	algorithm string
	hash      crypto.Hash // zero for Ed25519
	key       crypto.PublicKey
}

// newPublicKey pins a key to an algorithm: Ed25519 to EdDSA, an elliptic curve to its own, RSA to declared (what the set
// says) or else RS256.
func newPublicKey(id string, key crypto.PublicKey, declared string) (*publicKey, error) {
	k := &publicKey{id: id, key: key}
	switch key := key.(type) {
	case ed25519.PublicKey:
		k.algorithm = "EdDSA"
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			k.algorithm, k.hash = "ES256", crypto.SHA256
		case elliptic.P384():
			k.algorithm, k.hash = "ES384", crypto.SHA384
		case elliptic.P521():
			k.algorithm, k.hash = "ES512", crypto.SHA512
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("an RSA key has %d to %d bits, this one %d", minRSA, maxRSA, bits)
		}
		switch declared {
		case "", "RS256", "PS256":
			k.hash = crypto.SHA256
		case "RS384", "PS384":
			k.hash = crypto.SHA384
		case "RS512", "PS512":
			k.hash = crypto.SHA512
		}
		if k.hash != 0 {
			k.algorithm = cmp.Or(declared, "RS256")
		}
	}
	if k.algorithm == "" || declared != "" && declared != k.algorithm {
		return nil, fmt.Errorf("no algorithm of this package signs with a key of type %T and alg %q", key, declared)
	}
	return k, nil
}

// verify reports whether signature is one over signed.
func (k *publicKey) verify(signed, signature []byte) bool {
	if key, ok := k.key.(ed25519.PublicKey); ok {
		return ed25519.Verify(key, signed, signature)
	}
	h := k.hash.New()
	h.Write(signed)
	digest := h.Sum(nil)
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		half := (key.Curve.Params().BitSize + 7) / 8 // r and s, RFC 7518, section 3.4
		if len(signature) != 2*half {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		return ecdsa.Verify(key, digest, r, s)
	case *rsa.PublicKey:
		if k.algorithm[0] == 'P' {
			return rsa.VerifyPSS(key, k.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, k.hash, digest, signature) == nil
	}
	return false
}

// keySet is the usable keys of one JWK set. It is immutable: another set of keys is another *keySet, so what was
// verified with a key holds for as long as the issuer's current set is the same pointer.
type keySet struct {
	byID map[string]*publicKey // nil for a kid that several keys share
	only *publicKey            // the key for tokens without kid, when there is exactly one
}

func newKeySet(keys ...*publicKey) *keySet {
	s := &keySet{byID: make(map[string]*publicKey, len(keys))}
	for _, k := range keys {
		id := k.id
		if _, shared := s.byID[id]; shared {
			k = nil
		}
		s.byID[id] = k
	}
	if len(keys) == 1 {
		s.only = keys[0]
	}
	return s
}

// isEmpty reports whether no token can be verified with the set.
func (s *keySet) isEmpty() bool {
	for _, k := range s.byID {
		if k != nil {
			return false
		}
	}
	return true
}

// find returns the key that a token's kid names, nil when there is none.
func (s *keySet) find(id string) *publicKey {
	if id == "" {
		return s.only
	}
	return s.byID[id]
}

// parseKeySet returns the usable keys of a JWK set (RFC 7517). A key that can't be used (symmetric, weak, private, not
// for verifying, of an unknown type, or sharing its kid with another one) is left out with a reason in ignored; the rest
// still serve. The order of keys has no meaning.
func parseKeySet(text []byte) (set *keySet, ignored []error, err error) {
	var document struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, nil, fmt.Errorf("not a JWK set: %w", err)
	}
	if document.Keys == nil {
		return nil, nil, errors.New("not a JWK set: it has no array of keys")
	}
	var keys []*publicKey
	for i, text := range document.Keys {
		k, err := parseKey(text)
		if err != nil {
			ignored = append(ignored, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		keys = append(keys, k)
	}
	set = newKeySet(keys...)
	for id, k := range set.byID {
		if k == nil {
			ignored = append(ignored, fmt.Errorf("the keys that share the kid %q", id))
		}
	}
	return set, ignored, nil
}

func parseKey(text []byte) (*publicKey, error) {
	var purpose struct {
		Operations []string `json:"key_ops"`
	}
	var k jose.JSONWebKey
	if err := json.Unmarshal(text, &purpose); err != nil {
		return nil, err
	}
	if err := k.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	if k.Use != "" && k.Use != "sig" || purpose.Operations != nil && !slices.Contains(purpose.Operations, "verify") {
		return nil, errors.New("not a key for verifying signatures")
	}
	return newPublicKey(k.KeyID, k.Key, k.Algorithm)
}

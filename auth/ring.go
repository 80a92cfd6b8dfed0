package auth

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ring is the keys that a Keyring works with until they change. It is immutable.
type ring struct {
	signer ed25519.PrivateKey
	header string // of the tokens that signer signs, encoded
	keys   []ringKey
	public *keySet
	ends   time.Time // when the first of the keys stops verifying, zero for never
}

type ringKey struct {
	public *publicKey
	jwk    []byte    // the public half, encoded
	until  time.Time // when it stops verifying, zero for never
}

// newRing returns the keys that s holds, those whose time has passed included: ends says so.
func newRing(s *secrets) (*ring, error) {
	r := new(ring)
	for _, jwk := range s.Keys {
		private, ok := jwk.Key.(ed25519.PrivateKey)
		if !ok {
			return nil, errSecrets
		}
		public, err := newPublicKey(jwk.KeyID, private.Public(), jwk.Algorithm)
		if err != nil {
			return nil, err
		}
		half := jwk.Public()
		text, err := half.MarshalJSON()
		if err != nil {
			return nil, err
		}
		if jwk.KeyID == s.Active {
			r.signer = private
			r.header = encoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":"JWT"}`, public.algorithm, public.id))
		}
		r.keys = append(r.keys, ringKey{public, text, s.Times[jwk.KeyID].Until})
	}
	if r.signer == nil || len(s.CursorKey) != cursorKeySize || !s.Times[s.Active].Until.IsZero() {
		return nil, errSecrets
	}
	for kid := range s.Times {
		if !slices.ContainsFunc(s.Keys, func(jwk jose.JSONWebKey) bool { return jwk.KeyID == kid }) {
			return nil, errSecrets
		}
	}
	r.index()
	return r, nil
}

// without returns r without the keys whose time has passed by now.
func (r *ring) without(now time.Time) *ring {
	left := &ring{signer: r.signer, header: r.header}
	for _, k := range r.keys {
		if k.until.IsZero() || now.Before(k.until) {
			left.keys = append(left.keys, k)
		}
	}
	left.index()
	return left
}

func (r *ring) index() {
	var public []*publicKey
	for _, k := range r.keys {
		public = append(public, k.public)
		if !k.until.IsZero() && (r.ends.IsZero() || k.until.Before(r.ends)) {
			r.ends = k.until
		}
	}
	r.public = newKeySet(public...)
}

// jwks returns the public keys as a JWK set.
func (r *ring) jwks() []byte {
	var list [][]byte
	for _, k := range r.keys {
		list = append(list, k.jwk)
	}
	return slices.Concat([]byte(`{"keys":[`), bytes.Join(list, []byte(",")), []byte("]}"))
}

package auth

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
)

// BuiltinIssuer is the name of the built-in issuer, and the audience of its tokens, where KeyringOptions don't say another.
const BuiltinIssuer = "tenantry"

// KeyringOptions are the options of a Keyring.
type KeyringOptions struct {
	// Issuer is what its tokens have as iss. Defaults to BuiltinIssuer.
	Issuer string

	// Audience is what its tokens have as aud. Defaults to BuiltinIssuer.
	Audience string

	// CrossTenantRoles are the roles that Issue refuses to bind to a tenant. Defaults to SystemAdmin alone.
	CrossTenantRoles CrossTenantRoles

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// Keyring is the built-in issuer: the Ed25519 keys that its tokens are verified with, the one of them that signs, and
// the secret that seals cursors. It may be used concurrently. As a KeySource it stands for its public keys.
type Keyring struct {
	issuer, audience string
	cross            CrossTenantRoles
	now              func() time.Time

	signer    ed25519.PrivateKey
	header    string // of the tokens that signer signs, encoded
	cursorKey []byte
	public    *keySet
	jwks      []byte
}

// NewKeyring returns a Keyring with a new key, held in memory only: for a store in memory, and for tests. It fails with
// fault.InvalidRequest for a blank name or audience.
func NewKeyring(opts KeyringOptions) (*Keyring, error) {
	s, err := newSecrets()
	if err != nil {
		return nil, err
	}
	return newKeyring(s, opts)
}

func newKeyring(s *secrets, opts KeyringOptions) (*Keyring, error) {
	k := &Keyring{
		issuer:    cmp.Or(opts.Issuer, BuiltinIssuer),
		audience:  cmp.Or(opts.Audience, BuiltinIssuer),
		cross:     opts.CrossTenantRoles,
		now:       opts.Now,
		cursorKey: s.CursorKey,
	}
	if k.now == nil {
		k.now = time.Now
	}
	if strings.TrimSpace(k.issuer) == "" || strings.TrimSpace(k.audience) == "" {
		return nil, fault.New(fault.InvalidRequest, "auth.Keyring", "the built-in issuer's name or audience is blank; leave it out for %q", BuiltinIssuer)
	}
	var (
		public []*publicKey
		jwks   jose.JSONWebKeySet
	)
	for _, jwk := range s.Keys {
		private, ok := jwk.Key.(ed25519.PrivateKey)
		if !ok {
			return nil, errSecrets
		}
		key, err := newPublicKey(jwk.KeyID, private.Public(), jwk.Algorithm)
		if err != nil {
			return nil, err
		}
		public, jwks.Keys = append(public, key), append(jwks.Keys, jwk.Public())
		if jwk.KeyID == s.Active {
			k.signer = private
			k.header = encoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":"JWT"}`, key.algorithm, key.id))
		}
	}
	if k.signer == nil || len(k.cursorKey) != cursorKeySize {
		return nil, errSecrets
	}
	k.public = newKeySet(public...)
	var err error
	k.jwks, err = json.Marshal(jwks)
	return k, err
}

// Issuer returns the issuer's name.
func (k *Keyring) Issuer() string { return k.issuer }

// JWKS returns the public keys as a JWK set (RFC 7517), for /.well-known/jwks.json. The slice is the caller's.
func (k *Keyring) JWKS() []byte { return slices.Clone(k.jwks) }

// CursorKey returns the 32 bytes of the secret that seals cursors. The slice is the caller's.
func (k *Keyring) CursorKey() []byte { return slices.Clone(k.cursorKey) }

func (k *Keyring) open(environment) (keys, error) { return fixed{k.public}, nil }

// sign returns payload as a token.
func (k *Keyring) sign(payload []byte) string {
	signed := k.header + "." + encoding.EncodeToString(payload)
	return signed + "." + encoding.EncodeToString(ed25519.Sign(k.signer, []byte(signed)))
}

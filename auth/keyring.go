package auth

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

	// Log receives what is wrong with the file of keys; no keys. Defaults to slog.Default().
	Log *slog.Logger
}

// Keyring is the built-in issuer: the Ed25519 keys that its tokens are verified with, the one of them that signs, and
// the secret that seals cursors. It may be used concurrently. As a KeySource it stands for its public keys.
//
// One from OpenKeyring follows its file: what RotateKey and RetireKey do, in this process or another, counts within 250 ms,
// for signing, verifying and JWKS; one from StoredKeys follows its store within a second. The end of a key's overlap counts to the
// moment. A file or a store that went bad, or away, is logged, and the keys read last stay in force.
type Keyring struct {
	issuer, audience string
	cross            CrossTenantRoles
	now              func() time.Time
	log              *slog.Logger
	home             home // where the keys are kept, nil for memory
	cursorKey        []byte

	ring   atomic.Pointer[ring]
	looked atomic.Int64 // when the home was looked at last, in Unix nanoseconds

	mu   sync.Mutex // held while looking
	last string     // what was logged last, so that it is logged once
}

// home is where the secrets of a Keyring are kept. Its methods are not called concurrently.
type home interface {
	// read returns the secrets; nil where they are those that it returned last.
	read() (*secrets, error)

	// every says how often to look: as a rule, and where a token names a key that the Keyring doesn't have, which may be one that
	// another process has begun to sign with.
	every() (usual, missed time.Duration)

	String() string // for the log
}

// NewKeyring returns a Keyring with a new key, held in memory only: for a store in memory, and for tests. Its key never
// changes. It fails with fault.InvalidRequest for a blank name or audience.
func NewKeyring(opts KeyringOptions) (*Keyring, error) {
	k := opts.keyring()
	s, err := newSecrets(k.now())
	if err != nil {
		return nil, err
	}
	if err := k.use(s); err != nil {
		return nil, err
	}
	return k, nil
}

func (opts KeyringOptions) keyring() *Keyring {
	k := &Keyring{
		issuer:   cmp.Or(opts.Issuer, BuiltinIssuer),
		audience: cmp.Or(opts.Audience, BuiltinIssuer),
		cross:    opts.CrossTenantRoles,
		now:      opts.Now,
		log:      opts.Log,
	}
	if k.now == nil {
		k.now = time.Now
	}
	if k.log == nil {
		k.log = slog.Default()
	}
	return k
}

// use makes s what k begins with.
func (k *Keyring) use(s *secrets) error {
	if strings.TrimSpace(k.issuer) == "" || strings.TrimSpace(k.audience) == "" {
		return fault.New(fault.InvalidRequest, "auth.Keyring", "the built-in issuer's name or audience is blank; leave it out for %q", BuiltinIssuer)
	}
	r, err := newRing(s)
	if err != nil {
		return err
	}
	k.cursorKey = s.CursorKey
	k.ring.Store(r)
	return nil
}

// Issuer returns the issuer's name.
func (k *Keyring) Issuer() string { return k.issuer }

// JWKS returns the public keys as a JWK set (RFC 7517), for /.well-known/jwks.json: every key that tokens are verified
// with. The slice is the caller's.
func (k *Keyring) JWKS() []byte { return k.at(k.now()).jwks() }

// CursorKey returns the 32 bytes of the secret that seals cursors. It is the one that was read at the start; rotation keeps
// it. The slice is the caller's.
func (k *Keyring) CursorKey() []byte { return slices.Clone(k.cursorKey) }

// Secret returns 32 bytes that only who has the keys can know, derived from the cursor key (HKDF-SHA256, RFC 5869,
// with label as info): another secret for each label. Like the cursor key it stays the same through rotation. The
// slice is the caller's.
func (k *Keyring) Secret(label string) []byte {
	secret, err := hkdf.Key(sha256.New, k.cursorKey, nil, label, 32)
	if err != nil {
		panic(err) // not for 32 bytes from a key of 32
	}
	return secret
}

func (k *Keyring) open(environment) (keys, error) { return k, nil }

func (k *Keyring) current(_ context.Context, now time.Time) (*keySet, error) {
	return k.at(now).public, nil
}

func (k *Keyring) missed(_ context.Context, now time.Time) (*keySet, error) {
	if k.home != nil {
		_, every := k.home.every()
		k.mu.Lock() // so that whoever looks at the moment is waited for
		k.look(now, every)
		k.mu.Unlock()
	}
	return k.at(now).public, nil
}

func (k *Keyring) close() {}

// at returns the keys in force at a time.
func (k *Keyring) at(now time.Time) *ring {
	if k.home != nil {
		if every, _ := k.home.every(); k.isDue(now, every) && k.mu.TryLock() {
			k.look(now, every)
			k.mu.Unlock()
		}
	}
	for {
		r := k.ring.Load()
		if r.ends.IsZero() || now.Before(r.ends) {
			return r
		}
		k.ring.CompareAndSwap(r, r.without(now)) // where it fails the file was read meanwhile
	}
}

// isDue reports whether the home was not looked at for so long, or the clock was set back.
func (k *Keyring) isDue(now time.Time, every time.Duration) bool {
	since := time.Duration(now.UnixNano() - k.looked.Load())
	return since >= every || since < 0
}

// look reads the keys if that is due and they are others than those read last. The caller holds k.mu.
func (k *Keyring) look(now time.Time, every time.Duration) {
	if !k.isDue(now, every) {
		return
	}
	k.looked.Store(now.UnixNano())
	problem := ""
	if err := k.reload(); err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != k.last {
		k.log.Warn("the keys can't be read; those read last stay in force", "keys", k.home.String(), "error", problem)
	}
	k.last = problem
}

func (k *Keyring) reload() error {
	s, err := k.home.read()
	if err != nil || s == nil {
		return err
	}
	r, err := newRing(s)
	if err != nil {
		return err
	}
	k.ring.Store(r)
	return nil
}

// sign returns payload as a token.
func (k *Keyring) sign(payload []byte) string {
	r := k.at(k.now())
	signed := r.header + "." + encoding.EncodeToString(payload)
	return signed + "." + encoding.EncodeToString(ed25519.Sign(r.signer, []byte(signed)))
}

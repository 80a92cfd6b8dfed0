package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/tenantry/tenantry/fault"
)

// Config is what a Verifier is made of. At least one of Keyring and Issuers must be set.
type Config struct {
	// Keyring is the built-in issuer, which may assert any tenant and any role. Defaults to none.
	Keyring *Keyring

	// Issuers are the external ones. Defaults to none.
	Issuers []Issuer

	// CrossTenantRoles are the roles that reach every tenant. Defaults to SystemAdmin alone.
	CrossTenantRoles CrossTenantRoles

	// Revocations says which tokens were revoked. Defaults to none.
	Revocations Revocations

	// Leeway is how far the clocks of issuers may be off. Defaults to 60 s.
	Leeway time.Duration

	// CacheSize bounds the verified tokens that are remembered, each about a kilobyte. Defaults to 10,000.
	CacheSize int

	// Now is the clock. Defaults to time.Now.
	Now func() time.Time

	// Log receives what is wrong with sources of keys; no tokens. Defaults to slog.Default().
	Log *slog.Logger

	// Transport fetches keys. Defaults to one of its own, like http.DefaultTransport without kept connections.
	Transport http.RoundTripper
}

// Revocations says whether a token was revoked. It is asked for every token, after everything else but the token's age, also
// for one seen before, so it must answer from memory. Where it can't tell it fails, and Verify with it. It must be safe for
// concurrent use.
type Revocations interface {
	Revoked(ctx context.Context, p *Principal) (bool, error)
}

// Verifier verifies tokens. It may be used concurrently. Close it when it is no longer needed.
type Verifier struct {
	cfg     Config
	issuers map[string]*issuer
	seen    *otter.Cache[[sha256.Size]byte, *verified]
	buffers sync.Pool // of *[]byte, for digest
}

// verified is a token that was found valid. It holds until it expires, and for as long as the keys of its issuer stay.
type verified struct {
	principal *Principal
	keys      *keySet
}

// NewVerifier returns a Verifier. It fails with fault.ValidationFailed, naming the issuer, for a configuration that leaves
// open whom to trust, and for keys in files that can't be used. Keys at URLs are fetched when they are needed.
func NewVerifier(cfg Config) (*Verifier, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	v := &Verifier{cfg: cfg, issuers: make(map[string]*issuer, len(cfg.Issuers)+1)}
	v.seen = otter.Must(&otter.Options[[sha256.Size]byte, *verified]{
		MaximumSize: cfg.CacheSize,
		Executor:    func(task func()) { task() }, // no goroutines that nobody waits for
	})
	if k := cfg.Keyring; k != nil {
		v.issuers[k.issuer] = &issuer{
			name: k.issuer, audience: k.audience, prefix: DefaultClaimPrefix,
			builtin: true, allTenants: true, crossTenant: true, keys: k,
		}
	}
	for _, iss := range cfg.Issuers {
		if err := v.add(iss); err != nil {
			v.Close()
			return nil, err
		}
	}
	return v, nil
}

// check returns everything that is wrong with the configuration.
func (cfg *Config) check() error {
	var problems []fault.Field
	names := make(map[string]bool)
	if cfg.Keyring != nil {
		names[cfg.Keyring.issuer] = true
	} else if len(cfg.Issuers) == 0 {
		problems = append(problems, fault.Field{Field: "issuers", Problem: "is empty, and there is no keyring; nobody could call"})
	}
	for _, iss := range cfg.Issuers {
		problems = append(problems, iss.check(len(cfg.Issuers) == 1)...)
		if names[iss.Name] {
			problems = append(problems, fault.Field{Field: fmt.Sprintf("issuer %q", iss.Name), Problem: "is configured twice; the issuer decides whose rights apply"})
		}
		names[iss.Name] = true
	}
	if cfg.Leeway < 0 {
		problems = append(problems, fault.Field{Field: "leeway", Problem: "is negative"})
	}
	if cfg.CacheSize < 0 {
		problems = append(problems, fault.Field{Field: "cacheSize", Problem: "is negative"})
	}
	if problems == nil {
		return nil
	}
	return fault.Invalid("auth.NewVerifier", problems...)
}

func (cfg *Config) setDefaults() {
	if cfg.Leeway == 0 {
		cfg.Leeway = time.Minute
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = 10_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableKeepAlives = true
		cfg.Transport = t
	}
}

// add opens the keys of an external issuer.
func (v *Verifier) add(iss Issuer) error {
	opened, err := iss.Keys.open(environment{issuer: iss.Name, now: v.cfg.Now, log: v.cfg.Log, transport: v.cfg.Transport})
	if err != nil {
		return fault.Wrap(err, fault.ValidationFailed, "auth.NewVerifier", "issuer %q: its keys can't be used: %v", iss.Name, err)
	}
	v.issuers[iss.Name] = &issuer{
		name: iss.Name, audience: iss.Audience, prefix: cmp.Or(iss.ClaimPrefix, DefaultClaimPrefix),
		allTenants: iss.AllTenants || len(iss.Tenants) == 0, tenants: slices.Clone(iss.Tenants),
		crossTenant: iss.CrossTenant == nil || *iss.CrossTenant,
		keys:        opened,
	}
	return nil
}

// Close ends what fetches keys in the background, and returns when it has ended. The Verifier goes on with the keys it has.
func (v *Verifier) Close() {
	for _, iss := range v.issuers {
		iss.keys.close()
	}
}

// Verify returns who a token speaks for. It fails with fault.TokenExpired where nothing but the token's age is wrong, with
// fault.Unavailable where the keys of its issuer could never be fetched or Revocations can't tell, and with
// fault.Unauthenticated for all else, "" included; ReasonOf tells the log why. The context bounds the wait for keys, and is
// handed to Revocations; nothing else waits.
func (v *Verifier) Verify(ctx context.Context, token string) (*Principal, error) {
	if len(token) > maxToken {
		return nil, refuse(badForm)
	}
	now, id := v.cfg.Now(), v.digest(token)
	known, ok := v.seen.GetIfPresent(id)
	if !ok || !v.holds(ctx, known, now) {
		var err error
		if known, err = v.verify(ctx, token, now); err != nil {
			return nil, err
		}
		v.seen.Set(id, known)
	}
	p := known.principal
	if r := v.cfg.Revocations; r != nil {
		switch gone, err := r.Revoked(ctx, p); {
		case err != nil:
			return nil, undecided(err)
		case gone:
			return nil, refuse(revoked)
		}
	}
	if v.isExpired(p, now) {
		return nil, expired()
	}
	return p, nil
}

// digest returns the SHA-256 under which a token is remembered.
func (v *Verifier) digest(token string) [sha256.Size]byte {
	b, _ := v.buffers.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	*b = append((*b)[:0], token...)
	id := sha256.Sum256(*b)
	clear(*b)
	v.buffers.Put(b)
	return id
}

// holds reports whether a token verified before is one still, but for its age and revocation.
func (v *Verifier) holds(ctx context.Context, known *verified, now time.Time) bool {
	current, err := known.principal.signer.keys.current(ctx, now)
	return err == nil && current == known.keys
}

func (v *Verifier) isExpired(p *Principal, now time.Time) bool {
	return !now.Before(p.expiresAt.Add(v.cfg.Leeway))
}

// verify verifies everything about a token but its age and revocation.
func (v *Verifier) verify(ctx context.Context, token string, now time.Time) (*verified, error) {
	t, err := parseJWS(token)
	if err != nil {
		return nil, err
	}
	name, err := readIssuer(t.payload)
	if err != nil {
		return nil, refuse(reasonOr(badForm, err))
	}
	iss := v.issuers[name]
	if iss == nil {
		return nil, refuse("iss")
	}
	key, set, err := iss.key(ctx, t.keyID, now)
	switch {
	case err != nil:
		return nil, err
	case key == nil:
		return nil, refuse(unknownKey)
	case t.algorithm != key.algorithm:
		return nil, refuse(badAlgorithm)
	case !key.verify(t.signed, t.signature):
		return nil, refuse(badSignature)
	}
	c, err := readClaims(t.payload, iss)
	if err != nil {
		return nil, refuse(reasonOr(badForm, err))
	}
	if reason := c.check(iss.audience, now, v.cfg.Leeway); reason != "" {
		return nil, refuse(reason)
	}
	if c.issuedAt.After(now) { // its issuer's clock is ahead, by the leeway at most; it was issued by now
		c.issuedAt = now
	}
	origin := iss
	if c.origin != "" {
		if origin = v.issuers[c.origin]; origin == nil {
			return nil, refuse("idp")
		}
	}
	if c.act != (Act{}) && (v.issuers[c.act.Issuer] == nil || c.hasCrossTenantRole(v.cfg.CrossTenantRoles)) {
		return nil, refuse("act")
	}
	return &verified{principal: newPrincipal(c, iss, origin, v.cfg.CrossTenantRoles), keys: set}, nil
}

// key returns the key that a token names, nil for none, and the keys it is one of.
func (iss *issuer) key(ctx context.Context, id string, now time.Time) (*publicKey, *keySet, error) {
	set, err := iss.keys.current(ctx, now)
	if err != nil {
		return nil, nil, err
	}
	if key := set.find(id); key != nil || id == "" {
		return key, set, nil
	}
	if set, err = iss.keys.missed(ctx, now); err != nil {
		return nil, nil, err
	}
	return set.find(id), set, nil
}

package members

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/cache"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/feed"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// A revocation is a record of the common tenant, REVOCATION#common, whose sort key names what it ends by its hash:
// SUB#… all tokens of an issuer's subject that were issued until then, JTI#… one token.
func revocationType() record.EntityType { return record.MustEntityType("REVOCATION") }

// Revoke says what ends: the tokens of a subject, or one token. Issuer and exactly one of Subject and TokenID are required.
type Revoke struct {
	Issuer  string
	Subject string
	TokenID string
	Reason  string // 1 to 1000 bytes
}

// Revocation is one that was made.
type Revocation struct {
	Issuer    string      `json:"issuer"`
	Subject   string      `json:"sub,omitempty"`
	TokenID   string      `json:"jti,omitempty"`
	Reason    string      `json:"reason"`
	RevokedAt record.Time `json:"revokedAt"`
}

// Revoke ends tokens: at once on this node, within 1 second on every other. Tokens that a subject gets later are good.
// It fails with fault.ValidationFailed.
func (s *Service) Revoke(ctx context.Context, sys scope.System, in Revoke, opts ...command.Option) (Revocation, error) {
	var problems []fault.Field
	if err := record.CheckText(in.Issuer, 255); err != nil {
		problems = append(problems, fault.Field{Field: "issuer", Problem: err.Error()})
	}
	if (in.Subject == "") == (in.TokenID == "") {
		problems = append(problems, fault.Field{Field: "sub", Problem: "or jti is required, one of them"})
	}
	if err := record.CheckText(in.Reason, 1000); err != nil {
		problems = append(problems, fault.Field{Field: "reason", Problem: err.Error()})
	}
	if problems != nil {
		return Revocation{}, fault.Invalid("members.Revoke", problems...)
	}
	sc, err := sys.Enter(ctx, tenant.Common(), time.Time{})
	if err != nil {
		return Revocation{}, err
	}
	what := revocationKey{issuer: in.Issuer, subject: in.Subject, tokenID: in.TokenID}
	key, err := record.NewKey(sc, revocationType(), what.sk())
	if err != nil {
		return Revocation{}, err
	}
	made := Revocation{Issuer: in.Issuer, Subject: in.Subject, TokenID: in.TokenID, Reason: in.Reason, RevokedAt: record.At(s.cfg.Now())}
	a, err := record.EncodeAttributes(made)
	if err != nil {
		return Revocation{}, err
	}
	_, err = s.cfg.Commands.PublishAsync(ctx, sc, command.Input{Key: key, Version: record.VersionLatest, Name: "revocation", Attributes: a}, opts...)
	return made, err
}

// Revocations answers for every request whether its token was revoked. It implements auth.Revocations. It may be used concurrently.
type Revocations struct {
	store *storage.Store
	known *cache.Cache[revocationKey, time.Time]
}

// revocationKey names what a revocation ends. All belong to the common tenant.
type revocationKey struct{ issuer, subject, tokenID string }

// Owner implements cache.Key.
func (k revocationKey) Owner() tenant.Code { return tenant.Common() }

func (k revocationKey) sk() string {
	kind, name := "SUB", k.subject
	if k.tokenID != "" {
		kind, name = "JTI", k.tokenID
	}
	sum := sha256.Sum256([]byte(k.issuer + "\x00" + name))
	return kind + record.Separator + hex.EncodeToString(sum[:])
}

// revocationsSize bounds how many subjects and tokens are remembered, those that are not revoked included.
const revocationsSize = 200_000

// NewRevocations returns the revocations of a store, which remember while tail is fresh. Observe is told of hits and misses; nil for nobody.
func NewRevocations(store *storage.Store, tail *feed.Tail, observe func(name string, hit bool)) *Revocations {
	r := &Revocations{store: store}
	r.known = cache.New(cache.Options[revocationKey, time.Time]{Name: "revocations", Size: revocationsSize, Load: r.read, Fresh: tail.Fresh, Observe: observe})
	forget := func(string, string) { r.known.ForgetAll() } // its key is a hash, and revocations are rare
	tail.Follow([]record.EntityType{revocationType()}, forget, r.known.ForgetAll)
	return r
}

// Revoked implements auth.Revocations. It fails only where the store does.
func (r *Revocations) Revoked(ctx context.Context, p *auth.Principal) (bool, error) {
	yes, err := r.revoked(ctx, p.Issuer(), p.Subject(), p.IssuedAt())
	if yes || err != nil {
		return yes, err
	}
	if yes, err = r.ended(ctx, p.TokenIssuer(), p.TokenID()); yes || err != nil {
		return yes, err
	}
	act, acted := p.Act()
	if !acted {
		return false, nil
	}
	if yes, err = r.revoked(ctx, act.Issuer, act.Subject, p.IssuedAt()); yes || err != nil {
		return yes, err
	}
	return r.ended(ctx, act.Issuer, act.TokenID)
}

// revoked reports whether the tokens of a subject that were issued at a time were revoked later. Times of tokens are whole seconds: those
// of the second of the revocation are too.
func (r *Revocations) revoked(ctx context.Context, issuer, subject string, issued time.Time) (bool, error) {
	at, err := r.known.Get(ctx, revocationKey{issuer: issuer, subject: subject})
	return err == nil && !at.IsZero() && issued.Unix() <= at.Unix(), err
}

// ended reports whether one token was revoked.
func (r *Revocations) ended(ctx context.Context, issuer, tokenID string) (bool, error) {
	if tokenID == "" {
		return false, nil
	}
	at, err := r.known.Get(ctx, revocationKey{issuer: issuer, tokenID: tokenID})
	return err == nil && !at.IsZero(), err
}

// read returns when what k names was revoked, the zero time for never.
func (r *Revocations) read(ctx context.Context, k revocationKey) (time.Time, error) {
	in := scope.New(tenant.Common(), scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "revocations"})
	key, err := record.NewKey(in, revocationType(), k.sk())
	if err != nil {
		return time.Time{}, err
	}
	view, err := r.store.In(in)
	if err != nil {
		return time.Time{}, err
	}
	rec, err := view.Get(ctx, key)
	if err != nil || rec == nil || rec.IsDeleted {
		return time.Time{}, err
	}
	var made Revocation
	if err := rec.Attributes.Decode(&made); err != nil {
		return time.Time{}, err
	}
	return made.RevokedAt.Time(), nil
}

package members

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/feed"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
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

// Revoke ends tokens: at once on this node, within 1 second on every other. Tokens that a subject gets later are good, and so are those, not yet
// seen on a node, that an issuer whose clock is ahead, by the leeway at most, has dated so. It fails with fault.ValidationFailed.
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

// Revocations answers for every request whether its token was revoked. It implements auth.Revocations. It may be used
// concurrently. All revocations are kept in memory: they are few, and a request that had to look for its own in the store would
// cost three reads.
type Revocations struct {
	data  *data.Service
	fresh func() bool

	mu      sync.RWMutex
	known   map[revocationKey]time.Time // when each was made; nil before they are read
	changed map[string]bool             // sort keys of those that changed since
}

// revocationKey names what a revocation ends.
type revocationKey struct{ issuer, subject, tokenID string }

func (k revocationKey) sk() string {
	kind, name := "SUB", k.subject
	if k.tokenID != "" {
		kind, name = "JTI", k.tokenID
	}
	sum := sha256.Sum256([]byte(k.issuer + "\x00" + name))
	return kind + record.Separator + hex.EncodeToString(sum[:])
}

// NewRevocations returns the revocations of a store, which remember while tail is fresh.
func NewRevocations(records *data.Service, tail *feed.Tail) *Revocations {
	r := &Revocations{data: records, fresh: tail.Fresh, changed: map[string]bool{}}
	tail.Follow([]record.EntityType{revocationType()}, r.forget, r.forgetAll)
	return r
}

func (r *Revocations) forget(_, sk string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed[sk] = true
}

func (r *Revocations) forgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = nil
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
	at, err := r.at(ctx, revocationKey{issuer: issuer, subject: subject})
	return err == nil && !at.IsZero() && issued.Unix() <= at.Unix(), err
}

// ended reports whether one token was revoked.
func (r *Revocations) ended(ctx context.Context, issuer, tokenID string) (bool, error) {
	if tokenID == "" {
		return false, nil
	}
	at, err := r.at(ctx, revocationKey{issuer: issuer, tokenID: tokenID})
	return err == nil && !at.IsZero(), err
}

// at returns when what k names was revoked, the zero time for never.
func (r *Revocations) at(ctx context.Context, k revocationKey) (time.Time, error) {
	if !r.fresh() {
		_, at, err := r.read(ctx, k.sk())
		return at, err
	}
	r.mu.RLock()
	at, current := r.known[k], r.known != nil && len(r.changed) == 0
	r.mu.RUnlock()
	if current {
		return at, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.load(ctx)
	return r.known[k], err
}

// load reads what is not known. The caller holds mu: whoever changes a revocation meanwhile waits until it can be told.
func (r *Revocations) load(ctx context.Context) error {
	if r.known == nil {
		all, err := r.all(ctx)
		if err != nil {
			return err
		}
		r.known = all
		clear(r.changed)
	}
	for sk := range r.changed {
		k, at, err := r.read(ctx, sk)
		if err != nil {
			return err
		}
		if k != (revocationKey{}) {
			r.known[k] = at
		}
		delete(r.changed, sk)
	}
	return nil
}

func reader() scope.Scope {
	return scope.New(tenant.Common(), scope.Full, time.Time{}, &scope.Actor{UserID: "system", Source: "revocations"})
}

// all reads every revocation.
func (r *Revocations) all(ctx context.Context) (map[revocationKey]time.Time, error) {
	in := reader()
	partition, err := record.NewPartition(in, revocationType())
	if err != nil {
		return nil, err
	}
	all := map[revocationKey]time.Time{}
	for cursor := ""; ; {
		page, err := r.data.List(ctx, in, data.Query{Partition: partition, Limit: data.MaxLimit, Cursor: cursor})
		if err != nil {
			return nil, err
		}
		for _, rec := range page.Items {
			k, at, err := revocationOf(rec)
			if err != nil {
				return nil, err
			}
			all[k] = at
		}
		if cursor = page.Cursor; cursor == "" {
			return all, nil
		}
	}
}

// read returns what a revocation ends and when it was made: the zero time where there is none.
func (r *Revocations) read(ctx context.Context, sk string) (revocationKey, time.Time, error) {
	in := reader()
	key, err := record.NewKey(in, revocationType(), sk)
	if err != nil {
		return revocationKey{}, time.Time{}, err
	}
	rec, err := r.data.Get(ctx, in, key)
	switch {
	case fault.CodeOf(err) == fault.NotFound:
		return revocationKey{}, time.Time{}, nil
	case err != nil:
		return revocationKey{}, time.Time{}, err
	}
	return revocationOf(rec)
}

func revocationOf(rec *record.Record) (revocationKey, time.Time, error) {
	var made Revocation
	err := rec.Attributes.Decode(&made)
	return revocationKey{issuer: made.Issuer, subject: made.Subject, tokenID: made.TokenID}, made.RevokedAt.Time(), err
}

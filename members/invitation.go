package members

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// An invitation is a record of the common tenant, INVITATION#common / tenant#ULID, beside the memberships, so that accepting one is
// one commit with the membership. Its ID, as callers see it, is tenant.ULID.
func invitationType() record.EntityType { return record.MustEntityType("INVITATION") }

// InvitationLife is how long an invitation can be accepted where nothing else is said, and at most.
const (
	InvitationLife    = 7 * 24 * time.Hour
	maxInvitationLife = 90 * 24 * time.Hour
)

// Invite invites a user: by the address that their issuer verified, or by their user code.
type Invite struct {
	Email    string // one of Email and UserCode
	UserCode string
	Role     string
	Life     time.Duration // in whole seconds, at most 90 days. Defaults to InvitationLife
}

// Invitation is one that is open, or was.
type Invitation struct {
	ID         string      `json:"id"`
	TenantCode string      `json:"tenantCode"`
	Email      string      `json:"email,omitempty"`
	UserCode   string      `json:"userCode,omitempty"`
	Role       string      `json:"role"`
	ExpiresAt  record.Time `json:"expiresAt"`
	AcceptedAt record.Time `json:"acceptedAt,omitzero"`
	CreatedAt  record.Time `json:"createdAt"`
	CreatedBy  string      `json:"createdBy"`
	Secret     string      `json:"secret,omitempty" doc:"shown once, when the invitation is made"`
}

type invitation struct {
	TenantCode string      `json:"tenantCode"`
	Email      string      `json:"email,omitempty"`
	UserCode   string      `json:"userCode,omitempty"`
	Role       string      `json:"role"`
	ExpiresAt  record.Time `json:"expiresAt"`
	SecretHash string      `json:"secretHash"` // SHA-256, in hexadecimal
	AcceptedAt record.Time `json:"acceptedAt,omitzero"`
	AcceptedBy string      `json:"acceptedBy,omitempty"`
}

const idSeparator = "."

func invitationOf(rec *record.Record) (Invitation, invitation, error) {
	var a invitation
	if err := rec.Attributes.Decode(&a); err != nil {
		return Invitation{}, a, fault.Wrap(err, fault.Internal, "members", "an invitation's record has attributes of another form; run tenantry verify")
	}
	code, id, _ := strings.Cut(rec.SK, record.Separator)
	return Invitation{ID: code + idSeparator + id, TenantCode: code, Email: a.Email, UserCode: a.UserCode, Role: a.Role, ExpiresAt: a.ExpiresAt,
		AcceptedAt: a.AcceptedAt, CreatedAt: rec.CreatedAt, CreatedBy: rec.CreatedBy}, a, nil
}

// Invite makes an invitation to the scope's tenant. Its Secret is in the answer only: what is kept is its hash. It fails with
// fault.ValidationFailed, and fault.NotFound for a tenant that doesn't exist.
func (s *Service) Invite(ctx context.Context, sc scope.Scope, in Invite) (Invitation, error) {
	if err := s.exists(ctx, sc.Tenant()); err != nil {
		return Invitation{}, err
	}
	role, err := s.checkRole(in.Role)
	if err != nil {
		return Invitation{}, err
	}
	common, err := common(sc)
	if err != nil {
		return Invitation{}, err
	}
	if err := in.check(); err != nil {
		return Invitation{}, err
	}
	if in.UserCode != "" {
		if _, err := keyOf(common, sc.Tenant(), in.UserCode); err != nil {
			return Invitation{}, err
		}
	}
	var random [32]byte
	rand.Read(random[:])
	secret := base64.RawURLEncoding.EncodeToString(random[:])
	a, err := record.EncodeAttributes(invitation{TenantCode: sc.Tenant().String(), Email: in.Email, UserCode: in.UserCode, Role: role,
		ExpiresAt: record.At(s.cfg.Now().Add(in.Life)), SecretHash: secretHash(secret)})
	if err != nil {
		return Invitation{}, err
	}
	key, err := record.NewKey(common, invitationType(), sc.Tenant().String()+record.Separator+record.NewID())
	if err != nil {
		return Invitation{}, err
	}
	res, err := s.cfg.Commands.PublishAsync(ctx, common, command.Input{Key: key, Name: "invitation", Attributes: a})
	if err != nil {
		return Invitation{}, err
	}
	made, _, err := invitationOf(res.Record)
	made.Secret = secret
	return made, err
}

func (in *Invite) check() error {
	var problems []fault.Field
	if (in.Email == "") == (in.UserCode == "") {
		problems = append(problems, fault.Field{Field: "email", Problem: "or userCode is required, one of them"})
	}
	if at := strings.LastIndexByte(in.Email, '@'); in.Email != "" && (record.CheckText(in.Email, 320) != nil || at < 1 || at == len(in.Email)-1 || strings.ContainsAny(in.Email, " <>,;")) {
		problems = append(problems, fault.Field{Field: "email", Problem: "is not an address, as ann@example.com"})
	}
	if in.Life == 0 {
		in.Life = InvitationLife
	}
	if in.Life < time.Second || in.Life > maxInvitationLife {
		problems = append(problems, fault.Field{Field: "expiresIn", Problem: "is 1 to 7776000 seconds"})
	}
	if problems != nil {
		return fault.Invalid("members.Invite", problems...)
	}
	return nil
}

func secretHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Invitations returns the invitations of the scope's tenant, oldest first, with the cursor of the next page. Limit and cursor are as for
// data.Service.List. It fails with fault.NotFound for a tenant that doesn't exist.
func (s *Service) Invitations(ctx context.Context, sc scope.Scope, limit int, cursor string) ([]Invitation, string, error) {
	if err := s.exists(ctx, sc.Tenant()); err != nil {
		return nil, "", err
	}
	common, err := common(sc)
	if err != nil {
		return nil, "", err
	}
	partition, err := record.NewPartition(common, invitationType())
	if err != nil {
		return nil, "", err
	}
	page, err := s.cfg.Data.List(ctx, common, data.Query{Partition: partition, Prefix: sc.Tenant().String() + record.Separator, Limit: limit, Cursor: cursor})
	if err != nil {
		return nil, "", err
	}
	all := make([]Invitation, len(page.Items))
	for i, rec := range page.Items {
		if all[i], _, err = invitationOf(rec); err != nil {
			return nil, "", err
		}
	}
	return all, page.Cursor, nil
}

// Invitation returns one invitation of the scope's tenant. It fails with fault.NotFound.
func (s *Service) Invitation(ctx context.Context, sc scope.Scope, id string) (Invitation, error) {
	common, err := common(sc)
	if err != nil {
		return Invitation{}, err
	}
	key, err := invitationKey(common, id)
	if err != nil || !strings.HasPrefix(key.SK(), sc.Tenant().String()+record.Separator) {
		return Invitation{}, noInvitation()
	}
	rec, err := s.cfg.Data.Get(ctx, common, key)
	if fault.CodeOf(err) == fault.NotFound {
		return Invitation{}, noInvitation()
	}
	if err != nil {
		return Invitation{}, err
	}
	out, _, err := invitationOf(rec)
	return out, err
}

// Withdraw ends an invitation of the scope's tenant. It fails with fault.NotFound.
func (s *Service) Withdraw(ctx context.Context, sc scope.Scope, id string, opts ...command.Option) (Invitation, error) {
	common, err := common(sc)
	if err != nil {
		return Invitation{}, err
	}
	key, err := invitationKey(common, id)
	if err != nil || !strings.HasPrefix(key.SK(), sc.Tenant().String()+record.Separator) {
		return Invitation{}, noInvitation()
	}
	res, err := s.cfg.Commands.Change(ctx, common, key, record.VersionLatest, func(current *record.Record) (*record.Record, error) {
		next := current.Clone()
		next.IsDeleted = true
		return next, nil
	}, append(opts, command.Live())...)
	if fault.CodeOf(err) == fault.NotFound {
		return Invitation{}, noInvitation()
	}
	if err != nil {
		return Invitation{}, err
	}
	out, _, err := invitationOf(res.Record)
	return out, err
}

// noInvitation is the one answer to everything that is wrong with accepting an invitation.
func noInvitation() error { return fault.New(fault.NotFound, "members", "there is no such invitation") }

func invitationKey(in scope.Scope, id string) (record.Key, error) {
	code, ulid, found := strings.Cut(id, idSeparator)
	parsed, err := tenant.Parse(code)
	if !found || err != nil || parsed.String() != code || strings.Contains(ulid, record.Separator) {
		return record.Key{}, noInvitation()
	}
	return record.NewKey(in, invitationType(), code+record.Separator+ulid)
}

// Accept makes p's user, whom the invitation is for, a member of its tenant: once, with the secret, before it expires. The
// membership serves that user only. It fails with fault.NotFound, the same for every reason.
func (s *Service) Accept(ctx context.Context, p *auth.Principal, actor scope.Actor, id, secret string) (Membership, error) {
	in := scope.New(tenant.Common(), scope.Full, time.Time{}, &actor)
	key, err := invitationKey(in, id)
	if err != nil {
		return Membership{}, noInvitation()
	}
	code, err := tenant.Parse(strings.Split(id, idSeparator)[0])
	if err != nil || !p.MayAssert(code) {
		return Membership{}, noInvitation()
	}
	state, err := s.cfg.Tenants.Lookup(ctx, code)
	if err != nil {
		return Membership{}, err
	}
	if !state.Exists || state.Suspended {
		return Membership{}, noInvitation()
	}
	res, err := s.cfg.Commands.Together(ctx, in, func(ctx context.Context) (command.Plan, error) {
		return s.planAccept(ctx, in, p, key, code, secret)
	})
	switch fault.CodeOf(err) {
	case "":
		return membershipOf(res.Record)
	case fault.ValidationFailed, fault.AlreadyExists:
		return Membership{}, noInvitation()
	}
	return Membership{}, err
}

// planAccept returns what accepting an invitation writes: the membership, and the invitation that is used.
func (s *Service) planAccept(ctx context.Context, in scope.Scope, p *auth.Principal, key record.Key, code tenant.Code, secret string) (command.Plan, error) {
	rec, err := s.current(ctx, in, key)
	if err != nil {
		return command.Plan{}, err
	}
	if rec == nil || rec.IsDeleted {
		return command.Plan{}, noInvitation()
	}
	_, a, err := invitationOf(rec)
	if err != nil {
		return command.Plan{}, err
	}
	now := s.cfg.Now()
	invited := a.UserCode != "" && a.UserCode == p.UserCode() || a.Email != "" && p.EmailVerified() && a.Email == p.Email()
	known := subtle.ConstantTimeCompare([]byte(a.SecretHash), []byte(secretHash(secret))) == 1
	if !invited || !known || !a.AcceptedAt.IsZero() || !now.Before(a.ExpiresAt.Time()) || s.cfg.CrossTenant(a.Role) {
		return command.Plan{}, noInvitation()
	}
	plan, err := s.plan(ctx, in, code.String(), p.UserCode(), func(before attributes, live bool) (attributes, error) {
		if live {
			return before, noInvitation()
		}
		return attributes{TenantCode: code.String(), UserCode: p.UserCode(), Role: a.Role, UserID: p.Subject(), Issuer: p.Issuer(), Epoch: record.NewID()}, nil
	})
	if err != nil {
		return command.Plan{}, err
	}
	used := rec.Clone()
	a.AcceptedAt, a.AcceptedBy = record.At(now), p.Subject()
	if used.Attributes, err = record.EncodeAttributes(a); err != nil {
		return command.Plan{}, err
	}
	plan.Steps = append(plan.Steps, command.Step{Key: key, Current: rec, Next: used})
	return plan, nil
}

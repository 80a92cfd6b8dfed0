package members

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// SupportLife is how long support access lasts where nothing else is said, and at most.
const (
	SupportLife    = 15 * time.Minute
	maxSupportLife = time.Hour
)

// Impersonate is support access: a system admin acts as a member of a tenant.
type Impersonate struct {
	Tenant   tenant.Code
	UserCode string
	Life     time.Duration // in whole seconds, at most an hour. Defaults to SupportLife
}

// Impersonate returns a token with which p, a system admin, acts as a member of a tenant, in that member's role only. It says who
// acts (RFC 8693), ends with p's own token at the latest, and gives no right to what is the member's own to do. Sys is p's
// right to cross tenants, with the reason. It fails with fault.NotFound where nobody is such a member.
func (s *Service) Impersonate(ctx context.Context, sys scope.System, p *auth.Principal, in Impersonate) (Session, error) {
	if in.Life == 0 {
		in.Life = SupportLife
	}
	if in.Life < time.Second || in.Life > maxSupportLife {
		return Session{}, fault.Invalid("members.Impersonate", fault.Field{Field: "expiresIn", Problem: "is 1 to 3600 seconds"})
	}
	code := in.Tenant
	if err := s.exists(ctx, code); err != nil {
		return Session{}, err
	}
	if _, err := sys.Enter(ctx, code, time.Time{}); err != nil { // the audit entry stands before the token is made
		return Session{}, err
	}
	m, err := s.cfg.Directory.Membership(ctx, code, in.UserCode)
	switch {
	case err != nil:
		return Session{}, err
	case !m.Live:
		return Session{}, noMember()
	}
	life := min(in.Life, p.ExpiresAt().Sub(s.cfg.Now())).Truncate(time.Second)
	if life < time.Second {
		return Session{}, fault.New(fault.TokenExpired, "members.Impersonate", "the token has expired; sign in again")
	}
	claims := auth.Claims{Subject: m.UserID, Tenant: code, UserCode: in.UserCode, Epoch: m.Epoch, TTL: life, TokenID: record.NewID(),
		Act: auth.Act{Issuer: p.Issuer(), Subject: p.Subject(), TokenID: p.TokenID()}}
	if claims.Subject == "" {
		claims.Subject = "member:" + hash(in.UserCode) // a membership that serves any sub with the user code names none
	}
	if m.Role != "" {
		claims.Roles = []auth.RoleGrant{{Tenant: code, Role: m.Role}}
	}
	token, err := s.cfg.Keyring.Issue(claims)
	if err != nil {
		return Session{}, err
	}
	return Session{Token: token, TokenType: "Bearer", ExpiresIn: int64(life / time.Second), TenantCode: code.String(), Role: m.Role}, nil
}

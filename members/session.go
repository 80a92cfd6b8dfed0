package members

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// How long what switching issues lives: a token, and a family of refresh tokens, each of which is used once.
const (
	TokenLife  = 15 * time.Minute
	FamilyLife = 12 * time.Hour
)

// Session is what switching and refreshing answer.
type Session struct {
	Token        string `json:"token"`
	TokenType    string `json:"tokenType"`
	ExpiresIn    int64  `json:"expiresIn" doc:"seconds"`
	RefreshToken string `json:"refreshToken,omitempty" doc:"good for one refresh"`
	TenantCode   string `json:"tenantCode"`
	Role         string `json:"role"`
}

// family is what is kept of the refresh tokens that come from one switch.
type family struct {
	Issuer        string   `json:"issuer"` // who vouches for the user
	Subject       string   `json:"subject"`
	UserCode      string   `json:"userCode"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"emailVerified,omitempty"`
	Groups        []string `json:"groups,omitempty"`
	TenantCode    string   `json:"tenantCode"`
	Epoch         string   `json:"epoch"`      // of the membership
	Born          int64    `json:"born"`       // Unix seconds
	Generation    int64    `json:"generation"` // of the one refresh token that is good
}

func notMember() error {
	return fault.New(fault.NotAMember, "members", "the caller is not a member of the tenant")
}

// Switch returns a session of p's user in a tenant they are a member of; one that begins with a token from switching ends with that
// token's. It fails with fault.NotAMember, also for a tenant that doesn't exist, with fault.TenantSuspended, and with
// fault.Unauthenticated where that session has ended.
func (s *Service) Switch(ctx context.Context, p *auth.Principal, code tenant.Code) (Session, error) {
	f, m, err := s.begin(ctx, p, code)
	if err != nil {
		return Session{}, err
	}
	row := storage.Row{Owner: tenant.Common().String(), SK: rand.Text(), Expires: s.cfg.Now().Add(FamilyLife).Unix()}
	if p.Epoch() != "" {
		if row.Expires, err = s.sessionEnd(ctx, p); err != nil {
			return Session{}, err
		}
	}
	return s.issue(ctx, row, f, m)
}

// begin returns the family of a switch by p's user, and the membership that it is of. It fails as Switch does.
func (s *Service) begin(ctx context.Context, p *auth.Principal, code tenant.Code) (family, guard.Member, error) {
	if !p.MayAssert(code) {
		return family{}, guard.Member{}, notMember()
	}
	f := family{Issuer: p.Issuer(), Subject: p.Subject(), UserCode: p.UserCode(), Email: p.Email(), EmailVerified: p.EmailVerified(),
		Groups: p.GroupsIn(code), TenantCode: code.String(), Born: s.cfg.Now().Unix(), Generation: 1}
	m, err := s.member(ctx, f)
	f.Epoch = m.Epoch
	return f, m, err
}

// sessionEnd returns when the family ends that a token from switching is of: switching again with it gives no more time, and nothing
// where the family has ended.
func (s *Service) sessionEnd(ctx context.Context, p *auth.Principal) (int64, error) {
	id, _, _ := strings.Cut(p.TokenID(), ".")
	row, err := s.cfg.Families.Get(ctx, tenant.Common().String(), id)
	if err != nil {
		return 0, err
	}
	if row.Version == 0 || row.Expires <= s.cfg.Now().Unix() {
		return 0, fault.New(fault.Unauthenticated, "members.Switch", "the session that the token is of has ended; sign in again")
	}
	return row.Expires, nil
}

// member returns the live membership that a family is of.
func (s *Service) member(ctx context.Context, f family) (guard.Member, error) {
	code, err := tenant.Parse(f.TenantCode)
	if err != nil || code.IsCommon() {
		return guard.Member{}, notMember()
	}
	m, err := s.cfg.Directory.Membership(ctx, code, f.UserCode)
	if err != nil {
		return m, err
	}
	state, err := s.cfg.Tenants.Lookup(ctx, code)
	switch {
	case err != nil:
		return m, err
	case !m.Live, !state.Exists, f.Epoch != "" && f.Epoch != m.Epoch,
		m.UserID != "" && m.UserID != f.Subject, m.Issuer != "" && m.Issuer != f.Issuer:
		return m, notMember()
	case state.Suspended:
		return m, fault.New(fault.TenantSuspended, "members", "the tenant is suspended; ask the operator of this system")
	}
	return m, nil
}

// issue keeps a family and returns the session of its generation.
func (s *Service) issue(ctx context.Context, row storage.Row, f family, m guard.Member) (Session, error) {
	var err error
	if row.Value, err = record.EncodeAttributes(f); err != nil {
		return Session{}, err
	}
	life := min(TokenLife, time.Unix(row.Expires, 0).Sub(s.cfg.Now())).Truncate(time.Second)
	if life < time.Second {
		return Session{}, badRefresh()
	}
	code, err := tenant.Parse(f.TenantCode)
	if err != nil {
		return Session{}, err
	}
	claims := auth.Claims{Subject: f.Subject, Tenant: code, UserCode: f.UserCode, Email: f.Email, EmailVerified: f.EmailVerified, Epoch: m.Epoch, TTL: life,
		TokenID: row.SK + "." + rand.Text()}
	if f.Issuer != s.cfg.Keyring.Issuer() {
		claims.Origin = f.Issuer
	}
	if m.Role != "" {
		claims.Roles = []auth.RoleGrant{{Tenant: code, Role: m.Role}}
	}
	if len(f.Groups) > 0 {
		claims.Groups = []auth.GroupGrant{{Tenant: code, Groups: f.Groups}}
	}
	token, err := s.cfg.Keyring.Issue(claims)
	if err != nil {
		return Session{}, err
	}
	if err := s.cfg.Families.Commit(ctx, s.cfg.Families.Put(row)); err != nil {
		return Session{}, err
	}
	return Session{Token: token, TokenType: "Bearer", ExpiresIn: int64(life / time.Second), TenantCode: f.TenantCode, Role: m.Role,
		RefreshToken: s.refreshToken(row.SK, f.Generation)}, nil
}

// refreshToken returns the refresh token of a generation of a family: family.generation.mac. What is kept in the store doesn't give
// anybody a token.
func (s *Service) refreshToken(id string, generation int64) string {
	text := id + "." + strconv.FormatInt(generation, 10)
	mac := hmac.New(sha256.New, s.cfg.Keyring.Secret("refresh tokens"))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func badRefresh() error {
	return fault.New(fault.Unauthenticated, "members.Refresh", "the refresh token is not good, or not any more; switch to the tenant again")
}

// Refresh returns the next session of a refresh token's family. A token that was used before ends the family, since one of two who use
// it has stolen it (RFC 9700, section 4.14). It fails with fault.Unauthenticated.
func (s *Service) Refresh(ctx context.Context, token string) (Session, error) {
	id, rest, _ := strings.Cut(token, ".")
	number, _, _ := strings.Cut(rest, ".")
	generation, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !hmac.Equal([]byte(token), []byte(s.refreshToken(id, generation))) {
		return Session{}, badRefresh()
	}
	row, err := s.cfg.Families.Get(ctx, tenant.Common().String(), id)
	if err != nil {
		return Session{}, err
	}
	if row.Version == 0 || row.Expires <= s.cfg.Now().Unix() {
		return Session{}, badRefresh()
	}
	var f family
	if err := row.Value.Decode(&f); err != nil {
		return Session{}, err
	}
	if f.Generation != generation {
		return Session{}, s.end(ctx, row)
	}
	revoked, err := s.cfg.Revocations.revoked(ctx, f.Issuer, f.Subject, time.Unix(f.Born, 0))
	if err != nil {
		return Session{}, err
	}
	if revoked {
		return Session{}, s.end(ctx, row)
	}
	m, err := s.member(ctx, f)
	switch fault.CodeOf(err) {
	case "":
	case fault.NotAMember, fault.TenantSuspended:
		return Session{}, s.end(ctx, row)
	default:
		return Session{}, err
	}
	f.Generation++
	next, err := s.issue(ctx, row, f, m)
	if _, lost := errors.AsType[*driver.Conflict](err); lost { // somebody used the same token at the same time
		return Session{}, s.end(ctx, row)
	}
	return next, err
}

// end ends a family and returns the refusal.
func (s *Service) end(ctx context.Context, row storage.Row) error {
	if err := s.cfg.Families.Commit(ctx, s.cfg.Families.Delete(row)); err != nil {
		return err
	}
	return badRefresh()
}

package auth

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

// Principal is who a verified token speaks for and what it claims. Only Verify makes one; the zero Principal claims
// nothing. It is immutable and may be used concurrently; none of its methods allocates but RolesIn and GroupsIn.
//
// What a token claims is not yet what its bearer may do: a membership record may replace the roles, and the tenant
// must exist. That is for package guard.
type Principal struct {
	origin *issuer // whose rights bound the claims: the issuer of the token or, for one from switching, of the user
	signer *issuer // who signed

	subject       string
	email         string
	emailVerified bool
	userCode      string
	tenant        tenant.Code
	tokenID       string
	epoch         string
	act           Act
	issuedAt      time.Time
	expiresAt     time.Time

	crossTenant string      // system_admin where held, else the first cross-tenant role
	everywhere  []string    // roles held everywhere, cross-tenant ones included
	bound       []RoleGrant // roles held in one tenant
	groups      []GroupGrant
}

// newPrincipal returns who c speaks for. Roles that don't count are dropped here, so that nothing after it can take them
// for roles: a cross-tenant role that is bound to a tenant, or whose issuer may not assert any.
func newPrincipal(c *claims, signer, origin *issuer, cross CrossTenantRoles) *Principal {
	p := &Principal{
		origin: origin, signer: signer,
		subject:  c.subject,
		email:    c.email,
		userCode: cmp.Or(c.userCode, c.username, c.subject),
		tenant:   c.tenant,
		tokenID:  c.id,
		epoch:    c.epoch,
		act:      c.act,
		issuedAt: c.issuedAt, expiresAt: c.expires,
		emailVerified: c.emailVerified && c.email != "",
		groups:        c.groups,
	}
	if c.role != "" {
		p.addEverywhere(c.role, cross)
	}
	for _, g := range c.roles {
		switch {
		case g.Tenant.IsZero():
			p.addEverywhere(g.Role, cross)
		case !cross.Has(g.Role):
			p.bound = append(p.bound, g)
		}
	}
	return p
}

func (p *Principal) addEverywhere(role string, cross CrossTenantRoles) {
	if cross.Has(role) {
		if !p.origin.crossTenant {
			return
		}
		if role == SystemAdmin || p.crossTenant == "" {
			p.crossTenant = role
		}
	}
	p.everywhere = append(p.everywhere, role)
}

// Issuer returns who vouches for the user. Issuer and Subject together identify a user. For a token from switching
// tenants it is the issuer of the token that was switched, so that a user stays the same one.
func (p *Principal) Issuer() string { return p.origin.text() }

// TokenIssuer returns who signed the token, which differs from Issuer for a token from switching tenants.
func (p *Principal) TokenIssuer() string { return p.signer.text() }

// External reports whether an issuer other than the built-in one signed the token.
func (p *Principal) External() bool { return p.signer != nil && !p.signer.builtin }

// Subject returns the user ID: 1 to 255 printable ASCII characters without #.
func (p *Principal) Subject() string { return p.subject }

// Email returns the e-mail address, "" for none.
func (p *Principal) Email() string { return p.email }

// EmailVerified reports whether the issuer says that the address is the user's.
func (p *Principal) EmailVerified() bool { return p.emailVerified }

// UserCode returns the user code: custom:user_code, else cognito:username, else Subject. It has 1 to 255 bytes of
// printable UTF-8 and may hold #.
func (p *Principal) UserCode() string { return p.userCode }

// Tenant returns the tenant that the token is bound to, zero for none. Ask MayAssert before relying on it.
func (p *Principal) Tenant() tenant.Code { return p.tenant }

// TokenID returns the token's jti, "" for none.
func (p *Principal) TokenID() string { return p.tokenID }

// Epoch returns the life of the membership that the token was issued for, "" for none. Only tokens of the built-in issuer
// have one.
func (p *Principal) Epoch() string { return p.epoch }

// Act returns who really calls, ok where that is not the subject. Such a token has no cross-tenant role, and only the
// built-in issuer makes one.
func (p *Principal) Act() (actor Act, ok bool) { return p.act, p.act != Act{} }

// IssuedAt returns when the token was issued: by its iat, or when it was first seen where that was earlier, since an issuer's clock may be
// ahead. It is never zero.
func (p *Principal) IssuedAt() time.Time { return p.issuedAt }

// ExpiresAt returns when the token expires, without leeway.
func (p *Principal) ExpiresAt() time.Time { return p.expiresAt }

// MayAssert reports whether t is among the tenants that the user's issuer may assert.
func (p *Principal) MayAssert(t tenant.Code) bool { return p.origin.mayAssert(t) }

// CrossTenantRole returns the cross-tenant role that counts, system_admin before others, ok when there is one: from custom:role or an entry
// without tenant, by an issuer that may assert it.
func (p *Principal) CrossTenantRole() (role string, ok bool) {
	return p.crossTenant, p.crossTenant != ""
}

// RoleIn returns the role that the claims give in t, "" for none: that of the first entry for t; without such an entry
// custom:role, else the first entry without tenant. It is "" where the issuer may not assert t.
func (p *Principal) RoleIn(t tenant.Code) string {
	if !p.MayAssert(t) {
		return ""
	}
	if i := p.firstBound(t); i >= 0 {
		return p.bound[i].Role
	}
	if len(p.everywhere) > 0 {
		return p.everywhere[0]
	}
	return ""
}

// HasRole reports whether the claims give role, in lower case, in t: by any entry for t or, without one, everywhere.
func (p *Principal) HasRole(t tenant.Code, role string) bool {
	if !p.MayAssert(t) {
		return false
	}
	if p.firstBound(t) < 0 {
		return slices.Contains(p.everywhere, role)
	}
	return slices.Contains(p.bound, RoleGrant{Tenant: t, Role: role})
}

// RolesIn returns every role for which HasRole is true in t, beginning with RoleIn. The slice is the caller's.
func (p *Principal) RolesIn(t tenant.Code) []string {
	if !p.MayAssert(t) {
		return nil
	}
	if p.firstBound(t) < 0 {
		return slices.Clone(p.everywhere)
	}
	var roles []string
	for _, g := range p.bound {
		if g.Tenant == t {
			roles = append(roles, g.Role)
		}
	}
	return roles
}

// firstBound returns the index of the first entry for t, -1 for none.
func (p *Principal) firstBound(t tenant.Code) int {
	return slices.IndexFunc(p.bound, func(g RoleGrant) bool { return g.Tenant == t })
}

// HasGroup reports whether the claims put the user into group in t: by an entry for t or by one without tenant. Groups
// are compared byte for byte; they choose settings and give no role.
func (p *Principal) HasGroup(t tenant.Code, group string) bool {
	if !p.MayAssert(t) {
		return false
	}
	for _, g := range p.groups {
		if (g.Tenant == t || g.Tenant.IsZero()) && slices.Contains(g.Groups, group) {
			return true
		}
	}
	return false
}

// GroupsIn returns every group for which HasGroup is true in t, in the token's order. The slice is the caller's.
func (p *Principal) GroupsIn(t tenant.Code) []string {
	if !p.MayAssert(t) {
		return nil
	}
	var groups []string
	for _, g := range p.groups {
		if g.Tenant == t || g.Tenant.IsZero() {
			groups = append(groups, g.Groups...)
		}
	}
	return groups
}

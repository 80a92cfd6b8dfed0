package auth

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// Claims are what a token of the built-in issuer says. Subject is required.
type Claims struct {
	Subject       string       // user ID: 1 to 255 printable ASCII characters without #
	Tenant        tenant.Code  // the tenant that the token is bound to. Defaults to none
	Role          string       // one role that holds everywhere. Defaults to none
	Roles         []RoleGrant  // roles in tenants, or everywhere. Defaults to none
	Groups        []GroupGrant // groups in tenants, or everywhere. Defaults to none
	UserCode      string       // 1 to 255 bytes of printable UTF-8. Defaults to Subject
	Email         string       // Defaults to none
	EmailVerified bool

	// Origin is the issuer that vouches for the user, where that is another one: Principal.Issuer. It must be known to
	// the Verifier, and what it may assert bounds the token. Defaults to the Keyring's own issuer.
	Origin string

	// TokenID is the jti. Defaults to a random one.
	TokenID string

	// Epoch names the life of the membership that the token is issued for: 1 to 64 printable ASCII characters. Defaults to
	// none.
	Epoch string

	// Act is who really calls, where that is not the subject: for support access. Such a token has no cross-tenant role.
	// Defaults to none.
	Act Act

	// TTL is how long the token lives, in whole seconds. Defaults to an hour.
	TTL time.Duration
}

// Issue returns a token that says c, signed by the active key. It fails with fault.ValidationFailed for what Verify
// would refuse or ignore: a cross-tenant role that is bound to a tenant or stands beside an actor, for one.
func (k *Keyring) Issue(c Claims) (token string, err error) {
	if problems := c.check(k.cross); problems != nil {
		return "", fault.Invalid("auth.Issue", problems...)
	}
	payload, err := k.payload(c)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "auth.Issue", "the token can't be encoded")
	}
	if token = k.sign(payload); len(token) > maxToken {
		return "", fault.Invalid("auth.Issue", fault.Field{Field: "roles", Problem: fmt.Sprintf("make the token longer than %d bytes", maxToken)})
	}
	return token, nil
}

// check returns everything that is wrong with c.
func (c *Claims) check(cross CrossTenantRoles) (problems []fault.Field) {
	add := func(field, problem string) {
		problems = append(problems, fault.Field{Field: field, Problem: problem})
	}
	text := func(field, text string, limit int) {
		if err := record.CheckText(text, limit); err != nil {
			add(field, fmt.Sprintf("%v; it has 1 to %d bytes of printable UTF-8", err, limit))
		}
	}
	optional := func(field, value string, limit int) {
		if value != "" {
			text(field, value, limit)
		}
	}
	role := func(field string, t tenant.Code, value string) {
		switch role, ok := foldRole(value); {
		case !ok:
			add(field, roleForm)
		case !t.IsZero() && cross.Has(role):
			add(field, "is a cross-tenant role, which can't be bound to a tenant; grant it without tenant, or grant another one")
		}
	}

	if !isSubject(c.Subject) {
		add("subject", "is not 1 to 255 printable ASCII characters without #")
	}
	optional("userCode", c.UserCode, maxText)
	optional("email", c.Email, maxEmail)
	optional("origin", c.Origin, maxText)
	optional("tokenId", c.TokenID, maxText)
	if c.Epoch != "" && !isEpoch(c.Epoch) {
		add("epoch", "is not 1 to 64 printable ASCII characters")
	}
	if c.Act != (Act{}) {
		if !c.Act.isValid() {
			add("act", actForm)
		}
		if c.hasCrossTenantRole(cross) {
			add("act", "can't go with a cross-tenant role; leave one of them out")
		}
	}
	if c.TTL != 0 && c.TTL < time.Second {
		add("ttl", "is less than a second")
	}
	if c.Role != "" {
		role("role", tenant.Code{}, c.Role)
	}
	if len(c.Roles) > maxEntries {
		add("roles", errEntries.Error())
	}
	for i, g := range c.Roles {
		role(fmt.Sprintf("roles[%d]", i), g.Tenant, g.Role)
	}
	total := 0
	for i, g := range c.Groups {
		total += max(1, len(g.Groups))
		for _, group := range g.Groups {
			text(fmt.Sprintf("groups[%d]", i), group, maxText)
		}
	}
	if total > maxEntries {
		add("groups", errEntries.Error())
	}
	return problems
}

func (c *Claims) hasCrossTenantRole(cross CrossTenantRoles) bool {
	is := func(text string) bool {
		role, _ := foldRole(text)
		return cross.Has(role)
	}
	return is(c.Role) || slices.ContainsFunc(c.Roles, func(g RoleGrant) bool { return is(g.Role) })
}

// payload returns c, which has been checked, as the payload of a token.
func (k *Keyring) payload(c Claims) ([]byte, error) {
	type (
		roleEntry struct {
			Tenant string `json:"tenant"`
			Role   string `json:"role"`
		}
		groupsEntry struct {
			Tenant string   `json:"tenant"`
			Groups []string `json:"groups"`
		}
	)
	var (
		roles  []roleEntry
		groups []groupsEntry
	)
	for _, g := range c.Roles {
		role, _ := foldRole(g.Role)
		roles = append(roles, roleEntry{g.Tenant.String(), role})
	}
	for _, g := range c.Groups {
		groups = append(groups, groupsEntry{g.Tenant.String(), g.Groups})
	}
	rolesText, err := json.Marshal(roles)
	if err != nil {
		return nil, err
	}
	groupsText, err := json.Marshal(groups)
	if err != nil {
		return nil, err
	}
	role, _ := foldRole(c.Role)
	now := k.now().Unix()
	return json.Marshal(struct {
		Issuer        string `json:"iss"`
		Subject       string `json:"sub"`
		Audience      string `json:"aud"`
		IssuedAt      int64  `json:"iat"`
		ExpiresAt     int64  `json:"exp"`
		TokenID       string `json:"jti"`
		Origin        string `json:"idp,omitzero"`
		Email         string `json:"email,omitzero"`
		EmailVerified bool   `json:"email_verified,omitzero"`
		UserCode      string `json:"custom:user_code,omitzero"`
		Tenant        string `json:"custom:tenant,omitzero"`
		Role          string `json:"custom:role,omitzero"`
		Roles         string `json:"custom:roles"`
		Groups        string `json:"custom:groups"`
		Epoch         string `json:"custom:epoch,omitzero"`
		Act           Act    `json:"act,omitzero"`
	}{
		Issuer: k.issuer, Subject: c.Subject, Audience: k.audience,
		IssuedAt: now, ExpiresAt: now + int64(cmp.Or(c.TTL, time.Hour)/time.Second),
		TokenID: cmp.Or(c.TokenID, rand.Text()), Origin: c.Origin,
		Email: c.Email, EmailVerified: c.EmailVerified, UserCode: c.UserCode,
		Tenant: c.Tenant.String(), Role: role, Roles: string(rolesText), Groups: string(groupsText),
		Epoch: c.Epoch, Act: c.Act,
	})
}

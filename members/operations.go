package members

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// Routes are the operations over HTTP: section 5 of the contract.
type Routes struct{ Members *Service }

// The bodies of the operations.
type (
	// AddBody is the body that makes a user a member.
	AddBody struct {
		route.Mentions
		UserCode  string `json:"userCode" minLength:"1" maxLength:"255"`
		Role      string `json:"role" minLength:"1" maxLength:"63"`
		IsDefault bool   `json:"isDefault,omitempty" doc:"the user's former default is one no longer"`
		UserID    string `json:"userId,omitempty" maxLength:"255" doc:"the only sub that the membership serves; leave it out for any that has the user code"`
	}
	// UpdateBody is the body that changes a membership.
	UpdateBody struct {
		route.Mentions
		Role      *string `json:"role,omitempty" minLength:"1" maxLength:"63"`
		IsDefault *bool   `json:"isDefault,omitempty"`
	}
	// InviteBody is the body that invites a user, by e-mail or by user code.
	InviteBody struct {
		route.Mentions
		Email     string `json:"email,omitempty" maxLength:"320"`
		UserCode  string `json:"userCode,omitempty" maxLength:"255"`
		Role      string `json:"role" minLength:"1" maxLength:"63"`
		ExpiresIn int64  `json:"expiresIn,omitempty" minimum:"1" maximum:"7776000" doc:"seconds; 7 days by default"`
	}
	// AcceptBody is the body that accepts an invitation.
	AcceptBody struct {
		Secret string `json:"secret" minLength:"1" maxLength:"255"`
	}
	// SwitchBody is the body that switches to a tenant.
	SwitchBody struct {
		TenantCode string `json:"tenantCode"`
	}
	// RefreshBody is the body that refreshes a session.
	RefreshBody struct {
		RefreshToken string `json:"refreshToken" minLength:"1" maxLength:"255"`
	}
	// ImpersonateBody is the body that begins support access.
	ImpersonateBody struct {
		TenantCode string `json:"tenantCode"`
		UserCode   string `json:"userCode" minLength:"1" maxLength:"255"`
		Reason     string `json:"reason" minLength:"1" maxLength:"1000"`
		ExpiresIn  int64  `json:"expiresIn,omitempty" minimum:"1" maximum:"3600" doc:"seconds; 900 by default"`
	}
	// RevokeBody is the body that revokes tokens: of a subject, or one.
	RevokeBody struct {
		Issuer  string `json:"issuer" minLength:"1" maxLength:"255"`
		Subject string `json:"sub,omitempty" maxLength:"255"`
		TokenID string `json:"jti,omitempty" maxLength:"255"`
		Reason  string `json:"reason" minLength:"1" maxLength:"1000"`
	}
	// Changed is a membership after a change.
	Changed struct {
		Membership
		Changed bool `json:"changed" doc:"false where nothing was changed"`
	}
	// List is a page of memberships.
	List struct {
		Items  []Membership `json:"items"`
		Cursor string       `json:"cursor,omitempty" doc:"for the next page; absent where there is none"`
	}
	// InvitationList is a page of invitations.
	InvitationList struct {
		Items  []Invitation `json:"items"`
		Cursor string       `json:"cursor,omitempty" doc:"for the next page; absent where there is none"`
	}
)

// Operations returns the operations.
func (rs *Routes) Operations() []route.Operation {
	var (
		readers  = guard.Policy{Reach: guard.Admin, Members: true}
		managers = guard.Policy{Reach: guard.Admin, Roles: []string{Admin}, Personal: true}
		own      = guard.Policy{Reach: guard.Self, Personal: true}
		target   = guard.Policy{Reach: guard.Self, Personal: true, TargetInBody: true}
		system   = guard.Policy{Reach: guard.AllTenants, Personal: true}
		paged    = []route.Param{{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit}, {Name: "cursor", Summary: "of the page before"}}
		changes  = []fault.Code{fault.NotFound, fault.LastAdmin, fault.IdempotencyConflict}
	)
	const users, one = "/api/tenants/{tenantCode}/users", "/api/tenants/{tenantCode}/users/{userCode}"
	const invitations, invited = "/api/tenants/{tenantCode}/invitations", "/api/tenants/{tenantCode}/invitations/{id}"
	ops := []route.Operation{
		{ID: "me", Method: "GET", Path: "/api/me", Summary: "Who the caller is, in which tenant they act and of which they are a member",
			Policy: guard.Policy{Reach: guard.Self}, Answers: map[int]any{200: Me{}}, Handle: rs.me},
		{ID: "listMembers", Method: "GET", Path: users, Summary: "List a tenant's members by user code", Policy: readers, Query: paged,
			Answers: map[int]any{200: List{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidCursor}, Handle: rs.list},
		{ID: "addMember", Method: "POST", Path: users, Summary: "Make a user a member of a tenant", Policy: managers, Body: AddBody{}, Versioned: true,
			Answers: map[int]any{201: Changed{}}, Errors: append([]fault.Code{fault.AlreadyExists}, changes...), Handle: rs.add},
		{ID: "updateMember", Method: "PATCH", Path: one, Summary: "Change a member's role, or the user's default tenant", Policy: managers, Body: UpdateBody{}, Versioned: true,
			Answers: map[int]any{200: Changed{}}, Errors: changes, Handle: rs.update},
		{ID: "removeMember", Method: "DELETE", Path: one, Summary: "End a membership, for tokens already issued too", Policy: managers, Versioned: true,
			Answers: map[int]any{200: Changed{}}, Errors: changes, Handle: rs.remove},
		{ID: "listTenantsOfUser", Method: "GET", Path: "/api/users/{userCode}/tenants", Summary: "List the tenants of a user", Policy: own,
			Answers: map[int]any{200: List{}}, Precheck: onlyOneself, Handle: rs.tenantsOf},
		{ID: "switchTenant", Method: "POST", Path: "/api/auth/switch-tenant", Summary: "Get a token for a tenant of which the caller is a member", Policy: target, Body: SwitchBody{},
			Answers: map[int]any{200: Session{}}, Errors: []fault.Code{fault.NotAMember, fault.InvalidKey}, Confidential: true, Replay: rs.maySwitch, Handle: rs.switchTenant},
		{ID: "refreshSession", Method: "POST", Path: "/api/auth/refresh", Summary: "Get the next token for a refresh token, which is good once", Policy: guard.Policy{Reach: guard.Anyone}, Body: RefreshBody{},
			Answers: map[int]any{200: Session{}}, Confidential: true, Handle: rs.refresh},
		{ID: "invite", Method: "POST", Path: invitations, Summary: "Invite a user; the secret is shown once", Policy: managers, Body: InviteBody{},
			Answers: map[int]any{201: Invitation{}}, Errors: changes, Confidential: true, Handle: rs.invite},
		{ID: "listInvitations", Method: "GET", Path: invitations, Summary: "List a tenant's invitations", Policy: managers, Query: paged,
			Answers: map[int]any{200: InvitationList{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidCursor}, Handle: rs.invitations},
		{ID: "getInvitation", Method: "GET", Path: invited, Summary: "Read an invitation", Policy: managers,
			Answers: map[int]any{200: Invitation{}}, Errors: []fault.Code{fault.NotFound}, Handle: rs.invitation},
		{ID: "withdrawInvitation", Method: "DELETE", Path: invited, Summary: "Withdraw an invitation", Policy: managers,
			Answers: map[int]any{200: Invitation{}}, Errors: changes, Handle: rs.withdraw},
		{ID: "acceptInvitation", Method: "POST", Path: "/api/invitations/{id}/accept", Summary: "Become a member by an invitation", Policy: own, Body: AcceptBody{},
			Answers: map[int]any{201: Membership{}}, Errors: []fault.Code{fault.NotFound, fault.IdempotencyConflict}, Handle: rs.accept},
		{ID: "impersonate", Method: "POST", Path: "/api/admin/impersonate", Summary: "Get a token to act as a member of a tenant, for support", Policy: system, Body: ImpersonateBody{},
			Answers: map[int]any{200: Session{}}, Errors: []fault.Code{fault.NotFound, fault.InvalidKey}, Confidential: true, Handle: rs.impersonate},
		{ID: "revoke", Method: "POST", Path: "/api/admin/revocations", Summary: "End the tokens of a subject, or one token", Policy: system, Body: RevokeBody{},
			Answers: map[int]any{201: Revocation{}}, Errors: []fault.Code{fault.IdempotencyConflict}, Handle: rs.revoke},
	}
	for i := range ops {
		ops[i].Tag = "members"
	}
	return ops
}

func (rs *Routes) list(ctx context.Context, c *route.Call) (route.Answer, error) {
	items, cursor, err := rs.Members.List(ctx, c.Scope(), int(c.Int("limit")), c.Query("cursor"))
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, List{Items: items, Cursor: cursor})
}

// readBody reads a body into v, whose mentions of a record named holds. A membership's and an invitation's record stand in common,
// so that no pk or id agrees with a route that names a tenant.
func readBody(c *route.Call, v any, named *route.Mentions) error {
	err := c.Decode(v)
	if err == nil && (named.PK != "" || named.ID != "") {
		err = fault.New(fault.InvalidKey, "members", "the body's pk or id names another record than the route; leave it out")
	}
	return err
}

func (rs *Routes) add(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b AddBody
	if err := readBody(c, &b, &b.Mentions); err != nil {
		return route.Answer{}, err
	}
	m, res, err := rs.Members.Add(ctx, c.Scope(), Add{UserCode: b.UserCode, Role: b.Role, IsDefault: b.IsDefault, UserID: b.UserID}, c.Idempotent("")...)
	return changed(http.StatusCreated, m, res, err)
}

func (rs *Routes) update(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b UpdateBody
	if err := readBody(c, &b, &b.Mentions); err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	m, res, err := rs.Members.Update(ctx, c.Scope(), c.Path("userCode"), Update{Role: b.Role, IsDefault: b.IsDefault}, opts...)
	return changed(http.StatusOK, m, res, err)
}

func (rs *Routes) remove(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b route.Mentions
	if err := readBody(c, &b, &b); err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	m, res, err := rs.Members.Remove(ctx, c.Scope(), c.Path("userCode"), opts...)
	return changed(http.StatusOK, m, res, err)
}

func isSystemAdmin(c *route.Call) bool {
	return c.Grant.Crosses() && c.Grant.Need([]string{guard.SystemAdmin}) == nil
}

// onlyOneself refuses whoever asks for another user, but a system admin.
func onlyOneself(c *route.Call) error {
	if isSystemAdmin(c) || c.Path("userCode") == c.Principal.UserCode() {
		return nil
	}
	return fault.New(fault.RoleRequired, "members", "users see their own tenants only")
}

func (rs *Routes) tenantsOf(ctx context.Context, c *route.Call) (route.Answer, error) {
	all, err := rs.Members.TenantsOf(ctx, c.Path("userCode"))
	if err != nil {
		return route.Answer{}, err
	}
	if !isSystemAdmin(c) {
		all = slices.DeleteFunc(all, func(m Membership) bool { return !m.serves(c.Principal) })
	}
	return route.JSON(http.StatusOK, List{Items: all})
}

func (rs *Routes) switchTenant(ctx context.Context, c *route.Call) (route.Answer, error) {
	code, err := switchTarget(c)
	if err != nil {
		return route.Answer{}, err
	}
	out, err := rs.Members.Switch(ctx, c.Principal, code)
	return answer(http.StatusOK, out, err)
}

// maySwitch refuses who is a member no more.
func (rs *Routes) maySwitch(ctx context.Context, c *route.Call) error {
	code, err := switchTarget(c)
	if err == nil {
		_, _, err = rs.Members.begin(ctx, c.Principal, code)
	}
	return err
}

func switchTarget(c *route.Call) (tenant.Code, error) {
	var b SwitchBody
	if err := c.Decode(&b); err != nil {
		return tenant.Code{}, err
	}
	return tenant.Parse(b.TenantCode)
}

func (rs *Routes) refresh(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b RefreshBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	out, err := rs.Members.Refresh(ctx, b.RefreshToken)
	return answer(http.StatusOK, out, err)
}

func (rs *Routes) invite(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b InviteBody
	if err := readBody(c, &b, &b.Mentions); err != nil {
		return route.Answer{}, err
	}
	out, err := rs.Members.Invite(ctx, c.Scope(), Invite{Email: b.Email, UserCode: b.UserCode, Role: b.Role, Life: time.Duration(b.ExpiresIn) * time.Second})
	return answer(http.StatusCreated, out, err)
}

func (rs *Routes) invitations(ctx context.Context, c *route.Call) (route.Answer, error) {
	items, cursor, err := rs.Members.Invitations(ctx, c.Scope(), int(c.Int("limit")), c.Query("cursor"))
	return answer(http.StatusOK, InvitationList{Items: items, Cursor: cursor}, err)
}

func (rs *Routes) invitation(ctx context.Context, c *route.Call) (route.Answer, error) {
	out, err := rs.Members.Invitation(ctx, c.Scope(), c.Path("id"))
	return answer(http.StatusOK, out, err)
}

func (rs *Routes) withdraw(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b route.Mentions
	if err := readBody(c, &b, &b); err != nil {
		return route.Answer{}, err
	}
	out, err := rs.Members.Withdraw(ctx, c.Scope(), c.Path("id"), c.Idempotent("")...)
	return answer(http.StatusOK, out, err)
}

func (rs *Routes) accept(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b AcceptBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	out, err := rs.Members.Accept(ctx, c.Principal, c.Grant.Actor(), c.Path("id"), b.Secret)
	return answer(http.StatusCreated, out, err)
}

func (rs *Routes) impersonate(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b ImpersonateBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	code, err := tenant.Parse(b.TenantCode)
	if err != nil {
		return route.Answer{}, err
	}
	sys, err := rs.Members.cfg.System(c.Principal, c.Grant.Actor(), "support access as "+b.UserCode+": "+b.Reason)
	if err != nil {
		return route.Answer{}, err
	}
	out, err := rs.Members.Impersonate(ctx, sys, c.Principal, Impersonate{Tenant: code, UserCode: b.UserCode, Life: time.Duration(b.ExpiresIn) * time.Second})
	return answer(http.StatusOK, out, err)
}

func (rs *Routes) revoke(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b RevokeBody
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	out, err := rs.Members.Revoke(ctx, c.Grant.System, Revoke{Issuer: b.Issuer, Subject: b.Subject, TokenID: b.TokenID, Reason: b.Reason}, c.Idempotent("")...)
	return answer(http.StatusCreated, out, err)
}

package client

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

// Membership is that of one user in one tenant.
type Membership struct {
	TenantCode string    `json:"tenantCode"`
	UserCode   string    `json:"userCode"`
	Role       string    `json:"role"`
	IsDefault  bool      `json:"isDefault"` // whether it is the user's default
	UserID     string    `json:"userId"`    // the only sub that it serves; "" for any that has the user code
	Version    int64     `json:"version"`
	CreatedAt  time.Time `json:"createdAt"`
	UpdatedAt  time.Time `json:"updatedAt"`

	// Changed points to false in the answer to a change that would have changed nothing. In lists it is nil.
	Changed *bool `json:"changed"`

	Answer `json:"-"`
}

// NewMember is a user who becomes a member.
type NewMember struct {
	UserCode  string `json:"userCode"` // 1 to 255 bytes of printable UTF-8
	Role      string `json:"role"`
	IsDefault bool   `json:"isDefault,omitzero"` // the user's former default is one no longer
	UserID    string `json:"userId,omitzero"`    // the only sub that the membership serves; "" for any that has the user code
}

// MemberUpdate is a change of a membership. Nil fields stay.
type MemberUpdate struct {
	Role      *string `json:"role,omitzero"`
	IsDefault *bool   `json:"isDefault,omitzero"`
}

func membersPath(code tenant.Code) string { return "/api/tenants/" + segment(code.String()) + "/users" }

// Members returns a page of a tenant's members by user code.
func (c *Client) Members(ctx context.Context, code tenant.Code, p Paging) (Page[Membership], error) {
	return page[Membership](ctx, c, request{method: http.MethodGet, path: membersPath(code), query: p.values()})
}

// AddMember makes a user a member of a tenant. It fails with fault.AlreadyExists.
func (c *Client) AddMember(ctx context.Context, code tenant.Code, in NewMember, opts ...Option) (Membership, error) {
	r := request{method: http.MethodPost, path: membersPath(code), body: in}
	return value[Membership](ctx, c, r.with(opts))
}

// UpdateMember changes a membership. It fails with fault.NotFound and fault.LastAdmin.
func (c *Client) UpdateMember(ctx context.Context, code tenant.Code, userCode string, in MemberUpdate, opts ...Option) (Membership, error) {
	r := request{method: http.MethodPatch, path: membersPath(code) + "/" + segment(userCode), body: in}
	return value[Membership](ctx, c, r.with(opts))
}

// RemoveMember ends a membership, for tokens already issued too. It fails with fault.NotFound and fault.LastAdmin.
func (c *Client) RemoveMember(ctx context.Context, code tenant.Code, userCode string, opts ...Option) (Membership, error) {
	r := request{method: http.MethodDelete, path: membersPath(code) + "/" + segment(userCode)}
	return value[Membership](ctx, c, r.with(opts))
}

// TenantsOf returns the memberships of a user: the caller's own, a system admin's anybody's.
func (c *Client) TenantsOf(ctx context.Context, userCode string) (Page[Membership], error) {
	return page[Membership](ctx, c, request{method: http.MethodGet, path: "/api/users/" + segment(userCode) + "/tenants"})
}

// Invite invites a user, by one of Email and UserCode.
type Invite struct {
	Email     string `json:"email,omitzero"`
	UserCode  string `json:"userCode,omitzero"`
	Role      string `json:"role"`
	ExpiresIn int64  `json:"expiresIn,omitzero"` // seconds; 0 for 7 days
}

// Invitation is one that is open, or was.
type Invitation struct {
	ID         string    `json:"id"`
	TenantCode string    `json:"tenantCode"`
	Email      string    `json:"email"`
	UserCode   string    `json:"userCode"`
	Role       string    `json:"role"`
	ExpiresAt  time.Time `json:"expiresAt"`
	AcceptedAt time.Time `json:"acceptedAt"` // zero for one that is open
	CreatedAt  time.Time `json:"createdAt"`
	CreatedBy  string    `json:"createdBy"`
	Secret     string    `json:"secret"` // in the answer of Invite only

	Answer `json:"-"`
}

func invitationsPath(code tenant.Code) string {
	return "/api/tenants/" + segment(code.String()) + "/invitations"
}

// Invite makes an invitation to a tenant. Its Secret is shown this once.
func (c *Client) Invite(ctx context.Context, code tenant.Code, in Invite, opts ...Option) (Invitation, error) {
	r := request{method: http.MethodPost, path: invitationsPath(code), body: in}
	return value[Invitation](ctx, c, r.with(opts))
}

// Invitations returns a page of a tenant's invitations, oldest first.
func (c *Client) Invitations(ctx context.Context, code tenant.Code, p Paging) (Page[Invitation], error) {
	return page[Invitation](ctx, c, request{method: http.MethodGet, path: invitationsPath(code), query: p.values()})
}

// WithdrawInvitation ends an invitation. It fails with fault.NotFound.
func (c *Client) WithdrawInvitation(ctx context.Context, code tenant.Code, id string, opts ...Option) (Invitation, error) {
	r := request{method: http.MethodDelete, path: invitationsPath(code) + "/" + segment(id)}
	return value[Invitation](ctx, c, r.with(opts))
}

// AcceptInvitation makes the caller a member by an invitation. It fails with fault.NotFound, whatever is wrong.
func (c *Client) AcceptInvitation(ctx context.Context, id, secret string) (Membership, error) {
	return value[Membership](ctx, c, request{method: http.MethodPost, path: "/api/invitations/" + segment(id) + "/accept", body: map[string]string{"secret": secret}})
}

// Session is a token for one tenant, and the refresh token that the next one is got with.
type Session struct {
	Token        string `json:"token"`
	TokenType    string `json:"tokenType"`
	ExpiresIn    int64  `json:"expiresIn"` // seconds
	RefreshToken string `json:"refreshToken"`
	TenantCode   string `json:"tenantCode"`
	Role         string `json:"role"`

	Answer `json:"-"`
}

// SwitchTenant returns a session in a tenant of which the caller is a member. It fails with fault.NotAMember.
func (c *Client) SwitchTenant(ctx context.Context, code tenant.Code) (Session, error) {
	return value[Session](ctx, c, request{method: http.MethodPost, path: "/api/auth/switch-tenant", body: map[string]tenant.Code{"tenantCode": code}})
}

// Refresh returns the next session of a refresh token, which is good once. It needs no token.
func (c *Client) Refresh(ctx context.Context, refreshToken string) (Session, error) {
	return value[Session](ctx, c, request{method: http.MethodPost, path: "/api/auth/refresh", body: map[string]string{"refreshToken": refreshToken}})
}

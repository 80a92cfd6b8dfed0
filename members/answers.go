package members

import (
	"context"
	"net/http"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/route"
)

// Me is what a caller is told of themselves.
type Me struct {
	UserID        string       `json:"userId"`
	UserCode      string       `json:"userCode"`
	Issuer        string       `json:"issuer"`
	Email         string       `json:"email,omitempty"`
	EmailVerified bool         `json:"emailVerified"`
	TenantCode    string       `json:"tenantCode,omitempty" doc:"the acting tenant; absent where there is none"`
	Role          string       `json:"role,omitempty" doc:"in the acting tenant"`
	Roles         []string     `json:"roles" doc:"all roles in the acting tenant"`
	Groups        []string     `json:"groups" doc:"in the acting tenant"`
	CrossTenant   bool         `json:"crossTenant" doc:"whether a cross-tenant role was granted"`
	ActUserID     string       `json:"actUserId,omitempty" doc:"who acts for the user, by support access"`
	Memberships   []Membership `json:"memberships" doc:"by tenant; by support access only that of the acting tenant"`
}

func (rs *Routes) me(ctx context.Context, c *route.Call) (route.Answer, error) {
	p, acting := c.Principal, c.Grant.Acting
	out := Me{UserID: p.Subject(), UserCode: p.UserCode(), Issuer: p.Issuer(), Email: p.Email(), EmailVerified: p.EmailVerified(),
		TenantCode: acting.String(), Roles: p.RolesIn(acting), Groups: p.GroupsIn(acting)}
	role, cross := p.CrossTenantRole()
	if out.Role, out.CrossTenant = p.RoleIn(acting), cross; cross {
		out.Role = role
	}
	all, err := rs.Members.TenantsOf(ctx, p.UserCode())
	if err != nil {
		return route.Answer{}, err
	}
	act, acted := p.Act()
	out.ActUserID, out.Memberships = act.Subject, []Membership{}
	for _, m := range all {
		if acted && m.TenantCode != out.TenantCode || !acted && !m.serves(p) {
			continue
		}
		out.Memberships = append(out.Memberships, m)
	}
	if !cross && !acting.IsZero() {
		m, err := rs.Members.cfg.Directory.Membership(ctx, acting, p.UserCode())
		switch {
		case err != nil:
			return route.Answer{}, err
		case m.Serves(p): // it decides, as for every call
			out.Role, out.Roles = m.Role, []string{}
			if m.Role != "" {
				out.Roles = []string{m.Role}
			}
		case m.Exists || rs.Members.cfg.Required || p.Epoch() != "":
			out.Role, out.Roles, out.TenantCode = "", []string{}, ""
		}
	}
	if out.Roles == nil {
		out.Roles = []string{}
	}
	if out.Groups == nil {
		out.Groups = []string{}
	}
	return route.JSON(http.StatusOK, out)
}

func answer(status int, v any, err error) (route.Answer, error) {
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(status, v)
}

// changed returns the answer of a change. Only If-Match names a version here.
func changed(status int, m Membership, res command.Result, err error) (route.Answer, error) {
	if err != nil {
		return route.Answer{}, route.Precondition(err, true)
	}
	a, err := route.JSON(status, Changed{Membership: m, Changed: res.Changed})
	a.Version, a.Position = m.Version, res.Position
	return a, err
}

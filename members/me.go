// Package members says who a caller is: section 5 of the contract.
package members

import (
	"context"
	"net/http"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
)

// Routes are the member operations over HTTP.
type Routes struct{}

// Me is what a caller is told of themselves.
type Me struct {
	UserID        string   `json:"userId"`
	UserCode      string   `json:"userCode"`
	Issuer        string   `json:"issuer"`
	Email         string   `json:"email,omitempty"`
	EmailVerified bool     `json:"emailVerified"`
	TenantCode    string   `json:"tenantCode,omitempty" doc:"the acting tenant; absent where there is none"`
	Role          string   `json:"role,omitempty" doc:"in the acting tenant"`
	Roles         []string `json:"roles" doc:"all roles in the acting tenant"`
	Groups        []string `json:"groups" doc:"in the acting tenant"`
	CrossTenant   bool     `json:"crossTenant" doc:"whether a cross-tenant role was granted"`
}

// Operations returns the member operations.
func (Routes) Operations() []route.Operation {
	return []route.Operation{{ID: "me", Method: "GET", Path: "/api/me", Tag: "members", Summary: "Who the caller is, and in which tenant they act",
		Policy: guard.Policy{Reach: guard.Self}, Answers: map[int]any{http.StatusOK: Me{}}, Handle: me}}
}

func me(_ context.Context, c *route.Call) (route.Answer, error) {
	p, acting := c.Principal, c.Grant.Acting
	out := Me{UserID: p.Subject(), UserCode: p.UserCode(), Issuer: p.Issuer(), Email: p.Email(), EmailVerified: p.EmailVerified(),
		TenantCode: acting.String(), Roles: p.RolesIn(acting), Groups: p.GroupsIn(acting)}
	role, cross := p.CrossTenantRole()
	if out.Role, out.CrossTenant = p.RoleIn(acting), cross; cross {
		out.Role = role
	}
	if out.Roles == nil {
		out.Roles = []string{}
	}
	if out.Groups == nil {
		out.Groups = []string{}
	}
	return route.JSON(http.StatusOK, out)
}

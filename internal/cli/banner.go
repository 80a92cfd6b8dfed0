package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/internal/demo"
	"github.com/tenantry/tenantry/tenant"
)

// demoTokens is how long the demo's tokens live.
const demoTokens = 12 * time.Hour

// banner loads the demo's data and returns what a newcomer is shown, "" without --demo.
func (v *serve) banner(ctx context.Context, app *tenantry.App, l *listeners, receiver *demo.Receiver) (string, error) {
	if !v.Demo {
		return "", nil
	}
	live, err := demo.Load(ctx, app)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if v.Store == "memory" {
		b.WriteString("\nThe demo's data is in memory, and gone when the server ends.\n")
	} else if v.isShared() {
		fmt.Fprintf(&b, "\nThe demo's data is in the %s store.\n", v.Store)
	} else {
		fmt.Fprintf(&b, "\nThe demo's data is in %s; delete the directory to start afresh.\n", v.Data)
	}
	fmt.Fprintf(&b, "Tokens for the next %d hours. Paste them all, or those that you need:\n\n", int(demoTokens.Hours()))
	for _, user := range users(live) {
		token, err := app.Keyring().Issue(user.claims)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s=%s\n", user.variable, token)
	}
	if len(live) < 2 {
		return b.String(), nil // somebody deleted the others
	}
	own, foreign := live[0], live[1]
	bearer := fmt.Sprintf(`-H "Authorization: Bearer $%s"`, variable(own, "user"))
	fmt.Fprintf(&b, "\nTry these first. The products of %s:\n\n", own)
	fmt.Fprintf(&b, "curl -s %s %s/api/data/PRODUCT\n", bearer, l.curl())
	fmt.Fprintf(&b, "\nOne more of them, under a key of its own:\n\n")
	fmt.Fprintf(&b, "curl -s %s -H 'Content-Type: application/json' -d '{\"name\":\"Stool\",\"attributes\":{\"price\":4500,\"currency\":\"EUR\"}}' %s/api/data/PRODUCT\n", bearer, l.curl())
	fmt.Fprintf(&b, "\nAnd those of %s, which is refused: the token is %s's (403 tenant_forbidden).\n\n", foreign, own)
	fmt.Fprintf(&b, "curl -s %s %s/api/tenants/%s/data/PRODUCT\n", bearer, l.curl(), foreign)
	fmt.Fprintf(&b, "\nWhat changes in %s while you watch; make another product meanwhile:\n\n", own)
	fmt.Fprintf(&b, "curl -sN %s %s/api/events\n", bearer, l.curl())
	if receiver != nil {
		leads, err := receiver.Subscribe(ctx, app, own)
		if err != nil {
			return "", err
		}
		if leads {
			fmt.Fprintf(&b, "\nWhat a service of %s's was told by the webhook that it has: signed, and verified there:\n\n", own)
			fmt.Fprintf(&b, "curl -s -k %s\n", receiver.URL())
		}
	}
	const system = `-H "Authorization: Bearer $SYSTEM_ADMIN"`
	if app.Upkeep() != nil {
		fmt.Fprintf(&b, "\nThe operator crosses tenants, and each finds that in its audit log. What all of them have, and what a table of it is:\n\n")
		fmt.Fprintf(&b, "curl -s %s '%s/api/admin/reports/system?include=recentOrders'\n", system, l.curl())
		fmt.Fprintf(&b, "curl -s %s '%s/api/admin/reports/system?format=csv'\n", system, l.curl())
	}
	fmt.Fprintf(&b, "\nAnd what copying the products of %s to %s would do; apply it with tenantry sync apply:\n\n", own, foreign)
	fmt.Fprintf(&b, "curl -s %s -H 'Content-Type: application/json' -d '{\"sourceTenantCode\":\"%s\",\"targetTenantCodes\":[\"%s\"],\"entityType\":\"PRODUCT\",\"onConflict\":\"skip\"}' %s/api/admin/sync/plan\n\n",
		system, own, foreign, l.curl())
	return b.String(), nil
}

// curl returns the server's address as arguments of curl, which doesn't trust a certificate of one's own.
func (l *listeners) curl() string {
	if l.scheme == "https" {
		return "-k " + l.url()
	}
	return l.url()
}

type demoUser struct {
	variable string // of a shell
	claims   auth.Claims
}

// users returns an admin and a user of every tenant, a user whose memberships say where they may act, and a system admin.
func users(live []tenant.Code) []demoUser {
	var all []demoUser
	for _, code := range live {
		for _, role := range []string{"admin", "user"} {
			name := role + "@" + code.String() + ".example"
			all = append(all, demoUser{variable(code, role), auth.Claims{Subject: name, Email: name, EmailVerified: true, Tenant: code,
				Roles: []auth.RoleGrant{{Tenant: code, Role: role}}, TTL: demoTokens}})
		}
	}
	all = append(all, demoUser{"ANN", auth.Claims{Subject: "ann", Email: "ann@example.com", EmailVerified: true, TTL: demoTokens}})
	return append(all, demoUser{"SYSTEM_ADMIN", auth.Claims{Subject: "operator", Role: auth.SystemAdmin, TTL: demoTokens}})
}

func variable(code tenant.Code, role string) string {
	return strings.ToUpper(code.String() + "_" + role)
}

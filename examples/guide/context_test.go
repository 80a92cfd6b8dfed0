package guide_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// "Tenant Context": a code is lower-cased once, where it enters, and compares with == from there on. A text that needs more
// than that to become a code is refused.
func Example_tenantContext() {
	for _, text := range []string{"TenantA", "TENANTA", "tenanta"} {
		code, err := tenant.Parse(text)
		check(err)
		fmt.Println(code)
	}
	_, err := tenant.Parse("tenant a")
	fmt.Println(fault.CodeOf(err))
	// Output:
	// tenanta
	// tenanta
	// tenanta
	// invalid_key
}

// "Extracting Tenant Context": an operation is handed who acts, and in which tenant. There is nothing to extract, and no
// default to fall back to.
func Example_extractingTenantContext() {
	whoami := route.Operation{
		ID: "whoami", Method: "GET", Path: "/api/whoami", Summary: "Say who acts, and where",
		Policy:  guard.Policy{Reach: guard.Tenant},
		Answers: map[int]any{http.StatusOK: []string{}},
		Handle: func(_ context.Context, c *route.Call) (route.Answer, error) {
			actor := c.Scope().Actor()
			return route.JSON(http.StatusOK, []string{c.Scope().Tenant().String(), actor.UserCode, actor.UserID, actor.Email, actor.Role})
		},
	}
	app, closeApp := open(tenantry.Config{Routes: []route.Operation{whoami}})
	defer closeApp()
	app.Tenant("acme")
	token := app.Token(auth.Claims{Subject: "5f2c", UserCode: "ann", Email: "ann@acme.example", Tenant: parse("ACME"), Role: "ADMIN"})

	fmt.Println(send(serve(app), token, "GET", "/api/whoami", "").body)
	// Output: ["acme","ann","5f2c","ann@acme.example","admin"]
}

// "Extracting Tenant Context", TENANT_COMMON: the code of the common tenant is common. COMMON is read as it, in keys that older services
// wrote too.
func Example_tenantCommon() {
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	fmt.Println(tenant.Common(), parse("COMMON") == tenant.Common())

	key, err := record.ParseKey(app.Scope("common"), "TEMPLATE#COMMON", "welcome")
	check(err)
	fmt.Println(key.ID())
	// Output:
	// common true
	// TEMPLATE#common#welcome
}

// "Extracting Tenant Context", DEFAULT_TENANT_CODE: a caller without a tenant acts in single where the operator said that there is
// only one tenant, and is refused everywhere else.
func Example_defaultTenantCode() {
	for _, single := range []bool{true, false} {
		app, closeApp := open(tenantry.Config{SingleTenant: single})
		defer closeApp()
		token := app.Token(auth.Claims{Subject: "ann", Role: "user"})

		fmt.Println(send(serve(app), token, "POST", "/api/data/NOTE", `{"name":"Hello"}`))
	}
	// Output:
	// 201
	// 403 tenant_required
}

// "Extracting Tenant Context", hasTenantAccess: users reach their own tenant, system admins every one that exists. It is the guard
// that decides, for every operation; a program seldom asks it.
func Example_hasTenantAccess() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("acme", "bravo")

	access := func(token, target string) error {
		principal, err := app.Verifier().Verify(ctx, token)
		if err != nil {
			return err
		}
		_, err = app.Guard().Admit(ctx, &guard.Request{
			Principal: principal,
			Mentions:  guard.Mentions{Codes: []string{target}},
			Policy:    guard.Policy{Reach: guard.Tenant},
		})
		return err
	}
	ann, operator := tokenFor(app, "ann", "acme", "admin"), adminToken(app)

	fmt.Println("ann, acme:", access(ann, "acme"))
	fmt.Println("ann, bravo:", fault.CodeOf(access(ann, "bravo")))
	fmt.Println("operator, bravo:", access(operator, "bravo"))
	fmt.Println("operator, nowhere:", fault.CodeOf(access(operator, "nowhere")))
	// Output:
	// ann, acme: <nil>
	// ann, bravo: tenant_forbidden
	// operator, bravo: <nil>
	// operator, nowhere: tenant_forbidden
}

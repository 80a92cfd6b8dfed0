package guide_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/members"
)

// "Pattern 3: User-Tenant Association": a user's tenants are found by an inverse that stands in the membership's own commit, not by looking
// for an ending in everybody's sort keys, which takes the user 9999#admin for admin.
func Example_userTenantAssociation() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("acme", "bravo")

	add := func(tenantCode string, m members.Add) {
		_, _, err := app.Members().Add(ctx, app.Scope(tenantCode), m)
		check(err)
	}
	add("acme", members.Add{UserCode: "ann", Role: "admin", IsDefault: true})
	add("bravo", members.Add{UserCode: "ann", Role: "user", IsDefault: true})
	add("bravo", members.Add{UserCode: "9999#ann", Role: "user"})

	for _, user := range []string{"ann", "9999#ann"} {
		all, err := app.Members().TenantsOf(ctx, user)
		check(err)
		for _, m := range all {
			fmt.Println(user, "is", m.Role, "of", m.TenantCode, m.IsDefault)
		}
	}
	_, _, err := app.Members().Remove(ctx, app.Scope("acme"), "ann")
	fmt.Println(err)
	// Output:
	// ann is admin of acme false
	// ann is user of bravo true
	// 9999#ann is user of bravo false
	// members: last_admin: the tenant would have no admin left; make another member an admin first
}

// The same section's switchTenant: the new token is good in one tenant, in the membership's role, for as long as the membership lives.
func Example_switchTenant() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("acme", "bravo")
	_, _, err := app.Members().Add(ctx, app.Scope("bravo"), members.Add{UserCode: "ann", Role: "user"})
	check(err)
	api := serve(app)
	ann := app.Token(auth.Claims{Subject: "ann"})

	switched := send(api, ann, "POST", "/api/auth/switch-tenant", `{"tenantCode":"bravo"}`)
	var session members.Session
	check(json.Unmarshal([]byte(switched.body), &session))
	fmt.Println(switched, session.TenantCode, session.Role)
	fmt.Println(send(api, ann, "POST", "/api/auth/switch-tenant", `{"tenantCode":"acme"}`))
	fmt.Println(send(api, session.Token, "GET", "/api/data/PRODUCT", ""))

	_, _, err = app.Members().Remove(ctx, app.Scope("bravo"), "ann")
	check(err)
	fmt.Println(send(api, session.Token, "GET", "/api/data/PRODUCT", ""))
	// Output:
	// 200 bravo user
	// 403 not_a_member
	// 200
	// 403 not_a_member
}

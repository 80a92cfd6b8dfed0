package auth_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

func Example() {
	acme, err := tenant.Parse("acme")
	if err != nil {
		panic(err)
	}
	ring, err := auth.NewKeyring(auth.KeyringOptions{})
	if err != nil {
		panic(err)
	}
	v, err := auth.NewVerifier(auth.Config{Keyring: ring})
	if err != nil {
		panic(err)
	}
	defer v.Close()

	token, err := ring.Issue(auth.Claims{
		Subject: "user-1",
		Tenant:  acme,
		Roles:   []auth.RoleGrant{{Tenant: acme, Role: "admin"}, {Role: "user"}},
	})
	if err != nil {
		panic(err)
	}
	p, err := v.Verify(context.Background(), token)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Subject(), "in", p.Tenant(), "is", p.RoleIn(p.Tenant()))

	_, err = v.Verify(context.Background(), token[:len(token)-4]+"AAAA")
	fmt.Println(errors.Is(err, fault.Unauthenticated), auth.ReasonOf(err))

	_, err = ring.Issue(auth.Claims{Subject: "user-1", Roles: []auth.RoleGrant{{Tenant: acme, Role: auth.SystemAdmin}}})
	fmt.Println(fault.CodeOf(err))
	// Output:
	// user-1 in acme is admin
	// true signature
	// validation_failed
}

func ExampleParseIssuer() {
	iss, err := auth.ParseIssuer("issuer=https://idp.example/pool,jwks=https://idp.example/pool/jwks.json,audience=shop,tenants=acme;globex,cross-tenant=false")
	if err != nil {
		panic(err)
	}
	fmt.Println(iss.Name, iss.Audience, iss.Keys, iss.Tenants, *iss.CrossTenant)
	// Output: https://idp.example/pool shop https://idp.example/pool/jwks.json [acme globex] false
}

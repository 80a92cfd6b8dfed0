package auth_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

func TestPrincipal(t *testing.T) {
	p := admit(t, verifier(t, nil), token(nil, object{
		"email": "ann@example.com", "email_verified": true, "custom:user_code": "9999#ann", "cognito:username": "ann",
		"custom:tenant": "Alpha", "exp": float64(start.Unix()) + 60.5,
	}))
	type view struct {
		Issuer, TokenIssuer, Subject, Email, UserCode, Tenant, TokenID string
		External, EmailVerified                                        bool
		IssuedAt, ExpiresAt                                            time.Time
	}
	got := view{
		p.Issuer(), p.TokenIssuer(), p.Subject(), p.Email(), p.UserCode(), p.Tenant().String(), p.TokenID(),
		p.External(), p.EmailVerified(), p.IssuedAt(), p.ExpiresAt(),
	}
	want := view{
		issuerName, issuerName, "user-1", "ann@example.com", "9999#ann", "alpha", "t1",
		true, true, start.Add(-10 * time.Second), start.Add(60*time.Second + 500*time.Millisecond),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// An issuer's clock may be ahead, but no token was issued after it was seen.
func TestIssuedAt(t *testing.T) {
	for ahead, want := range map[int64]time.Time{-10: start.Add(-10 * time.Second), 0: start, 30: start, 60: start} {
		if got := admit(t, verifier(t, nil), token(nil, object{"iat": start.Unix() + ahead})).IssuedAt(); !got.Equal(want) {
			t.Errorf("a token that is dated %d s ahead was issued at %v, want %v", ahead, got, want)
		}
	}
}

func TestUserCode(t *testing.T) {
	v := verifier(t, nil)
	for _, c := range []struct {
		claims object
		want   string
	}{
		{object{}, "user-1"},
		{object{"cognito:username": "ann"}, "ann"},
		{object{"cognito:username": "ann", "custom:user_code": "9999#ann"}, "9999#ann"},
		{object{"cognito:username": "ann", "custom:user_code": ""}, "ann"},
	} {
		if got := admit(t, v, token(nil, c.claims)).UserCode(); got != c.want {
			t.Errorf("%v: user code = %q, want %q", c.claims, got, c.want)
		}
	}
	if got := admit(t, v, token(nil, object{"custom:tenant": ""})).Tenant(); !got.IsZero() {
		t.Errorf("an empty custom:tenant binds to %q", got)
	}
}

// rights are what the claims of one token give.
type rights struct {
	Cross         string
	InAlpha       []string
	InBravo       []string
	GroupsInAlpha []string
}

func rightsOf(p *auth.Principal) rights {
	cross, _ := p.CrossTenantRole()
	return rights{cross, p.RolesIn(code("alpha")), p.RolesIn(code("bravo")), p.GroupsIn(code("alpha"))}
}

func TestRoles(t *testing.T) {
	cross, err := auth.ParseCrossTenantRoles("auditor, Support")
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, func(cfg *auth.Config) { cfg.CrossTenantRoles = cross })
	list := func(roles ...string) []string { return roles }
	for _, c := range []struct {
		name   string
		claims object
		want   rights
	}{
		{"none", object{"custom:roles": absent}, rights{}},
		{"everywhere", object{"custom:roles": `[{"tenant":"","role":"user"}]`}, rights{InAlpha: list("user"), InBravo: list("user")}},
		{"without the member tenant", object{"custom:roles": `[{"role":"user"}]`}, rights{InAlpha: list("user"), InBravo: list("user")}},
		{"an entry for the tenant goes first", object{"custom:role": "viewer", "custom:roles": `[{"role":"user"},{"tenant":"alpha","role":"admin"}]`},
			rights{InAlpha: list("admin"), InBravo: list("viewer", "user")}},
		{"several for one tenant", object{"custom:roles": `[{"tenant":"alpha","role":"user"},{"tenant":"ALPHA","role":"Admin"}]`},
			rights{InAlpha: list("user", "admin")}},
		{"custom:role is folded", object{"custom:role": "SYSTEM_ADMIN", "custom:roles": absent},
			rights{Cross: "system_admin", InAlpha: list("system_admin"), InBravo: list("system_admin")}},
		{"cross-tenant without tenant", object{"custom:role": "user", "custom:roles": `[{"tenant":"","role":"system_admin"}]`},
			rights{Cross: "system_admin", InAlpha: list("user", "system_admin"), InBravo: list("user", "system_admin")}},
		{"cross-tenant bound to a tenant is ignored", object{"custom:roles": `[{"tenant":"alpha","role":"system_admin"},{"role":"user"}]`}, // JWT-18
			rights{InAlpha: list("user"), InBravo: list("user")}},
		{"configured cross-tenant role", object{"custom:roles": `[{"role":"Auditor"},{"tenant":"alpha","role":"support"}]`},
			rights{Cross: "auditor", InAlpha: list("auditor"), InBravo: list("auditor")}},
		{"system_admin goes before other cross-tenant roles", object{"custom:role": "support", "custom:roles": `[{"role":"system_admin"}]`},
			rights{Cross: "system_admin", InAlpha: list("support", "system_admin"), InBravo: list("support", "system_admin")}},
		{"a tenant that is no code never becomes everywhere", object{"custom:roles": `[{"tenant":" ","role":"admin"},{"tenant":"*","role":"system_admin"},{"tenant":"alpha ","role":"admin"}]`}, rights{}},
		{"Kelvin sign", object{"custom:roles": `[{"tenant":"\u212Ailo","role":"admin"},{"tenant":"alpha","role":"\u212Aing"}]`}, rights{}}, // CTX-11
		{"no role", object{"custom:role": "", "custom:roles": `[{"role":""},{"role":"1st"},{"role":"a b"},{"role":"admin "},{"role":"` + repeat("a", 64) + `"}]`}, rights{}},
		{"a bad role for the tenant leaves the others", object{"custom:roles": `[{"tenant":"alpha","role":"admin!"},{"role":"user"}]`},
			rights{InAlpha: list("user"), InBravo: list("user")}},
		{"groups", object{"custom:roles": absent, "custom:groups": `[{"tenant":"bravo","groups":["x"]},{"tenant":"ALPHA","groups":["sales","","a\nb","Sales"]},{"groups":["all"]},{"tenant":"no code","groups":["y"]}]`},
			rights{GroupsInAlpha: list("sales", "Sales", "all")}},
		{"groups give no roles", object{"custom:roles": absent, "custom:groups": `[{"groups":["system_admin","admin"]}]`},
			rights{GroupsInAlpha: list("system_admin", "admin")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := admit(t, v, token(nil, c.claims))
			if diff := cmp.Diff(c.want, rightsOf(p)); diff != "" {
				t.Error(diff)
			}
			agree(t, p)
		})
	}
}

// agree checks that the methods that don't allocate say what the lists say.
func agree(t *testing.T, p *auth.Principal) {
	t.Helper()
	for _, c := range []tenant.Code{{}, code("alpha"), code("bravo"), code("kilo")} {
		roles, groups := p.RolesIn(c), p.GroupsIn(c)
		first := ""
		if len(roles) > 0 {
			first = roles[0]
		}
		if got := p.RoleIn(c); got != first {
			t.Errorf("RoleIn(%s) = %q, want %q", c, got, first)
		}
		for _, role := range []string{"", "user", "admin", "viewer", "system_admin", "auditor", "support"} {
			if got, want := p.HasRole(c, role), contains(roles, role); got != want {
				t.Errorf("HasRole(%s, %s) = %v, want %v", c, role, got, want)
			}
		}
		for _, group := range []string{"", "sales", "Sales", "all", "x", "y", "admin"} {
			if got, want := p.HasGroup(c, group), contains(groups, group); got != want {
				t.Errorf("HasGroup(%s, %s) = %v, want %v", c, group, got, want)
			}
		}
	}
}

func contains(list []string, text string) bool {
	for _, s := range list {
		if s == text {
			return true
		}
	}
	return false
}

func TestIssuersBoundTheirClaims(t *testing.T) {
	const limited = "https://limited.example"
	v := verifier(t, func(cfg *auth.Config) {
		cfg.Issuers = []auth.Issuer{
			{Name: issuerName, Audience: audience, AllTenants: true, CrossTenant: new(true)},
			{Name: limited, Audience: audience, Tenants: []tenant.Code{code("alpha")}, CrossTenant: new(false), ClaimPrefix: "https://tenantry/"},
		}
	})
	claims := object{
		"iss": limited, "https://tenantry/tenant": "alpha", "https://tenantry/role": "system_admin",
		"https://tenantry/roles":  `[{"role":"system_admin"},{"role":"user"},{"tenant":"bravo","role":"admin"}]`,
		"https://tenantry/groups": `[{"tenant":"bravo","groups":["x"]},{"groups":["all"]}]`,
		"custom:tenant":           "bravo", "custom:role": "admin", // of another prefix: nothing
	}
	p := admit(t, v, token(nil, claims))
	want := rights{InAlpha: []string{"user"}, GroupsInAlpha: []string{"all"}}
	if diff := cmp.Diff(want, rightsOf(p)); diff != "" {
		t.Error(diff)
	}
	agree(t, p)
	if p.Tenant() != code("alpha") || !p.MayAssert(code("alpha")) || p.MayAssert(code("bravo")) || p.MayAssert(tenant.Code{}) {
		t.Errorf("tenant %q, alpha %v, bravo %v, zero %v", p.Tenant(), p.MayAssert(code("alpha")), p.MayAssert(code("bravo")), p.MayAssert(tenant.Code{}))
	}

	control := admit(t, v, token(nil, object{"custom:role": "system_admin"}))
	if role, ok := control.CrossTenantRole(); !ok || role != auth.SystemAdmin || !control.MayAssert(code("bravo")) {
		t.Errorf("control: cross-tenant role %q, %v", role, ok)
	}
	if control.Issuer() == p.Issuer() || control.Subject() != p.Subject() {
		t.Error("one sub of two issuers must be two users")
	}
}

func TestZeroPrincipal(t *testing.T) {
	var p auth.Principal
	agree(t, &p)
	if _, ok := p.CrossTenantRole(); ok || p.MayAssert(code("alpha")) || p.Issuer() != "" || p.External() || p.RoleIn(code("alpha")) != "" {
		t.Error("the zero Principal claims something")
	}
}

func TestQueriesDoNotAllocate(t *testing.T) {
	p := admit(t, verifier(t, nil), token(nil, object{"custom:groups": `[{"tenant":"alpha","groups":["sales"]}]`}))
	alpha := code("alpha")
	if n := testing.AllocsPerRun(100, func() {
		_, cross := p.CrossTenantRole()
		if cross || !p.HasRole(alpha, "admin") || p.RoleIn(alpha) != "admin" || !p.HasGroup(alpha, "sales") || !p.MayAssert(p.Tenant()) {
			t.Fatal("the claims are not what the token says")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestPrincipalsAreShared(t *testing.T) {
	v := verifier(t, nil)
	tokens := make(map[string]tenant.Code)
	for i := range 8 {
		c := code(fmt.Sprintf("t%d", i))
		tokens[token(nil, object{"custom:tenant": c.String()})] = c
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				for tok, want := range tokens {
					p, err := v.Verify(context.Background(), tok)
					if err != nil || p.Tenant() != want {
						t.Errorf("Verify = %v, want the tenant %s", err, want)
						return
					}
					p.RolesIn(want)[0] = "changed" // the slice is ours
				}
			}
		})
	}
	wg.Wait()
	for tok := range tokens {
		if p := admit(t, v, tok); p.RolesIn(p.Tenant())[0] != "user" {
			t.Error("a caller changed what others see")
		}
	}
}

func TestRoleForms(t *testing.T) {
	for _, text := range []string{"", "1st", "_x", "a-b", "a b", " admin", "admin\n", "\u212Aing", "r\u00f4le", repeat("a", 64)} {
		if role, err := auth.ParseRole(text); !errors.Is(err, fault.ValidationFailed) {
			t.Errorf("ParseRole(%q) = %q, %v; want fault.ValidationFailed", text, role, err)
		}
		if _, err := auth.ParseCrossTenantRoles("support," + text); !errors.Is(err, fault.ValidationFailed) && text != " admin" {
			t.Errorf("ParseCrossTenantRoles takes %q", text)
		}
	}
	for text, want := range map[string]string{"a": "a", "SYSTEM_ADMIN": "system_admin", "x9_": "x9_", repeat("A", 63): repeat("a", 63)} {
		if role, err := auth.ParseRole(text); err != nil || role != want {
			t.Errorf("ParseRole(%q) = %q, %v; want %q", text, role, err, want)
		}
	}
	set, err := auth.ParseCrossTenantRoles("")
	if err != nil || !set.Has(auth.SystemAdmin) || set.Has("support") || set.Has("") {
		t.Errorf("the set of an empty list is %v, %v", set, err)
	}
}

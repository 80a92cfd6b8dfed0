package attacks_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
)

// session is what switching and refreshing answer.
type session struct {
	Token, RefreshToken, TenantCode, Role string
	ExpiresIn                             int64
}

// session switches to a tenant.
func (a *attack) session(token, code string) session {
	a.Helper()
	return a.w.sessionOf(a, a.honest(switching(token, code)))
}

func (w *world) sessionOf(t testing.TB, answer *apitest.Answer) (s session) {
	t.Helper()
	answer.Decode(t, &s)
	w.keep(s.Token, s.TenantCode, "common")
	return s
}

func refreshing(refreshToken string) apitest.Request {
	return post("", "/api/auth/refresh", `{"refreshToken":"%s"}`, refreshToken)
}

// tenantsOf returns the tenants that a list of memberships names.
func tenantsOf(t testing.TB, answer *apitest.Answer) string {
	t.Helper()
	var list struct{ Items []struct{ TenantCode string } }
	answer.Decode(t, &list)
	return fmt.Sprint(list.Items)
}

func TestMEM(t *testing.T) {
	w := newWorld(t)
	ua, aa, um, sa := w.token("ua"), w.token("aa"), w.token("um"), w.token("sa")
	const umsTenants = "/api/users/um/tenants"

	w.attack(t, "MEM-01", func(a *attack) {
		a.session(um, "charlie")
		refused := a.wants(switching(um, "bravo"), 403)
		for _, code := range []string{"zulu9", "common", "single"} {
			if answer := a.wants(switching(um, code), 403); answer.Code() != "not_a_member" || alike(answer) != alike(refused) {
				a.Errorf("%s is answered %v, bravo %v", code, answer, refused)
			}
		}
		a.wants(switching(um, ""), 400)
	})
	w.attack(t, "MEM-02", func(a *attack) {
		var claims struct {
			Tenant string `json:"custom:tenant"`
		}
		if err := json.Unmarshal(part(a, a.session(um, "CHARLIE").Token, 1), &claims); err != nil || claims.Tenant != "charlie" {
			a.Errorf("the token is bound to %q: %v", claims.Tenant, err)
		}
		for _, code := range []string{" charlie", "charlie ", "ch\u0430rlie", "charlie#um", "charlie%00", "*"} {
			a.wants(switching(um, code), 400)
		}
	})
	w.attack(t, "MEM-03", func(a *attack) {
		a.writing("alpha", "bravo")
		want := tenantsOf(a, a.honest(get(um, umsTenants)))
		for i, code := range []string{"x#um", "#um", "um#", "xum", "um ", "UM", "alpha#um"} {
			a.wants(addMember(aa, "alpha", code, "admin"), 201, 422)
			a.wants(addMember(sa, "bravo", code, "admin"), 201, 422)
			if got := tenantsOf(a, a.honest(get(um, umsTenants))); got != want || want != "[{alpha} {charlie}]" {
				a.Fatalf("%d members of other names later um is a member of %s", i+1, got)
			}
			a.wants(switching(um, "bravo"), 403)
		}
		a.wants(addMember(um, "alpha", "x", "user"), 403) // no admin by a name that ends alike
	})
	w.attack(t, "MEM-05", func(a *attack) {
		a.honest(get(ua, "/api/common/TEMPLATE/t1"))
		for _, kind := range []string{"USER_TENANT", "USER", "TENANT", "AUDIT", "SETTINGS", "MASTER", "INVITATION", "REVOCATION", "MEMBER_OF"} {
			base := "/api/common/" + kind
			for _, r := range []apitest.Request{get(ua, base), get(ua, base+"/MASTER"), get(ua, base+"/alpha%23ua"), get(ua, base+"/alpha%23um"), get(ua, "/api/data/"+kind),
				get(ua, "/api/data/"+kind+"/MASTER/history"), with(get(ua, "/api/data/"+kind), tenantHeader, "common"), get(ua, "/api/tenants/common/data/"+kind),
				get(ua, "/api/tenants/common/users"), get(ua, "/api/tenants/common/invitations"),
				get(ua, "/api/events?entityType="+kind), with(get(ua, "/api/events"), tenantHeader, "common")} {
				a.wants(r, 403, 404)
			}
		}
		a.hidden(get(ua, "/api/tenant/TENANT%23common/MASTER"), get(ua, "/api/tenant/TENANT%23zulu9/MASTER"))
		a.hidden(get(ua, "/api/common/TENANT/MASTER"), get(ua, "/api/common/NOSUCH/MASTER"))
	})
	w.attack(t, "MEM-06", func(a *attack) {
		a.writing("charlie")
		s := a.session(um, "charlie")
		a.honest(get(s.Token, productList))
		a.honest(remove(sa, "/api/tenants/charlie/users/um"))
		began := time.Now()
		for _, r := range []apitest.Request{get(s.Token, productList), post(s.Token, productList, `{"name":"N"}`), get(s.Token, "/api/settings"), switching(um, "charlie")} {
			if answer := a.wants(r, 403); answer.Code() != "not_a_member" {
				a.Errorf("%v: %v", r, answer)
			}
		}
		a.wants(refreshing(s.RefreshToken), 401)
		a.Logf("refused from the first request on, %v after the removal; other processes are measured by internal/proof", time.Since(began))
		a.honest(addMember(sa, "charlie", "um", "user"))
		a.wants(get(s.Token, productList), 403) // of the former life
	})
	w.attack(t, "MEM-10", func(a *attack) {
		s := a.session(um, "charlie")
		var old, claims struct {
			Subject string `json:"sub"`
			ID      string `json:"jti"`
			Expires int64  `json:"exp"`
			Issued  int64  `json:"iat"`
			Tenant  string `json:"custom:tenant"`
			Role    string `json:"custom:role"`
			Roles   string `json:"custom:roles"`
		}
		for token, into := range map[string]any{um: &old, s.Token: &claims} {
			if err := json.Unmarshal(part(a, token, 1), into); err != nil {
				a.Fatal(err)
			}
		}
		if claims.Subject != old.Subject || claims.ID == old.ID || claims.ID == "" || claims.Tenant != "charlie" || claims.Role != "" ||
			claims.Roles != `[{"tenant":"charlie","role":"user"}]` || claims.Expires-claims.Issued > 3600 || s.ExpiresIn != claims.Expires-claims.Issued {
			a.Errorf("the token says %+v, the one that was switched %+v", claims, old)
		}
		a.honest(get(s.Token, productList))
		a.wants(get(s.Token, "/api/tenants/alpha/data/PRODUCT"), 403)
		a.honest(get(um, productList))
		a.wants(get(um, "/api/tenants/charlie/data/PRODUCT"), 403)
	})
	w.attack(t, "MEM-12", func(a *attack) {
		a.honest(get(ua, "/api/tenants/alpha/users")) // its members may
		a.honest(get(um, umsTenants))
		for _, r := range []apitest.Request{get(ua, "/api/tenants/bravo/users"), get(ua, umsTenants), get(aa, umsTenants), get(ua, "/api/users/nobody/tenants")} {
			a.wants(r, 403)
		}
	})
}

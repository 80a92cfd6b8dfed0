package attacks_test

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestENU(t *testing.T) {
	w := newWorld(t)
	ua, aa := w.token("ua"), w.token("aa")
	invitation := invite(t, w, w.token("sa"), "bravo", `"userCode":"somebody"`)
	w.digests = w.Digest(t)
	// requests are all that a caller can ask of a tenant and a record.
	requests := func(token, code, sk string) []apitest.Request {
		own, named := "/api/data/PRODUCT/"+sk, "/api/tenants/"+code+"/data/PRODUCT/"+sk
		record := "/api/tenant/TENANT%23" + code + "/MASTER"
		return []apitest.Request{get(token, own), patch(token, own, `{"version":1,"name":"N"}`), remove(token, own+"?version=1"), get(token, own+"/commands/1"),
			get(token, named), put(token, named, `{"version":1,"name":"N"}`), patch(token, named, `{"version":1,"name":"N"}`), remove(token, named+"?version=1"),
			get(token, named+"/history"), get(token, named+"/commands/1"), get(token, record), patch(token, record, `{"name":"N"}`), remove(token, record),
			with(get(token, productList), tenantHeader, code), get(token, productList+"?tenantCode="+code),
			post(token, "/api/tenant/group", `{"tenantCode":"%s","groupId":"g","role":"r"}`, code), post(token, "/api/admin/tenants/"+code+"/suspend", `{"reason":"r"}`),
			get(token, "/api/tenants/"+code+"/users"), addMember(token, code, "ua", "user"), patch(token, "/api/tenants/"+code+"/users/um", `{"role":"user"}`),
			remove(token, "/api/tenants/"+code+"/users/um"), get(token, "/api/tenants/"+code+"/invitations"), get(token, "/api/tenants/"+code+"/settings"),
			patch(token, "/api/tenants/"+code+"/settings", `{"currency":"USD"}`), with(get(token, "/api/settings"), tenantHeader, code),
			with(get(token, "/api/master-setting/theme"), tenantHeader, code), switching(token, code),
			get(token, "/api/tenants/"+code+"/metrics"), get(token, "/api/tenants/"+code+"/metrics?format=csv"), get(token, "/api/admin/reports/system?tenantCode="+code),
			post(token, "/api/admin/impersonate", `{"tenantCode":"%s","userCode":"um","reason":"r"}`, code)}
	}
	// invited are all that a caller can ask of an invitation.
	invited := func(token, id string) []apitest.Request {
		return []apitest.Request{post(token, "/api/invitations/"+id+"/accept", `{"secret":"s"}`), get(token, "/api/tenants/alpha/invitations/"+id),
			remove(token, "/api/tenants/alpha/invitations/"+id), get(token, "/api/tenants/bravo/invitations/"+id)}
	}

	w.attack(t, "ENU-01", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		pairs := 0
		for _, token := range []string{ua, aa} {
			twins := requests(token, "zulu9", "nope")
			for i, real := range requests(token, "bravo", "b1") {
				a.hidden(real, twins[i])
				pairs++
			}
			missing := invited(token, "bravo.01HX7MBJK3V9WQBZ7XNDK5ZT2M")
			for i, real := range invited(token, invitation.ID) {
				a.hidden(real, missing[i])
				pairs++
			}
		}
		one, other := a.do(get(ua, productList+"/b1/history")), a.do(get(ua, productList+"/nope/history"))
		if alike(one) != alike(other) {
			a.Errorf("the histories of b1 and nope: %v, %v", one, other)
		}
		a.Logf("%d pairs", pairs+1)
	})
	w.attack(t, "ENU-03", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		const bravos = "/api/tenants/bravo/data/PRODUCT"
		for _, r := range []apitest.Request{post(ua, bravos, `{`), post(ua, bravos, `{"no":"such member"}`), post(ua, bravos, `{"name":"%s"}`, strings.Repeat("x", 2<<20)),
			get(ua, bravos+"?limit=nonsense"), get(ua, bravos+"/b1?version=x"), patch(ua, bravos+"/b1", `{"version":"x"}`), get(ua, bravos+"?cursor=nonsense")} {
			answer := a.wants(r, 403)
			if strings.Contains(string(answer.Body), `"errors"`) {
				a.Errorf("%v: details before the tenant is decided: %v", r, answer)
			}
		}
		a.wants(get(ua, "/api/tenants/bravo/nosuch"), 404)
	})
	w.attack(t, "ENU-06", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		twins := requests(ua, "zulu9", "nope")
		for i, real := range requests(ua, "bravo", "b1") {
			one, other := a.do(real), a.do(twins[i])
			for name, values := range one.Header {
				if name != "X-Request-Id" && name != "Date" && strings.Join(values, ",") != strings.Join(other.Header[name], ",") {
					a.Errorf("%v: the header %s is %v, and %v where nothing exists", real, name, values, other.Header[name])
				}
			}
			for _, name := range []string{"Server-Timing", "Etag", "X-Tenantry-Position", "Location", "Last-Modified"} {
				if one.Header.Get(name) != "" {
					a.Errorf("%v has the header %s", real, name)
				}
			}
		}
	})
}

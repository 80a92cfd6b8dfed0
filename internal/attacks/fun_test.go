package attacks_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestFUN(t *testing.T) {
	w := newWorld(t)
	ua, aa, sa := w.token("ua"), w.token("aa"), w.token("sa")

	w.attack(t, "FUN-01", func(a *attack) {
		a.writing("created")
		a.honest(post(sa, "/api/tenant", `{"code":"created","name":"N"}`))
		a.honest(get(ua, "/api/tenant/TENANT%23alpha/MASTER"))
		for _, token := range []string{ua, aa} {
			requests := []apitest.Request{post(token, "/api/tenant", `{"code":"mine","name":"N"}`), get(token, "/api/tenant"), post(token, "/api/tenant/common", `{"name":"N"}`)}
			for _, code := range []string{"alpha", "bravo"} {
				one, managed := "/api/tenant/TENANT%23"+code+"/MASTER", "/api/admin/tenants/"+code
				requests = append(requests, patch(token, one, `{"name":"N"}`), remove(token, one), post(token, managed+"/suspend", `{"reason":"r"}`), post(token, managed+"/resume", `{"reason":"r"}`))
			}
			requests = append(requests, post(token, "/api/tenant/group", `{"tenantCode":"bravo","groupId":"g","role":"user"}`),
				post(token, "/api/tenant/bravo/tenant", `{"code":"inner","name":"N"}`), get(token, "/api/admin/audit"))
			for _, r := range requests {
				a.wants(r, 403)
			}
		}
		a.wants(post(ua, "/api/tenant/group", `{"tenantCode":"alpha","groupId":"g","role":"user"}`), 403)
	})
	w.attack(t, "FUN-02", func(a *attack) {
		a.honest(get(sa, "/api/tenant/TENANT%23alpha/MASTER"))
		for _, token := range []string{sa, aa} {
			for _, path := range []string{"/api/tenant/PRODUCT%23bravo/b1", "/api/tenant/PRODUCT%23alpha/1", "/api/tenant/USER_TENANT%23common/x"} {
				for _, r := range []apitest.Request{get(token, path), patch(token, path, `{"name":"N"}`), remove(token, path)} {
					a.wants(r, 403, 404)
				}
			}
		}
	})
	w.attack(t, "FUN-03", func(a *attack) {
		a.writing("alpha", "charlie")
		ub := w.token("ub")
		a.honest(addMember(aa, "alpha", "new", "user"))
		for _, r := range []apitest.Request{addMember(aa, "bravo", "ua", "user"), with(addMember(aa, "alpha", "ua", "user"), tenantHeader, "bravo"),
			post(aa, "/api/tenants/alpha/users", `{"userCode":"ua","role":"user","tenantCode":"bravo"}`), addMember(aa, "common", "ua", "user"), addMember(ua, "alpha", "ua", "admin")} {
			a.wants(r, 403)
		}
		// No consent is asked for, and none is needed: a membership gives its user a choice, and takes nothing.
		a.honest(addMember(aa, "alpha", "ub", "user"))
		a.honest(get(ub, productList+"/b1"))
		a.wants(get(aa, "/api/users/ub/tenants"), 403)
	})
	w.attack(t, "FUN-06", func(a *attack) {
		a.writing("alpha")
		const body = `{"currency":"CAD"}`
		a.honest(patch(aa, "/api/settings", body))
		a.honest(get(ua, "/api/settings"))
		for _, r := range []apitest.Request{patch(ua, "/api/settings", body), patch(ua, "/api/tenants/alpha/settings", body), patch(aa, "/api/tenants/bravo/settings", body),
			patch(aa, "/api/tenants/common/settings", body), get(aa, "/api/tenants/bravo/settings"), get(aa, "/api/tenants/common/settings"),
			with(patch(aa, "/api/settings", body), tenantHeader, "bravo"), put(aa, "/api/master-setting/common/theme", `{"name":"N","settingValue":{}}`),
			remove(aa, "/api/master-setting/common/theme"), put(ua, "/api/master-setting/tenant/theme", `{"name":"N","settingValue":{}}`),
			post(aa, "/api/admin/master-setting/copy", `{"sourceTenantCode":"bravo","targetTenantCodes":["alpha"]}`)} {
			a.wants(r, 403)
		}
	})
	w.attack(t, "FUN-09", func(a *attack) {
		a.honest(get("", "/healthz"))
		for _, path := range []string{"/debug/pprof/", "/debug/vars", "/metrics", "/.env", "/.git/config", "/swagger", "/actuator", "/console", "/docs/../metrics", "/docs/nope"} {
			for _, token := range []string{"", ua} {
				a.wants(get(token, path), 400, 401, 403, 404)
			}
		}
		for _, path := range []string{"/healthz", "/readyz", "/openapi.json", "/openapi.yaml", "/.well-known/jwks.json", "/docs/"} {
			answer := a.honest(get("", path))
			for _, code := range []string{"bravo", "charlie", "istanbul"} {
				if strings.Contains(string(answer.Body), code) {
					a.Errorf("%s names the tenant %s", path, code)
				}
			}
		}
	})
	w.attack(t, "FUN-10", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		declared := map[string][]string{}
		for _, op := range w.Doc.Operations {
			path := filled(op, sample)
			declared[path] = append(declared[path], op.Method)
		}
		tried := 0
		for path, methods := range declared {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
				// CONNECT is not here: its target is a host.
				if !slices.Contains(methods, method) && !otherRoute(w.Doc, method, path) {
					tried++
					a.wants(apitest.Request{Token: sa, Method: method, Path: path}, http.StatusMethodNotAllowed, http.StatusNotFound)
				}
			}
		}
		a.Logf("%d undeclared methods of %d paths", tried, len(declared))
	})
}

// otherRoute reports whether a path with parameters filled in is served by another operation too.
func otherRoute(d *apitest.Doc, method, path string) bool { return d.Match(method, path) != nil }

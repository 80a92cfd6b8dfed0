package attacks_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestKEY(t *testing.T) {
	w := newWorld(t)
	ua, ub, aa, sa := w.token("ua"), w.token("ub"), w.token("aa"), w.token("sa")

	w.attack(t, "KEY-01", func(a *attack) {
		a.writing("alpha")
		mine := a.honest(post(ua, productList, `{"sk":"part","name":"%s","pk":"PRODUCT#alpha#bravo","partition":"bravo"}`, w.canaries["alpha"]))
		var rec struct{ PK, TenantCode string }
		if mine.Decode(a, &rec); rec.PK != "PRODUCT#alpha#bravo" || rec.TenantCode != "alpha" {
			a.Errorf("the record is %+v", rec)
		}
		a.honest(get(ua, productList+"/part?partition=bravo"))
		if n := w.metrics(a, ua, "alpha", mine).Products; n != w.counts["alpha"]+1 {
			a.Errorf("alpha has %d products", n)
		}
		if n := w.metrics(a, ub, "bravo", mine).Products; n != w.counts["bravo"] {
			a.Errorf("bravo has %d products", n)
		}
		for _, path := range []string{productList + "/part", productList + "/part?partition=bravo", productList + "/part?partition=alpha%23bravo"} {
			a.hidden(get(ub, path), get(ub, strings.ReplaceAll(path, "part?", "nope?")))
		}
		a.wants(get(ub, productList+"/part?pk=PRODUCT%23alpha%23bravo&partition=bravo"), 403)
		if listed := rows(a, a.honest(get(ub, productList+"?partition=bravo"))); len(listed) > 0 {
			a.Errorf("bravo lists %v", listed)
		}
	})
	w.attack(t, "KEY-02", func(a *attack) {
		a.writing("alpha")
		a.honest(post(ua, productList, `{"name":"N","pk":"PRODUCT#alpha"}`))
		for _, pk := range []string{"PRODUCT#bravo#alpha", "PRODUCT#bravo#alpha#alpha"} {
			a.wants(post(ua, productList, `{"sk":"key","name":"N","pk":"%s"}`, pk), 403)
			a.wants(post(ua, productList+"?partition="+url.QueryEscape(strings.TrimPrefix(pk, "PRODUCT#bravo#")), `{"sk":"key","name":"N","pk":"%s"}`, pk), 403)
		}
	})
	w.attack(t, "KEY-03", func(a *attack) {
		a.writing("alpha")
		a.honest(post(ua, productList, `{"name":"N","pk":"PRODUCT#alpha"}`))
		for _, pk := range []string{"", "PRODUCT", "PRODUCT#", "#alpha", "##alpha", "PRODUCT##alpha", "PRODUCT#alpha#", "PRODUCT #alpha", "PRODUCT# alpha", `PRODUCT#alpha\n`, `PRODUCT\u0000#alpha`} {
			a.wants(post(ua, productList, `{"sk":"key","name":"N","pk":"%s"}`, pk), 400, 422)
		}
	})
	w.attack(t, "KEY-06", func(a *attack) {
		a.writing("alpha")
		for _, sk := range []string{"user@example.com", "user@example.org"} {
			created := a.do(post(ua, productList, `{"sk":"%s","name":"1"}`, sk))
			if created.Status == 400 || created.Status == 422 { // the grammar of sort keys leaves @ to versions
				continue
			}
			for version := 1; version <= 2; version++ {
				a.honest(patch(ua, productList+"/"+sk, `{"version":%d,"name":"%d"}`, version, version+1))
			}
			var rec struct{ ID string }
			if a.honest(get(ua, productList+"/"+sk)).Decode(a, &rec); !strings.HasSuffix(rec.ID, "#"+sk) {
				a.Errorf("the ID of %s is %s", sk, rec.ID)
			}
			var history struct{ Items []any }
			if a.honest(get(ua, productList+"/"+sk+"/history")).Decode(a, &history); len(history.Items) != 3 {
				a.Errorf("%s has %d versions", sk, len(history.Items))
			}
		}
		a.honest(get(ua, productList+"?prefix=user"))
	})
	w.attack(t, "KEY-09", func(a *attack) {
		a.writing("good-1")
		a.honest(post(sa, "/api/tenant", `{"code":"good-1","name":"N"}`))
		for _, code := range []string{"a#b", "a@b", "a/b", `a\\b`, "a b", "a%23b", "a.b", "../a", `a\tb`, "a:b", "a|b", "a,b"} {
			a.wants(apitest.Request{Token: sa, Method: "POST", Path: "/api/tenant", Body: `{"code":"` + code + `","name":"N"}`}, 400, 422)
		}
	})
	w.attack(t, "KEY-10", func(a *attack) {
		a.writing("good-2")
		a.honest(post(sa, "/api/tenant", `{"code":"good-2","name":"N"}`))
		for _, code := range []string{"common", "COMMON", "single", "system", "master", "admin", "all", "null"} {
			a.wants(post(sa, "/api/tenant", `{"code":"%s","name":"N"}`, code), 400, 409, 422)
		}
	})
	w.attack(t, "KEY-12", func(a *attack) {
		for _, code := range []string{"alph", "alpha2", "alpha-b"} {
			token := w.tokenOf(member("user", code), "neighbour")
			for _, path := range []string{productList, productList + "?order=desc", "/api/tenants/" + code + "/data/PRODUCT", productList + "?from=1&to=6"} {
				answer := a.honest(get(token, path))
				sks := rows(a, answer)
				if slices.Sort(sks); !slices.Equal(sks, products) || !slices.Equal(seen(answer), []string{code}) {
					a.Errorf("%s lists %v of %v", code, sks, seen(answer))
				}
			}
			if n := w.metrics(a, token, code, nil).Products; n != int64(len(products)) {
				a.Errorf("%s counts %d products", code, n)
			}
		}
	})
	w.attack(t, "KEY-15", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		a.honest(get(aa, "/api/tenant/TENANT%23alpha/MASTER"))
		for _, pk := range []string{"PRODUCT%%23%s", "PRODUCT%%2523%s", "PRODUCT%%23%%62%s", "PRODUCT%%23%s"} {
			real, twin := fmt.Sprintf(pk, "bravo"), fmt.Sprintf(pk, "zulu9")
			for _, base := range []string{"/api/data/", "/api/tenant/", "/api/common/"} {
				a.wants(get(ua, base+real+"/1"), 400, 403, 404)
				one, other := a.do(get(ua, base+real+"/1")), a.do(get(ua, base+twin+"/1"))
				if alike(one) != alike(other) {
					a.Errorf("%s: %v and %v", base+real, one, other)
				}
			}
		}
		for _, pk := range []string{"TENANT%23BRAVO", "TENANT%23bravo", "TENANT%23%62ravo"} {
			a.hidden(get(ua, "/api/tenant/"+pk+"/MASTER"), get(ua, "/api/tenant/TENANT%23zulu9/MASTER"))
		}
	})
	w.attack(t, "KEY-17", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		for _, path := range []string{"/PRODUCT%23alpha%2F..%2FPRODUCT%23bravo/1", "/PRODUCT%23alpha/..%2F..%2FPRODUCT%23bravo%2F1", "/PRODUCT/..%2F..%2F..%2Ftenants%2Fbravo%2Fdata%2FPRODUCT%2Fb1"} {
			a.wants(get(ua, "/api/data"+path), 400, 404)
			a.wants(get(ua, "/api/tenants/alpha/data"+path), 400, 404)
			a.wants(get(ua, "/api/tenant"+path), 400, 403, 404)
		}
	})
	w.attack(t, "KEY-18", func(a *attack) {
		a.honest(get(ua, "/api/tenants/alpha/data/PRODUCT"))
		for _, path := range []string{"/api/tenants/alpha/../bravo/data/PRODUCT", "/api/tenants/alpha/./data/PRODUCT", "//api//tenants//bravo//data/PRODUCT",
			"/api/tenants/alpha/%2e%2e/bravo/data/PRODUCT", "/api/tenants/alpha/.%2E/bravo/data/PRODUCT", "/api//tenants/bravo/data/PRODUCT"} {
			answer := a.wants(get(ua, path), 301, 307, 308, 400, 404)
			if location := answer.Header.Get("Location"); location != "" {
				a.wants(get(ua, location), 400, 403, 404)
			}
		}
		a.wants(get(ua, "/api/tenants/bravo/data/PRODUCT"), 403)
	})
	w.attack(t, "KEY-20", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		for _, bad := range []string{"%00", "%0d%0aX-Evil:1", "%ff", "%c0%ae%c0%ae", "%ed%a0%80", "%E2%80%AE"} {
			for _, path := range []string{productList + "/1" + bad, "/api/data/PRODUCT" + bad, "/api/tenants/alpha" + bad + "/data/PRODUCT", "/api/tenant/TENANT%23alpha" + bad + "/MASTER"} {
				if answer := a.wants(get(ua, path), 400, 404); answer.Header.Get("X-Evil") != "" {
					a.Errorf("%s splits the head: %v", path, answer.Header)
				}
			}
			a.wants(get(ua, productList+"/1"+bad), 400)
		}
	})
	w.attack(t, "KEY-23", func(a *attack) {
		a.honest(get(ua, productList+"?limit=2"))
		head := func(target string, hosts ...string) string {
			l := []string{"GET " + target + " HTTP/1.1", "Authorization: Bearer " + ua, "Connection: close"}
			for _, h := range hosts {
				l = append(l, "Host: "+h)
			}
			return lines(append(l, "")...)
		}
		for _, text := range []string{head("http://evil.example"+productList+"?limit=2", "evil2.example"), head(productList+"?limit=2", "evil2.example:junk"),
			head(productList+"?limit=2", "evil.example", "evil2.example"), head("/docs", "evil2.example")} {
			answer := a.raw(ua, text)
			if answer.Status >= 400 && answer.Status != 400 {
				a.Errorf("%q: %v", text, answer)
			}
			if strings.Contains(fmt.Sprint(answer.Header)+string(answer.Body), "evil") {
				a.Errorf("%q: the host comes back: %v %s", text, answer.Header, answer.Body)
			}
		}
	})
	w.attack(t, "KEY-24", func(a *attack) {
		a.honest(get(ua, "/api/me"))
		for _, claims := range []apitest.Claims{{"sub": "u#alpha"}, {"sub": "u", "custom:tenant": "alpha#u"}, {"sub": "u#alpha", "custom:tenant": "alpha#x"}} {
			token := w.signed("ua", claims)
			a.wants(get(token, productList), 401)
			a.wants(get(token, "/api/me"), 401)
		}
		// A membership for such a user serves nobody: neither u of the other half, nor by support access.
		a.writing("kilo")
		a.wants(post(sa, "/api/tenants/kilo/users", `{"userCode":"hash","role":"user","userId":"u#kilo"}`), 201, 422)
		u := w.tokenOf(user{apitest.Claims{"custom:user_code": "hash", "custom:roles": "[]"}, []string{"common"}}, "u")
		a.wants(switching(u, "kilo"), 403)
		a.wants(post(sa, "/api/admin/impersonate", `{"tenantCode":"kilo","userCode":"hash","reason":"r"}`), 404, 422)
	})
}

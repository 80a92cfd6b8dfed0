package attacks_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestCTX(t *testing.T) {
	w := newWorld(t)
	ua, sa, un := w.token("ua"), w.token("sa"), w.token("un")
	var (
		list   = func(token string) apitest.Request { return get(token, productList) }
		naming = func(r apitest.Request, code string) apitest.Request { return with(r, tenantHeader, code) }
		row    = func(token string) apitest.Request { return post(token, productList, `{"sk":"new","name":"N"}`) }
		// rawList is a list as text, with more lines in its head.
		rawList = func(token string, more ...string) string {
			head := append([]string{"GET " + productList + " HTTP/1.1", "Host: h", "Authorization: Bearer " + token, "Connection: close"}, more...)
			return lines(append(head, "")...)
		}
	)

	w.attack(t, "CTX-01", func(a *attack) {
		a.honest(naming(list(ua), "alpha"))
		foreign := a.wants(naming(list(ua), "bravo"), 403)
		for _, r := range []apitest.Request{row(ua), get(ua, "/api/audit"), get(ua, productList+"/1"), get(ua, productList+"/b1/history"),
			get(ua, "/api/settings"), get(ua, "/api/master-setting/theme"), get(ua, "/api/tenants/bravo/users"), get(ua, "/api/tenants/bravo/settings"), get(ua, "/api/tenants/alpha/metrics"), get(ua, "/api/tenants/bravo/metrics")} {
			if answer := a.wants(naming(r, "bravo"), 403); alike(answer) != alike(foreign) {
				a.Errorf("%v: %v; the body for a foreign tenant is a constant: %v", r, answer, foreign)
			}
		}
	})
	w.attack(t, "CTX-02", func(a *attack) {
		a.honest(naming(get(un, "/api/common/TEMPLATE"), "common"))
		a.wants(naming(list(un), "bravo"), 403)
		a.wants(naming(row(un), "bravo"), 403)
		a.wants(list(un), 403)
	})
	w.attack(t, "CTX-04", func(a *attack) {
		a.honest(get(ua, "/api/common/TEMPLATE/t1"))
		for _, place := range []struct{ base, query, header string }{
			{"/api/data", "", "common"}, {"/api/tenants/common/data", "", ""}, {"/api/data", "?pk=TEMPLATE%23common", ""}} {
			one := place.base + "/TEMPLATE/t1" + place.query
			requests := []apitest.Request{get(ua, one), post(ua, place.base+"/TEMPLATE"+place.query, `{"sk":"t2","name":"N"}`),
				put(ua, one, `{"name":"N","version":1}`), patch(ua, one, `{"name":"N","version":1}`), remove(ua, one+"&version=1")}
			if place.query == "" {
				requests[4].Path = one + "?version=1"
			}
			for _, r := range requests {
				if place.header != "" {
					r = naming(r, place.header)
				}
				a.wants(r, 403)
			}
		}
		for _, r := range []apitest.Request{post(ua, "/api/common/TEMPLATE", `{"sk":"t2","name":"N"}`), patch(ua, "/api/common/TEMPLATE/t1", `{"name":"N","version":1}`),
			remove(ua, "/api/common/TEMPLATE/t1?version=1")} {
			a.wants(r, 403, 405)
		}
	})
	w.attack(t, "CTX-06", func(a *attack) {
		a.honest(naming(list(sa), "bravo"))
		for _, token := range []string{sa, ua} {
			for _, pair := range [][]string{{"x-tenant-code: alpha", "x-tenant-code: bravo"}, {"x-tenant-code: bravo", "X-Tenant-Code: alpha"}} {
				if answer := a.raw(token, rawList(token, pair...)); answer.Status != 400 {
					a.Errorf("%v: %v", pair, answer)
				}
			}
		}
	})
	w.attack(t, "CTX-08", func(a *attack) {
		a.writing("alpha")
		a.honest(list(ua))
		for _, more := range []string{"x_tenant_code: bravo", "Connection: x-tenant-code", "x-tenant-code : bravo"} {
			if answer := a.raw(ua, rawList(ua, more)); answer.Status != 400 && !slices.Equal(seen(answer), []string{"alpha"}) {
				a.Errorf("%s: %v", more, answer)
			}
		}
		body := `{"sk":"trailed","name":"N"}`
		text := lines("POST "+productList+" HTTP/1.1", "Host: h", "Authorization: Bearer "+ua, "Content-Type: application/json", "Transfer-Encoding: chunked",
			"Trailer: X-Tenant-Code", "Connection: close", "", fmt.Sprintf("%x", len(body)), body, "0", "X-Tenant-Code: bravo", "")
		if answer := a.raw(ua, text); answer.Status != 400 && (answer.Status != 201 || !strings.Contains(string(answer.Body), `"tenantCode":"alpha"`)) {
			a.Errorf("a tenant in a trailer: %v", answer)
		}
	})
	w.attack(t, "CTX-10", func(a *attack) {
		a.honest(naming(list(sa), "bravo"))
		for _, code := range []string{"bravo\u00a0", "bravo\u200b", "bra\u00advo", "bravo\x00", "\ufeffbravo", "bravo\u0301"} {
			if answer := a.raw(sa, rawList(sa, "x-tenant-code: "+code)); answer.Status != 400 {
				a.Errorf("%q: %v", code, answer)
			}
		}
	})
	w.attack(t, "CTX-11", func(a *attack) {
		a.honest(naming(list(sa), "kilo"))
		kelvin := "\u212Ailo"
		token := w.keep(w.IdP.Token("un", apitest.Claims{"custom:roles": fmt.Sprintf(`[{"tenant":%q,"role":"user"}]`, kelvin)}))
		a.wants(naming(list(token), kelvin), 400, 403)
		a.wants(naming(list(token), "kilo"), 403)
		a.wants(post(sa, "/api/tenant", `{"code":"%s","name":"N"}`, kelvin), 400, 422)
	})
	w.attack(t, "CTX-14", func(a *attack) {
		longest := strings.Repeat("z", 63)
		a.writing(longest)
		a.honest(post(sa, "/api/tenant", `{"code":"%s","name":"N"}`, longest))
		if answer := a.honest(naming(list(sa), longest)); len(rows(a, answer)) != 0 {
			a.Errorf("a new tenant has rows: %v", answer)
		}
		for _, code := range []string{"a", "a-", "undefined", "true", "null", "all"} { // of the grammar, and no tenant
			a.wants(naming(list(sa), code), 403, 404)
		}
		for _, code := range []string{"", longest + "z", strings.Repeat("z", 10_000), ".", "..", "*", "%", "_", "-", "-a", "__proto__"} {
			a.wants(naming(list(sa), code), 400)
		}
		if answer := a.raw(sa, rawList(sa, "x-tenant-code: \x00")); answer.Status != 400 {
			a.Errorf("NUL: %v", answer)
		}
	})
	w.attack(t, "CTX-15", func(a *attack) {
		a.writing("bravo")
		a.honest(naming(post(sa, productList, `{"sk":"upper","name":"N"}`), "BRAVO"))
		a.honest(naming(get(sa, productList+"/upper"), "bravo"))
		want := alike(a.honest(naming(list(sa), "bravo")))
		for _, code := range []string{"BRAVO", "Bravo"} {
			if answer := a.honest(naming(list(sa), code)); alike(answer) != want {
				a.Errorf("%s lists %v", code, answer)
			}
		}
	})
	w.attack(t, "CTX-18", func(a *attack) {
		a.writing("9999")
		u9 := w.tokenOf(member("user", "9999"), "u9")
		naming9 := func(code string) apitest.Request { return post(u9, productList, `{"name":"N","tenantCode":%s}`, code) }
		a.honest(naming9(`"9999"`))
		a.honest(naming(list(u9), "9999"))
		for _, code := range []string{"9999", "9999.0", `"9999.0"`, `"9.999e3"`, `"\uff19999"`, `"09999"`} {
			a.wants(naming9(code), 400, 403, 422)
		}
	})
	w.attack(t, "CTX-19", func(a *attack) {
		want := alike(a.honest(list(ua)))
		requests := []apitest.Request{get(ua, productList+"?x-tenant-code=bravo"), with(list(ua), "Cookie", "x-tenant-code=bravo")}
		for _, name := range []string{"Tenant", "X-Tenant-Id", "X-Org-Id"} {
			requests = append(requests, with(list(ua), name, "bravo"))
		}
		for _, r := range requests {
			if answer := a.wants(r, 200); alike(answer) != want {
				a.Errorf("%v: %v", r, answer)
			}
		}
	})
	w.attack(t, "CTX-22", func(a *attack) {
		ub := w.token("ub")
		var callers sync.WaitGroup
		for i := range 50 {
			callers.Go(func() {
				for n := range 30 {
					token, own := ua, "alpha"
					if (i+n)%2 == 1 {
						token, own = ub, "bravo"
					}
					if n%20 == 19 {
						abort(a, w.Addr, token)
						continue
					}
					path := productList
					if n%3 == 0 {
						path = "/api/master-setting/theme"
					}
					answer, err := w.Send(get(token, path))
					if err != nil || answer.Status != 200 || !slices.Equal(seen(answer), []string{own}) {
						a.Errorf("%s was answered %v %v", own, answer, err)
					}
				}
			})
		}
		callers.Wait()
		a.honest(list(ua))
	})
}

// abort sends half of a body and hangs up.
func abort(t testing.TB, addr, token string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"sk\":\"half", productList, token)
}

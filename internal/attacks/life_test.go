package attacks_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
)

// TestLife uses what was handed out before a tenant was suspended, deleted or created again.
func TestLife(t *testing.T) {
	w := newWorld(t)
	sa := w.token("sa")
	// settle creates a tenant with twenty records of its member, and returns the member's token and a cursor.
	settle := func(a *attack, code string) (token, cursor string) {
		a.writing(code)
		a.honest(post(sa, "/api/tenant", `{"code":"%s","name":"N"}`, code))
		token = w.tokenOf(member("admin", code), "admin-"+code)
		for n := range 3 {
			a.honest(post(token, productList, `{"sk":"p%d","name":"N"}`, n))
		}
		var page struct{ Cursor string }
		a.honest(get(token, productList+"?limit=1")).Decode(a, &page)
		return token, page.Cursor
	}
	everything := func(token, cursor string) []apitest.Request {
		return []apitest.Request{get(token, productList), get(token, productList+"?limit=1&cursor="+cursor), get(token, productList+"/p0"), get(token, productList+"/p0/history"),
			get(token, productList+"/p0/commands/1"), post(token, productList, `{"name":"N"}`), post(token, productList+"/get", `{"sks":["p0"]}`), post(token, productList+"/bulk", `[{"name":"N"}]`),
			put(token, productList+"/p0", `{"name":"M","version":1}`), patch(token, productList+"/p0", `{"name":"M","version":1}`), remove(token, productList+"/p0?version=1"),
			get(token, "/api/audit"), get(token, "/api/common/TEMPLATE/t1"), apitest.Request{Token: token, Method: http.MethodHead, Path: productList}}
	}

	w.class(t, "suspended", func(a *attack) {
		token, cursor := settle(a, "sleeper")
		keyed := with(post(token, productList, `{"name":"K"}`), "Idempotency-Key", "k")
		first := a.honest(keyed)
		a.honest(post(sa, "/api/admin/tenants/sleeper/suspend", `{"reason":"r"}`))
		for _, r := range append(everything(token, cursor), keyed, get(token, "/api/tenant/TENANT%23sleeper/MASTER"),
			post(token, "/api/tenant/group", `{"tenantCode":"sleeper","groupId":"g","role":"r"}`), post(token, "/api/tenant/sleeper/tenant", `{"code":"in","name":"N"}`)) {
			if answer := a.wants(r, 403); r.Method != http.MethodHead && answer.Code() != "tenant_suspended" {
				a.Errorf("%v: %v", r, answer)
			}
		}
		a.honest(post(sa, "/api/admin/tenants/sleeper/resume", `{"reason":"r"}`))
		if again := a.honest(keyed); string(again.Body) != string(first.Body) {
			a.Errorf("the replay after the suspension: %v", again)
		}
	})
	w.class(t, "deleted", func(a *attack) {
		token, cursor := settle(a, "gone")
		a.honest(remove(sa, "/api/tenant/TENANT%23gone/MASTER"))
		stranger := w.tokenOf(member("admin", "zulu9"), "admin-zulu9")
		for i, r := range everything(token, cursor) {
			if one, other := a.wants(r, 403), a.wants(everything(stranger, cursor)[i], 403); alike(one) != alike(other) {
				a.Errorf("%v tells a deleted tenant from one that never was: %v, %v", r, one, other)
			}
		}
		a.wants(get(sa, "/api/tenants/gone/data/PRODUCT"), 403)
		a.wants(with(get(sa, productList), tenantHeader, "gone"), 403)
		if answer := a.wants(post(sa, "/api/tenant", `{"code":"gone","name":"N"}`), 409); answer.Code() != "tenant_not_purged" {
			a.Errorf("a code of which something is left: %v", answer)
		}
	})
	w.class(t, "created again", func(a *attack) {
		a.writing("phoenix")
		a.honest(post(sa, "/api/tenant", `{"code":"phoenix","name":"N","attributes":{"note":"of the former"}}`))
		old := w.tokenOf(member("admin", "phoenix"), "old")
		a.honest(get(sa, "/api/tenants/phoenix/data/PRODUCT"))
		a.honest(get(old, "/api/audit"))
		var page struct{ Cursor string }
		a.honest(get(old, "/api/audit?limit=1")).Decode(a, &page)
		a.honest(remove(sa, "/api/tenant/TENANT%23phoenix/MASTER"))
		w.App.Clock.Advance(10 * time.Second)
		a.honest(post(sa, "/api/tenant", `{"code":"phoenix","name":"New"}`))
		for _, r := range everything(old, "x") {
			a.wants(r, 401) // older than its tenant
		}
		fresh := w.tokenOf(member("admin", "phoenix"), "fresh")
		if answer := a.honest(get(fresh, "/api/audit")); strings.Contains(string(answer.Body), `"userId"`) {
			a.Errorf("the new tenant reads the former's log: %v", answer)
		}
		a.wants(get(fresh, "/api/audit?limit=1&cursor="+page.Cursor), 400)
		if answer := a.honest(get(fresh, "/api/tenant/TENANT%23phoenix/MASTER")); strings.Contains(string(answer.Body), "of the former") {
			a.Errorf("the new tenant has the former's attributes: %v", answer)
		}
	})
}

// TestReplays uses keys, cursors and locations of one caller as another.
func TestReplays(t *testing.T) {
	w := newWorld(t)
	ua, aa, ub, sa := w.token("ua"), w.token("aa"), w.token("ub"), w.token("sa")

	w.class(t, "idempotency keys", func(a *attack) {
		a.writing("alpha", "bravo")
		keyed := func(r apitest.Request) apitest.Request { return with(r, "Idempotency-Key", "shared-key") }
		first := a.honest(keyed(post(ub, productList, `{"name":"%s"}`, w.canaries["bravo"])))
		for _, r := range []apitest.Request{
			post(ua, productList, `{"name":"%s"}`, w.canaries["bravo"]), post(aa, productList, `{"name":"%s"}`, w.canaries["bravo"]),
			post(w.tokenOf(user{users["ua"].claims, []string{"alpha", "bravo"}}, "ub"), productList, `{"name":"%s"}`, w.canaries["bravo"]), // the sub of ub, in alpha
		} {
			answer, err := w.Send(keyed(r))
			if err != nil || answer.Status != 201 || answer.Header.Get("Idempotency-Replayed") != "" || strings.Contains(string(answer.Body), "PRODUCT#bravo") || string(answer.Body) == string(first.Body) {
				a.Errorf("%v was answered with another's answer: %v %v", r, answer, err)
			}
		}
		inBravo := with(keyed(post(sa, productList, `{"name":"N"}`)), tenantHeader, "bravo")
		inAlpha := with(keyed(post(sa, productList, `{"name":"N"}`)), tenantHeader, "alpha")
		one, other := a.honest(inBravo), a.honest(inAlpha)
		if !strings.Contains(string(one.Body), "#bravo") || !strings.Contains(string(other.Body), "#alpha") {
			a.Errorf("one key in two tenants: %v, %v", one, other)
		}
		a.wants(keyed(post(ua, "/api/tenants/bravo/data/PRODUCT", `{"name":"N"}`)), 403)
		a.wants(keyed(post("", productList, `{"name":"N"}`)), 401)
	})
	w.class(t, "cursors", func(a *attack) {
		cursor := func(r apitest.Request) string {
			var page struct{ Cursor string }
			if a.honest(r).Decode(a, &page); page.Cursor == "" {
				a.Fatalf("%v has no next page", r)
			}
			return page.Cursor
		}
		a.writing("bravo")
		of := map[string]string{
			"bravo's list":    cursor(get(ub, productList+"?limit=1")),
			"bravo's history": cursor(get(ub, productList+"/b1/history?limit=1")),
			"all tenants":     cursor(get(sa, "/api/tenant?limit=1")),
			"the whole log":   cursor(get(sa, "/api/admin/audit?limit=1")),
		}
		for name, c := range of {
			for _, path := range []string{productList + "?limit=1", "/api/data/CATALOG?limit=1", productList + "/1/history?limit=1", "/api/common/TEMPLATE?limit=1"} {
				a.wants(get(ua, path+"&cursor="+c), 400)
				if name != "bravo's list" || path != productList+"?limit=1" {
					a.wants(get(ub, path+"&cursor="+c), 400)
				}
			}
			a.wants(get(aa, "/api/audit?limit=1&cursor="+c), 400)
			a.wants(with(get(sa, productList+"?limit=1&cursor="+c), tenantHeader, "alpha"), 400)
			if name != "all tenants" {
				a.wants(get(sa, "/api/tenant?limit=1&cursor="+c), 400)
			}
		}
		for _, c := range []string{"", "AAAA", "e30", "eyJwayI6IlBST0RVQ1QjYnJhdm8iLCJzayI6ImIxIn0", "%00", "null", strings.Repeat("A", 2049), of["bravo's list"] + "A", of["bravo's list"] + "="} {
			a.wants(get(ub, productList+"?limit=1&cursor="+c), 400)
		}
	})
	w.class(t, "locations", func(a *attack) {
		a.writing("bravo")
		location := a.honest(post(ub, productList+"?mode=async", `{"sk":"loc","name":"%s"}`, w.canaries["bravo"])).Header.Get("Location")
		a.honest(get(ub, location))
		a.hidden(get(ua, location), get(ua, strings.Replace(location, "loc", "nope", 1)))
		named := strings.Replace(location, "/api/", "/api/tenants/bravo/", 1)
		a.hidden(get(ua, named), get(ua, strings.Replace(named, "bravo", "zulu9", 1)))
		a.honest(get(sa, named))
	})
}

// TestWork counts what a refusal costs the store: what exists and what doesn't cost the same, so that time tells nothing either.
func TestWork(t *testing.T) {
	var calls counter
	w := newWorld(t, func(o *apitest.Options) { o.App.Observe = calls.observe })
	ua := w.token("ua")
	cost := func(a *attack, r apitest.Request) string {
		a.Helper()
		a.do(r)
		best, least := "", -1
		for range 5 { // the cheapest: the server looks for other processes' changes four times a second, beside the requests
			calls.take()
			answer := a.do(r)
			made, n := calls.take(), 0
			for _, each := range made {
				n += each
			}
			if least < 0 || n < least {
				best, least = fmt.Sprint(answer.Status, made), n
			}
		}
		return best
	}
	w.class(t, "foreign and missing", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		for _, path := range []string{"/api/tenants/%s/data/PRODUCT", "/api/tenants/%s/data/PRODUCT/b1", "/api/tenants/%s/data/PRODUCT/b1/history", "/api/tenant/TENANT%%23%s/MASTER",
			productList + "?tenantCode=%s", productList + "?pk=PRODUCT%%23%s", productList + "/b1?id=PRODUCT%%23%s%%23b1"} {
			real, missing := cost(a, get(ua, fmt.Sprintf(path, "bravo"))), cost(a, get(ua, fmt.Sprintf(path, "zulu9")))
			if real != missing {
				a.Errorf("%s costs %s for a tenant that exists, %s for one that doesn't", path, real, missing)
			}
		}
		if real, missing := cost(a, get(ua, productList+"/b1")), cost(a, get(ua, productList+"/nope")); real != missing {
			a.Errorf("another tenant's sort key costs %s, one that nobody has %s", real, missing)
		}
		for _, mention := range []string{`"tenantCode":"%s"`, `"pk":"PRODUCT#%s"`, `"id":"PRODUCT#%s#b1"`} {
			create := func(code string) apitest.Request {
				return post(ua, productList, `{"name":"N",%s}`, fmt.Sprintf(mention, code))
			}
			if real, missing := cost(a, create("bravo")), cost(a, create("zulu9")); real != missing {
				a.Errorf("%s costs %s for a tenant that exists, %s for one that doesn't", mention, real, missing)
			}
		}
	})
}

// counter counts what reaches the store.
type counter struct {
	mu    sync.Mutex
	calls map[string]int
}

func (c *counter) observe(op string, _ time.Duration, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[string]int{}
	}
	c.calls[op]++
}

// take returns what was counted since it was called last.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.calls
	c.calls = map[string]int{}
	return taken
}

package attacks_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestOBJ(t *testing.T) {
	w := newWorld(t)
	ua, aa, ub := w.token("ua"), w.token("aa"), w.token("ub")
	bravos := map[string]string{"tenantCode": "bravo", "tenantGroupCode": "bravo", "entityType": "PRODUCT", "sk": "b1", "pk": "TENANT%23bravo", "version": "1"}

	w.attack(t, "OBJ-01", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		swept := 0
		for _, op := range w.Doc.Operations {
			if len(op.Parameters) == 0 || op.Policy.Reach == "shared" || op.Policy.Reach == "anyone" {
				continue
			}
			swept++
			values := bravos
			if op.Parameters[0].Name == "pk" {
				values = map[string]string{"pk": "TENANT%23bravo", "sk": "MASTER"}
			}
			for _, token := range []string{ua, aa} {
				r := apitest.Request{Token: token, Method: op.Method, Path: filled(op, values) + "?tenantCode=bravo&pk=PRODUCT%23bravo&id=PRODUCT%23bravo%23b1"}
				if op.Body != nil {
					r.Body = `{"name":"N","version":1,"sks":["b1"],"tenantCode":"bravo"}`
				}
				a.wants(r, 403, 404)
			}
		}
		if swept < 30 {
			a.Errorf("swept %d operations only", swept)
		}
		for _, path := range []string{"/b1", "/b1/history", "/b1/commands/1", "/b1?version=1", "/b1?includeDeleted=true"} { // b1 by the caller's own routes
			a.wants(get(ua, productList+path), 404)
		}
	})
	w.attack(t, "OBJ-02", func(a *attack) {
		a.honest(get(ua, productList+"/1"))
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, base := range []string{"/api/data/PRODUCT/", "/api/tenants/%s/data/PRODUCT/"} {
				at := func(code, sk string) apitest.Request {
					return apitest.Request{Token: ua, Method: method, Path: replaced(base, code) + sk}
				}
				a.hidden(at("bravo", "b1"), at("bravo", "nope"))
				a.hidden(at("bravo", "b1"), at("zulu9", "x"))
			}
		}
	})
	w.attack(t, "OBJ-03", func(a *attack) {
		a.writing("alpha")
		a.honest(put(ua, productList+"/own", `{"name":"N","version":0}`))
		for _, base := range []string{"/api/data/PRODUCT/", "/api/tenants/bravo/data/PRODUCT/"} {
			for _, version := range []string{"1", "2", "99"} { // b1 is at 2
				changes := `{"name":"N","version":` + version + `}`
				a.hidden(patch(ua, base+"b1", changes), patch(ua, base+"nope", changes))
				a.hidden(remove(ua, base+"b1?version="+version), remove(ua, base+"nope?version="+version))
				one, other := a.wants(put(ua, base+"b1", changes), 403, 404, 409), a.wants(put(ua, base+"nope", changes), 403, 404, 409)
				if alike(one) != alike(other) { // 409 is what the contract says of a version of what the caller's own tenant lacks
					a.Errorf("PUT %s: %v and %v", base, one, other)
				}
				if base != "/api/data/PRODUCT/" && one.Status == 409 {
					a.Errorf("PUT %s is a version oracle: %v", base, one)
				}
			}
		}
	})
	w.attack(t, "OBJ-06", func(a *attack) {
		a.writing("bravo")
		accepted := a.honest(post(ub, productList+"?mode=async", `{"sk":"queued","name":"%s"}`, w.canaries["bravo"]))
		if accepted.Status != http.StatusAccepted {
			a.Errorf("an asynchronous command: %v", accepted)
		}
		location := accepted.Header.Get("Location")
		a.honest(get(ub, location))
		a.hidden(get(ua, location), get(ua, productList+"/nope/commands/1"))
		a.hidden(get(ua, "/api/tenants/bravo/data/PRODUCT/queued/commands/1"), get(ua, "/api/tenants/bravo/data/PRODUCT/nope/commands/1"))
	})
	w.attack(t, "OBJ-07", func(a *attack) {
		a.writing("alpha", "bravo")
		w.Show(a)
		stream := apitest.Follow(a, w.URL, ua, "")
		for n := range 220 {
			token, code := ub, "bravo"
			if n%11 == 0 {
				token, code = ua, "alpha"
			}
			a.honest(post(token, productList, `{"sk":"live%d","name":"%s"}`, n, w.canaries[code]))
		}
		a.honest(post(ua, productList, `{"sk":"last","name":"%s"}`, w.canaries["alpha"]))
		for n := range 21 {
			_, data := stream.Change()
			want := fmt.Sprintf(`"sk":"live%d@1"`, n*11)
			if n == 20 {
				want = `"sk":"last@1"`
			}
			if !strings.Contains(data, want) || strings.Contains(data, "CANARY-bravo") {
				a.Errorf("event %d is %s, want %s", n, data, want)
			}
		}
	})
	w.attack(t, "OBJ-10", func(a *attack) {
		if got := rows(a, a.honest(post(ua, productList+"/get", `{"sks":["1","b1","nope"]}`))); !slices.Equal(got, []string{"1"}) {
			a.Errorf("a bulk get answers %v", got)
		}
		real, twin := a.do(post(ua, productList+"/get", `{"sks":["b1"]}`)), a.do(post(ua, productList+"/get", `{"sks":["nope"]}`))
		if alike(real) != alike(twin) {
			a.Errorf("b1 and nope are told apart: %v, %v", real, twin)
		}
	})
	w.attack(t, "OBJ-12", func(a *attack) {
		for _, format := range []string{"", "?format=csv", "?format=json"} {
			a.honest(get(aa, "/api/tenants/alpha/metrics"+format))
			for _, token := range []string{ua, aa} {
				a.hidden(get(token, "/api/tenants/bravo/metrics"+format), get(token, "/api/tenants/zulu9/metrics"+format))
				a.wants(get(token, "/api/admin/reports/system"+format), 403)
				a.wants(with(get(token, "/api/tenants/alpha/metrics"+format), tenantHeader, "bravo"), 403)
			}
			for _, token := range []string{w.token("un"), w.token("um")} {
				a.wants(get(token, "/api/admin/reports/system"+format), 403)
				a.wants(get(token, "/api/tenants/common/metrics"+format), 403)
			}
		}
		a.wants(get(aa, "/api/admin/reports/system?include=recentOrders"), 403)
		a.honest(get(w.token("sa"), "/api/tenants/bravo/metrics"))
	})
	w.attack(t, "OBJ-14", func(a *attack) {
		a.writing("common", "kilo", "alph") // what is planned, and the jobs that plan
		sa, order := w.token("sa"), func(token, path, source, targets string) apitest.Request {
			return post(token, path, `{"sourceTenantCode":"%s","targetTenantCodes":%s,"entityType":"PRODUCT"}`, source, targets)
		}
		var planned struct{ ID string }
		a.honest(order(sa, "/api/admin/sync/plan", "alpha", `["kilo","alph"]`)).Decode(a, &planned)
		a.untilOver(sa, planned.ID)
		for _, token := range []string{ua, aa, ub, w.token("ab"), w.token("um"), w.token("un")} {
			for _, c := range []struct{ source, targets string }{{"bravo", `["alpha"]`}, {"alpha", `["bravo"]`}, {"alpha", `["alpha","bravo"]`}, {"common", `["bravo"]`}, {"alpha", `"*"`}, {"alpha", `["zulu9"]`}} {
				for _, path := range []string{"/api/admin/sync", "/api/admin/sync/plan", "/api/admin/sync-rules"} {
					a.wants(order(token, path, c.source, c.targets), 403)
				}
			}
			for _, id := range []string{planned.ID, "01ARZ3NDEKTSV4RRFFQ69G5FAV"} {
				at := "/api/admin/sync/" + id
				for _, r := range []apitest.Request{post(token, at+"/apply", ""), post(token, at+"/resume", ""), post(token, at+"/undo", `{}`), remove(token, at), get(token, at), get(token, at+"/events"), get(token, at+"/items?target=alph")} {
					a.wants(r, 403)
				}
			}
		}
	})
	w.attack(t, "OBJ-18", func(a *attack) {
		a.writing("alpha")
		record, history := alike(a.honest(get(ub, productList+"/1"))), alike(a.honest(get(ub, productList+"/1/history")))
		for version := 1; version <= 5; version++ {
			a.honest(patch(ua, productList+"/1", `{"version":%d,"attributes":{"n":%[1]d}}`, version))
		}
		a.honest(remove(ua, productList+"/1?version=6"))
		a.honest(post(ua, productList, `{"sk":"1","name":"%s"}`, w.canaries["alpha"]))
		if alike(a.do(get(ub, productList+"/1"))) != record || alike(a.do(get(ub, productList+"/1/history"))) != history {
			a.Error("bravo's record of the same sort key changed")
		}
	})
	w.attack(t, "OBJ-22", func(a *attack) {
		a.writing("alpha", "bravo")
		a.honest(post(ub, "/api/data/CATALOG", `{"sk":"x1","code":"X1","name":"N"}`))
		a.honest(post(ua, "/api/data/CATALOG", `{"sk":"x1","code":"X1","name":"N"}`))
		a.honest(post(ua, "/api/data/CATALOG", `{"sk":"x2","code":"X-bravo","name":"N"}`))
		a.wants(post(ua, "/api/data/CATALOG", `{"sk":"x3","code":"X1","name":"N"}`), 400, 409)
	})
}

// untilOver waits until a sync is not worked on any more, and its jobs are gone.
func (a *attack) untilOver(token, id string) {
	a.Helper()
	deadline := time.After(10 * time.Second)
	for {
		var sync struct{ Status string }
		a.honest(get(token, "/api/admin/sync/"+id)).Decode(a, &sync)
		if sync.Status != "planning" && sync.Status != "applying" {
			return
		}
		select {
		case <-deadline:
			a.Fatalf("sync %s is %s still", id, sync.Status)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

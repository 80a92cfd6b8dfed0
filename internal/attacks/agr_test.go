package attacks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

func TestAGR(t *testing.T) {
	w := newWorld(t)
	ua, sa := w.token("ua"), w.token("sa")
	const alphas = "/api/tenants/alpha/data/PRODUCT"
	var created int
	// creates is a create with more members in its body; each is for another record.
	creates := func(more string) apitest.Request {
		created++
		return post(ua, alphas, `{"sk":"agr-%d","name":"N"%s}`, created, more)
	}

	w.attack(t, "AGR-01", func(a *attack) {
		a.writing("alpha")
		a.honest(creates(`,"tenantCode":"alpha"`))
		a.wants(creates(`,"tenantCode":"bravo"`), 403)
	})
	w.attack(t, "AGR-02", func(a *attack) {
		a.writing("alpha")
		a.honest(creates(`,"pk":"PRODUCT#alpha"`))
		a.wants(creates(`,"pk":"PRODUCT#bravo"`), 403)
	})
	w.attack(t, "AGR-04", func(a *attack) {
		a.writing("alpha")
		a.honest(creates(`,"tenantCode":"alpha","pk":"PRODUCT#alpha"`))
		a.wants(creates(`,"pk":"PRODUCT#bravo"`), 403)
		for _, first := range []string{`""`, `null`, `[]`, `{}`, `false`, `0`} {
			a.wants(creates(`,"tenantCode":`+first+`,"pk":"PRODUCT#bravo"`), 400, 403, 422)
		}
	})
	w.attack(t, "AGR-05", func(a *attack) {
		a.honest(get(ua, productList+"?tenantCode=alpha"))
		a.wants(get(ua, productList+"?tenantCode=alpha&tenantCode=bravo"), 400)
		a.wants(get(ua, productList+"?tenantCode=bravo&tenantCode=alpha"), 400)
		a.wants(get(ua, productList+"?tenantCode=bravo"), 403)
	})
	w.attack(t, "AGR-09", func(a *attack) {
		a.writing("alpha")
		a.honest(creates(""))
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json; charset=utf-7", "-"} {
			r := creates("")
			r.Type = kind
			if strings.HasPrefix(kind, "multipart") {
				r.Body = "--b\r\nContent-Type: application/json\r\n\r\n" + r.Body + "\r\n--b--\r\n"
			}
			a.wants(r, 400, 415)
		}
	})
	w.attack(t, "AGR-10", func(a *attack) {
		a.writing("alpha")
		bulk := func(tenants ...string) apitest.Request {
			elements := make([]string, len(tenants))
			for i, code := range tenants {
				elements[i] = fmt.Sprintf(`{"sk":"bulk-%d","name":"N","pk":"PRODUCT#%s"}`, i, code)
			}
			return post(ua, productList+"/bulk", "[%s]", strings.Join(elements, ","))
		}
		late := slices.Repeat([]string{"alpha"}, 500)
		late[499] = "bravo"
		for _, r := range []apitest.Request{bulk("alpha", "alpha", "bravo"), bulk("bravo", "alpha", "alpha"), bulk(late...)} {
			a.wants(r, 403)
		}
		if left := rows(a, a.honest(get(ua, productList+"?prefix=bulk-"))); len(left) > 0 {
			a.Errorf("refused bulks left %v", left)
		}
		a.honest(bulk("alpha", "alpha", "alpha"))
		if left := rows(a, a.honest(get(ua, productList+"?prefix=bulk-"))); len(left) != 3 {
			a.Errorf("the honest bulk left %v", left)
		}
	})
	w.attack(t, "AGR-12", func(a *attack) {
		a.writing("alpha")
		a.honest(post(ua, alphas, `{"sk":"ids","name":"N","pk":"PRODUCT#alpha","id":"PRODUCT#alpha#ids"}`))
		for _, members := range []string{`"pk":"PRODUCT#alpha","id":"PRODUCT#bravo#1"`, `"id":"PRODUCT#bravo#1"`, `"id":"product#alpha#other"`, `"id":"PRODUCT#alpha#another"`} {
			a.wants(post(ua, alphas, `{"sk":"other","name":"N",%s}`, members), 400, 403)
		}
		var rec struct{ PK, SK, ID string }
		a.honest(get(ua, alphas+"/ids")).Decode(a, &rec)
		if rec.ID != rec.PK+"#"+rec.SK || rec.ID != "PRODUCT#alpha#ids" {
			a.Errorf("the stored ID is %+v", rec)
		}
	})
	w.attack(t, "AGR-14", func(a *attack) {
		a.writing("alpha")
		var rec struct{ TenantCode string }
		tokens, before := map[string]string{"alpha": ua, "bravo": w.token("ub")}, map[string]int64{"alpha": 1}
		if err := w.App.CatchUp(a.Context()); err != nil {
			a.Fatal(err)
		}
		for code, token := range tokens {
			before[code] += w.metrics(a, token, code, nil).Products
		}
		created := a.honest(post(ua, productList, `{"sk":"derived","name":"N","pk":"PRODUCT#alpha"}`))
		for code, token := range tokens {
			if n := w.metrics(a, token, code, created).Products; n != before[code] {
				a.Errorf("%s has %d products, not %d", code, n, before[code])
			}
		}
		rows, err := w.App.ReadModel().Query(a.Context(), w.App.System("projection"), "SELECT tenant_code FROM product WHERE sk = $1", "derived")
		if err != nil || len(rows.Rows) != 1 || rows.Rows[0][0] != "alpha" {
			a.Errorf("the read model has %v, %v", rows.Rows, err)
		}
		if a.honest(get(ua, productList+"/derived")).Decode(a, &rec); rec.TenantCode != "alpha" {
			a.Errorf("the record's tenant is %q", rec.TenantCode)
		}
	})
	w.attack(t, "AGR-16", func(a *attack) {
		a.writing("bravo")
		bravos := func(code string) apitest.Request {
			return post(sa, "/api/tenants/bravo/data/PRODUCT", `{"name":"N","tenantCode":"%s"}`, code)
		}
		a.honest(bravos("bravo"))
		a.wants(bravos("charlie"), 400, 403)
		a.wants(with(bravos("bravo"), tenantHeader, "charlie"), 400, 403)
	})
}

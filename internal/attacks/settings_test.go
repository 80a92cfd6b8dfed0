package attacks_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

// TestSettings reads and changes settings of others, by every name that they have.
func TestSettings(t *testing.T) {
	w := newWorld(t)
	ua, aa, ub, ab, sa := w.token("ua"), w.token("aa"), w.token("ub"), w.token("ab"), w.token("sa")
	const (
		own    = "/api/settings"
		master = "/api/master-setting/"
		value  = `{"name":"N","settingValue":{"n":1}}`
	)
	note := func(code string) string {
		return fmt.Sprintf(`{"name":"N","settingValue":{"note":"%s"}}`, w.canaries[code])
	}

	w.class(t, "members that settings don't have", func(a *attack) {
		a.writing("alpha")
		a.honest(patch(aa, own, `{"features":{"apiEnabled":false}}`))
		a.honest(patch(aa, own, `{"features":{"apiEnabled":null}}`))
		before := alike(a.honest(get(aa, own)))
		for _, body := range []string{
			`{"__proto__":{"currency":"EUR"}}`, `{"constructor":{"prototype":{}}}`, `{"prototype":{}}`, `{"features":{"__proto__":{"apiEnabled":false}}}`, `{"features":{"constructor":null}}`, `{"__proto__":null}`,
			`{"Currency":"EUR"}`, `{"CURRENCY":"EUR"}`, `{"currency":"USD","Currency":"EUR"}`, `{"currency":"USD","currency":"EUR"}`, `{"features":{"apiEnabled":true,"apiEnabled":false}}`, `{"features":{"ApiEnabled":false}}`,
			`{"features":{},"features":{"apiEnabled":false}}`, `{"curr\u0065ncy":"USD","currency":"EUR"}`, `{"currency\u0000":"EUR"}`, `{"":"EUR"}`, `{"features.apiEnabled":false}`, `{"features":[]}`, `{"features":"x"}`, `{"features":{"apiEnabled":"false"}}`,
			`{"features":{"apiEnabled":0}}`, `{"currency":["EUR"]}`, `{"currency":"eur"}`, `{"currency":"EUR\u0000"}`, `{"timezone":"../../etc/passwd"}`, `{"timezone":"Europe/../Berlin"}`, `{"timezone":"/etc/localtime"}`, `{"timezone":""}`, `{"timezone":"Local"}`,
			`{"locale":"x y"}`, `{"dateFormat":""}`, `[]`, `null`, `"x"`, `{} {}`, `{"version":9}`, `{"isDeleted":true}`, `{"attributes":{"currency":"EUR"}}`,
		} {
			a.wants(apitest.Request{Token: aa, Method: "PATCH", Path: own, Body: body}, 400, 422)
		}
		if after := alike(a.honest(get(aa, own))); after != before {
			a.Errorf("the settings changed from %s to %s", before, after)
		}
	})
	w.class(t, "tenants in bodies", func(a *attack) {
		a.writing("alpha")
		a.honest(patch(aa, own, `{"currency":"CAD","tenantCode":"alpha"}`))
		a.honest(put(aa, master+"tenant/mine", value))
		for _, mention := range []string{`"tenantCode":"bravo"`, `"pk":"SETTINGS#bravo"`, `"pk":"MASTER#bravo"`, `"id":"SETTINGS#bravo#config"`, `"id":"MASTER#bravo#MASTER_SETTING#mine"`, `"tenantCode":"common"`, `"pk":"MASTER#common"`} {
			a.wants(patch(aa, own, `{"currency":"USD",%s}`, mention), 403)
			a.wants(put(aa, master+"tenant/mine", `{"name":"N","settingValue":{},%s}`, mention), 403)
			a.wants(put(ua, master+"user/ua/mine", `{"name":"N","settingValue":{},%s}`, mention), 403)
			a.wants(post(aa, master+"bulk", `[{"code":"b1","name":"N","settingValue":{}},{"code":"b2","name":"N","settingValue":{},%s}]`, mention), 403)
		}
		a.wants(get(aa, master+"b1"), 404) // nothing of a refused bulk is written
		for _, mention := range []string{`"pk":"PRODUCT#alpha"`, `"id":"SETTINGS#alpha#other"`, `"pk":"SETTINGS#alpha#x"`} {
			a.wants(patch(aa, own, `{"currency":"USD",%s}`, mention), 400, 422)
		}
	})
	w.class(t, "levels of others", func(a *attack) {
		a.writing("alpha", "bravo")
		a.honest(put(ub, master+"user/ub/pref", note("bravo")))
		a.honest(put(ab, master+"group/sales/pref", note("bravo")))
		a.honest(put(ab, master+"tenant/pref", note("bravo")))
		a.honest(put(aa, master+"user/other/pref", note("alpha")))
		a.honest(put(aa, master+"group/sales/grouped", note("alpha")))
		for _, query := range []string{"?userId=ub", "?userId=ub&explain=true", "?explain=true&userId=other&role=admin", "?userId=UB"} {
			a.wants(get(ua, master+"pref"+query), 403)
		}
		for _, query := range []string{"?userId=ub", "?userId=ub&explain=true", "?userId=ub&role=user"} { // in alpha there is no such user
			a.wants(get(aa, master+"pref"+query), 404)
		}
		a.honest(get(aa, master+"pref?userId=other"))
		for _, query := range []string{"?userId=a%23b", "?userId=%00", "?userId=ub&userId=ua", "?role=admin", "?userId=" + strings.Repeat("x", 300), "?explain=maybe"} {
			a.wants(get(aa, master+"pref"+query), 400, 422)
		}
		a.wants(get(ua, master+"pref"), 404)
		a.wants(get(ua, master+"grouped"), 404) // a group that the caller is not in
		for _, r := range []apitest.Request{put(ua, master+"user/ub/pref", value), put(ua, master+"user/other/pref", value), remove(ua, master+"user/other/pref"), put(ua, master+"group/sales/pref", value),
			put(ua, master+"tenant/pref", value), post(ua, master+"bulk", `[{"code":"b","name":"N","settingValue":{}}]`), get(ua, "/api/master-setting"), get(ua, "/api/master-setting?level=user&user=other"),
			get(ua, "/api/master-setting?level=user"), get(ua, "/api/master-setting?level=group&group=sales"), get(ua, "/api/master-setting?level=group")} {
			a.wants(r, 403)
		}
		if answer := a.honest(get(aa, "/api/master-setting?level=user&user=ub")); !strings.Contains(string(answer.Body), `"items":[]`) {
			a.Errorf("alpha lists of ub: %v", answer)
		}
	})
	w.class(t, "names with separators", func(a *attack) {
		a.writing("alpha")
		a.honest(put(aa, master+"group/a%23b/x", note("alpha")))
		a.honest(put(ua, master+"user/ua/x", value))
		for _, path := range []string{"user/ua%23other/x", "user/other%23ua/x", "user/ua/x%23y", "tenant/GROUP%23sales%23x", "tenant/USER%23other%23x", "tenant/x%23y", "group/a/b%23x", "user/%23/x",
			"group/%00/x", "group/a/%00", "tenant/%E2%80%AE", "tenant/x@7", "group/a/x@7", "common/x%23y"} {
			for _, token := range []string{ua, aa} {
				a.wants(put(token, master+path, value), 400, 403, 422)
				a.wants(remove(token, master+path), 400, 403, 404, 422)
			}
		}
		a.wants(put(ua, master+"user/ua%2Fx/y", value), 403) // another user
		for _, path := range []string{"USER%23other%23pref", "GROUP%23sales%23grouped", "x%23y", "..%2Fcommon%2Fx", "%2e%2e"} {
			a.wants(get(ua, master+path), 400, 404, 422)
			a.wants(get(ua, master+path+"?explain=true"), 400, 404, 422)
		}
		if answer := a.honest(get(ua, master+"x")); !strings.Contains(string(answer.Body), `"level":"user"`) {
			a.Errorf("x is %v", answer)
		}
	})
	w.class(t, "copies, bulks and cursors", func(a *attack) {
		a.writing("alpha", "bravo", "kilo")
		for n := range 2 {
			a.honest(put(ab, fmt.Sprint(master, "tenant/page", n), note("bravo")))
			a.honest(put(aa, fmt.Sprint(master, "tenant/page", n), note("alpha")))
		}
		a.honest(post(sa, "/api/admin/master-setting/copy", `{"sourceTenantCode":"bravo","targetTenantCodes":["kilo"],"codes":["page0"]}`))
		for _, body := range []string{`{"sourceTenantCode":"bravo","targetTenantCodes":["alpha"]}`, `{"sourceTenantCode":"alpha","targetTenantCodes":["alpha"]}`, `{"sourceTenantCode":"common","targetTenantCodes":["alpha"]}`} {
			a.wants(post(aa, "/api/admin/master-setting/copy", body), 403)
			a.wants(post(ua, "/api/admin/master-setting/copy", body), 403)
		}
		for _, members := range []string{`"level":"common"`, `"level":"COMMON"`, `"level":"user","userId":"a#b"`, `"level":"user"`, `"level":"group"`, `"level":"tenant","userId":"ub"`, `"version":3`, `"level":"user","userId":"x","groupId":"g"`} {
			a.wants(post(aa, master+"bulk", `[{"code":"bulked","name":"N","settingValue":{},%s}]`, members), 400, 403, 422)
		}
		a.wants(get(aa, master+"bulked"), 404)
		cursor := func(token, path string) string {
			var page struct{ Cursor string }
			if a.honest(get(token, path)).Decode(a, &page); page.Cursor == "" {
				a.Fatalf("%s has no next page", path)
			}
			return url.QueryEscape(page.Cursor)
		}
		const list = "/api/master-setting?level=tenant&limit=1"
		for _, c := range []string{cursor(ab, list), cursor(ab, "/api/tenants/bravo/data/PRODUCT?limit=1"), cursor(aa, productList+"?limit=1")} {
			a.wants(get(aa, list+"&cursor="+c), 400)
			a.wants(get(ua, list+"&cursor="+c), 400)
		}
		a.wants(with(get(sa, list+"&cursor="+cursor(ab, list)), tenantHeader, "alpha"), 400)
		own := cursor(aa, list)
		a.honest(get(aa, list+"&cursor="+own))
		for _, c := range []string{"0.", "1.", "1", own[:1], own[:2], own[:len(own)-1], own + "A"} {
			a.wants(get(aa, list+"&cursor="+c), 400)
		}
	})
	w.class(t, "records of settings by other routes", func(a *attack) {
		a.honest(get(ua, own))
		for _, kind := range []string{"SETTINGS", "MASTER"} {
			for _, token := range []string{ua, aa, sa} {
				for _, base := range []string{"/api/data/", "/api/tenants/bravo/data/", "/api/common/"} {
					a.wants(with(get(token, base+kind), tenantHeader, "alpha"), 400, 403, 404)
					a.wants(with(get(token, base+kind+"/config"), tenantHeader, "alpha"), 400, 403, 404)
				}
				a.wants(with(put(token, "/api/data/"+kind+"/config", `{"name":"N","version":-1}`), tenantHeader, "alpha"), 404)
			}
		}
	})
}

package attacks_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
)

// invited is an invitation as who made it sees it.
type invited struct{ ID, Secret string }

// invite makes an invitation; to is `"email":"…"` or `"userCode":"…"`.
func invite(t testing.TB, w *world, token, code, to string) (in invited) {
	t.Helper()
	w.must(t, post(token, "/api/tenants/"+code+"/invitations", `{%s,"role":"user","expiresIn":3600}`, to)).Decode(t, &in)
	return in
}

func accepting(token string, in invited) apitest.Request {
	return post(token, "/api/invitations/"+in.ID+"/accept", `{"secret":"%s"}`, in.Secret)
}

// guest returns the token of a user of no tenant.
func (w *world) guest(subject string, claims apitest.Claims) string {
	return w.tokenOf(user{apitest.Claims{"custom:roles": "[]"}.With(claims), []string{"common"}}, subject)
}

// TestMembers manages members from where they are not managed.
func TestMembers(t *testing.T) {
	w := newWorld(t)
	ua, aa, ab, um, sa := w.token("ua"), w.token("aa"), w.token("ab"), w.token("um"), w.token("sa")
	const users = "/api/tenants/alpha/users"

	w.class(t, "strangers", func(a *attack) {
		a.writing("alpha", "charlie") // um's default moves between the two
		a.honest(patch(aa, users+"/um", `{"isDefault":true}`))
		a.honest(patch(sa, "/api/tenants/charlie/users/um", `{"isDefault":true}`))
		for _, token := range []string{ua, aa, ab, um} {
			for _, r := range []apitest.Request{remove(token, "/api/tenants/charlie/users/um"), patch(token, "/api/tenants/charlie/users/um", `{"isDefault":false}`),
				patch(token, "/api/tenants/charlie/users/um", `{"role":"admin"}`), addMember(token, "charlie", "x", "user"), get(token, "/api/tenants/charlie/users"),
				with(remove(token, users+"/um"), tenantHeader, "charlie"), remove(token, users+"/um?tenantCode=charlie"), remove(token, users+"/um?pk=USER_TENANT%23charlie")} {
				a.wants(r, 403)
			}
		}
		for _, mention := range []string{`"tenantCode":"charlie"`, `"pk":"USER_TENANT#charlie"`, `"pk":"USER_TENANT#common"`, `"id":"USER_TENANT#common#charlie#um"`, `"tenantCode":"common"`} {
			a.wants(patch(aa, users+"/um", `{"isDefault":true,%s}`, mention), 403)
			a.wants(post(aa, users, `{"userCode":"m","role":"user",%s}`, mention), 403)
		}
		for _, name := range []string{"charlie%23um", "alpha%23um", "%23um", "u", "m", "um%23", "UM", "..%2F..%2Fcharlie%2Fusers%2Fum", "%2A", "um@1", "nobody"} {
			a.wants(remove(aa, users+"/"+name), 400, 404, 422)
		}
		if got := tenantsOf(a, a.honest(get(um, "/api/users/um/tenants"))); got != "[{alpha} {charlie}]" {
			a.Errorf("um is left with %s", got)
		}
	})
	w.class(t, "who may not manage", func(a *attack) {
		a.honest(get(ua, users))
		for _, token := range []string{ua, um} {
			for _, r := range []apitest.Request{addMember(token, "alpha", "ua", "admin"), patch(token, users+"/um", `{"role":"admin"}`), patch(token, users+"/um", `{"isDefault":true}`),
				remove(token, users+"/um"), get(token, "/api/tenants/alpha/invitations"), post(token, "/api/tenants/alpha/invitations", `{"userCode":"ua","role":"admin"}`)} {
				a.wants(r, 403)
			}
		}
		for _, token := range []string{ua, aa} {
			for _, r := range []apitest.Request{post(token, "/api/admin/impersonate", `{"tenantCode":"alpha","userCode":"um","reason":"r"}`),
				post(token, "/api/admin/revocations", `{"issuer":"tenantry","sub":"ub","reason":"r"}`), post(token, "/api/admin/tenants/alpha/resume", `{"reason":"r"}`)} {
				a.wants(r, 403)
			}
		}
	})
	w.class(t, "bodies", func(a *attack) {
		a.writing("alpha")
		a.honest(post(aa, users, `{"userCode":"body","role":"user"}`))
		for _, members := range []string{`"issuer":"x"`, `"epoch":"e"`, `"version":7`, `"isDeleted":true`, `"createdBy":"x"`, `"Role":"admin"`, `"ROLE":"admin"`, `"userID":"x"`, `"isdefault":true`, `"__proto__":{}`,
			`"role":"admin"`, `"userCode":"b"`, `"constructor":{}`} {
			a.wants(post(aa, users, `{"userCode":"b","role":"user",%s}`, members), 400, 422)
		}
		for _, role := range []string{"system_admin", "SYSTEM_ADMIN", "System_Admin", "", " admin", "admin ", "adm\u0131n", "a#b", "1", "system_admin\u0000"} {
			a.wants(apitest.Request{Token: aa, Method: "POST", Path: users, Body: fmt.Sprintf(`{"userCode":"b","role":%q}`, role)}, 400, 422)
			a.wants(apitest.Request{Token: aa, Method: "PATCH", Path: users + "/um", Body: fmt.Sprintf(`{"role":%q}`, role)}, 400, 422)
			a.wants(apitest.Request{Token: aa, Method: "POST", Path: "/api/tenants/alpha/invitations", Body: fmt.Sprintf(`{"userCode":"b","role":%q}`, role)}, 400, 422)
		}
		for _, code := range []string{"", ".", "..", "a\u0000b", "a\nb", "x@7", strings.Repeat("x", 256), "\u202eevil"} {
			a.wants(apitest.Request{Token: aa, Method: "POST", Path: users, Body: fmt.Sprintf(`{"userCode":"%s","role":"user"}`, strings.NewReplacer("\x00", `\u0000`, "\n", `\n`).Replace(code))}, 400, 422)
		}
	})
	w.class(t, "user codes that look alike", func(a *attack) {
		a.writing("kilo")
		codes := []string{"ann", "Ann", "joann", "ann2", "nn", "an\u00e9", "ane\u0301", "ann ", "ann#ann", "kilo#ann", "\U0001f600", "ann%23", "ann@x.org"}
		for _, code := range codes {
			a.honest(addMember(sa, "kilo", code, "user"))
		}
		for _, code := range codes {
			path := "/api/tenants/kilo/users/" + url.PathEscape(code)
			a.honest(patch(sa, path, `{"role":"clerk"}`))
			own := w.guest("s", apitest.Claims{"custom:user_code": code})
			if got := tenantsOf(a, a.honest(get(own, "/api/users/"+url.PathEscape(code)+"/tenants"))); got != "[{kilo}]" {
				a.Errorf("%q is a member of %s", code, got)
			}
			a.honest(remove(sa, path))
			a.wants(remove(sa, path), 404)
			a.wants(switching(own, "kilo"), 403)
		}
	})
	w.class(t, "a membership with a subject", func(a *attack) {
		a.writing("kilo")
		a.honest(post(sa, "/api/tenants/kilo/users", `{"userCode":"bound","role":"admin","userId":"one"}`))
		claims := apitest.Claims{"custom:user_code": "bound", "custom:tenant": "kilo", "custom:roles": `[{"tenant":"kilo","role":"admin"}]`}
		one, two := w.tokenOf(user{claims, []string{"kilo", "common"}}, "one"), w.tokenOf(user{claims, []string{"common"}}, "two")
		a.honest(get(one, productList))
		a.honest(switching(one, "kilo"))
		for _, r := range []apitest.Request{get(two, productList), switching(two, "kilo"), addMember(two, "kilo", "x", "user"), get(two, "/api/tenants/kilo/users"), get(two, "/api/settings")} {
			if answer := a.wants(r, 403); answer.Code() != "not_a_member" {
				a.Errorf("%v: %v", r, answer)
			}
		}
		if got := tenantsOf(a, a.do(get(two, "/api/users/bound/tenants"))); got != "[]" {
			a.Errorf("another subject sees %s", got)
		}
	})
	w.class(t, "a record decides, whatever the token claims", func(a *attack) {
		a.writing("kilo")
		a.honest(addMember(sa, "kilo", "demoted", "user"))
		token := w.tokenOf(user{apitest.Claims{"custom:tenant": "kilo", "custom:roles": `[{"tenant":"kilo","role":"admin"},{"tenant":"","role":"admin"}]`}, []string{"kilo", "common"}}, "demoted")
		a.honest(get(token, productList))
		a.wants(addMember(token, "kilo", "x", "user"), 403)
		a.wants(patch(token, "/api/settings", `{"currency":"USD"}`), 403)
		a.honest(remove(sa, "/api/tenants/kilo/users/demoted"))
		a.wants(get(token, productList), 403)
		a.wants(post(token, productList, `{"name":"N"}`), 403)
	})
	w.class(t, "cursors", func(a *attack) {
		a.writing("alpha", "bravo")
		for _, code := range []string{"alpha", "bravo"} {
			for n := range 2 {
				a.honest(addMember(sa, code, fmt.Sprint("page", n), "user"))
				invite(a, w, sa, code, fmt.Sprintf(`"userCode":"page%d"`, n))
			}
		}
		cursor := func(r apitest.Request) string {
			var page struct{ Cursor string }
			if a.honest(r).Decode(a, &page); page.Cursor == "" {
				a.Fatalf("%v has no next page", r)
			}
			return url.QueryEscape(page.Cursor)
		}
		const invitations = "/api/tenants/alpha/invitations"
		of := map[string]string{}
		for _, path := range []string{"/api/tenants/bravo/users", "/api/tenants/bravo/invitations", productList} {
			of[path] = cursor(get(ab, path+"?limit=1"))
		}
		of[users], of[invitations] = cursor(get(aa, users+"?limit=1")), cursor(get(aa, invitations+"?limit=1"))
		for from, c := range of {
			for _, path := range []string{users, invitations} {
				if from == path {
					a.honest(get(aa, path+"?limit=1&cursor="+c))
				} else {
					a.wants(get(aa, path+"?limit=1&cursor="+c), 400)
				}
			}
			a.wants(get(sa, "/api/tenants/charlie/users?limit=1&cursor="+c), 400)
			a.wants(get(sa, "/api/tenant?limit=1&cursor="+c), 400)
		}
	})
	w.class(t, "bodies that name another record", func(a *attack) {
		a.honest(patch(aa, users+"/um", `{"role":"user","tenantCode":"ALPHA"}`))
		for _, mention := range []string{`"pk":"PRODUCT#alpha"`, `"pk":"USER_TENANT#alpha"`, `"id":"USER_TENANT#alpha#aa"`} {
			a.wants(patch(aa, users+"/um", `{"role":"user",%s}`, mention), 400)
			a.wants(post(aa, users, `{"userCode":"named","role":"user",%s}`, mention), 400)
			a.wants(post(aa, "/api/tenants/alpha/invitations", `{"userCode":"named","role":"user",%s}`, mention), 400)
			a.wants(apitest.Request{Token: aa, Method: http.MethodDelete, Path: users + "/um", Body: "{" + mention + "}"}, 400)
		}
	})
	w.class(t, "what is no tenant", func(a *attack) {
		for _, what := range []string{"users", "invitations"} {
			a.honest(get(sa, "/api/tenants/alpha/"+what))
			a.wants(get(sa, "/api/tenants/zulu9/"+what), 404)
			a.wants(get(sa, "/api/tenants/common/"+what), 404)
		}
	})
	w.class(t, "the last admin, by many at once", func(a *attack) {
		a.writing("istanbul")
		for n := range 8 {
			a.honest(addMember(sa, "istanbul", fmt.Sprint("admin", n), "admin"))
		}
		var left atomic.Int64
		var callers sync.WaitGroup
		for n := range 8 {
			callers.Go(func() {
				path := fmt.Sprint("/api/tenants/istanbul/users/admin", n)
				r := remove(sa, path)
				if n%2 == 0 {
					r = patch(sa, path, `{"role":"user"}`)
				}
				answer, err := w.Send(r)
				switch {
				case err != nil, answer.Status != 200 && answer.Code() != "last_admin":
					a.Errorf("%v: %v %v", r, answer, err)
				case answer.Status != 200:
					left.Add(1)
				}
			})
		}
		callers.Wait()
		if left.Load() != 1 {
			a.Errorf("%d admins are left, by their answers", left.Load())
		}
		if answer := a.honest(get(sa, "/api/tenants/istanbul/users")); strings.Count(string(answer.Body), `"role":"admin"`) != 1 {
			a.Errorf("the members are %v", answer)
		}
	})
}

// TestInvitations accepts invitations that are for somebody else, or for another time.
func TestInvitations(t *testing.T) {
	w := newWorld(t)
	aa, ab := w.token("aa"), w.token("ab")
	mail := apitest.Claims{"email": "ann@example.com", "email_verified": true}

	w.class(t, "invitees", func(a *attack) {
		a.writing("alpha", "bravo")
		byMail, byCode := invite(a, w, ab, "bravo", `"email":"ann@example.com"`), invite(a, w, ab, "bravo", `"userCode":"bob"`)
		ann, bob := w.guest("ann", mail), w.guest("bob", nil)
		missing := a.wants(accepting(ann, invited{"bravo.01HX7MBJK3V9WQBZ7XNDK5ZT2M", byMail.Secret}), 404)
		ulid := strings.TrimPrefix(byMail.ID, "bravo.")
		for _, r := range []apitest.Request{
			accepting(bob, byMail), accepting(ann, byCode), accepting(aa, byMail), accepting(w.token("sa"), byMail), accepting(ann, invited{byMail.ID, "x"}),
			accepting(ann, invited{byMail.ID, byCode.Secret}), accepting(ann, invited{byCode.ID, byMail.Secret}), accepting(ann, invited{"alpha." + ulid, byMail.Secret}),
			accepting(ann, invited{ulid, byMail.Secret}), accepting(ann, invited{"BRAVO." + ulid, byMail.Secret}), accepting(ann, invited{"bravo%23" + ulid, byMail.Secret}),
			accepting(ann, invited{"common." + ulid, byMail.Secret}), accepting(ann, invited{strings.ToLower(byMail.ID), byMail.Secret}), accepting(ann, invited{byMail.ID + "%2F", byMail.Secret}),
			accepting(w.guest("ann", apitest.Claims{"email": "ann@example.com"}), byMail), accepting(w.guest("ann", apitest.Claims{"email": "ann@example.com", "email_verified": false}), byMail),
			accepting(w.guest("ann", apitest.Claims{"email": "ANN@example.com", "email_verified": true}), byMail), accepting(w.guest("ann", apitest.Claims{"email": "ann@example.com ", "email_verified": true}), byMail),
			accepting(w.guest("ann@example.com", apitest.Claims{"custom:user_code": "ann@example.com"}), byMail), accepting(w.guest("x", apitest.Claims{"custom:user_code": "bob "}), byCode),
		} {
			if answer := a.wants(r, 400, 404); answer.Status == 404 && sameBut(answer, r.Path) != sameBut(missing, "/api/invitations/bravo.01HX7MBJK3V9WQBZ7XNDK5ZT2M/accept") {
				a.Errorf("%v: %v; every failure is the same: %v", r, answer, missing)
			}
		}
		a.honest(accepting(ann, byMail))
		a.honest(accepting(bob, byCode))
		for _, r := range []apitest.Request{accepting(ann, byMail), accepting(bob, byCode)} { // once
			a.wants(r, 404)
		}
		a.honest(remove(ab, "/api/tenants/bravo/users/bob"))
		a.wants(accepting(bob, byCode), 404) // nobody invites themselves again
		a.honest(switching(ann, "bravo"))
		a.wants(switching(ann, "alpha"), 403)
		a.wants(switching(w.guest("other", mail.With(apitest.Claims{"custom:user_code": "ann"})), "bravo"), 403) // the membership is the subject's own
	})
	w.class(t, "past and withdrawn", func(a *attack) {
		a.writing("bravo")
		carl := w.guest("carl", nil)
		late, gone, good := invite(a, w, ab, "bravo", `"userCode":"carl"`), invite(a, w, ab, "bravo", `"userCode":"carl"`), invite(a, w, ab, "bravo", `"userCode":"carl"`)
		a.honest(remove(ab, "/api/tenants/bravo/invitations/"+gone.ID))
		a.wants(accepting(carl, gone), 404)
		for _, r := range []apitest.Request{get(aa, "/api/tenants/alpha/invitations/"+good.ID), remove(aa, "/api/tenants/alpha/invitations/"+good.ID)} {
			a.wants(r, 404)
		}
		a.wants(remove(aa, "/api/tenants/bravo/invitations/"+good.ID), 403)
		if answer := a.honest(get(ab, "/api/tenants/bravo/invitations")); strings.Contains(string(answer.Body), good.Secret) || strings.Contains(strings.ToLower(string(answer.Body)), "secret") {
			a.Errorf("the list shows secrets: %v", answer)
		}
		a.honest(accepting(carl, good))
		w.App.Clock.Advance(2 * time.Hour)
		a.wants(accepting(w.guest("carl", nil), late), 404)
	})
	w.class(t, "by many at once", func(a *attack) {
		a.writing("bravo")
		in, token := invite(a, w, w.token("ab"), "bravo", `"userCode":"dora"`), w.guest("dora", nil)
		var won atomic.Int64
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				answer, err := w.Send(accepting(token, in))
				if err != nil || answer.Status != 201 && answer.Status != 404 {
					a.Errorf("%v %v", answer, err)
				} else if answer.Status == 201 {
					won.Add(1)
				}
			})
		}
		callers.Wait()
		if won.Load() != 1 {
			a.Errorf("one invitation was accepted %d times", won.Load())
		}
		a.honest(switching(token, "bravo"))
	})
}

// sameBut returns an answer without its path, for paths that the caller has chosen.
func sameBut(a *apitest.Answer, path string) string {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path
	}
	return strings.NewReplacer(path, "PATH", decoded, "PATH").Replace(a.Masked())
}

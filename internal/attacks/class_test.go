package attacks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
)

// TestRecycledCodes looks in a tenant of a former one's code for what that one has left: members, invitations, sessions.
func TestRecycledCodes(t *testing.T) {
	w := newWorld(t)
	sa := w.token("sa")

	w.class(t, "members and invitations", func(a *attack) {
		a.writing("relic")
		a.honest(post(sa, "/api/tenant", `{"code":"relic","name":"N"}`))
		a.honest(addMember(sa, "relic", "um", "user"))
		in := invite(a, w, sa, "relic", `"userCode":"late"`)
		s := a.session(w.token("um"), "relic")
		a.honest(remove(sa, "/api/tenant/TENANT%23relic/MASTER"))
		late := w.guest("late", nil)
		for _, r := range []apitest.Request{accepting(late, in), get(sa, "/api/tenants/relic/users")} {
			a.wants(r, 404)
		}
		w.App.Clock.Advance(10 * time.Second)
		if answer := a.wants(post(sa, "/api/tenant", `{"code":"relic","name":"New"}`), 409); answer.Code() != "tenant_not_purged" {
			a.Errorf("a code whose members are left: %v", answer)
		}
		for _, r := range []apitest.Request{switching(w.token("um"), "relic"), get(s.Token, productList)} {
			a.wants(r, 403)
		}
		a.wants(refreshing(s.RefreshToken), 401)
		if got := tenantsOf(a, a.honest(get(w.token("um"), "/api/users/um/tenants"))); strings.Contains(got, "relic") {
			a.Errorf("um is a member of %s", got)
		}
	})
}

// TestMoments makes changes of one membership at once, and looks for a moment in which both hold.
func TestMoments(t *testing.T) {
	w := newWorld(t)
	sa := w.token("sa")

	w.class(t, "a default of two tenants", func(a *attack) {
		a.writing("alpha", "charlie")
		for range 10 {
			var callers sync.WaitGroup
			for _, code := range []string{"alpha", "charlie", "alpha", "charlie"} {
				callers.Go(func() {
					if answer, err := w.Send(patch(sa, "/api/tenants/"+code+"/users/um", `{"isDefault":true}`)); err != nil || !answer.OK() {
						a.Errorf("%s: %v %v", code, answer, err)
					}
				})
			}
			callers.Wait()
			if answer := a.honest(get(w.token("um"), "/api/users/um/tenants")); strings.Count(string(answer.Body), `"isDefault":true`) != 1 {
				a.Errorf("defaults: %v", answer)
			}
		}
	})
	w.class(t, "switching while one is removed", func(a *attack) {
		a.writing("charlie")
		um := w.token("um")
		for range 10 {
			var mu sync.Mutex
			var sessions []session
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					answer, err := w.Send(switching(um, "charlie"))
					if err != nil || answer.Status != 200 && answer.Status != 403 {
						a.Errorf("%v %v", answer, err)
					} else if answer.Status == 200 {
						mu.Lock()
						defer mu.Unlock()
						sessions = append(sessions, w.sessionOf(a, answer))
					}
				})
			}
			a.honest(remove(sa, "/api/tenants/charlie/users/um"))
			callers.Wait()
			a.honest(addMember(sa, "charlie", "um", "user"))
			for _, s := range sessions { // of the life that was removed
				if answer := a.do(get(s.Token, productList)); answer.OK() && !issuedFor(a, s.Token, um) {
					a.Errorf("a session of a former life: %v", answer)
				}
			}
		}
	})
}

// issuedFor reports whether a token has the epoch that the subject of another gets now.
func issuedFor(a *attack, token, other string) bool {
	a.Helper()
	epoch := func(token string) (c struct {
		Epoch string `json:"custom:epoch"`
	}) {
		if err := json.Unmarshal(part(a, token, 1), &c); err != nil {
			a.Fatal(err)
		}
		return c
	}
	return epoch(token) == epoch(a.session(other, "charlie").Token)
}

// TestMemberRoutes sends every route of members and settings the mentions of another tenant, in every place that has one.
func TestMemberRoutes(t *testing.T) {
	w := newWorld(t)
	aa, ab := w.token("aa"), w.token("ab")
	in := invite(t, w, ab, "bravo", `"userCode":"somebody"`)
	w.digests = w.Digest(t)
	values := map[string]string{"tenantCode": "alpha", "userCode": "um", "id": in.ID, "code": "theme", "groupId": "sales", "userId": "aa"}

	w.class(t, "every place", func(a *attack) {
		a.honest(get(aa, "/api/tenants/alpha/users"))
		swept := 0
		for _, op := range w.Doc.Operations {
			tag := strings.HasPrefix(op.Path, "/api/tenants/{tenantCode}/users") || strings.HasPrefix(op.Path, "/api/tenants/{tenantCode}/invitations") ||
				strings.Contains(op.Path, "settings") || strings.Contains(op.Path, "master-setting")
			if !tag {
				continue
			}
			swept++
			body := ""
			if op.Body != nil {
				body = `{}`
			}
			path := filled(op, values)
			for _, code := range []string{"bravo", "BRAVO", "zulu9", "common"} {
				for _, r := range []apitest.Request{
					{Path: path + "?tenantCode=" + code}, {Path: path + "?pk=USER_TENANT%23" + code}, {Path: path + "?id=SETTINGS%23" + code + "%23config"},
					{Path: path, Header: []string{tenantHeader, code}}, {Path: strings.ReplaceAll(path, "/alpha/", "/"+code+"/") + "?tenantCode=" + code},
				} {
					r.Token, r.Method, r.Body = aa, op.Method, body
					a.wants(r, 403)
				}
			}
			for _, r := range []apitest.Request{{Path: path + "?tenantCode=alpha&tenantCode=bravo"}, {Path: path, Header: []string{tenantHeader, "alpha", tenantHeader, "bravo"}},
				{Path: path + "?tenantCode="}, {Path: path + "?tenantCode=a%23b"}} {
				r.Token, r.Method, r.Body = aa, op.Method, body
				a.wants(r, 400)
			}
		}
		if swept < 20 {
			a.Errorf("swept %d operations only", swept)
		}
	})
	w.class(t, "idempotency keys", func(a *attack) {
		a.writing("alpha", "bravo")
		keyed := func(r apitest.Request) apitest.Request { return with(r, "Idempotency-Key", "member-key") }
		add := func(token, code string) apitest.Request { return keyed(addMember(token, code, "keyed", "user")) }
		first := a.honest(add(ab, "bravo"))
		a.wants(add(aa, "bravo"), 403)
		if answer := a.honest(add(aa, "alpha")); answer.Header.Get("Idempotency-Replayed") != "" || strings.Contains(string(answer.Body), "bravo") {
			a.Errorf("alpha was answered with %v", answer)
		}
		if again := a.honest(add(ab, "bravo")); string(again.Body) != string(first.Body) {
			a.Errorf("the replay is %v", again)
		}
		a.honest(remove(ab, "/api/tenants/bravo/users/keyed"))
		a.honest(keyed(patch(aa, "/api/settings", `{"currency":"CAD"}`)))
		if answer := a.honest(keyed(patch(ab, "/api/settings", `{"currency":"GBP"}`))); !strings.Contains(string(answer.Body), "GBP") {
			a.Errorf("bravo was answered with %v", answer)
		}
		// Who made an invitation, or switched, is told again by their key; nobody else is.
		secret := func(token string) apitest.Request {
			return with(post(token, "/api/tenants/bravo/invitations", `{"userCode":"k","role":"user"}`), "Idempotency-Key", "invitation")
		}
		var one, two invited
		a.honest(secret(ab)).Decode(a, &one)
		a.honest(secret(w.tokenOf(member("admin", "bravo"), "ab2"))).Decode(a, &two)
		if one.Secret == two.Secret || one.ID == two.ID {
			a.Error("one admin's key shows another the secret")
		}
		a.wants(secret(aa), 403)
		session := func(token string) string {
			return w.sessionOf(a, a.honest(with(switching(token, "alpha"), "Idempotency-Key", "session"))).RefreshToken
		}
		a.honest(addMember(aa, "alpha", "us", "user"))
		if session(w.token("um")) == session(w.guest("us", nil)) {
			a.Error("one user's key hands out another's session")
		}
	})
	w.class(t, "versions and histories", func(a *attack) {
		a.honest(get(aa, "/api/settings"))
		for _, r := range []apitest.Request{with(patch(aa, "/api/settings", `{"currency":"USD"}`), "If-Match", `"99"`), with(put(aa, "/api/master-setting/tenant/theme", `{"name":"N","settingValue":{}}`), "If-Match", `"99"`)} {
			a.wants(r, 412)
		}
		const um = "/api/tenants/alpha/users/um"
		for _, match := range []string{"99", `W/"1"`, `"1", "2"`, `"-1"`, `"01"`, `"x"`, `"99"`} {
			a.wants(with(patch(aa, "/api/settings", `{"currency":"USD"}`), "If-Match", match), 400, 412)
			a.wants(with(patch(aa, um, `{"role":"admin"}`), "If-Match", match), 400, 412)
			a.wants(with(remove(aa, um), "If-Match", match), 400, 412)
		}
		for _, code := range []string{"bravo", "zulu9"} { // whose versions are not told
			a.wants(with(remove(aa, "/api/tenants/"+code+"/users/um"), "If-Match", `"1"`), 403)
		}
		for _, kind := range []string{"SETTINGS", "USER_TENANT", "MASTER"} {
			for _, path := range []string{"/config/history", "/config/commands/1", "/alpha%23um/history", "/alpha%23um?version=1", "/MASTER_SETTING%23theme/history"} {
				a.wants(get(aa, fmt.Sprint("/api/data/", kind, path)), 404)
			}
		}
	})
}

package attacks_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/tenant"
)

// TestSessions uses what switching hands out where, when and by whom it is not good.
func TestSessions(t *testing.T) {
	w := newWorld(t)
	sa := w.token("sa")
	um := func() string { return w.token("um") } // as young as the clock is
	const umInCharlie = "/api/tenants/charlie/users/um"

	w.class(t, "refresh tokens that are none", func(a *attack) {
		one, other := a.session(um(), "charlie"), a.session(um(), "alpha")
		parts, others := strings.Split(one.RefreshToken, "."), strings.Split(other.RefreshToken, ".")
		for _, token := range []string{
			parts[0] + ".2." + parts[2], parts[0] + ".0." + parts[2], parts[0] + ".-1." + parts[2], parts[0] + ".01." + parts[2], parts[0] + ".+1." + parts[2], parts[0] + ".1.", parts[0] + ".1", parts[0],
			others[0] + ".1." + parts[2], parts[0] + ".1." + others[2], one.RefreshToken + "=", one.RefreshToken + ".", " " + one.RefreshToken, strings.ToLower(one.RefreshToken), "..", "null",
			parts[0] + ".9223372036854775808." + parts[2], parts[0] + `.1\u0000.` + parts[2],
		} {
			a.wants(refreshing(token), 401)
		}
		a.wants(refreshing(one.Token), 401, 422)
		a.wants(get(one.RefreshToken, productList), 401)
		a.wants(post("", "/api/auth/refresh", `{"refreshToken":"%s","tenantCode":"bravo"}`, one.RefreshToken), 422)
		a.wants(post("", "/api/auth/refresh", `{"refreshToken":"%s","refreshToken":"%s"}`, one.RefreshToken, other.RefreshToken), 400)
		if next := w.sessionOf(a, a.honest(refreshing(one.RefreshToken))); next.TenantCode != "charlie" {
			a.Errorf("the family of charlie goes on in %s", next.TenantCode)
		}
		next := w.sessionOf(a, a.honest(with(refreshing(other.RefreshToken), tenantHeader, "bravo", "Authorization", "Bearer "+w.token("ub"))))
		if next.TenantCode != "alpha" {
			a.Errorf("the family of alpha goes on in %s", next.TenantCode)
		}
	})
	w.class(t, "a used refresh token", func(a *attack) {
		first := a.session(um(), "charlie")
		second := w.sessionOf(a, a.honest(refreshing(first.RefreshToken)))
		third := w.sessionOf(a, a.honest(refreshing(second.RefreshToken)))
		bystander := a.session(um(), "charlie")
		a.wants(refreshing(first.RefreshToken), 401)
		for _, token := range []string{third.RefreshToken, second.RefreshToken, first.RefreshToken} {
			a.wants(refreshing(token), 401) // the family has ended
		}
		bystander = w.sessionOf(a, a.honest(refreshing(bystander.RefreshToken)))
		keyed := func() apitest.Request {
			return with(refreshing(bystander.RefreshToken), "Idempotency-Key", "refresh")
		}
		next := w.sessionOf(a, a.honest(keyed()))
		if again := a.do(keyed()); again.OK() && strings.Contains(string(again.Body), next.RefreshToken) {
			a.Errorf("an idempotency key hands out a session: %v", again)
		}
	})
	w.class(t, "a refresh token, by many at once", func(a *attack) {
		for range 10 {
			s := a.session(um(), "charlie")
			var mu sync.Mutex
			var won []session
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					answer, err := w.Send(refreshing(s.RefreshToken))
					switch {
					case err != nil || answer.Status != 200 && answer.Status != 401:
						a.Errorf("%v %v", answer, err)
					case answer.Status == 200:
						mu.Lock()
						defer mu.Unlock()
						won = append(won, w.sessionOf(a, answer))
					}
				})
			}
			callers.Wait()
			if len(won) > 1 {
				a.Errorf("%d of 4 were given a session", len(won))
			}
			for _, next := range won { // one of those who had the token has stolen it
				a.wants(refreshing(next.RefreshToken), 401)
			}
		}
	})
	w.class(t, "refresh tokens of a membership that ended", func(a *attack) {
		a.writing("charlie", "kilo")
		s := a.session(um(), "charlie")
		a.honest(remove(sa, umInCharlie))
		a.honest(addMember(sa, "charlie", "um", "user"))
		a.wants(refreshing(s.RefreshToken), 401)
		a.wants(get(s.Token, productList), 403)

		s = a.session(um(), "charlie")
		a.honest(patch(sa, umInCharlie, `{"role":"clerk"}`))
		if next := w.sessionOf(a, a.honest(refreshing(s.RefreshToken))); next.Role != "clerk" {
			a.Errorf("the role after a change is %q", next.Role)
		}
		a.honest(patch(sa, umInCharlie, `{"role":"user"}`))

		a.honest(addMember(sa, "kilo", "um", "user"))
		s = a.session(um(), "kilo")
		a.honest(post(sa, "/api/admin/tenants/kilo/suspend", `{"reason":"r"}`))
		a.wants(get(s.Token, productList), 403)
		a.wants(switching(um(), "kilo"), 403)
		a.wants(refreshing(s.RefreshToken), 401)
		a.honest(post(sa, "/api/admin/tenants/kilo/resume", `{"reason":"r"}`))
		a.wants(refreshing(s.RefreshToken), 401)
		s = a.session(um(), "kilo")
		a.honest(remove(sa, "/api/tenant/TENANT%23kilo/MASTER"))
		for _, r := range []apitest.Request{get(s.Token, productList), switching(um(), "kilo")} {
			a.wants(r, 403)
		}
		a.wants(refreshing(s.RefreshToken), 401)
	})
	w.class(t, "a kept answer of a membership that ended", func(a *attack) {
		a.writing("charlie")
		again := func() apitest.Request {
			return with(switching(um(), "charlie"), "Idempotency-Key", "ended")
		}
		first := a.honest(again())
		if kept := a.honest(again()); string(kept.Body) != string(first.Body) {
			a.Errorf("the replay is %v", kept)
		}
		a.honest(remove(sa, umInCharlie))
		twin := a.wants(switching(um(), "zulu9"), 403)
		if refused := a.wants(again(), 403); alike(refused) != alike(twin) {
			a.Errorf("a former member is answered %v", refused)
		}
		a.honest(addMember(sa, "charlie", "um", "user"))
	})
	w.class(t, "a family lives twelve hours", func(a *attack) {
		s := a.session(um(), "charlie")
		for range 11 {
			w.App.Clock.Advance(time.Hour)
			s = w.sessionOf(a, a.honest(refreshing(s.RefreshToken)))
		}
		w.App.Clock.Advance(59 * time.Minute)
		if s = w.sessionOf(a, a.honest(refreshing(s.RefreshToken))); s.ExpiresIn > 60 {
			a.Errorf("a token outlives its family by %d seconds", s.ExpiresIn-60)
		}
		w.App.Clock.Advance(time.Minute)
		a.wants(refreshing(s.RefreshToken), 401)
		sa = w.token("sa")
	})
	w.class(t, "a switched token elsewhere", func(a *attack) {
		a.writing("charlie")
		s := a.session(um(), "charlie")
		a.honest(with(get(s.Token, productList), tenantHeader, "charlie"))
		for _, code := range []string{"alpha", "bravo", "common", "zulu9"} {
			a.wants(with(get(s.Token, productList), tenantHeader, code), 403)
			a.wants(get(s.Token, "/api/tenants/"+code+"/data/PRODUCT"), 403)
			a.wants(get(s.Token, productList+"?tenantCode="+code), 403)
			a.wants(post(s.Token, productList, `{"name":"N","tenantCode":"%s"}`, code), 403)
		}
		a.session(s.Token, "alpha")
		a.wants(switching(s.Token, "bravo"), 403)

		a.honest(addMember(sa, "charlie", "sa", "user"))
		lowered := a.session(sa, "charlie") // what the system admin left behind does not come back
		a.honest(get(lowered.Token, productList))
		for _, r := range []apitest.Request{get(lowered.Token, "/api/tenant"), with(get(lowered.Token, productList), tenantHeader, "bravo"), get(lowered.Token, "/api/users/um/tenants"),
			post(lowered.Token, "/api/admin/impersonate", `{"tenantCode":"bravo","userCode":"ub","reason":"r"}`), addMember(lowered.Token, "charlie", "x", "user")} {
			a.wants(r, 403)
		}
		a.honest(remove(sa, "/api/tenants/charlie/users/sa"))
	})
	w.class(t, "claims that only the built-in issuer makes", func(a *attack) {
		for _, claims := range []apitest.Claims{{"act": map[string]any{"iss": w.IdP.Name, "sub": "sa"}}, {"idp": "tenantry"}, {"custom:epoch": "x"}, {"act": "x"}} {
			token := w.signed("ua", claims)
			if answer := a.honest(get(token, "/api/me")); !strings.Contains(string(answer.Body), fmt.Sprintf(`"issuer":%q`, w.IdP.Name)) || strings.Contains(string(answer.Body), "actUserId") {
				a.Errorf("%v: %v", claims, answer)
			}
			a.wants(get(token, "/api/tenant"), 403)
		}
		for _, claims := range []apitest.Claims{{"iss": "tenantry", "aud": "tenantry"}, {"iss": "tenantry", "aud": []string{"tenantry", "ours"}, "idp": w.IdP.Name, "custom:epoch": "x"}} {
			a.wants(get(w.signed("ua", claims), productList), 401)
		}
		code, err := tenant.Parse("alpha")
		if err != nil {
			a.Fatal(err)
		}
		a.wants(get(w.App.Token(auth.Claims{Subject: "ua", Tenant: code, Role: "user", Origin: "https://other.example"}), productList), 401)
		a.wants(get(w.App.Token(auth.Claims{Subject: "ua", Tenant: code, Role: "user", Epoch: "01HX7MBJK3V9WQBZ7XNDK5ZT2M"}), productList), 403) // of a membership that is none
	})
}

// TestSupport does with support access what is the member's own, or the admin's, to do.
func TestSupport(t *testing.T) {
	w := newWorld(t)
	sa := w.token("sa")
	access := func(a *attack, token string) string {
		a.Helper()
		return w.sessionOf(a, a.honest(post(token, "/api/admin/impersonate", `{"tenantCode":"charlie","userCode":"um","reason":"a case","expiresIn":600}`))).Token
	}

	w.class(t, "not theirs to do", func(a *attack) {
		a.writing("charlie")
		a.honest(addMember(sa, "charlie", "boss", "admin"))
		a.honest(patch(sa, "/api/tenants/charlie/users/um", `{"role":"admin"}`))
		in, support := invite(a, w, sa, "charlie", `"userCode":"um"`), access(a, sa)
		a.honest(get(support, productList))
		a.honest(get(support, "/api/tenants/charlie/users"))
		for _, r := range []apitest.Request{
			switching(support, "charlie"), switching(support, "alpha"), addMember(support, "charlie", "x", "user"), patch(support, "/api/tenants/charlie/users/um", `{"role":"user"}`),
			remove(support, "/api/tenants/charlie/users/um"), post(support, "/api/tenants/charlie/invitations", `{"userCode":"x","role":"user"}`), get(support, "/api/tenants/charlie/invitations"),
			remove(support, "/api/tenants/charlie/invitations/"+in.ID), accepting(support, in), get(support, "/api/users/um/tenants"),
			post(support, "/api/admin/impersonate", `{"tenantCode":"charlie","userCode":"um","reason":"r"}`), post(support, "/api/admin/revocations", `{"issuer":"tenantry","sub":"x","reason":"r"}`),
			get(support, "/api/tenant"), get(support, "/api/admin/audit"), post(support, "/api/admin/tenants/charlie/suspend", `{"reason":"r"}`),
			with(get(support, productList), tenantHeader, "alpha"), get(support, "/api/tenants/alpha/data/PRODUCT"), get(support, "/api/tenants/bravo/users"),
		} {
			a.wants(r, 403)
		}
		if answer := a.honest(get(support, "/api/me")); strings.Contains(string(answer.Body), `"alpha"`) || !strings.Contains(string(answer.Body), `"actUserId":"sa"`) {
			a.Errorf("me: %v", answer)
		}
		if answer := a.honest(get(sa, "/api/admin/audit?limit=100")); !strings.Contains(string(answer.Body), "support access as um: a case") {
			a.Errorf("the log of crossings lacks the support access: %v", answer)
		}
	})
	w.class(t, "who may not begin it, and for whom", func(a *attack) {
		access(a, sa)
		for _, name := range []string{"ua", "aa", "um", "un"} {
			a.wants(post(w.token(name), "/api/admin/impersonate", `{"tenantCode":"charlie","userCode":"um","reason":"r"}`), 403)
		}
		for _, body := range []string{`{"tenantCode":"bravo","userCode":"um","reason":"r"}`, `{"tenantCode":"zulu9","userCode":"um","reason":"r"}`, `{"tenantCode":"common","userCode":"um","reason":"r"}`,
			`{"tenantCode":"charlie","userCode":"nobody","reason":"r"}`, `{"tenantCode":"charlie","userCode":"UM","reason":"r"}`} {
			a.wants(post(sa, "/api/admin/impersonate", body), 404)
		}
		for _, body := range []string{`{"tenantCode":"charlie","userCode":"um"}`, `{"tenantCode":"charlie","userCode":"um","reason":""}`, `{"tenantCode":"charlie","userCode":"um","reason":"r","expiresIn":3601}`,
			`{"tenantCode":"charlie","userCode":"um","reason":"r","expiresIn":0}`, `{"tenantCode":"charlie","userCode":"um","reason":"r","expiresIn":-1}`, `{"tenantCode":"charlie","userCode":"um","reason":"r","role":"admin"}`} {
			a.wants(post(sa, "/api/admin/impersonate", body), 400, 422)
		}
	})
	w.class(t, "ends by itself", func(a *attack) {
		a.writing("charlie", "common")
		support := access(a, sa)
		a.honest(remove(sa, "/api/tenants/charlie/users/um"))
		a.wants(get(support, productList), 403)
		a.honest(addMember(sa, "charlie", "um", "user"))
		a.wants(get(support, productList), 403)

		support = access(a, sa)
		w.App.Clock.Advance(11*time.Minute + time.Second) // and the leeway
		a.wants(get(support, productList), 401)

		other := w.keep(w.IdP.Token("sa2", users["sa"].claims), users["sa"].reads...)
		support = access(a, other)
		a.honest(get(support, productList))
		a.honest(post(sa, "/api/admin/revocations", `{"issuer":"%s","sub":"sa2","reason":"left"}`, w.IdP.Name))
		a.wants(get(support, productList), 401) // with the access of who began it
	})
}

// TestRevocations uses revoked tokens everywhere, and those of others who are called alike.
func TestRevocations(t *testing.T) {
	w := newWorld(t)
	sa := w.token("sa")
	revoking := func(members string) apitest.Request {
		return post(sa, "/api/admin/revocations", `{%s,"reason":"stolen"}`, members)
	}
	issuer := fmt.Sprintf(`"issuer":%q`, w.IdP.Name)

	w.class(t, "in every route", func(a *attack) {
		a.writing("common")
		claims := users["aa"].claims
		token := w.keep(w.IdP.Token("revoked", claims), "alpha", "common")
		admin := w.keep(w.IdP.Token("revoked-admin", users["sa"].claims), users["sa"].reads...)
		a.honest(get(token, productList))
		a.honest(revoking(issuer + `,"sub":"revoked"`))
		a.honest(revoking(issuer + `,"sub":"revoked-admin"`))
		swept := 0
		for _, op := range w.Doc.Operations {
			if !op.Secured {
				continue
			}
			swept++
			for _, t := range []string{token, admin} {
				r := apitest.Request{Token: t, Method: op.Method, Path: filled(op, sample)}
				if op.Body != nil {
					r.Body = `{}`
				}
				a.wants(r, 401)
			}
		}
		if swept < 60 {
			a.Errorf("swept %d operations only", swept)
		}
		w.App.Clock.Advance(time.Second)
		a.honest(get(w.keep(w.IdP.Token("revoked", claims), "alpha", "common"), productList)) // what comes later is good
		a.wants(get(token, productList), 401)
	})
	w.class(t, "with what came from them", func(a *attack) {
		a.writing("common")
		um := w.token("um")
		s := a.session(um, "charlie")
		chained := a.session(s.Token, "alpha")
		a.honest(get(chained.Token, productList))
		a.honest(revoking(issuer + `,"sub":"um"`))
		for _, token := range []string{um, s.Token, chained.Token} {
			a.wants(get(token, productList), 401)
			a.wants(switching(token, "charlie"), 401)
		}
		w.App.Clock.Advance(time.Second)
		for _, token := range []string{s.RefreshToken, chained.RefreshToken} {
			a.wants(refreshing(token), 401)
		}
	})
	w.class(t, "dated ahead", func(a *attack) {
		a.writing("common")
		token := w.signed("ub", apitest.Claims{"sub": "ahead", "iat": w.App.Clock.Now().Unix() + 50})
		a.honest(get(token, productList))
		a.honest(revoking(issuer + `,"sub":"ahead"`))
		a.wants(get(token, productList), 401)
		w.App.Clock.Advance(time.Minute)
		a.wants(get(token, productList), 401)
		a.honest(get(w.signed("ub", apitest.Claims{"sub": "ahead"}), productList))
		sa = w.token("sa")
	})
	w.class(t, "one token, and nobody else's", func(a *attack) {
		a.writing("common")
		one := w.signed("ua", apitest.Claims{"jti": "one-token"})
		two := w.signed("ub", apitest.Claims{"jti": "one-token-2"})
		a.honest(get(one, productList))
		a.honest(revoking(issuer + `,"jti":"one-token"`))
		a.honest(revoking(`"issuer":"tenantry","sub":"ub"`)) // another issuer's
		a.honest(revoking(issuer + `,"sub":"one-token-2"`))
		a.honest(revoking(issuer + `,"jti":"ub"`))
		a.wants(get(one, productList), 401)
		a.honest(get(two, productList))
		a.honest(get(w.token("ua"), productList))
		for _, body := range []string{issuer, issuer + `,"sub":"a","jti":"b"`, `"sub":"a"`, issuer + `,"sub":""`, issuer + `,"sub":"a","tenantCode":"bravo"`} {
			a.wants(revoking(body), 400, 422)
		}
	})
}

// TestNamesakes has users of two issuers who share subject, user code and address.
func TestNamesakes(t *testing.T) {
	first, second := apitest.NewIdP(t, time.Now), apitest.NewIdP(t, time.Now)
	second.Name, second.Audience = "https://second.example", "second"
	trust := func(p *apitest.IdP, cross bool, names ...string) auth.Issuer {
		iss := p.Issuer()
		iss.CrossTenant = &cross
		for _, name := range names {
			code, err := tenant.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			iss.Tenants = append(iss.Tenants, code)
		}
		return iss
	}
	s := apitest.Start(t, apitest.Options{Tenants: []string{"alpha", "bravo"}, App: tenantry.Config{Now: time.Now,
		Issuers: []auth.Issuer{trust(first, true, "alpha", "bravo"), trust(second, false, "bravo")}}})
	w := &world{Server: s, readers: map[string][]string{}, canaries: map[string]string{}}
	root := first.Token("root", apitest.Claims{"custom:role": "system_admin"})
	of := func(p *apitest.IdP) string {
		return p.Token("same", apitest.Claims{"email": "same@example.com", "email_verified": true, "custom:roles": "[]"})
	}
	play := func(name string, class func(*attack)) {
		t.Run(name, func(t *testing.T) { class(&attack{TB: t, w: w}) })
	}
	play("switching", func(a *attack) {
		a.honest(addMember(root, "alpha", "same", "admin"))
		a.honest(switching(of(first), "alpha"))
		a.wants(switching(of(second), "alpha"), 403)
		if got := tenantsOf(a, a.do(get(of(second), "/api/users/same/tenants"))); got != "[]" {
			a.Errorf("the namesake sees %s", got)
		}
		if me := a.do(get(of(second), "/api/me")); strings.Contains(string(me.Body), "alpha") {
			a.Errorf("the namesake is told: %v", me)
		}
	})
	play("invitations", func(a *attack) {
		inAlpha, inBravo := invite(a, w, root, "alpha", `"email":"same@example.com"`), invite(a, w, root, "bravo", `"email":"same@example.com"`)
		a.wants(accepting(of(second), inAlpha), 404)
		a.honest(accepting(of(second), inBravo))
		a.honest(switching(of(second), "bravo"))
		a.wants(switching(of(first), "bravo"), 403) // it is the other's
	})
	play("revocations", func(a *attack) {
		session := a.session(of(first), "alpha")
		a.honest(post(root, "/api/admin/revocations", `{"issuer":"%s","sub":"same","reason":"r"}`, second.Name))
		a.wants(switching(of(second), "bravo"), 401)
		a.honest(get(of(first), "/api/me"))
		a.honest(get(session.Token, productList))
	})
}

package attacks_test

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(apitest.Main(m)) }

// codes are the tenants of the world: the attacker, the victim, and neighbours whose codes are easily confused. zulu9 is never created.
var codes = []string{"alpha", "bravo", "charlie", "9999", "kilo", "istanbul", "alph", "alpha2", "alpha-b"}

// user is who calls: what their tokens claim, and whose canaries they may see.
type user struct {
	claims apitest.Claims
	reads  []string
}

func member(role, code string) user {
	return user{apitest.Claims{"custom:tenant": code, "custom:roles": fmt.Sprintf(`[{"tenant":%q,"role":%q}]`, code, role)}, []string{code, "common"}}
}

// users are the users of the matrix: of alpha, of bravo, um in two tenants, un in none, and sa in all.
var users = map[string]user{
	"ua": member("user", "alpha"), "aa": member("admin", "alpha"),
	"ub": member("user", "bravo"), "ab": member("admin", "bravo"),
	"um": {apitest.Claims{"custom:tenant": "alpha", "custom:roles": `[{"tenant":"alpha","role":"user"},{"tenant":"charlie","role":"user"}]`}, []string{"alpha", "common"}},
	"un": {apitest.Claims{"custom:roles": `[{"tenant":"","role":"user"}]`}, []string{"common"}},
	"sa": {apitest.Claims{"custom:role": "system_admin"}, append([]string{"common"}, codes...)},
}

// products are the sort keys of the records that each tenant has; bravo has b1 beside them.
var products = []string{"1", "2", "3", "4", "5"}

// world is a server with tenants whose every record carries a canary.
type world struct {
	*apitest.Server
	canaries map[string]string
	counts   map[string]int64 // of the products that each tenant begins with

	mu      sync.Mutex
	readers map[string][]string // whose canaries the bearer of a token may see
	digests apitest.Digests     // of the last time that nothing was going on
}

// newWorld starts the world.
func newWorld(t *testing.T, change ...func(*apitest.Options)) *world {
	t.Helper()
	opts := apitest.Options{App: tenantry.Config{Entities: []entity.Type{
		{Name: record.MustEntityType("TEMPLATE"), Shared: true},
		{Name: record.MustEntityType("CATALOG"), UniqueCode: true},
	}}}
	for _, c := range change {
		c(&opts)
	}
	w := &world{Server: apitest.Start(t, opts), canaries: map[string]string{}, counts: map[string]int64{}, readers: map[string][]string{}}
	sa := w.token("sa")
	for _, code := range append(slices.Clone(codes), "common") {
		id := make([]byte, 16)
		rand.Read(id)
		canary := "CANARY-" + code + "-" + hex.EncodeToString(id)
		w.canaries[code] = canary
		if code == "common" {
			w.must(t, post(sa, "/api/tenant/common", `{"name":"%s"}`, canary))
			w.must(t, post(sa, "/api/tenants/common/data/TEMPLATE", `{"sk":"t1","name":"%s","attributes":{"note":"%[1]s"}}`, canary))
			continue
		}
		w.must(t, post(sa, "/api/tenant", `{"code":"%s","name":"%s","attributes":{"note":"%[2]s"}}`, code, canary))
		sks := products
		if code == "bravo" {
			sks = append(slices.Clone(products), "b1")
		}
		w.counts[code] = int64(len(sks))
		for _, sk := range sks {
			w.must(t, post(w.tokenOf(member("user", code), "seed"), "/api/data/PRODUCT", `{"sk":"%s","name":"%s","attributes":{"note":"%[2]s"}}`, sk, canary))
		}
		w.must(t, post(w.tokenOf(member("user", code), "seed"), "/api/data/CATALOG", `{"sk":"c1","code":"X-%s","name":"%s"}`, code, canary))
	}
	w.settle(t)
	w.must(t, patch(w.token("ub"), "/api/data/PRODUCT/b1", `{"version":1,"attributes":{"more":"%s"}}`, w.canaries["bravo"]))
	w.digests = w.Digest(t)
	return w
}

// currencies are those that a tenant may have set, none that another has.
var currencies = map[string][]string{"alpha": {"USD", "CAD"}, "bravo": {"EUR", "GBP"}, "charlie": {"CHF", "SEK"}}

// settle gives tenants members and settings: um is a member of alpha and charlie, somebody is invited to alpha, and the member list and
// the master setting theme of each hold the tenant's canary.
func (w *world) settle(t *testing.T) {
	t.Helper()
	sa := w.token("sa")
	for _, code := range []string{"alpha", "charlie"} {
		w.must(t, addMember(sa, code, "um", "user"))
	}
	w.must(t, post(sa, "/api/tenants/alpha/invitations", `{"userCode":"somebody","role":"user"}`))
	for code, own := range currencies {
		w.must(t, addMember(sa, code, w.canaries[code], "user"))
		w.must(t, patch(sa, "/api/tenants/"+code+"/settings", `{"currency":"%s"}`, own[0]))
		w.must(t, with(put(sa, "/api/master-setting/tenant/theme", `{"name":"Theme","settingValue":{"n":0,"note":"%s"}}`, w.canaries[code]), tenantHeader, code))
	}
}

// metrics is what a tenant's report says, of what was committed with an answer, nil for what is counted already.
type metrics struct {
	TenantCode              string
	Products, Orders, Users int64
}

func (w *world) metrics(a *attack, token, code string, after *apitest.Answer) (m metrics) {
	a.Helper()
	r := get(token, "/api/tenants/"+code+"/metrics")
	switch {
	case after == nil:
	case w.LateFeed(): // the answer says no place in the feed
		if err := w.App.CatchUp(a.Context()); err != nil {
			a.Fatal(err)
		}
	default:
		r = with(r, "X-Tenantry-Position", after.Header.Get("X-Tenantry-Position"))
	}
	if a.honest(r).Decode(a, &m); m.TenantCode != code {
		a.Errorf("the report of %s is of %s", code, m.TenantCode)
	}
	return m
}

func addMember(token, code, userCode, role string) apitest.Request {
	return post(token, "/api/tenants/"+code+"/users", `{"userCode":"%s","role":"%s"}`, userCode, role)
}

func switching(token, code string) apitest.Request {
	return post(token, "/api/auth/switch-tenant", `{"tenantCode":"%s"}`, code)
}

func (w *world) must(t testing.TB, r apitest.Request) *apitest.Answer {
	t.Helper()
	a := w.Do(t, r)
	if !a.OK() {
		t.Fatalf("%v: %v", r, a)
	}
	return a
}

// token returns a good token of a user of the matrix.
func (w *world) token(name string) string { return w.tokenOf(users[name], name) }

func (w *world) tokenOf(u user, subject string) string {
	return w.keep(w.IdP.Token(subject, u.claims), u.reads...)
}

// signed returns a token of a user with other claims, signed with k1.
func (w *world) signed(name string, other apitest.Claims) string {
	claims := maps.Clone(users[name].claims)
	maps.Copy(claims, other)
	return w.keep(w.IdP.Token(name, claims), users[name].reads...)
}

// claims returns the claims of a good token of a user.
func (w *world) claims(name string) apitest.Claims {
	return w.IdP.Claims(name).With(users[name].claims)
}

func (w *world) keep(token string, reads ...string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readers[token] = reads
	return token
}

var canary = regexp.MustCompile(`CANARY-([a-z0-9_-]+)-[0-9a-f]{32}`)

// seen returns the tenants whose canaries stand in an answer.
func seen(a *apitest.Answer) []string {
	var found []string
	for _, m := range canary.FindAllStringSubmatch(fmt.Sprint(a.Header)+string(a.Body), -1) {
		if !slices.Contains(found, m[1]) {
			found = append(found, m[1])
		}
	}
	slices.Sort(found)
	return found
}

// foreign returns the tenants whose canaries stand in an answer that the bearer of token may not see.
func (w *world) foreign(token string, a *apitest.Answer) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(seen(a), func(code string) bool { return slices.Contains(w.readers[token], code) })
}

// attack is one case of the matrix.
type attack struct {
	testing.TB
	w          *world
	writes     []string // tenants that its honest requests write
	controlled bool
}

// attack plays the case id. It is invalid without an honest request that succeeds; tenants that it doesn't declare to write must
// not change.
func (w *world) attack(t *testing.T, id string, play func(*attack)) { w.class(t, id, play) }

// class plays a class of attacks that the matrix has no case for.
func (w *world) class(t *testing.T, name string, play func(*attack)) {
	t.Run(name, func(t *testing.T) {
		a := &attack{TB: t, w: w}
		play(a)
		if !a.controlled {
			t.Error("no honest request succeeded: the case proves nothing")
		}
		after := w.Digest(t)
		for _, code := range w.digests.Changed(after) {
			if !slices.Contains(a.writes, code) {
				t.Errorf("what is keyed to %q changed", code)
			}
		}
		w.digests = after
		w.smoke(t)
	})
}

// smoke checks that honest callers are still served.
func (w *world) smoke(t *testing.T) {
	t.Helper()
	w.must(t, get("", "/healthz"))
	w.must(t, get(w.token("ua"), "/api/data/PRODUCT"))
	w.must(t, get(w.token("ub"), "/api/data/PRODUCT/b1"))
	w.must(t, get(w.token("sa"), "/api/tenant"))
}

// writing declares the tenants that the case's honest requests write.
func (a *attack) writing(codes ...string) { a.writes = append(a.writes, codes...) }

// do sends a request and checks what must hold of every answer.
func (a *attack) do(r apitest.Request) *apitest.Answer {
	a.Helper()
	answer := a.w.Do(a, r)
	a.checkCanaries(r, answer)
	return answer
}

func (a *attack) checkCanaries(r apitest.Request, answer *apitest.Answer) {
	a.Helper()
	if foreign := a.w.foreign(r.Token, answer); len(foreign) > 0 {
		a.Errorf("%v shows what belongs to %v: %v", r, foreign, answer)
	}
}

// honest sends the request of a control, which must succeed.
func (a *attack) honest(r apitest.Request) *apitest.Answer {
	a.Helper()
	answer := a.do(r)
	if !answer.OK() {
		a.Fatalf("the control fails, %v: %v", r, answer)
	}
	a.controlled = true
	return answer
}

// wants sends a request, which must be answered with one of statuses.
func (a *attack) wants(r apitest.Request, statuses ...int) *apitest.Answer {
	a.Helper()
	answer := a.do(r)
	if !slices.Contains(statuses, answer.Status) {
		a.Errorf("%v: %v; want %v", r, answer, statuses)
	}
	return answer
}

// hidden sends a request for what the caller may not see and its twin for what doesn't exist. They must be answered alike.
func (a *attack) hidden(real, twin apitest.Request) {
	a.Helper()
	one, other := a.wants(real, 403, 404), a.wants(twin, 403, 404)
	if alike(one) != alike(other) {
		a.Errorf("%v and %v are answered differently:\n%s\n%s", real, twin, alike(one), alike(other))
	}
}

// alike returns an answer without what differs between any two requests. Values of headers count too.
func alike(a *apitest.Answer) string {
	h := a.Header.Clone()
	h.Del("X-Request-Id")
	h.Del("Date")
	return fmt.Sprintf("%s\n%v", a.Masked(), h)
}

// raw sends text over a connection of its own and returns the one answer. The connection may be closed without one only where the
// server can't read the request; the answer is nil then.
func (a *attack) raw(token, text string) *apitest.Answer {
	a.Helper()
	answers := a.w.Raw(a, 1, text)
	if len(answers) == 0 {
		a.Fatalf("the connection was dropped after %q", text)
	}
	answer := answers[0]
	a.checkCanaries(apitest.Request{Token: token, Method: "raw", Path: text}, answer)
	if answer.Status >= 500 {
		a.Errorf("%q: %v", text, answer)
	}
	return answer
}

// until waits until ok, and fails the case where that takes too long.
func (a *attack) until(what string, ok func() bool) {
	a.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			a.Fatalf("it does not come to pass: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func get(token, path string) apitest.Request {
	return apitest.Request{Token: token, Method: http.MethodGet, Path: path}
}

func post(token, path, body string, args ...any) apitest.Request {
	return withBody(token, http.MethodPost, path, body, args)
}

func put(token, path, body string, args ...any) apitest.Request {
	return withBody(token, http.MethodPut, path, body, args)
}

func patch(token, path, body string, args ...any) apitest.Request {
	return withBody(token, http.MethodPatch, path, body, args)
}

func withBody(token, method, path, body string, args []any) apitest.Request {
	if len(args) > 0 {
		body = fmt.Sprintf(body, args...)
	}
	return apitest.Request{Token: token, Method: method, Path: path, Body: body}
}

func remove(token, path string) apitest.Request {
	return apitest.Request{Token: token, Method: http.MethodDelete, Path: path}
}

// with returns r with more headers: name, value, …
func with(r apitest.Request, header ...string) apitest.Request {
	r.Header = append(slices.Clone(r.Header), header...)
	return r
}

// rows returns the sort keys that a list holds.
func rows(t testing.TB, a *apitest.Answer) []string {
	t.Helper()
	var page struct {
		Items []struct {
			SK string `json:"sk"`
		} `json:"items"`
	}
	a.Decode(t, &page)
	sks := make([]string, len(page.Items))
	for i, item := range page.Items {
		sks[i] = item.SK
	}
	return sks
}

const tenantHeader = "X-Tenant-Code"

// lines joins the lines of a raw request.
func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

// replaced returns path with code where it has a place for a tenant.
func replaced(path, code string) string { return strings.ReplaceAll(path, "%s", code) }

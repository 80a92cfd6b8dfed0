package httpapi_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

const products = "/api/data/PRODUCT"

// want fails the test unless an answer has a status and a code; "" is none.
func want(t *testing.T, a *apitest.Answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.Code() != code {
		t.Errorf("got %v; want %d %s", a, status, code)
	}
}

func start(t *testing.T, opts apitest.Options) *apitest.Server {
	t.Helper()
	if opts.Tenants == nil {
		opts.Tenants = []string{"alpha", "bravo"}
	}
	return apitest.Start(t, opts)
}

// padded returns a create whose body is size bytes long.
func padded(size int) string {
	const head, tail = `{"name":"A","attributes":{"x":"`, `"}}`
	return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
}

func TestSizes(t *testing.T) {
	s := start(t, apitest.Options{HTTP: httpapi.Config{MaxBody: 64 << 10}})
	user := s.Token("user@alpha")
	post := func(body string, header ...string) *apitest.Answer {
		return s.Do(t, apitest.Request{Token: user, Method: "POST", Path: products, Body: body, Header: header})
	}
	chunked := func(size int) *apitest.Answer {
		body := padded(size)
		answers := s.Raw(t, 1, fmt.Sprintf("POST %s HTTP/1.1\nHost: x\nAuthorization: Bearer %s\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n%x\n%s\n0\n\n", products, user, len(body), body))
		if len(answers) != 1 {
			t.Fatal("no answer")
		}
		return answers[0]
	}
	get := func(path string, header ...string) *apitest.Answer {
		return s.Do(t, apitest.Request{Token: user, Method: "GET", Path: path, Header: header})
	}
	want(t, post(padded(64<<10)), 201, "")
	want(t, post(padded(64<<10+1)), 413, "too_large")
	want(t, chunked(64<<10), 201, "")
	want(t, chunked(64<<10+1), 413, "too_large")
	long := strings.Repeat("k", 8<<10-len(products)-len("prefix="))
	want(t, get(products+"?prefix="+long), 200, "")
	want(t, get(products+"?prefix="+long+"k"), 414, "too_large")
	want(t, get("/nothing/"+strings.Repeat("k", 8<<10)), 414, "too_large")
	want(t, get(products+"?cursor="+strings.Repeat("A", 1<<20)), 414, "too_large")
	want(t, get(products, "X-Padding", strings.Repeat("p", 31<<10)), 200, "")
	want(t, get(products, "X-Padding", strings.Repeat("p", 33<<10)), 431, "too_large")
	want(t, s.Do(t, apitest.Request{Token: strings.Repeat("t", 1<<20), Method: "GET", Path: products}), 401, "unauthenticated")
	var flood []string
	for i := range 3000 {
		flood = append(flood, "X-"+strconv.Itoa(i), "v01234567")
	}
	want(t, get(products, flood...), 431, "too_large")
}

func TestContentTypes(t *testing.T) {
	s := start(t, apitest.Options{})
	post := func(kind, body string, header ...string) *apitest.Answer {
		return s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products, Type: kind, Body: body, Header: header})
	}
	const good = `{"name":"A"}`
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON", `application/json; charset="utf-8"`} {
		want(t, post(kind, good), 201, "")
	}
	for _, kind := range []string{"-", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-7", "application/json; charset=utf-16",
		"application/json; charset=iso-8859-1", "application/json; boundary=x", "application/merge-patch+json", "application/json, text/plain", "application/jsonp", "*/*", "json", ";"} {
		want(t, post(kind, good), 415, "unsupported_media_type")
	}
	want(t, post("application/json", good, "Content-Encoding", "identity"), 201, "")
	want(t, post("application/json", good, "Content-Encoding", "gzip"), 415, "unsupported_media_type")
	want(t, post("application/json", good, "Content-Encoding", "identity", "Content-Encoding", "gzip"), 400, "invalid_request")
	want(t, post("application/json", good, "Content-Type", "text/plain"), 400, "invalid_request")
	want(t, post("application/json", "\ufeff"+good), 400, "invalid_request")
	var wide bytes.Buffer
	for _, unit := range utf16.Encode([]rune("\ufeff" + good)) {
		wide.Write([]byte{byte(unit), byte(unit >> 8)})
	}
	want(t, post("application/json", wide.String()), 400, "invalid_request")
	want(t, post("application/json", "{\"name\":\"\xff\"}"), 400, "invalid_request")
	want(t, post("application/json", "{\"name\":\"a\nb\"}"), 400, "invalid_request")
	want(t, post("application/json", "{\"name\":\"\x00\"}"), 400, "invalid_request")
	want(t, post("application/json", " \n"+good+"\n "), 201, "")
	want(t, post("application/json", "\v"+good), 400, "invalid_request")
	want(t, post("application/json", "   "), 400, "invalid_request")
}

func TestDepth(t *testing.T) {
	s := start(t, apitest.Options{})
	nested := func(depth int) string { // attributes that nest depth deep
		return strings.Repeat(`{"a":`, depth-1) + `{}` + strings.Repeat(`}`, depth-1)
	}
	lists := func(depth int) string {
		return `{"a":` + strings.Repeat(`[`, depth-1) + strings.Repeat(`]`, depth-1) + `}`
	}
	for _, shape := range []func(int) string{nested, lists} {
		for depth, status := range map[int]int{1: 201, 2: 201, 30: 201, 31: 400, 33: 400, 34: 400, 1000: 400, 10_001: 400, 50_000: 400} {
			if status == 201 && depth == 1 {
				continue // lists of depth 1 have no list
			}
			code := map[int]string{400: "invalid_request"}[status]
			post := func(path, body string) *apitest.Answer {
				return s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: path, Body: body})
			}
			want(t, post(products, `{"name":"A","attributes":`+shape(depth)+`}`), status, code)
			bulk := post(products+"/bulk", `[{"name":"A","attributes":`+shape(depth)+`}]`)
			if (bulk.Status == 200) != (status == 201) {
				t.Errorf("a bulk with attributes %d deep: %v", depth, bulk)
			}
			want(t, post(products, `{"name":"A","other":`+shape(depth)+`}`), map[bool]int{true: 422, false: 400}[depth <= 31], map[bool]string{true: "validation_failed", false: "invalid_request"}[depth <= 31])
		}
	}
}

func TestSlowBodies(t *testing.T) {
	s := start(t, apitest.Options{HTTP: httpapi.Config{Timeout: 200 * time.Millisecond}})
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\":", products, s.Token("user@alpha"))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if took := time.Since(began); err != nil || response.StatusCode != 408 || !strings.Contains(string(body), `"code":"timeout"`) || took > 5*time.Second {
		t.Errorf("after %v: %d %s %v; want 408 timeout", took, response.StatusCode, body, err)
	}
	short := s.Raw(t, 1, "POST "+products+" HTTP/1.1\nHost: x\nAuthorization: Bearer "+s.Token("user@alpha")+"\nContent-Type: application/json\nTransfer-Encoding: chunked\n\nnot a chunk\n")
	if len(short) != 1 {
		t.Fatal("no answer")
	}
	want(t, short[0], 400, "invalid_request")
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}), 200, "")
}

func TestRateLimit(t *testing.T) {
	s := start(t, apitest.Options{HTTP: httpapi.Config{RateLimit: 20}})
	flood := func(user, tenant string) (passed, refilled int) { // and how many could come back to the tenant's share meanwhile
		began := time.Now()
		r := apitest.Request{Token: s.Token(user), Method: "GET", Path: "/api/tenants/" + tenant + "/data/PRODUCT"}
		for range 60 {
			a := s.Do(t, r)
			if a.OK() {
				passed++
				continue
			}
			want(t, a, 429, "rate_limited")
			var p struct{ Limit string }
			a.Decode(t, &p)
			whose := "tenant"
			if user == "system_admin" {
				whose = "operators"
			}
			if seconds, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || seconds < 1 || p.Limit != whose {
				t.Errorf("Retry-After %q, limit %q", a.Header.Get("Retry-After"), p.Limit)
			}
		}
		return passed, 1 + int(20*time.Since(began).Seconds())
	}
	for _, c := range []struct{ user, tenant string }{{"user@alpha", "alpha"}, {"user@bravo", "bravo"}, {"system_admin", "alpha"}} {
		if passed, refilled := flood(c.user, c.tenant); passed < 20 || passed > 20+refilled {
			t.Errorf("%s: %d of 60 passed; a tenant has 20 at once and 20 a second, whatever the others do", c.user, passed)
		}
	}
	began := time.Now()
	flood("user@alpha", "alpha")
	if passed, _ := flood("admin@alpha", "alpha"); passed > 1+int(20*time.Since(began).Seconds()) {
		t.Errorf("%d of another user's passed; the limit is the tenant's", passed)
	}
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@bravo"), Method: "GET", Path: "/api/tenants/alpha/data/PRODUCT"}), 403, "tenant_forbidden")
	want(t, s.Do(t, apitest.Request{Method: "GET", Path: "/healthz"}), 200, "")
}

// Callers who act in no tenant have a share of their own, and where nobody is known yet that of where they call from: many come from one
// address, that of a load balancer. They cost no tenant anything.
func TestRateLimitWithoutTenant(t *testing.T) {
	shared := []entity.Type{{Name: record.MustEntityType("TEMPLATE"), Shared: true}}
	s := start(t, apitest.Options{HTTP: httpapi.Config{RateLimit: 20}, App: tenantry.Config{Entities: shared}})
	me := func(sub string) apitest.Request {
		return apitest.Request{Token: s.IdP.Token(sub, apitest.Claims{"custom:roles": "[]"}), Method: "GET", Path: "/api/me"}
	}
	inCommon := func(sub string) apitest.Request {
		r := me(sub)
		r.Path, r.Header = "/api/common/TEMPLATE", []string{"X-Tenant-Code", "common"}
		return r
	}
	for _, c := range []struct {
		whose   string
		request apitest.Request
		status  int
	}{
		{"source", apitest.Request{Method: "POST", Path: "/api/auth/refresh", Body: `{"refreshToken":"x"}`}, 401},
		{"user", me("ann"), 200},
		{"user", inCommon("cyd"), 200},
	} {
		limited, began := 0, time.Now()
		for range 60 {
			a := s.Do(t, c.request)
			if a.Status == c.status {
				continue
			}
			limited++
			want(t, a, 429, "rate_limited")
			var p struct{ Limit string }
			if a.Decode(t, &p); p.Limit != c.whose {
				t.Errorf("the limit is the %s's, want the %s's", p.Limit, c.whose)
			}
		}
		if most := 20 + 1 + int(20*time.Since(began).Seconds()); limited < 60-most {
			t.Errorf("%d of 60 of a %s were limited, want all but %d", limited, c.whose, most)
		}
		want(t, s.Do(t, me("ben")), 200, "")
		want(t, s.Do(t, inCommon("ben")), 200, "")
		want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}), 200, "")
	}
}

// TestShares has a tenant send more than is served at a time: what is beyond waits, what is beyond that is refused, and nobody else notices.
func TestShares(t *testing.T) {
	const atOnce, waiting, beyond = 2, 3, 4
	entered, open := make(chan struct{}, 100), make(chan struct{})
	handle := func(ctx context.Context, c *route.Call) (route.Answer, error) {
		if c.Scope().Tenant().String() == "alpha" {
			entered <- struct{}{}
			select {
			case <-open:
			case <-ctx.Done():
				return route.Answer{}, ctx.Err()
			}
		}
		return route.JSON(http.StatusOK, map[string]string{})
	}
	s := start(t, apitest.Options{HTTP: httpapi.Config{AtOnce: atOnce, Waiting: waiting, Timeout: 10 * time.Second}, App: tenantry.Config{Routes: []route.Operation{own(handle)}}})
	send := func(user string) *apitest.Answer {
		a, err := s.Send(apitest.Request{Token: s.Token(user), Method: "POST", Path: "/api/own"})
		if err != nil {
			t.Error(err)
			return &apitest.Answer{}
		}
		return a
	}
	answers := make(chan *apitest.Answer, atOnce+waiting+beyond)
	var calling sync.WaitGroup
	for range cap(answers) {
		calling.Go(func() { answers <- send("user@alpha") })
	}
	for range beyond {
		a := <-answers // the others are served or wait
		want(t, a, 429, "rate_limited")
		var p struct{ Limit string }
		if a.Decode(t, &p); a.Header.Get("Retry-After") != "1" || p.Limit != "tenant" {
			t.Errorf("Retry-After %q, limit %q", a.Header.Get("Retry-After"), p.Limit)
		}
	}
	for range atOnce {
		<-entered
	}
	want(t, send("user@bravo"), 200, "")
	want(t, send("admin@alpha"), 429, "rate_limited")
	want(t, send("user@bravo"), 200, "")
	if len(entered) > 0 {
		t.Errorf("more than %d requests of a tenant are served at a time", atOnce)
	}
	close(open)
	calling.Wait()
	for range atOnce + waiting {
		want(t, <-answers, 200, "")
	}
	want(t, send("user@alpha"), 200, "")
}

// TestLateTurn has a request wait for its turn until its time is over: it is told that nothing was done, which nobody knows of one that was begun.
func TestLateTurn(t *testing.T) {
	entered, open := make(chan struct{}, 1), make(chan struct{})
	handle := func(context.Context, *route.Call) (route.Answer, error) {
		entered <- struct{}{}
		<-open
		return route.JSON(http.StatusOK, map[string]string{})
	}
	s := start(t, apitest.Options{HTTP: httpapi.Config{AtOnce: 1, Timeout: 2 * time.Second}, App: tenantry.Config{Routes: []route.Operation{own(handle)}}})
	r := apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/own", Slow: true}
	first := make(chan error, 1)
	go func() {
		_, err := s.Send(r)
		first <- err
	}()
	<-entered
	late := s.Do(t, r)
	if want(t, late, 408, "timeout"); !strings.Contains(string(late.Body), "nothing was done") {
		t.Errorf("the request whose turn did not come is told %s", late.Body)
	}
	close(open)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestCompression(t *testing.T) {
	s := start(t, apitest.Options{})
	user := s.Token("user@alpha")
	for range 20 {
		s.Do(t, apitest.Request{Token: user, Method: "POST", Path: products, Body: `{"name":"A"}`})
	}
	plain := s.Do(t, apitest.Request{Token: user, Method: "GET", Path: products})
	for encoding, open := range map[string]func(io.Reader) (io.Reader, error){
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	} {
		a := s.Do(t, apitest.Request{Token: user, Method: "GET", Path: products, Header: []string{"Accept-Encoding", encoding}})
		if a.Header.Get("Content-Encoding") != encoding || !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Accept-Encoding") || len(a.Body) >= len(plain.Body) {
			t.Errorf("%s: %v, %d bytes", encoding, a.Header, len(a.Body))
			continue
		}
		reader, err := open(bytes.NewReader(a.Body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reader)
		if d, ok := reader.(*zstd.Decoder); ok {
			d.Close()
		}
		if err != nil || !bytes.Equal(text, plain.Body) {
			t.Errorf("%s: the text differs: %v", encoding, err)
		}
	}
	for _, header := range []string{"", "identity", "br", "gzip;q=0"} {
		if a := s.Do(t, apitest.Request{Token: user, Method: "GET", Path: products, Header: []string{"Accept-Encoding", header}}); a.Header.Get("Content-Encoding") != "" || !bytes.Equal(a.Body, plain.Body) {
			t.Errorf("Accept-Encoding %q: %v", header, a.Header)
		}
	}
	if a := s.Do(t, apitest.Request{Token: user, Method: "GET", Path: "/api/me", Header: []string{"Accept-Encoding", "gzip"}}); a.Header.Get("Content-Encoding") != "" {
		t.Error("a short answer is compressed")
	}
	doc := s.Do(t, apitest.Request{Method: "GET", Path: "/openapi.json", Header: []string{"Accept-Encoding", "gzip"}})
	if doc.Header.Get("Content-Encoding") != "gzip" || doc.Header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("the description: %v", doc.Header)
	}
}

func TestCORS(t *testing.T) {
	s := start(t, apitest.Options{HTTP: httpapi.Config{Origins: []string{"https://app.example", "http://localhost:3000"}, TLS: true}})
	send := func(method, origin string, header ...string) *apitest.Answer {
		return s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: method, Path: products, Header: append(header, "Origin", origin)})
	}
	a := send("GET", "https://app.example")
	if a.Header.Get("Access-Control-Allow-Origin") != "https://app.example" || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("a listed origin: %v", a.Header)
	}
	if a.Header.Get("Strict-Transport-Security") == "" {
		t.Error("there is no HSTS")
	}
	preflight := send("OPTIONS", "https://app.example", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "authorization,x-tenant-code")
	if preflight.Status != 204 || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Methods"), "PUT") || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "X-Tenant-Code") {
		t.Errorf("preflight: %v %v", preflight, preflight.Header)
	}
	want(t, send("OPTIONS", "https://app.example"), 405, "method_not_allowed")
	for _, origin := range []string{"https://evil.example", "null", "https://app.example.evil", "https://evilapp.example", "http://app.example", "https://app.example:444", "http://localhost:1", "HTTPS://APP.EXAMPLE", "https://app.example/", "*"} {
		for _, a := range []*apitest.Answer{send("GET", origin), send("OPTIONS", origin, "Access-Control-Request-Method", "GET")} {
			if a.Header.Get("Access-Control-Allow-Origin") != "" || a.Header.Get("Access-Control-Allow-Methods") != "" || !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Origin") {
				t.Errorf("origin %s: %v", origin, a.Header)
			}
		}
	}
	for name := range a.Header {
		if name == "Access-Control-Allow-Credentials" {
			t.Error("credentials are allowed")
		}
	}
}

// TestManyProblems keeps refusals small: what a request says is not echoed.
func TestManyProblems(t *testing.T) {
	s := start(t, apitest.Options{})
	var members []string
	for i := range 2000 {
		members = append(members, fmt.Sprintf("%q:1", strings.Repeat("\u0001<é", 20)+strconv.Itoa(i)))
	}
	a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products, Body: "{" + strings.ReplaceAll(strings.Join(members, ","), `\x01`, `\u0001`) + "}"})
	want(t, a, 422, "validation_failed")
	var p struct{ Errors []json.RawMessage }
	if a.Decode(t, &p); len(p.Errors) == 0 {
		t.Error("no problem is named")
	}
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products, Body: `{"` + strings.Repeat("x", 1<<19) + `":1}`}), 422, "validation_failed")
	bulk := "[" + strings.Repeat(`{"nam":1},`, 499) + `{}]`
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products + "/bulk", Body: bulk}), 422, "validation_failed")
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products + "/bulk", Body: "[" + strings.Repeat(`{"name":"x"},`, 500) + `{"name":"x"}]`}), 422, "validation_failed")
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products + "/get", Body: `{"sks":[` + strings.Repeat(`"x",`, 100) + `"x"]}`}), 422, "validation_failed")
	for path, body := range map[string]string{products + "/get": `{"sks":[` + strings.Repeat("1,", 500_000) + "1]}",
		products + "/bulk": "[" + strings.Repeat("1,", 500_000) + "1]"} {
		if a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: path, Body: body}); a.Status != 422 {
			t.Errorf("%s: %v", path, a)
		}
	}
	full := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products + "/bulk", Body: "[" + strings.Repeat(`{"name":"x"},`, 499) + `{"name":"x"}]`, Slow: true})
	want(t, full, 200, "")
}

// TestSingleTenant has the tenant single act for callers that name none.
func TestSingleTenant(t *testing.T) {
	s := start(t, apitest.Options{App: tenantry.Config{SingleTenant: true}})
	get := func(user string, header ...string) *apitest.Answer {
		return s.Do(t, apitest.Request{Token: s.Token(user), Method: "GET", Path: products, Header: header})
	}
	want(t, s.Do(t, apitest.Request{Token: s.Token("user"), Method: "POST", Path: products, Body: `{"sk":"p","name":"A"}`}), 201, "")
	want(t, get("user"), 200, "")
	want(t, get("user@single", "X-Tenant-Code", "SINGLE"), 200, "")
	want(t, get("user", "X-Tenant-Code", "alpha"), 403, "tenant_forbidden")
	want(t, get("user@alpha"), 200, "")
	want(t, get("user@alpha", "X-Tenant-Code", "single"), 403, "tenant_mismatch")
	a := s.Do(t, apitest.Request{Token: s.Token("user"), Method: "GET", Path: "/api/me"})
	if !bytes.Contains(a.Body, []byte(`"tenantCode":"single"`)) {
		t.Errorf("me: %v", a)
	}
}

// TestMembersOfSingleTenant manages the members and the settings of the tenant single, which exists without having been created.
func TestMembersOfSingleTenant(t *testing.T) {
	s := start(t, apitest.Options{App: tenantry.Config{SingleTenant: true, MembershipRequired: true}})
	do := func(user, method, path, body string) *apitest.Answer {
		return s.Do(t, apitest.Request{Token: s.Token(user), Method: method, Path: path, Body: body})
	}
	const members = "/api/tenants/single/users"
	want(t, do("user", "GET", products, ""), 403, "not_a_member")
	want(t, do("system_admin", "POST", members, `{"userCode":"user","role":"admin"}`), 201, "")
	want(t, do("user", "GET", products, ""), 200, "")
	want(t, do("user", "GET", members, ""), 200, "")
	want(t, do("user", "POST", "/api/tenants/single/invitations", `{"userCode":"b","role":"user"}`), 201, "")
	want(t, do("user", "POST", "/api/auth/switch-tenant", `{"tenantCode":"single"}`), 200, "")
	if a := do("user", "GET", "/api/users/user/tenants", ""); !bytes.Contains(a.Body, []byte(`"tenantCode":"single"`)) {
		t.Errorf("the user's tenants: %v", a)
	}
	want(t, do("system_admin", "POST", "/api/admin/master-setting/copy", `{"sourceTenantCode":"alpha","targetTenantCodes":["single"]}`), 200, "")
	several := start(t, apitest.Options{})
	want(t, several.Do(t, apitest.Request{Token: several.Token("system_admin"), Method: "POST", Path: members, Body: `{"userCode":"u","role":"admin"}`}), 404, "not_found")
}

// TestClosedEntities answers undeclared entity types as what isn't there.
func TestClosedEntities(t *testing.T) {
	opts := world()
	opts.App.ClosedEntities = true
	s := start(t, opts)
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/data/CATALOG"}), 200, "")
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}), 404, "not_found")
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: products, Body: `{"name":"A"}`}), 404, "not_found")
}

// TestWithoutController leaves the tenant routes out.
func TestWithoutController(t *testing.T) {
	s := start(t, apitest.Options{App: tenantry.Config{Tenants: tenantry.TenantOptions{DisableController: true}}})
	want(t, s.Do(t, apitest.Request{Token: s.Token("system_admin"), Method: "GET", Path: "/api/tenant"}), 404, "not_found")
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: products}), 200, "")
}

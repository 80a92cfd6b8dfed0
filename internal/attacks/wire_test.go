package attacks_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

// TestWire sends what two readers on the way could read differently. Whatever the server makes of it, nobody is answered with
// what is another's, nothing of another's changes, and the connection ends with an answer.
func TestWire(t *testing.T) {
	w := newWorld(t)
	ua, ub := w.token("ua"), w.token("ub")
	authorized := func(token string) string { return "Authorization: Bearer " + token }
	head := func(method, target string, more ...string) string {
		return lines(append(append([]string{method + " " + target + " HTTP/1.1", "Host: h", authorized(ua)}, more...), "")...)
	}
	const row = `{"sk":"wire","name":"N"}`
	// body returns a request with a body under the headers that say how long it is.
	body := func(text string, framing ...string) string {
		return head("POST", productList, append([]string{"Content-Type: application/json"}, framing...)...) + text
	}
	smuggled := "GET " + productList + "/b1 HTTP/1.1\nHost: h\n" + authorized(ub) + "\n\n"

	w.class(t, "ambiguous framing", func(a *attack) {
		a.writing("alpha")
		a.honest(get(ua, productList))
		for name, text := range map[string]string{
			"two lengths":             body(row, "Content-Length: 24", "Content-Length: 0"),
			"two equal lengths":       body(row, "Content-Length: 24", "Content-Length: 24"),
			"a list of lengths":       body(row, "Content-Length: 24, 24"),
			"a signed length":         body(row, "Content-Length: +24"),
			"a negative length":       body(row, "Content-Length: -1"),
			"a length in hex":         body(row, "Content-Length: 0x18"),
			"length and chunks":       body("0\n\n"+smuggled, fmt.Sprintf("Content-Length: %d", 3+len(smuggled)), "Transfer-Encoding: chunked"),
			"chunks and length":       body("18\n"+row+"\n0\n\n", "Transfer-Encoding: chunked", "Content-Length: 4"),
			"an unknown coding":       body(row, "Transfer-Encoding: gzip, chunked"),
			"chunked, obfuscated":     body(row, "Transfer-Encoding: xchunked"),
			"chunked with a tab":      body("0\n\n", "Transfer-Encoding:\tchunked"),
			"chunked twice":           body("0\n\n", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
			"chunked, then identity":  body("0\n\n", "Transfer-Encoding: chunked, identity"),
			"a space before a colon":  head("GET", productList, "X-Tenant-Code : bravo"),
			"a folded header":         head("GET", productList, "X-Tenant-Code: alpha", " bravo"),
			"a folded header, tab":    head("GET", productList, "X-Padding: a", "\tX-Tenant-Code: bravo"),
			"a header without colon":  head("GET", productList, "X-Tenant-Code"),
			"a NUL in a header":       head("GET", productList, "X-Tenant-Code: alpha\x00bravo"),
			"a CR in a header":        strings.ReplaceAll(head("GET", productList, "X-Padding: a\rX-Tenant-Code: bravo"), "\r\n", "\n"),
			"two hosts":               head("GET", productList, "Host: evil"),
			"no host":                 lines("GET "+productList+" HTTP/1.1", authorized(ua), ""),
			"a host with junk":        lines("GET "+productList+" HTTP/1.1", "Host: h:80@evil/..", authorized(ua), ""),
			"an absolute target":      head("GET", "http://evil.example"+productList),
			"an absolute https":       head("GET", "https://evil.example"+productList),
			"a target without a path": head("GET", "http://evil.example"),
			"a relative target":       head("GET", "api/data/PRODUCT"),
			"a target with a space":   head("GET", productList+" /x"),
			"a target with a tab":     head("GET", productList+"\t/x"),
			"a fragment":              head("GET", productList+"#bravo"),
			"an asterisk":             head("OPTIONS", "*"),
			"a tunnel":                head("CONNECT", "bravo:443"),
			"a tunnel to a path":      head("CONNECT", productList),
			"HTTP/2 by preface":       "PRI * HTTP/2.0\n\nSM\n\n",
			"HTTP/2 by upgrade":       head("GET", productList, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
			"a web socket":            head("GET", productList, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
			"HTTP/1.0":                lines("GET "+productList+" HTTP/1.0", authorized(ua), ""),
			"HTTP/0.9":                "GET " + productList + "\n\n",
			"HTTP/1.2":                lines("GET "+productList+" HTTP/1.2", "Host: h", authorized(ua), ""),
			"HTTP/9.9":                lines("GET "+productList+" HTTP/9.9", "Host: h", authorized(ua), ""),
			"a bad expectation":       body(row, "Content-Length: 24", "Expect: bravo"),
			"a hop that hides":        head("GET", productList, "Connection: authorization, x-tenant-code", "X-Tenant-Code: alpha"),
			"a trailer":               body("18\n"+row+"\n0\nX-Tenant-Code: bravo\nAuthorization: Bearer "+ub+"\n\n", "Transfer-Encoding: chunked", "Trailer: X-Tenant-Code, Authorization"),
			"a chunk extension":       body("18;x=\"\nX-Tenant-Code: bravo\"\n"+row+"\n0\n\n", "Transfer-Encoding: chunked"),
			"a body on a GET":         head("GET", productList, "Content-Type: application/json", "Content-Length: 23") + `{"tenantCode":"bravo"} `,
			"an endless chunk size":   body(strings.Repeat("0", 10_000)+"18\n"+row+"\n0\n\n", "Transfer-Encoding: chunked"),
		} {
			answers := w.Raw(a, 1, text)
			if len(answers) == 0 {
				a.Errorf("%s: the connection was dropped", name)
			}
			for _, answer := range answers {
				a.checkCanaries(apitest.Request{Token: ua, Method: name}, answer)
				if answer.Status >= 500 && answer.Status != http.StatusNotImplemented && answer.Status != http.StatusHTTPVersionNotSupported {
					a.Errorf("%s: %v", name, answer)
				}
			}
		}
		if own := rows(a, a.honest(get(ua, productList+"?prefix=wire"))); len(own) > 1 {
			a.Errorf("the requests left %v", own)
		}
	})
	w.class(t, "one connection, several callers", func(a *attack) {
		a.honest(get(ua, productList))
		one := func(token string) string {
			return lines("GET "+productList+" HTTP/1.1", "Host: h", authorized(token), "")
		}
		nobody := lines("GET "+productList+" HTTP/1.1", "Host: h", "")
		answers := w.Raw(a, 6, one(ua)+one(ub)+nobody+one(ua)+nobody+one(ub))
		want := [][]string{{"alpha"}, {"bravo"}, nil, {"alpha"}, nil, {"bravo"}}
		if len(answers) != len(want) {
			a.Fatalf("%d answers, want %d", len(answers), len(want))
		}
		for i, answer := range answers {
			if got := seen(answer); !slices.Equal(got, want[i]) || (want[i] == nil) != (answer.Status == 401) {
				a.Errorf("request %d of the connection: %v shows %v", i, answer, got)
			}
		}
	})
	w.class(t, "a refused body is not the next request", func(a *attack) {
		a.honest(get(ua, productList))
		for name, text := range map[string]string{
			"of the wrong type": head("POST", productList, "Content-Type: text/plain", fmt.Sprintf("Content-Length: %d", len(strings.ReplaceAll(smuggled, "\n", "\r\n")))) + smuggled,
			"on a GET":          head("GET", productList, fmt.Sprintf("Content-Length: %d", len(strings.ReplaceAll(smuggled, "\n", "\r\n")))) + smuggled,
			"without a token":   lines("POST "+productList+" HTTP/1.1", "Host: h", fmt.Sprintf("Content-Length: %d", len(strings.ReplaceAll(smuggled, "\n", "\r\n"))), "") + smuggled,
			"of an old route":   head("POST", "/api/nothing", fmt.Sprintf("Content-Length: %d", len(strings.ReplaceAll(smuggled, "\n", "\r\n")))) + smuggled,
		} {
			answers := w.Raw(a, 2, text+head("GET", "/api/me", "Connection: close"))
			for _, answer := range answers {
				if slices.Contains(seen(answer), "bravo") {
					a.Errorf("a body %s was read as a request: %v", name, answer)
				}
			}
			if len(answers) == 0 {
				a.Errorf("a body %s got no answer", name)
			}
		}
	})
	w.class(t, "methods and headers that other software believes", func(a *attack) {
		want := alike(a.honest(get(ua, "/api/me")))
		for _, header := range [][]string{
			{"X-Http-Method-Override", "DELETE"}, {"X-Http-Method", "DELETE"}, {"X-Method-Override", "DELETE"},
			{"X-Forwarded-For", "10.0.0.1"}, {"X-Forwarded-Host", "evil"}, {"X-Forwarded-Proto", "https"}, {"X-Forwarded-Prefix", "/api/tenants/bravo"},
			{"X-Original-Url", "/api/tenant"}, {"X-Rewrite-Url", "/api/tenant"}, {"X-Forwarded-Uri", "/api/tenant"}, {"Forwarded", "for=10.0.0.1;host=evil"},
			{"X-Forwarded-User", "sa"}, {"X-Remote-User", "sa"}, {"X-Forwarded-Email", "sa@example.com"}, {"X-Auth-Request-User", "sa"}, {"X-Amzn-Oidc-Identity", "sa"},
			{"X-Amzn-Oidc-Data", ub}, {"X-Forwarded-Access-Token", ub}, {"Proxy-Authorization", "Bearer " + ub}, {"X-Api-Key", ub}, {"Cookie", "Authorization=Bearer " + ub + "; token=" + ub},
			{"X-Tenant", "bravo"}, {"X-Tenant-Id", "bravo"}, {"Tenant-Code", "bravo"}, {"X-Tenantcode", "bravo"}, {"X-Tenant_Code", "bravo"}, {"X-Scope-Orgid", "bravo"}, {"X-Org", "bravo"},
			{"Range", "bytes=0-1"}, {"If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT"}, {"If-Range", "x"}, {"Accept", "text/html"}, {"Accept-Language", "../../x"},
			{"Accept-Charset", "utf-7"}, {"Te", "trailers"}, {"Max-Forwards", "0"}, {"Prefer", "return=minimal"}, {"Dnt", "1"}, {"Upgrade-Insecure-Requests", "1"},
		} {
			if answer := a.wants(with(get(ua, "/api/me"), header...), 200); alike(answer) != want {
				a.Errorf("%v changes the answer: %v", header, answer)
			}
		}
	})
	w.class(t, "HTTP/2", func(a *attack) {
		a.writing("alpha")
		server := httptest.NewUnstartedServer(w.Handler)
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		send := func(r apitest.Request) *apitest.Answer {
			a.Helper()
			request, err := http.NewRequestWithContext(a.Context(), r.Method, server.URL+r.Path, strings.NewReader(r.Body))
			if err != nil {
				a.Fatal(err)
			}
			request.Header = http.Header{"Authorization": {"Bearer " + r.Token}, "Content-Type": {"application/json"}}
			request.Trailer = http.Header{"X-Tenant-Code": {"bravo"}}
			for i := 0; i < len(r.Header); i += 2 {
				request.Header[r.Header[i]] = append(request.Header[r.Header[i]], r.Header[i+1])
			}
			request.Host = request.Header.Get("Host") // :authority
			response, err := server.Client().Do(request)
			if err != nil {
				a.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.ProtoMajor != 2 {
				a.Fatalf("%v: %s, %v", r, response.Proto, err)
			}
			answer := &apitest.Answer{Status: response.StatusCode, Header: response.Header, Body: body}
			a.checkCanaries(r, answer)
			return answer
		}
		a.controlled = send(get(ua, productList)).OK() && send(post(ua, productList, `{"name":"N","tenantCode":"alpha"}`)).OK()
		for _, name := range []string{"Authorization", "Content-Type", "Content-Encoding", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-Id", "X-Request-Id", "X-Tenantry-Position", tenantHeader} {
			twice := with(get(ua, productList), name, "alpha", name, "bravo")
			if answer := send(twice); answer.Status != 400 {
				a.Errorf("%s twice: %v", name, answer)
			}
		}
		for _, r := range []apitest.Request{with(get(ua, productList), tenantHeader, "bravo"), get(ua, "/api/tenants/bravo/data/PRODUCT"), get(ua, productList+"?tenantCode=bravo"), post(ua, productList, `{"name":"N","tenantCode":"bravo"}`)} {
			if answer := send(r); answer.Status != 403 {
				a.Errorf("%v: %v", r, answer)
			}
		}
		for _, path := range []string{"//api/data/PRODUCT", "/api/./data/PRODUCT", "/api/tenants/alpha/../bravo/data/PRODUCT", "/api/tenants/alpha/%2e%2e/bravo/data/PRODUCT"} {
			if answer := send(get(ua, path)); answer.Status != 400 {
				a.Errorf("%s: %v", path, answer)
			}
		}
		if answer := send(with(get(ua, productList+"?limit=2"), "Host", "evil.example")); strings.Contains(fmt.Sprint(answer.Header)+string(answer.Body), "evil") {
			a.Errorf("the authority comes back: %v", answer)
		}
	})
	w.class(t, "paths that other software reads otherwise", func(a *attack) {
		a.honest(get(ua, "/api/tenants/alpha/data/PRODUCT/1"))
		for _, path := range []string{
			"/api/tenants/bravo/data/PRODUCT/b1", "/api/tenants/%62ravo/data/PRODUCT/b1", "/api/tenants/BRAVO/data/PRODUCT/b1", "/api/tenants/bravo/data/PRODUCT/b1/", "/api/tenants/bravo/data/PRODUCT/b1;x", "/api/tenants/bravo;x/data/PRODUCT/b1",
			"/api/tenants/alpha;bravo/data/PRODUCT/b1", "/api/tenants/alpha,bravo/data/PRODUCT/b1", "/api/tenants/alpha/data/PRODUCT/..;/..;/..;/bravo/data/PRODUCT/b1", "/api/tenants/alpha%2F..%2Fbravo/data/PRODUCT/b1",
			"/api/tenants/alpha%5c..%5cbravo/data/PRODUCT/b1", "/api/tenants/alpha\\..\\bravo/data/PRODUCT/b1", "/api/tenants/alpha%252f..%252fbravo/data/PRODUCT/b1", "/api/tenants/alpha/data%2F..%2F..%2Fbravo%2Fdata%2FPRODUCT/b1",
			"/api/tenants/alpha/data/PRODUCT/%2e%2e%2f%2e%2e%2f%2e%2e%2fbravo%2fdata%2fPRODUCT%2fb1", "/api/tenants/bravo%20/data/PRODUCT/b1", "/api/tenants/%20bravo/data/PRODUCT/b1", "/api/tenants/bravo%09/data/PRODUCT/b1", "/api/tenants/bravo%E2%80%8B/data/PRODUCT/b1",
			"/API/tenants/bravo/data/PRODUCT/b1", "/api/Tenants/bravo/data/PRODUCT/b1", "/api%2Ftenants%2Fbravo%2Fdata%2FPRODUCT%2Fb1", "/api/tenants/bravo.json/data/PRODUCT/b1", "/api/tenants/bravo/data/PRODUCT.json/b1", "/api/tenants//data/PRODUCT/b1",
			"/api/tenants/*/data/PRODUCT/b1", "/api/tenants/%2A/data/PRODUCT/b1", "/api/tenants/{tenantCode}/data/PRODUCT/b1", "/api/tenants/alpha/data/PRODUCT%23bravo/b1", "/api/tenants/alpha/data/PRODUCT/b1%23", "/api/tenants/alpha/data/PRODUCT/b1%401",
		} {
			a.wants(get(ua, path), 400, 403, 404)
			a.wants(remove(ua, path+"?version=-1"), 400, 403, 404)
		}
	})
	w.class(t, "queries that other software reads otherwise", func(a *attack) {
		want := alike(a.honest(get(ua, productList)))
		for _, query := range []string{"tenantCode=bravo", "tenant%43ode=bravo", "&tenantCode=bravo&", "tenantCode=%62ravo", "tenantCode=BRAVO", "pk=PRODUCT%23bravo", "p%6b=PRODUCT%23bravo", "id=PRODUCT%23bravo%23b1", "limit=5&tenantCode=bravo"} {
			a.wants(get(ua, productList+"?"+query), 403)
		}
		for _, query := range []string{"tenantCode=alpha;tenantCode=bravo", "tenantCode=alpha&tenantCode=alpha", "tenantCode=alpha&tenant%43ode=bravo", "tenantCode=", "tenantCode", "tenantCode=%20bravo", "tenantCode=alpha%26tenantCode%3Dbravo", "tenantCode=alpha%00bravo",
			"tenantCode=alpha,bravo", "tenantCode=alpha%7Cbravo", "pk=PRODUCT", "id=b1", "%zz=1", "tenantCode=%ff", "limit=1&limit=1"} {
			a.wants(get(ua, productList+"?"+query), 400)
		}
		for _, query := range []string{"tenantcode=bravo", "TENANTCODE=bravo", "tenant_code=bravo", "tenantCode[]=bravo", "tenantCode%5B0%5D=bravo", "tenantCode.=bravo", "tenantCode+=bravo", "+tenantCode=bravo", "tenant=bravo", "code=bravo", "x[tenantCode]=bravo", "PK=PRODUCT%23bravo", "filter=tenantCode%3Dbravo"} {
			if answer := a.wants(get(ua, productList+"?"+query), 200); alike(answer) != want { // named in no place that there is
				a.Errorf("%s: %v", query, answer)
			}
		}
	})
	w.class(t, "a HEAD tells what a GET tells", func(a *attack) {
		a.honest(get(ua, productList))
		for _, path := range []string{productList, productList + "/1", productList + "/nope", productList + "/b1", "/api/tenants/bravo/data/PRODUCT/b1", "/api/tenants/zulu9/data/PRODUCT/b1",
			"/api/tenant", "/api/tenant/TENANT%23bravo/MASTER", "/api/nothing", "/api/me?x=1&x=2", "/healthz"} {
			full := a.do(get(ua, path))
			short := a.do(apitest.Request{Token: ua, Method: http.MethodHead, Path: path})
			if short.Status != full.Status || len(short.Body) != 0 || short.Header.Get("ETag") != full.Header.Get("ETag") || short.Header.Get("Content-Type") != full.Header.Get("Content-Type") {
				a.Errorf("HEAD %s: %d %v; GET: %d %v", path, short.Status, short.Header, full.Status, full.Header)
			}
		}
	})
}

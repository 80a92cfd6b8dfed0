package lambda_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
)

type event = events.APIGatewayV2HTTPRequest

// post makes a request one that creates a product.
func post(body string) func(*event) {
	return func(e *event) {
		e.RequestContext.HTTP.Method, e.RawPath, e.Body = "POST", "/api/data/PRODUCT", body
		e.Headers["content-type"] = "application/json"
	}
}

func nothing(*event) {}

func TestRequests(t *testing.T) {
	w := newWorld(t, tenantry.Config{}, nil)
	token := w.token("acme")
	created := w.send(w.request(token, post(`{"sk":"chair","name":"Oak chair","attributes":{"price":8900}}`)))
	if created.StatusCode != 201 || !strings.Contains(created.Body, `"createdIp":"203.0.113.7"`) {
		t.Errorf("a creation: %d %s", created.StatusCode, created.Body)
	}
	odd := w.send(w.request(token, post(`{"sk":"50% of #1?","name":"An odd key"}`)))
	if odd.StatusCode != 201 {
		t.Errorf("an odd key: %d %s", odd.StatusCode, odd.Body)
	}
	for name, c := range map[string]struct {
		change func(*event)
		status int
		code   string
		holds  string
	}{
		"as recorded":        {nothing, 200, "", `"name":"Oak chair"`},
		"a record not there": {func(e *event) { e.RawPath = "/api/data/PRODUCT/stool" }, 404, "not_found", ""},
		"a decoded path":     {func(e *event) { e.RawPath = "/api/data/PRODUCT/50% of #1?" }, 200, "", "An odd key"},
		"a function URL's path": {func(e *event) {
			e.RequestContext.DomainName = "abc123.lambda-url.eu-central-1.on.aws"
			e.RawPath = "/api/data/PRODUCT/50%25%20of%20%231%3F"
		}, 200, "", "An odd key"},
		"a query":           {func(e *event) { e.RawPath, e.RawQueryString = "/api/data/PRODUCT", "limit=1" }, 200, "", `"items":[`},
		"a query, repeated": {func(e *event) { e.RawPath, e.RawQueryString = "/api/data/PRODUCT", "limit=1&limit=2" }, 400, "invalid_request", ""},
		"another tenant":    {func(e *event) { e.Headers["x-tenant-code"] = "bravo" }, 403, "tenant_mismatch", ""},
		"two tenants":       {func(e *event) { e.Headers["x-tenant-code"] = "acme,bravo" }, 400, "invalid_key", ""},
		"a header, twice":   {func(e *event) { e.Headers["X-Tenant-Code"], e.Headers["x-tenant-code"] = "acme", "acme" }, 400, "invalid_request", ""},
		"no token":          {func(e *event) { delete(e.Headers, "authorization") }, 401, "unauthenticated", ""},
		"a token in cookies": {func(e *event) {
			delete(e.Headers, "authorization")
			e.Cookies = []string{"Authorization=Bearer " + token}
		}, 401, "unauthenticated", ""},
		"a path that climbs": {func(e *event) { e.RawPath = "/api/data/../data/PRODUCT/chair" }, 400, "invalid_request", ""},
		"a base64 body": {func(e *event) {
			post(base64.StdEncoding.EncodeToString([]byte(`{"sk":"table","name":"Table"}`)))(e)
			e.IsBase64Encoded = true
		}, 201, "", `"name":"Table"`},
		"a body that is not base64": {func(e *event) { post("{}")(e); e.IsBase64Encoded = true }, 400, "invalid_request", ""},
		"an event stream":           {func(e *event) { e.RawPath = "/api/events" }, 204, "", ""},
		"a large body":              {post(`{"name":"` + strings.Repeat("x", 2000) + `"}`), 413, "too_large", ""},
		"a large base64 body": {func(e *event) {
			post(base64.StdEncoding.EncodeToString([]byte(`{"name":"` + strings.Repeat("x", 2000) + `"}`)))(e)
			e.IsBase64Encoded = true
		}, 413, "too_large", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := w.send(w.request(token, c.change))
			if out.StatusCode != c.status || code(t, out) != c.code || !strings.Contains(out.Body, c.holds) {
				t.Errorf("%d %s, want %d %s", out.StatusCode, out.Body, c.status, c.code)
			}
			if out.Headers["X-Request-Id"] == "" || out.Headers["Connection"] != "" {
				t.Errorf("headers %v", out.Headers)
			}
		})
	}
}

func TestBinaryAnswers(t *testing.T) {
	w := newWorld(t, tenantry.Config{}, nil)
	plain := w.send(w.request("", func(e *event) { e.RawPath = "/openapi.json" }))
	packed := w.send(w.request("", func(e *event) { e.RawPath, e.Headers["accept-encoding"] = "/openapi.json", "gzip" }))
	if plain.IsBase64Encoded || !packed.IsBase64Encoded || packed.Headers["Content-Encoding"] != "gzip" {
		t.Fatalf("plain %v, packed %v %v", plain.IsBase64Encoded, packed.IsBase64Encoded, packed.Headers)
	}
	bytesOf, err := base64.StdEncoding.DecodeString(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(bytesOf))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil || string(text) != plain.Body {
		t.Errorf("the packed answer differs from the plain one (%v)", err)
	}
}

func TestEventsThatAreNone(t *testing.T) {
	w := newWorld(t, tenantry.Config{}, nil)
	for _, payload := range []string{"", "{", "null", "{}", `{"version":"1.0","requestContext":{"http":{}}}`, `{"version":"2.0"}`, `{"version":"2.0","requestContext":{}}`,
		`{"Records":[]}`, `{"Records":[{"eventSource":"aws:sqs"}]}`, `{"Records":[{"eventSource":"aws:dynamodb"}]}`,
		`{"version":"2.0","requestContext":{"http":{}},"requestContext":{"http":{}}}`} {
		if _, err := w.f.Invoke(t.Context(), []byte(payload)); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("%q: %v", payload, err)
		}
	}
}

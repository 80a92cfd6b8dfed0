package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
)

func TestSmoke(t *testing.T) {
	app := tenantrytest.New(t, tenantry.Config{})
	app.Tenant("acme", "bravo")
	srv := httptest.NewServer(app.Handler(httpapi.Config{}))
	defer srv.Close()
	acme, _ := tenant.Parse("acme")
	user := app.Token(auth.Claims{Subject: "u1", Tenant: acme, Role: "user"})
	admin := app.Token(auth.Claims{Subject: "sa", Role: "system_admin"})
	do := func(token, method, path, body string, hdr ...string) {
		req, _ := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+token)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		for i := 0; i < len(hdr); i += 2 {
			req.Header.Add(hdr[i], hdr[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		t.Log(method, path, resp.StatusCode, string(b))
	}
	do(user, "POST", "/api/data/PRODUCT", `{"sk":"p1","name":"A","attributes":{"price":1.50}}`)
	do(user, "POST", "/api/data/PRODUCT", `{"sk":"p1","name":"A","attributes":{"price":1.50}}`)
	do(user, "PATCH", "/api/data/PRODUCT/p1", `{"version":1,"attributes":{"x":[1,2]}}`)
	do(user, "GET", "/api/data/PRODUCT/p1", ``)
	do(user, "GET", "/api/data/PRODUCT/p1/history", ``)
	do(user, "GET", "/api/data/PRODUCT/p1/commands/2", ``)
	do(user, "GET", "/api/data/PRODUCT?limit=1", ``)
	do(user, "GET", "/api/tenants/bravo/data/PRODUCT", ``)
	do(admin, "GET", "/api/tenants/acme/data/PRODUCT", ``)
	do(admin, "GET", "/api/tenant?limit=1", ``)
	do(admin, "POST", "/api/tenant", `{"code":"Delta","name":"D","description":"x"}`, "Idempotency-Key", "k1")
	do(admin, "POST", "/api/tenant", `{"code":"Delta","name":"D","description":"x"}`, "Idempotency-Key", "k1")
	do(admin, "POST", "/api/tenant", `{"code":"Delta","name":"D"}`)
	do(admin, "GET", "/api/tenant/TENANT%23delta/MASTER", ``)
	do(admin, "POST", "/api/tenant/group", `{"tenantCode":"delta","groupId":"19","role":"company"}`)
	do(admin, "POST", "/api/tenant/delta/tenant", `{"code":"dep","name":"D"}`)
	do(user, "POST", "/api/data/PRODUCT/bulk", `[{"name":"b1"},{"sk":"p1","name":"b2"}]`)
	do(user, "POST", "/api/data/PRODUCT/get", `{"sks":["p1","nope"]}`)
	do(user, "POST", "/api/data/PRODUCT", `{"nam":"A","attributes":5}`)
	do(user, "POST", "/api/data/PRODUCT", `{"name":"A","version":1.0}`)
	do(user, "POST", "/api/data/PRODUCT", `{"name":"A","pk":"PRODUCT#bravo"}`)
	do(user, "POST", "/api/data/PRODUCT", `{"name":"A","pk":"PRODUCT#acme","pk":"PRODUCT#bravo"}`)
	do(user, "GET", "/api/me", ``)
	do(admin, "GET", "/api/admin/audit?limit=2", ``)
	do("x", "GET", "/api/me", ``)
	do(user, "GET", "/api/nope", ``)
	do(user, "DELETE", "/api/me", ``)
	do(user, "DELETE", "/api/data/PRODUCT/p1?version=2", ``)
	do(user, "GET", "/readyz", ``)
	do(user, "GET", "/docs/", ``)
	do(user, "GET", "/openapi.json", ``)
}

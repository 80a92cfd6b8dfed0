package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
)

func Example() {
	ctx := context.Background()
	app, err := open(ctx, tenantry.Config{Store: memory.New(), Log: slog.New(slog.DiscardHandler)})
	check(err)
	defer app.Close()
	check(app.Start(ctx))
	handler, err := httpapi.New(app, httpapi.Config{Log: slog.New(slog.DiscardHandler)})
	check(err)

	operator := issue(app, auth.Claims{Subject: "operator", Role: guard.SystemAdmin})
	call(handler, operator, "POST", "/api/tenant", `{"code":"acme","name":"Acme"}`)
	acme, err := tenant.Parse("acme")
	check(err)
	admin := issue(app, auth.Claims{Subject: "ann", Tenant: acme, Role: "admin"})
	user := issue(app, auth.Claims{Subject: "ben", Tenant: acme, Role: "user"})

	call(handler, admin, "POST", "/api/data/PRODUCT", `{"sk":"chair","name":"Chair","attributes":{"price":4900,"currency":"EUR"}}`)
	call(handler, admin, "POST", "/api/data/PRODUCT", `{"sk":"table","name":"Table","attributes":{"price":-1,"currency":"EUR"}}`)
	call(handler, user, "POST", "/api/data/PRODUCT", `{"name":"Lamp","attributes":{"price":1900,"currency":"EUR"}}`)
	call(handler, user, "GET", "/api/data/PRODUCT/chair", "")
	call(handler, user, "GET", "/api/tenants/bravo/data/PRODUCT/chair", "")
	// Output:
	// POST /api/tenant: 201
	// acme: Chair is now at version 1
	// POST /api/data/PRODUCT: 201
	// POST /api/data/PRODUCT: 422
	// POST /api/data/PRODUCT: 403
	// GET /api/data/PRODUCT/chair: 200
	// GET /api/tenants/bravo/data/PRODUCT/chair: 403
}

func issue(app *tenantry.App, claims auth.Claims) string {
	claims.TTL = time.Hour
	token, err := app.Keyring().Issue(claims)
	check(err)
	return token
}

func call(handler http.Handler, token, method, path, body string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Printf("%s %s: %d\n", method, path, w.Code)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

package guide_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Product is what a PRODUCT's attributes hold.
type Product struct {
	Price    int64  `json:"price" minimum:"0" doc:"in cents"`
	Currency string `json:"currency" pattern:"^[A-Z]{3}$"`
}

// open returns an App over a store in memory and what closes it. A test writes tenantrytest.New(t, cfg) instead.
func open(cfg tenantry.Config) (app *tenantrytest.App, closeApp func()) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &example{}
	return tenantrytest.New(t, cfg), t.end
}

// serve returns the App's HTTP API.
func serve(app *tenantrytest.App) http.Handler {
	return app.Handler(httpapi.Config{Log: slog.New(slog.DiscardHandler)})
}

// tokenFor returns a token of the user sub, bound to a tenant in which it gives a role.
func tokenFor(app *tenantrytest.App, sub, tenantCode, role string) string {
	code := parse(tenantCode)
	return app.Token(auth.Claims{Subject: sub, Tenant: code, Roles: []auth.RoleGrant{{Tenant: code, Role: role}}})
}

// adminToken returns a token of a system admin. It is bound to no tenant.
func adminToken(app *tenantrytest.App) string {
	return app.Token(auth.Claims{Subject: "operator", Role: auth.SystemAdmin})
}

func parse(tenantCode string) tenant.Code {
	code, err := tenant.Parse(tenantCode)
	check(err)
	return code
}

// send sends a request to the API. Header is names and values in turn.
func send(api http.Handler, token, method, path, body string, header ...string) answer {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return answer{w.Code, w.Body.String()}
}

// answer is what the API answers. It prints as the status, and for a problem its code.
type answer struct {
	status int
	body   string
}

func (a answer) String() string {
	if a.status < http.StatusBadRequest {
		return fmt.Sprint(a.status)
	}
	var problem struct{ Code string }
	check(json.Unmarshal([]byte(a.body), &problem))
	return fmt.Sprint(a.status, " ", problem.Code)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// example is what package tenantrytest needs of a test, for an Example, which has none.
type example struct {
	testing.TB
	cleanups []func()
}

func (e *example) Helper()                           {}
func (e *example) Cleanup(f func())                  { e.cleanups = append(e.cleanups, f) }
func (e *example) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (e *example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (e *example) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }

func (e *example) end() {
	for _, f := range e.cleanups {
		f()
	}
}

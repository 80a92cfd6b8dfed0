// Package tenantrytest is for the tests of applications: an App over a store in memory, scopes, tokens and a clock, a line each.
//
//	app := tenantrytest.New(t, tenantry.Config{})
//	acme := app.Scope("acme")
package tenantrytest

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
)

// App is an App for a test. It is started, and closed when the test ends.
type App struct {
	*tenantry.App
	Clock *Clock
	t     testing.TB
}

// New returns an App over a store in memory, unless cfg names another. Its clock stands still until it is moved. Handlers run.
func New(t testing.TB, cfg tenantry.Config) *App {
	t.Helper()
	clock := NewClock()
	if cfg.Store.Name() == "" {
		cfg.Store = memory.New()
	}
	if cfg.Now == nil {
		cfg.Now = clock.Now
	}
	if cfg.Keyring == nil && cfg.MasterKey.IsZero() {
		keys, err := auth.NewKeyring(auth.KeyringOptions{CrossTenantRoles: cfg.CrossTenantRoles, Now: cfg.Now})
		if err != nil {
			t.Fatalf("keys: %v", err)
		}
		cfg.Keyring = keys
	}
	app, err := tenantry.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := app.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := app.Start(context.Background()); err != nil {
		t.Fatalf("start: %v", err)
	}
	return &App{App: app, Clock: clock, t: t}
}

// Tenant creates tenants that do not exist yet.
func (a *App) Tenant(codes ...string) {
	a.t.Helper()
	sys := a.System("set up a test")
	for _, text := range codes {
		code := a.code(text)
		if state, err := a.Tenants().State(context.Background(), code); err != nil {
			a.t.Fatalf("tenant %s: %v", text, err)
		} else if state.Exists {
			continue
		}
		if _, err := a.Tenants().CreateTenant(context.Background(), sys, tenants.Create{Code: code, Name: strings.ToUpper(text)}); err != nil {
			a.t.Fatalf("tenant %s: %v", text, err)
		}
	}
}

// Scope returns a Scope of a tenant, which it creates where it doesn't exist, for a user named tester with the role admin.
func (a *App) Scope(code string) guard.Scope {
	a.t.Helper()
	c := a.code(code)
	if !c.Reserved() {
		a.Tenant(code)
	}
	state, err := a.Tenants().State(context.Background(), c)
	if err != nil {
		a.t.Fatalf("tenant %s: %v", code, err)
	}
	return scope.New(c, scope.Full, state.Born, &scope.Actor{Issuer: "test", UserID: "tester", UserCode: "tester", Role: "admin", RequestID: "test", SourceIP: "127.0.0.1", Source: "test"})
}

// System returns the right to cross tenants.
func (a *App) System(reason string) guard.System {
	return scope.NewSystem(record.NewID(), scope.Actor{Issuer: "test", UserID: "tester", Role: guard.SystemAdmin, RequestID: "test", Source: "test"}, reason, a.Audit())
}

func (a *App) code(text string) tenant.Code {
	a.t.Helper()
	c, err := tenant.Parse(text)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// Token returns a token of the built-in issuer. It is valid for an hour where c doesn't say otherwise.
func (a *App) Token(c auth.Claims) string {
	a.t.Helper()
	if c.TTL == 0 {
		c.TTL = time.Hour
	}
	token, err := a.Keyring().Issue(c)
	if err != nil {
		a.t.Fatalf("token: %v", err)
	}
	return token
}

// Handler returns the App's HTTP API.
func (a *App) Handler(cfg httpapi.Config) http.Handler {
	a.t.Helper()
	h, err := httpapi.New(a.App, cfg)
	if err != nil {
		a.t.Fatalf("handler: %v", err)
	}
	return h
}

// Clock is a clock that stands still until it is moved. It may be used concurrently.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a Clock that stands at the present second.
func NewClock() *Clock { return &Clock{now: time.Now().Truncate(time.Second)} }

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

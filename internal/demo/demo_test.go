package demo_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/internal/demo"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/webhooks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newApp(t *testing.T) *tenantrytest.App {
	return tenantrytest.New(t, tenantry.Config{Entities: demo.Types(), Log: slog.New(slog.DiscardHandler)})
}

func load(t *testing.T, app *tenantrytest.App) []string {
	t.Helper()
	live, err := demo.Load(t.Context(), app.App)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, code := range live {
		codes = append(codes, code.String())
	}
	return codes
}

func count(t *testing.T, app *tenantrytest.App, code, entityType string) int {
	t.Helper()
	sc := app.Scope(code)
	partition, err := record.NewPartition(sc, record.MustEntityType(entityType))
	if err != nil {
		t.Fatal(err)
	}
	page, err := app.Data().List(t.Context(), sc, data.Query{Partition: partition, IncludeDeleted: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range page.Items {
		if rec.Version != 1 && !rec.IsDeleted {
			t.Errorf("%s was written %d times", rec.ID(), rec.Version)
		}
	}
	return len(page.Items)
}

func TestLoad(t *testing.T) {
	app := newApp(t)
	for range 2 { // the second time changes nothing
		if live := load(t, app); len(live) != 3 {
			t.Fatalf("%d tenants live", len(live))
		}
		for _, code := range []string{"acme", "bravo", "charlie"} {
			if products, orders := count(t, app, code, "PRODUCT"), count(t, app, code, "ORDER"); products < 3 || orders < 2 {
				t.Errorf("%s has %d products and %d orders", code, products, orders)
			}
		}
		all, err := app.Members().TenantsOf(t.Context(), "ann")
		if err != nil || len(all) != 2 || !all[0].IsDefault || all[1].IsDefault || all[1].Role != "user" {
			t.Errorf("ann's tenants are %+v, %v", all, err)
		}
		if n := count(t, app, "common", "TEMPLATE"); n != 2 {
			t.Errorf("there are %d templates", n)
		}
	}
}

func TestWhatAUserChangedStays(t *testing.T) {
	app := newApp(t)
	load(t, app)
	products, _, err := tenantry.NewEntity[map[string]any]("PRODUCT")
	if err != nil {
		t.Fatal(err)
	}
	if err := products.In(app.App).Delete(t.Context(), app.Scope("acme"), "chair", 1); err != nil {
		t.Fatal(err)
	}
	load(t, app)
	if _, err := products.In(app.App).Get(t.Context(), app.Scope("acme"), "chair"); !errors.Is(err, fault.NotFound) {
		t.Errorf("a product that a user deleted came back: %v", err)
	}
}

func TestOtherTenantsAreLeftInPeace(t *testing.T) {
	app := newApp(t)
	app.Tenant("acme")
	if _, err := demo.Load(t.Context(), app.App); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("the demo was loaded beside somebody's tenant: %v", err)
	}
	if n := count(t, app, "acme", "PRODUCT"); n != 0 {
		t.Errorf("somebody's tenant got %d products", n)
	}
}

// TestReceiver has acme's webhook lead to a receiver, as a start of the demo does and the next one does again, and sees what it takes.
func TestReceiver(t *testing.T) {
	src := memory.New()
	keys, err := auth.NewKeyring(auth.KeyringOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for start := range 2 {
		t.Run(fmt.Sprint("start ", start), func(t *testing.T) {
			receiver, err := demo.Listen()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { receiver.Close() })
			cfg := tenantry.Config{Store: src, Keyring: keys, Entities: demo.Types(), Log: slog.New(slog.DiscardHandler), Now: time.Now}
			receiver.Allow(&cfg.Webhooks)
			app := tenantrytest.New(t, cfg)
			load(t, app)
			acme := app.Scope("acme")
			if leads, err := receiver.Subscribe(t.Context(), app.App, acme.Tenant()); err != nil || !leads {
				t.Fatal(leads, err)
			}
			if all, err := app.Webhooks().List(t.Context(), acme); err != nil || len(all) != 1 || all[0].URL != receiver.URL() {
				t.Fatalf("acme's webhooks: %+v, %v", all, err)
			}
			products, _, err := tenantry.NewEntity[map[string]any]("PRODUCT")
			if err != nil {
				t.Fatal(err)
			}
			sk := fmt.Sprint("stool-", start)
			if _, err := products.In(app.App).Create(t.Context(), acme, tenantry.Item[map[string]any]{SK: sk, Name: "Stool"}); err != nil {
				t.Fatal(err)
			}
			apitest.Eventually(t, func() bool { return strings.Contains(received(receiver), `"sk":"`+sk) })
			forged := httptest.NewRecorder()
			receiver.ServeHTTP(forged, httptest.NewRequest("POST", "/", strings.NewReader(`{"forged":true}`)))
			if forged.Code != http.StatusUnauthorized || strings.Contains(received(receiver), "forged") {
				t.Errorf("a delivery that nobody signed: %d", forged.Code)
			}
		})
	}
}

// TestAWebhookThatAUserChangedStays starts the demo again after a user led its webhook elsewhere, and after one deleted it.
func TestAWebhookThatAUserChangedStays(t *testing.T) {
	receiver, err := demo.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { receiver.Close() })
	cfg := tenantry.Config{Entities: demo.Types(), Log: slog.New(slog.DiscardHandler)}
	receiver.Allow(&cfg.Webhooks)
	app := tenantrytest.New(t, cfg)
	load(t, app)
	acme := app.Scope("acme")
	start := func(want bool) []webhooks.Webhook {
		t.Helper()
		leads, err := receiver.Subscribe(t.Context(), app.App, acme.Tenant())
		if err != nil || leads != want {
			t.Errorf("leads to the receiver: %v, %v", leads, err)
		}
		all, err := app.Webhooks().List(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	hook, own := start(true)[0], "https://hooks.example/acme"
	if _, _, err := app.Webhooks().Update(t.Context(), acme, hook.ID, webhooks.Change{URL: &own}); err != nil {
		t.Fatal(err)
	}
	if all := start(false); len(all) != 1 || all[0].URL != own {
		t.Errorf("one that a user led elsewhere: %+v", all)
	}
	if _, _, err := app.Webhooks().Delete(t.Context(), acme, hook.ID); err != nil {
		t.Fatal(err)
	}
	if all := start(false); len(all) != 0 {
		t.Errorf("one that a user deleted came back: %+v", all)
	}
}

// received is what a receiver shows.
func received(r *demo.Receiver) string {
	answer := httptest.NewRecorder()
	r.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
	return answer.Body.String()
}

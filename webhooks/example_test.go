package webhooks_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
	"github.com/tenantry/tenantry/webhooks"
)

// A receiver verifies what it is told.
func Example() {
	told := make(chan received)
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- received{r.URL.Path, r.Header, string(body)}
	}))
	defer receiver.Close()
	roots := x509.NewCertPool()
	roots.AddCert(receiver.Certificate())

	ctx := context.Background()
	app, err := tenantry.Open(ctx, tenantry.Config{Store: memory.New(), Log: slog.New(slog.DiscardHandler), Webhooks: webhooks.Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, // the receiver stands beside this program
		Roots: roots,
	}})
	check(err)
	defer app.Close()
	check(app.Start(ctx))

	acme, err := tenant.Parse("acme")
	check(err)
	token, err := app.Keyring().Issue(auth.Claims{Subject: "operator", Role: guard.SystemAdmin, TTL: time.Hour})
	check(err)
	operator, err := app.Verifier().Verify(ctx, token)
	check(err)
	sys, err := app.System(operator, guard.Actor{Source: "example"}, "show webhooks")
	check(err)
	_, err = app.Tenants().CreateTenant(ctx, sys, tenants.Create{Code: acme, Name: "Acme"})
	check(err)
	sc, err := sys.Enter(ctx, acme, time.Time{})
	check(err)

	hook, err := app.Webhooks().Create(ctx, sc, webhooks.Change{URL: &receiver.URL})
	check(err)
	key, err := record.NewKey(sc, record.MustEntityType("PRODUCT"), "chair")
	check(err)
	_, err = app.Commands().PublishSync(ctx, sc, command.Input{Key: key, Name: "Chair"})
	check(err)

	got := <-told
	fmt.Println("signed by the webhook's secret:", signed(got, hook.Secret)[0])
	fmt.Println(got.body[:len(`{"type":"PRODUCT.created"`)], "…")
	// Output:
	// signed by the webhook's secret: true
	// {"type":"PRODUCT.created" …
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

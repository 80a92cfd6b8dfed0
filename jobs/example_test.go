package jobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
)

// An invoice is mailed in the background. It is ordered in the commit that makes the invoice: there are both, or neither.
func Example() {
	ctx := context.Background()
	mailed := make(chan string)
	app, err := tenantry.Open(ctx, tenantry.Config{Store: memory.New(), Log: slog.New(slog.DiscardHandler), Jobs: []jobs.Kind{{
		Name: "mail",
		Run: func(ctx context.Context, sc guard.Scope, j jobs.Job) error {
			mailed <- fmt.Sprintf("mailed for %s, ordered by %s: %s", sc.Tenant(), sc.Actor().UserID, j.Payload)
			return nil
		},
	}}})
	check(err)
	defer app.Close()
	check(app.Start(ctx))

	acme, err := tenant.Parse("acme")
	check(err)
	token, err := app.Keyring().Issue(auth.Claims{Subject: "operator", Role: guard.SystemAdmin, TTL: time.Hour})
	check(err)
	operator, err := app.Verifier().Verify(ctx, token)
	check(err)
	sys, err := app.System(operator, guard.Actor{Source: "example"}, "show jobs")
	check(err)
	_, err = app.Tenants().CreateTenant(ctx, sys, tenants.Create{Code: acme, Name: "Acme"})
	check(err)
	sc, err := sys.Enter(ctx, acme, time.Time{})
	check(err)

	invoice, err := record.NewKey(sc, record.MustEntityType("INVOICE"), "2026-001")
	check(err)
	payload, err := record.EncodeAttributes(map[string]string{"invoice": invoice.SK()})
	check(err)
	_, err = app.Commands().PublishSync(ctx, sc, command.Input{Key: invoice, Name: "Invoice"}, app.Jobs().Beside(jobs.Order{Kind: "mail", Payload: payload}))
	check(err)
	fmt.Println(<-mailed)
	// Output:
	// mailed for acme, ordered by operator: {"invoice":"2026-001"}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

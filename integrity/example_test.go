package integrity_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/integrity"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
)

func Example() {
	ctx := context.Background()
	app, err := tenantry.Open(ctx, tenantry.Config{Store: memory.New(), Log: slog.New(slog.DiscardHandler)})
	check(err)
	defer app.Close()

	// An operator with a token of a system admin crosses tenants for a reason, which the audit log keeps.
	token, err := app.Keyring().Issue(auth.Claims{Subject: "operator", Role: guard.SystemAdmin, TTL: time.Hour})
	check(err)
	operator, err := app.Verifier().Verify(ctx, token)
	check(err)
	sys, err := app.System(operator, guard.Actor{Source: "nightly"}, "verify the store")
	check(err)
	acme, err := tenant.Parse("acme")
	check(err)
	_, err = app.Tenants().CreateTenant(ctx, sys, tenants.Create{Code: acme, Name: "Acme"})
	check(err)

	report, err := integrity.Verify(ctx, app.Store(), sys, integrity.Options{Entities: app.Entities()})
	check(err)
	fmt.Print(report)
	// Output:
	// ok    keys                 7 names       every key is well-formed
	// ok    log                  3 commands    the commands of a record run from 1 without a gap
	// ok    state                3 records     the data row says what the newest finished command says
	// ok    interrupted          3 commands    every command has become the state of its record
	// ok    history              0 states      history holds every version below the current one, once, as its command says
	// ok    attributes           3 commands    attributes and metadata are canonical JSON
	// ok    times                3 commands    the times of a record do not decrease from version to version
	// ok    tenant               3 commands    tenantCode is the tenant of the pk
	// ok    directory            1 tenants     the directory of tenants says what their records say
	// ok    codes                0 codes       a unique code is held by the one live record that has it
	// ok    partitions           3 partitions  the partitions of every tenant are noted
	// ok    receipts             0 receipts    a receipt names a command that is in the log
	// ok    checkpoints          0 rows        checkpoints and parked records are well-formed
	// ok    members              0 rows        a user's tenants and default, and a tenant's count of admins, are what the memberships say
	// ok    jobs                 0 rows        jobs and deliveries are of the tenant in whose partition they stand, and are found there
	// ok    feed                 3 commands    the change feed holds every command once, those of a record in version order
	//
	// the memory store is sound
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

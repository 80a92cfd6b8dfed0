package guide_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenantsync"
)

// "Pattern 1: Data Sync Between Tenants": the guide's syncMasterData, as a plan that is looked at and then applied. What fails, fails by itself; what
// a target changed itself is kept, where that is asked for; running it again does nothing; and it can be taken back.
func Example_dataSyncBetweenTenants() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("acme", "bravo", "charlie")
	product := record.MustEntityType("PRODUCT")
	put := func(sc guard.Scope, sk, name string) {
		key, err := record.NewKey(sc, product, sk)
		check(err)
		_, err = app.Commands().PublishSync(ctx, sc, command.Input{Key: key, Version: record.VersionLatest, Name: name})
		check(err)
	}
	acme, bravo := app.Scope("acme"), app.Scope("bravo")
	put(acme, "chair", "Oak chair")
	put(acme, "table", "Oak table")
	put(bravo, "chair", "Our own chair")

	sys := app.System("distribute master data") // only system admins get one, and it leaves an audit entry
	id, err := app.Syncs().Plan(ctx, sys, tenantsync.Request{Source: acme.Tenant(), Targets: []tenant.Code{bravo.Tenant(), parse("charlie")},
		EntityType: product, OnConflict: tenantsync.KeepLocal}, tenantsync.Order{})
	check(err)
	fmt.Println(over(app, sys, id).Status)
	items, err := app.Syncs().Items(ctx, sys, tenantsync.Task{Sync: id, Target: bravo.Tenant()}, "")
	check(err)
	for _, it := range items.Items {
		fmt.Println(it.ID, it.Action, it.Reason)
	}

	check(app.Syncs().Apply(ctx, sys, id))
	st := over(app, sys, id)
	fmt.Println(st.Status, st.Synced, "synced", st.Skipped, "skipped", st.Failed, "failed")
	key, err := record.NewKey(bravo, product, "table")
	check(err)
	table, err := app.Data().Get(ctx, bravo, key)
	check(err)
	var metadata struct {
		SyncedFrom string `json:"syncedFrom"`
	}
	check(table.Metadata.Decode(&metadata))
	fmt.Println(table.Name, "from", metadata.SyncedFrom)

	undo, err := app.Syncs().Undo(ctx, sys, id, tenantsync.Order{Apply: true})
	check(err)
	fmt.Println(over(app, sys, undo).Synced, "taken back")
	// Output:
	// planned
	// PRODUCT#bravo#chair skip local_changes
	// PRODUCT#bravo#table create missing
	// applied 3 synced 1 skipped 0 failed
	// Oak table from PRODUCT#acme#table
	// 3 taken back
}

// A rule keeps targets in step while the source changes.
func Example_continuousSync() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("bravo", "charlie")
	template := record.MustEntityType("TEMPLATE")
	common, charlie := app.Scope("common"), app.Scope("charlie")
	sys := app.System("distribute templates")
	_, first, err := app.Syncs().AddRule(ctx, sys, tenantsync.Request{Source: tenant.Common(), All: true, EntityType: template, Deletes: true}, tenantsync.RuleOptions{})
	check(err)
	over(app, sys, first)

	key, err := record.NewKey(common, template, "welcome")
	check(err)
	_, err = app.Commands().PublishSync(ctx, common, command.Input{Key: key, Name: "Welcome"})
	check(err)
	if key, err = record.NewKey(charlie, template, "welcome"); err != nil {
		panic(err)
	}
	for range 500 {
		if copied, err := app.Data().Get(ctx, charlie, key); err == nil {
			fmt.Println(copied.PK, copied.Name)
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	// Output: TEMPLATE#charlie Welcome
}

// over waits until a sync is not worked on any more.
func over(app *tenantrytest.App, sys guard.System, id string) tenantsync.Status {
	for {
		st, err := app.Syncs().Status(context.Background(), sys, id)
		check(err)
		if st.Status != tenantsync.Planning && st.Status != tenantsync.Applying {
			return st
		}
		<-time.After(5 * time.Millisecond)
	}
}

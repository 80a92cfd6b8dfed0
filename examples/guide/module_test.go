package guide_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenants"
)

// tenantSync carries tenants into another system. A command comes to it at least once, so it does the same when one comes twice.
type tenantSync struct{}

func (tenantSync) Up(_ context.Context, sc guard.Scope, cmd *record.Record) error {
	fmt.Println("sync", sc.Tenant(), "version", cmd.Version, "deleted", cmd.IsDeleted)
	return nil
}

func (tenantSync) Down(context.Context, guard.Scope, *record.Record) error { return nil }

// "Module Registration": the tenant module is part of every App. Its option DataSyncHandlers carries tenants into other systems.
func Example_moduleRegistration() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{Tenants: tenantry.TenantOptions{
		DataSyncHandlers: []projection.Registration{{Name: "tenant-rds", Handler: tenantSync{}}},
	}})
	defer closeApp()
	sys := app.System("sign a customer up, and off")

	_, err := app.Tenants().CreateTenant(ctx, sys, tenants.Create{Code: parse("mbc"), Name: "MBC tenant"})
	check(err)
	_, err = app.Tenants().DeleteTenant(ctx, sys, tenants.Ref{Tenant: parse("mbc")})
	check(err)
	// Output:
	// sync mbc version 1 deleted false
	// sync mbc version 2 deleted true
}

// "Module Options", enableController: the REST operations are served unless DisableController is set.
func Example_moduleOptions() {
	for _, disabled := range []bool{false, true} {
		app, closeApp := open(tenantry.Config{Tenants: tenantry.TenantOptions{DisableController: disabled}})
		defer closeApp()
		fmt.Println(send(serve(app), adminToken(app), "POST", "/api/tenant", `{"code":"mbc","name":"MBC tenant"}`))
	}
	// Output:
	// 201
	// 404 not_found
}

// "getTenant": a tenant is the record TENANT#code / MASTER.
func Example_getTenant() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	mbc := app.Scope("mbc")

	ref, err := tenants.ParseRef("TENANT#mbc", "MASTER")
	check(err)
	found, err := app.Tenants().GetTenant(ctx, mbc, ref)
	check(err)
	fmt.Println(found.ID(), found.Name)
	// Output: TENANT#mbc#MASTER MBC
}

// "createCommonTenant": the record of the tenant that everybody shares. It is created once.
func Example_createCommonTenant() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	sys := app.System("set the installation up")

	description := "Shared tenant for common data"
	res, err := app.Tenants().CreateCommonTenant(ctx, sys, tenants.Create{Name: "Common", Description: &description})
	check(err)
	fmt.Println(res.Record.ID(), string(res.Record.Attributes))

	_, err = app.Tenants().CreateCommonTenant(ctx, sys, tenants.Create{Name: "Common"})
	fmt.Println(errors.Is(err, fault.AlreadyExists))
	// Output:
	// TENANT#common#MASTER {"description":"Shared tenant for common data"}
	// true
}

// "createTenant": the result holds the accepted command and the record after it.
func Example_createTenant() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()

	description := "Main business tenant"
	res, err := app.Tenants().CreateTenant(ctx, app.System("sign a customer up"), tenants.Create{Code: parse("mbc"), Name: "MBC tenant", Description: &description})
	check(err)
	fmt.Println(res.Record.ID(), res.Command.Version, res.Record.Name, string(res.Record.Attributes))
	// Output: TENANT#mbc#MASTER 1 MBC tenant {"description":"Main business tenant"}
}

// "updateTenant": what is not given stays, and attributes merge at the first level.
func Example_updateTenant() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("mbc")

	name, description := "Updated MBC tenant", "Updated description"
	res, err := app.Tenants().UpdateTenant(ctx, app.System("rename a customer"), tenants.Ref{Tenant: parse("mbc")}, tenants.Update{Name: &name, Description: &description})
	check(err)
	fmt.Println(res.Record.Version, res.Record.Name, string(res.Record.Attributes))
	// Output: 2 Updated MBC tenant {"description":"Updated description"}
}

// "deleteTenant": the record stays readable with its history, and nobody acts in the tenant any more.
func Example_deleteTenant() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("mbc")
	api, ann := serve(app), tokenFor(app, "ann", "mbc", "admin")
	fmt.Println(send(api, ann, "GET", "/api/data/PRODUCT", ""))

	res, err := app.Tenants().DeleteTenant(ctx, app.System("the contract has ended"), tenants.Ref{Tenant: parse("mbc")})
	check(err)
	fmt.Println(res.Record.IsDeleted)
	fmt.Println(send(api, ann, "GET", "/api/data/PRODUCT", ""))
	// Output:
	// 200
	// true
	// 403 tenant_forbidden
}

// "addTenantGroup": a role of the tenant gets a group. Groups with more segments come first, until somebody customizes the order.
func Example_addTenantGroup() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	abc := app.Scope("abc")

	_, err := app.Tenants().AddTenantGroup(ctx, abc, tenants.AddGroup{GroupID: "19", Role: "company"})
	check(err)
	res, err := app.Tenants().AddTenantGroup(ctx, abc, tenants.AddGroup{GroupID: "19#sales", Role: "company"})
	check(err)
	fmt.Println(tenants.GroupsFor(res.Record, "company"))
	// Output: [19#sales 19] <nil>
}

// "createTenantGroup": a tenant inside a group is a record of the group, TENANT#group / code. Nobody acts in it.
func Example_createTenantGroup() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	group := app.Scope("group-001")

	description := "Tenant in group-001"
	res, err := app.Tenants().CreateTenantGroup(ctx, group, tenants.Create{Code: parse("mbc"), Name: "MBC Tenant", Description: &description})
	check(err)
	fmt.Println(res.Record.ID(), res.Record.Name)
	// Output: TENANT#group-001#mbc MBC Tenant
}

// "customizeSettingGroups": the groups of a role in an order of the administrator's own. Groups that are added later come last.
func Example_customizeSettingGroups() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	mbc := app.Scope("mbc")
	_, err := app.Tenants().AddTenantGroup(ctx, mbc, tenants.AddGroup{GroupID: "18", Role: "company"})
	check(err)

	_, err = app.Tenants().CustomizeSettingGroups(ctx, mbc, tenants.CustomizeGroups{SettingGroups: []string{"20", "19"}, Role: "company"})
	check(err)
	res, err := app.Tenants().AddTenantGroup(ctx, mbc, tenants.AddGroup{GroupID: "18#sales", Role: "company"})
	check(err)
	fmt.Println(tenants.GroupsFor(res.Record, "company"))
	// Output: [20 19 18#sales] <nil>
}

package guide_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/settings"
)

// "Tenant Settings Pattern": what a tenant has not set is its default, and a store that fails is an error, never a default. There is no
// cache to invalidate: after an update nobody reads the old value.
func Example_tenantSettings() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("acme")
	acme := app.Scope("acme")

	_, _, err := app.Settings().Update(ctx, acme, record.Attributes(`{"timezone":"Europe/Berlin","dateFormat":"D. MMMM YYYY","features":{"exportEnabled":false}}`))
	check(err)
	s, err := settings.Get[settings.Tenant](ctx, app.Settings(), acme)
	check(err)
	fmt.Println(s.Timezone, s.Locale, s.Currency, s.Features)
	day, err := s.FormatDate(time.Date(2026, 3, 4, 23, 30, 0, 0, time.UTC))
	check(err)
	fmt.Println(day)

	_, _, err = app.Settings().Update(ctx, acme, record.Attributes(`{"timezone":null,"features":{"exportEnabled":null}}`))
	check(err)
	s, err = settings.Get[settings.Tenant](ctx, app.Settings(), acme)
	check(err)
	fmt.Println(s.Timezone, s.Features)

	_, _, err = app.Settings().Update(ctx, acme, record.Attributes(`{"timezone":"Mars/Olympus"}`))
	fmt.Println(fault.As(err).Msg)
	// Output:
	// Europe/Berlin ja JPY {false true true}
	// 5. March 2026
	// Asia/Tokyo {true true true}
	// timezone: is an IANA time zone, as Asia/Tokyo or UTC
}

// The same for settings of the application's own: typed in Go, the same routes over HTTP, and the form in the API's description.
func Example_declaredSettings() {
	type Shop struct {
		settings.Tenant
		MaxItems int `json:"maxItems" minimum:"1" maximum:"1000"`
	}
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{Settings: settings.Declare(Shop{Tenant: settings.Defaults(), MaxItems: 10})})
	defer closeApp()
	app.Tenant("acme")
	api, ann := serve(app), tokenFor(app, "ann", "acme", "admin")

	fmt.Println(send(api, ann, "PATCH", "/api/settings", `{"maxItems":25}`))
	fmt.Println(send(api, ann, "PATCH", "/api/settings", `{"maxItems":0}`))
	fmt.Println(send(api, ann, "PATCH", "/api/settings", `{"colour":"red"}`))
	shop, err := settings.Get[Shop](ctx, app.Settings(), app.Scope("acme"))
	fmt.Println(shop.MaxItems, shop.Currency, err)
	// Output:
	// 200
	// 422 validation_failed
	// 422 validation_failed
	// 25 JPY <nil>
}

// Master settings are resolved from the user's to those that all tenants share, and say why.
func Example_masterSettings() {
	ctx := context.Background()
	app, closeApp := open(tenantry.Config{})
	defer closeApp()
	app.Tenant("acme")
	acme, master := app.Scope("acme"), app.Settings()
	tax := func(level settings.Level) settings.Ref { return settings.Ref{Level: level, Code: "tax"} }

	_, _, err := master.Put(ctx, app.Scope("common"), tax(settings.LevelCommon), settings.Value{Name: "Tax", Value: record.Attributes(`{"rate":10}`)})
	check(err)
	_, _, err = master.Put(ctx, acme, tax(settings.LevelTenant), settings.Value{Name: "Tax", Value: record.Attributes(`{"rate":7}`)})
	check(err)
	s, how, err := master.Explain(ctx, acme, "tax", settings.Caller{UserID: "ann"})
	check(err)
	fmt.Println(s.Level, string(s.Value))
	fmt.Println(how.Reason)
	// Output:
	// tenant {"rate":7}
	// tenant is the first level in the order user → group → tenant → common that has the setting: user "ann" has none
}

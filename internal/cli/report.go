package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
)

// reportVerb are the verbs that count.
type reportVerb struct {
	System reportSystem `cmd:"" help:"Count the records of all tenants."`
	Tenant reportTenant `cmd:"" help:"Count the records and users of a tenant."`
}

// reportOutput are the flags that choose what is printed of a report.
type reportOutput struct {
	CSV  bool `name:"csv" xor:"output" help:"Print a table for spreadsheets, as RFC 4180 has it."`
	JSON bool `xor:"output" help:"Print what the API answers, for programs."`
}

// withReadModel calls use with a client of the API, where the read model of a store that this process opens is one that it may keep; prepare makes it
// ready. It fails with fault.Unavailable where there is none.
func (t target) withReadModel(ctx context.Context, std IO, prepare func(*tenantry.App) error, use func(*client.Client) error) (err error) {
	c, closed, err := t.connectTo(ctx, std, false, func(app *tenantry.App) error {
		switch {
		case app.Upkeep() != nil:
			return prepare(app)
		case t.ReadModel == "" && t.Store != "sqlite" && t.Store != "postgres":
			return fault.New(fault.Unavailable, "cli", "the %s store holds no read model; name its database with --read-model", t.Store)
		}
		return fault.New(fault.Unavailable, "cli", "another program, or another version of this one, declares the tables of this read model; call its server with --server")
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	return use(c)
}

// withReports is withReadModel with what was committed in it: where no server keeps it, this process brings it up to date.
func (t target) withReports(ctx context.Context, std IO, use func(*client.Client) error) error {
	return t.withReadModel(ctx, std, func(app *tenantry.App) error {
		if err := app.Start(ctx); err != nil {
			return err
		}
		return patiently(ctx, std.Err, app.CatchUp, func(ctx context.Context) (int64, error) {
			places, _, err := app.Upkeep().Behind(ctx)
			return places, err
		})
	}, use)
}

// stands is how often catching up may end without having come nearer: each time takes as long as a reader of the read model waits.
const stands = 12

// patiently catches up for as long as it comes nearer to the end. It fails with fault.Behind where it stands still.
func patiently(ctx context.Context, w io.Writer, catchUp func(context.Context) error, behind func(context.Context) (places int64, err error)) error {
	nearest, stood := int64(math.MaxInt64), 0
	for {
		err := catchUp(ctx)
		if !errors.Is(err, fault.Behind) {
			return err
		}
		places, err := behind(ctx)
		if err != nil {
			return err
		}
		if stood++; places < nearest {
			nearest, stood = places, 0
		}
		if stood == stands {
			return fault.New(fault.Behind, "cli", "the read model stands still %d places before the end of the feed; the log of the server that keeps it says why, and tenantry projection status what waits", places)
		}
		fmt.Fprintf(w, "The read model is being brought up to date: %d places to go.\n", places)
	}
}

type reportSystem struct {
	Type         entityType `placeholder:"TYPE" help:"The entity type whose tenants and growth are shown. Defaults to PRODUCT; with --csv to all."`
	Top          positive   `placeholder:"N" help:"How many tenants with the most, 1 to 1000, in --json. Defaults to 10."`
	Days         positive   `placeholder:"N" help:"Days of growth, today included, 1 to 366. Defaults to 30."`
	RecentOrders bool       `help:"Show the orders that were created last, at most 100. Each tenant of one finds this in its audit log."`
	target
	reportOutput
}

// Help implements kong.HelpProvider.
func (reportSystem) Help() string {
	return `All of a report is of one moment: its totals are the sums over the tenants. Deleted tenants are left out. Examples:

    tenantry report system
    tenantry report system --type ORDER --days 7
    tenantry report system --csv > tenants.csv
    tenantry report system --recent-orders --json | jq .recentOrders`
}

// Run runs the verb.
func (v reportSystem) Run(ctx context.Context, std IO) error {
	q := client.ReportQuery{EntityType: v.Type.String(), Top: int(v.Top), Days: int(v.Days), RecentOrders: v.RecentOrders}
	return v.withReports(ctx, std, func(c *client.Client) error {
		if v.CSV {
			return c.SaveSystemReport(ctx, q, std.Out)
		}
		r, err := c.SystemReport(ctx, q)
		switch {
		case err != nil:
			return err
		case v.JSON:
			return raw(std.Out, r.JSON)
		}
		return printSystemReport(std.Out, r)
	})
}

func printSystemReport(w io.Writer, r client.SystemReport) error {
	fmt.Fprintf(w, "counted up to position %s of the change feed, at %s\n\n", printable(r.Place), moment(r.AppliedAt))
	fresh := map[string]client.Freshness{}
	for _, f := range r.Freshness {
		fresh[f.TenantCode] = f
	}
	t := newTable(w)
	t.row("TENANT", r.EntityType, "COUNTED", "LAG")
	for _, n := range r.ByTenant {
		f := fresh[n.TenantCode]
		t.row(n.TenantCode, count(n.Count), moment(f.AppliedAt), lag(f.LagMillis))
	}
	t.row("total", count(r.Total))
	t.row()
	t.row("TYPE", "COUNT")
	for _, n := range r.Totals {
		t.row(n.EntityType, count(n.Count))
	}
	if len(r.Growth) > 0 {
		t.row()
		t.row("DAY", "CREATED")
	}
	for _, n := range r.Growth {
		t.row(n.Day, count(n.Created))
	}
	if len(r.RecentOrders) > 0 {
		t.row()
		t.row("TENANT", "ORDER", "NAME", "CREATED", "BY")
	}
	for _, o := range r.RecentOrders {
		t.row(o.TenantCode, o.Code, cut(o.Name), moment(o.CreatedAt), o.CreatedBy)
	}
	return t.w.Flush()
}

type reportTenant struct {
	Code code `arg:"" help:"Tenant code."`
	target
	reportOutput
}

// Help implements kong.HelpProvider.
func (reportTenant) Help() string {
	return `Users are memberships that have not ended. Examples:

    tenantry report tenant acme
    tenantry report tenant acme --json | jq .products`
}

// Run runs the verb.
func (v reportTenant) Run(ctx context.Context, std IO) error {
	return v.withReports(ctx, std, func(c *client.Client) error {
		if v.CSV {
			return c.SaveTenantReport(ctx, v.Code.Code, std.Out)
		}
		r, err := c.TenantReport(ctx, v.Code.Code)
		switch {
		case err != nil:
			return err
		case v.JSON:
			return raw(std.Out, r.JSON)
		}
		t := newTable(std.Out)
		t.row("tenant", r.TenantCode)
		t.row("products", count(r.Products))
		t.row("orders", count(r.Orders))
		t.row("users", count(r.Users))
		for _, n := range r.Totals {
			if n.EntityType != "PRODUCT" && n.EntityType != "ORDER" {
				t.row(n.EntityType, count(n.Count))
			}
		}
		t.row("counted", moment(r.AppliedAt)+", "+lag(r.LagMillis)+" after the last change")
		return t.w.Flush()
	})
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func lag(millis int64) string { return (time.Duration(millis) * time.Millisecond).String() }

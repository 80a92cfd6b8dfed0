package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/tenant"
)

// tenantVerb are the verbs about tenants.
type tenantVerb struct {
	Create  tenantCreate  `cmd:"" help:"Create a tenant; create common begins the record of what all share."`
	List    tenantList    `cmd:"" help:"List all tenants by code."`
	Show    tenantShow    `cmd:"" help:"Show a tenant."`
	Update  tenantUpdate  `cmd:"" help:"Change a tenant."`
	Delete  tenantDelete  `cmd:"" help:"Delete a tenant. Its records stay until it is purged."`
	Suspend tenantSuspend `cmd:"" help:"Refuse everyone who acts in a tenant, within a second."`
	Resume  tenantResume  `cmd:"" help:"End a suspension."`
	Adopt   tenantAdopt   `cmd:"" help:"List the tenants too that another service created in the store."`
}

// withClient calls use with a client of the API, and closes what was opened for it.
func (t target) withClient(ctx context.Context, std IO, create bool, use func(*client.Client) error) (err error) {
	c, closed, err := t.connect(ctx, std, create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closed()) }()
	return use(c)
}

// changed prints what became of a change: a sentence, or the answer.
func (o output) changed(std IO, rec client.Record, done, what string) error {
	switch {
	case o.JSON:
		return raw(std.Out, rec.JSON)
	case rec.Changed != nil && !*rec.Changed:
		done = "unchanged:"
	}
	_, err := fmt.Fprintf(std.Out, "%s %s, version %d\n", done, printable(what), rec.Version)
	return err
}

type tenantCreate struct {
	Code        code       `arg:"" help:"Tenant code: [a-z0-9][a-z0-9_-]{0,62}."`
	Name        string     `placeholder:"NAME" help:"Defaults to the code."`
	Description *string    `placeholder:"TEXT" help:"Kept as attributes.description."`
	Attributes  attributes `placeholder:"JSON" help:"JSON object; @FILE reads a file, - standard input."`
	target
	output
}

// Help implements kong.HelpProvider.
func (tenantCreate) Help() string {
	return `Examples:

    tenantry tenant create acme --name "Acme Ltd"
    tenantry tenant create acme --attributes '{"plan":"pro"}' --json
    tenantry tenant create acme --server http://127.0.0.1:8080 --token "$TOKEN"`
}

// Run runs the verb.
func (v tenantCreate) Run(ctx context.Context, std IO) error {
	in := client.NewTenant{Name: v.Name, Description: v.Description}
	if in.Name == "" {
		in.Name = v.Code.String()
	}
	var err error
	if in.Attributes, err = v.Attributes.value(std.In); err != nil {
		return err
	}
	return v.withClient(ctx, std, true, func(c *client.Client) error {
		create := func() (client.Record, error) { return c.CreateTenant(ctx, v.Code.Code, in) }
		if v.Code.IsCommon() {
			create = func() (client.Record, error) { return c.CreateCommonTenant(ctx, in) }
		}
		rec, err := create()
		if err != nil {
			return err
		}
		return v.changed(std, rec, "created", "tenant "+v.Code.String())
	})
}

type tenantList struct {
	Deleted bool `help:"Show deleted tenants too."`
	paging
	target
	output
}

// Help implements kong.HelpProvider.
func (tenantList) Help() string {
	return `Examples:

    tenantry tenant list
    tenantry tenant list --all --json | jq -r .tenantCode`
}

// Run runs the verb.
func (v tenantList) Run(ctx context.Context, std IO) error {
	var opts []client.Option
	if v.Deleted {
		opts = append(opts, client.IncludeDeleted())
	}
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		return pages(std, v.paging, v.output, printTenants,
			func(p client.Paging) (client.Page[client.Record], error) { return c.Tenants(ctx, p, opts...) })
	})
}

func printTenants(w io.Writer, recs []client.Record, first bool) error {
	t := newTable(w)
	if first {
		t.row("CODE", "NAME", "STATE", "VERSION", "CREATED", "UPDATED", "BY")
	}
	for _, rec := range recs {
		t.row(rec.TenantCode, cut(rec.Name), tenantState(rec), versionText(rec.Version), moment(rec.CreatedAt), moment(rec.UpdatedAt), rec.UpdatedBy)
	}
	return t.w.Flush()
}

// tenantState says whether a tenant may be used.
func tenantState(rec client.Record) string {
	var attributes struct {
		Suspended jsontext.Value `json:"suspended"`
	}
	if rec.Attributes != nil {
		_ = json.Unmarshal(rec.Attributes, &attributes) // an object, whatever its other members
	}
	switch {
	case rec.IsDeleted:
		return "deleted"
	case attributes.Suspended != nil:
		return "suspended"
	}
	return "active"
}

// oneTenant is the argument of verbs about one tenant.
type oneTenant struct {
	Code code `arg:"" help:"Tenant code."`
	target
	output
}

func (v oneTenant) ref() client.Ref { return client.Ref{Tenant: v.Code.Code} }

type tenantShow struct{ oneTenant }

// Help implements kong.HelpProvider.
func (tenantShow) Help() string {
	return `Examples:

    tenantry tenant show acme
    tenantry tenant show acme --json | jq .attributes`
}

// Run runs the verb.
func (v tenantShow) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		rec, err := c.Tenant(ctx, v.ref())
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, rec.JSON)
		}
		return printRecord(std.Out, rec, tenantState(rec))
	})
}

type tenantUpdate struct {
	oneTenant
	Name        *string    `placeholder:"NAME" help:"New name."`
	Description *string    `placeholder:"TEXT" help:"New attributes.description."`
	Attributes  attributes `placeholder:"JSON" help:"JSON object, merged at the first level; @FILE reads a file, - standard input."`
}

// Help implements kong.HelpProvider.
func (tenantUpdate) Help() string {
	return `What is not given stays as it is. Examples:

    tenantry tenant update acme --name "Acme Inc"
    tenantry tenant update acme --attributes '{"plan":"pro"}'`
}

// Run runs the verb.
func (v tenantUpdate) Run(ctx context.Context, std IO) error {
	in := client.TenantUpdate{Name: v.Name, Description: v.Description}
	var err error
	if in.Attributes, err = v.Attributes.value(std.In); err != nil {
		return err
	}
	return v.do(ctx, std, "changed", func(c *client.Client) (client.Record, error) { return c.UpdateTenant(ctx, v.ref(), in) })
}

// do makes one change of a tenant and prints it.
func (v oneTenant) do(ctx context.Context, std IO, done string, change func(*client.Client) (client.Record, error)) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		rec, err := change(c)
		if err != nil {
			return err
		}
		return v.changed(std, rec, done, "tenant "+v.Code.String())
	})
}

type tenantDelete struct{ oneTenant }

// Help implements kong.HelpProvider.
func (tenantDelete) Help() string {
	return `From then on everyone who acts in the tenant is refused. Its records and their history stay. Example:

    tenantry tenant delete acme`
}

// Run runs the verb.
func (v tenantDelete) Run(ctx context.Context, std IO) error {
	return v.do(ctx, std, "deleted", func(c *client.Client) (client.Record, error) { return c.DeleteTenant(ctx, v.ref()) })
}

type tenantSuspend struct {
	oneTenant
	Reason string `required:"" placeholder:"TEXT" help:"Why; it is kept with the tenant."`
}

// Help implements kong.HelpProvider.
func (tenantSuspend) Help() string {
	return `Example:

    tenantry tenant suspend acme --reason "unpaid since March"`
}

// Run runs the verb.
func (v tenantSuspend) Run(ctx context.Context, std IO) error {
	return v.do(ctx, std, "suspended", func(c *client.Client) (client.Record, error) { return c.SuspendTenant(ctx, v.Code.Code, v.Reason) })
}

type tenantResume struct {
	oneTenant
	Reason string `required:"" placeholder:"TEXT" help:"Why."`
}

// Help implements kong.HelpProvider.
func (tenantResume) Help() string {
	return `Example:

    tenantry tenant resume acme --reason paid`
}

// Run runs the verb.
func (v tenantResume) Run(ctx context.Context, std IO) error {
	return v.do(ctx, std, "resumed", func(c *client.Client) (client.Record, error) { return c.ResumeTenant(ctx, v.Code.Code, v.Reason) })
}

type tenantAdopt struct {
	store
	output
}

// Help implements kong.HelpProvider.
func (tenantAdopt) Help() string {
	return `A tenant that a service of mbc-cqrs-serverless created in the tables can act at once, but is not in the directory, from which lists, syncs to all tenants and
copies of one go. This reads the records of all tenants and writes what the directory lacks, or says otherwise. It may be repeated, and run beside servers. Examples:

    tenantry tenant adopt --store dynamodb --table-prefix prod-shop
    tenantry tenant adopt --store dynamodb --table-prefix prod-shop --json | jq .adopted`
}

// Run runs the verb.
func (v tenantAdopt) Run(ctx context.Context, std IO) error {
	var codes []tenant.Code
	err := v.across(ctx, std, "tenant adopt", func(app *tenantry.App, sys guard.System) (err error) {
		codes, err = app.Tenants().Adopt(ctx, sys)
		return err
	})
	if err != nil {
		return err
	}
	adopted := []string{}
	for _, code := range codes {
		adopted = append(adopted, code.String())
	}
	if v.JSON {
		text, err := json.Marshal(struct {
			Adopted []string `json:"adopted"`
		}{adopted})
		if err != nil {
			return err
		}
		return raw(std.Out, text)
	}
	for _, code := range adopted {
		if _, err := fmt.Fprintf(std.Out, "adopted %s\n", code); err != nil {
			return err
		}
	}
	if len(adopted) == 0 {
		_, err = fmt.Fprintln(std.Out, "the directory has all tenants, as they are")
	}
	return err
}

package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/tenantry/tenantry/client"
)

// dataVerb are the verbs about records.
type dataVerb struct {
	Put     dataPut     `cmd:"" help:"Create a record, or replace it."`
	Get     dataGet     `cmd:"" help:"Show a record, now or in the past."`
	List    dataList    `cmd:"" help:"List records by their sort keys."`
	History dataHistory `cmd:"" help:"Show who changed a record, when, from where, and what."`
	Delete  dataDelete  `cmd:"" help:"Delete a record. Its history stays."`
}

// records are the arguments that name an entity type in a tenant.
type records struct {
	Tenant    code       `arg:"" help:"Tenant code."`
	Type      entityType `arg:"" help:"Entity type, in upper case: PRODUCT."`
	Partition string     `placeholder:"SEGMENTS" help:"What follows the tenant in a time-partitioned key, as 2026-11."`
	target
	output
}

// each calls use with the records of the tenant.
func (r records) each(ctx context.Context, std IO, use func(client.Records, []client.Option) error) error {
	var within []client.Option
	if r.Partition != "" {
		within = append(within, client.Within(strings.Split(r.Partition, "#")...))
	}
	return r.withClient(ctx, std, false, func(c *client.Client) error {
		return use(c.In(r.Tenant.Code).Records(r.Type.String()), within)
	})
}

// oneRecord are the arguments that name a record.
type oneRecord struct {
	records
	SK string `arg:"" help:"Sort key."`
}

func (r oneRecord) what() string { return r.Type.String() + " " + r.SK + " of " + r.Tenant.String() }

type dataPut struct {
	oneRecord
	Name       string     `required:"" placeholder:"NAME" help:"The record's name."`
	Code       string     `placeholder:"CODE" help:"Defaults to the current code, for a new record to the sort key."`
	Attributes attributes `placeholder:"JSON" help:"JSON object; @FILE reads a file, - standard input. Without it the record has none."`
	Version    int64      `name:"version" default:"-1" env:"TENANTRY_RECORD_VERSION" help:"The version that is replaced: 0 for a new record, -1 for whatever is current. Defaults to -1."`
}

// Help implements kong.HelpProvider.
func (dataPut) Help() string {
	return `The record is replaced as a whole. With --version it is written only if that is its version still. Examples:

    tenantry data put acme PRODUCT p1 --name Chair --attributes '{"price":4900}'
    tenantry data put acme PRODUCT p1 --name Chair --attributes @chair.json --version 3`
}

// Run runs the verb.
func (v dataPut) Run(ctx context.Context, std IO) error {
	in := client.Input{Name: v.Name, Code: v.Code}
	var err error
	if in.Attributes, err = v.Attributes.value(std.In); err != nil {
		return err
	}
	return v.each(ctx, std, func(recs client.Records, within []client.Option) error {
		rec, err := recs.Put(ctx, v.SK, v.Version, in, within...)
		if err != nil {
			return err
		}
		done := "replaced"
		if rec.Answer.Status == 201 {
			done = "created"
		}
		return v.changed(std, rec, done, v.what())
	})
}

type dataGet struct {
	oneRecord
	Version *int64    `name:"version" env:"TENANTRY_RECORD_VERSION" placeholder:"N" help:"The state at a version."`
	At      time.Time `placeholder:"TIME" format:"2006-01-02T15:04:05Z07:00" help:"The state at a moment, as 2026-11-23T22:00:00Z."`
	Deleted bool      `help:"Show a deleted record too."`
}

// Help implements kong.HelpProvider.
func (dataGet) Help() string {
	return `Examples:

    tenantry data get acme PRODUCT p1
    tenantry data get acme PRODUCT p1 --version 2
    tenantry data get acme PRODUCT p1 --at 2026-11-23T22:00:00Z --json`
}

// Run runs the verb.
func (v dataGet) Run(ctx context.Context, std IO) error {
	return v.each(ctx, std, func(recs client.Records, opts []client.Option) error {
		if v.Version != nil {
			opts = append(opts, client.AtVersion(*v.Version))
		}
		if !v.At.IsZero() {
			opts = append(opts, client.At(v.At))
		}
		if v.Deleted {
			opts = append(opts, client.IncludeDeleted())
		}
		rec, err := recs.Get(ctx, v.SK, opts...)
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, rec.JSON)
		}
		state := ""
		if rec.IsDeleted {
			state = "deleted"
		}
		return printRecord(std.Out, rec, state)
	})
}

type dataList struct {
	records
	Prefix     string `placeholder:"TEXT" help:"Sort keys that begin with this."`
	From       string `placeholder:"SK" help:"Sort keys from this one on."`
	To         string `placeholder:"SK" help:"Sort keys before this one."`
	Descending bool   `help:"The highest sort key first."`
	Deleted    bool   `help:"Show deleted records too."`
	paging
}

// Help implements kong.HelpProvider.
func (dataList) Help() string {
	return `Examples:

    tenantry data list acme PRODUCT
    tenantry data list acme ORDER --prefix 2026- --descending --limit 10
    tenantry data list acme PRODUCT --all --json > products.jsonl`
}

// Run runs the verb.
func (v dataList) Run(ctx context.Context, std IO) error {
	return v.each(ctx, std, func(recs client.Records, within []client.Option) error {
		q := client.Query{Prefix: v.Prefix, From: v.From, To: v.To, Descending: v.Descending, IncludeDeleted: v.Deleted}
		return pages(std, v.paging, v.output, printRecords,
			func(p client.Paging) (client.Page[client.Record], error) {
				q.Paging = p
				return recs.List(ctx, q, within...)
			})
	})
}

func printRecords(w io.Writer, recs []client.Record, first bool) error {
	t := newTable(w)
	if first {
		t.row("SK", "NAME", "VERSION", "UPDATED", "BY", "ATTRIBUTES")
	}
	for _, rec := range recs {
		version := versionText(rec.Version)
		if rec.IsDeleted {
			version += " deleted"
		}
		t.row(rec.SK, cut(rec.Name), version, moment(rec.UpdatedAt), rec.UpdatedBy, cut(string(rec.Attributes)))
	}
	return t.w.Flush()
}

type dataHistory struct {
	oneRecord
	paging
}

// Help implements kong.HelpProvider.
func (dataHistory) Help() string {
	return `The newest change comes first. A line with + is a field that was added, - one that went, ~ one that changed. Examples:

    tenantry data history acme PRODUCT p1
    tenantry data history acme PRODUCT p1 --limit 1 --json`
}

// Run runs the verb.
func (v dataHistory) Run(ctx context.Context, std IO) error {
	return v.each(ctx, std, func(recs client.Records, within []client.Option) error {
		return pages(std, v.paging, v.output, printRevisions,
			func(p client.Paging) (client.Page[client.Revision], error) {
				return recs.History(ctx, v.SK, p, within...)
			})
	})
}

type dataDelete struct {
	oneRecord
	Version int64 `name:"version" default:"-1" env:"TENANTRY_RECORD_VERSION" help:"The version that is deleted; -1 for whatever is current. Defaults to -1."`
}

// Help implements kong.HelpProvider.
func (dataDelete) Help() string {
	return `Examples:

    tenantry data delete acme PRODUCT p1
    tenantry data delete acme PRODUCT p1 --version 3`
}

// Run runs the verb.
func (v dataDelete) Run(ctx context.Context, std IO) error {
	return v.each(ctx, std, func(recs client.Records, within []client.Option) error {
		rec, err := recs.Delete(ctx, v.SK, v.Version, within...)
		if err != nil {
			return err
		}
		return v.changed(std, rec, "deleted", v.what())
	})
}

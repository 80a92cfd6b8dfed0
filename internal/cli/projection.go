package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
)

// projectionVerb are the verbs about what follows commands: handlers, and the projections of the read model.
type projectionVerb struct {
	Status  projectionStatus  `cmd:"" help:"Show where handlers and projections stand, and what waits for them."`
	Retry   projectionRetry   `cmd:"" help:"Try at once what waits in a tenant."`
	Skip    projectionSkip    `cmd:"" help:"Give up a command that failed, and go on with the one after it."`
	Rebuild projectionRebuild `cmd:"" help:"Make the read model of a tenant, or of all, anew from the log, beside the one that is read."`
	Audit   projectionAudit   `cmd:"" help:"Compare the read model with what a rebuild makes, and change nothing."`
}

type projectionStatus struct {
	Tenants bool `help:"Show how far each tenant is instead."`
	paging
	target
	output
}

// Help implements kong.HelpProvider.
func (projectionStatus) Help() string {
	return `Examples:

    tenantry projection status --server https://api.example
    tenantry projection status --tenants --all`
}

// Run runs the verb.
func (v projectionStatus) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		if v.Tenants {
			return pages(std, v.paging, v.output, printProjected,
				func(p client.Paging) (client.Page[client.ProjectedTenant], error) { return c.ProjectedTenants(ctx, p) })
		}
		all, err := c.Projections(ctx)
		if err != nil || v.JSON {
			return errors.Join(err, rawIf(std.Out, err == nil, all.Answer))
		}
		waiting, err := c.Waiting(ctx)
		if err != nil {
			return err
		}
		return printProjections(std.Out, all, waiting.Items)
	})
}

func rawIf(w io.Writer, good bool, a client.Answer) error {
	if !good {
		return nil
	}
	return raw(w, a.JSON)
}

func printProjections(w io.Writer, all client.Projections, waiting []client.Waiting) error {
	t := newTable(w)
	t.row("KIND", "NAME", "OF", "POSITION", "RETRYING", "PARKED")
	for _, h := range all.Handlers {
		t.row("handler", h.Name, h.Module, h.Position+" of "+all.End, strconv.Itoa(h.Aside), strconv.Itoa(h.Parked))
	}
	if m := all.ReadModel; m != nil {
		for _, p := range m.Projections {
			t.row("projection", p.Name, p.Type, m.Position+" of "+all.End, strconv.Itoa(p.Aside), strconv.Itoa(p.Parked))
		}
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	if len(waiting) > 0 {
		fmt.Fprintln(w)
		t.row("WAITS FOR", "TENANT", "PK", "SK", "VERSION", "ATTEMPTS", "NEXT", "REASON")
		for _, p := range waiting {
			t.row(p.Name, p.TenantCode, p.PK, cut(p.SK), versionText(p.Version), strconv.Itoa(p.Attempts), moment(p.Next), cut(p.Reason))
		}
		if err := t.w.Flush(); err != nil {
			return err
		}
	}
	if all.ReadModel == nil || len(all.ReadModel.Rebuilds) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return printRebuilds(w, all.ReadModel.Rebuilds)
}

func printRebuilds(w io.Writer, all []client.Rebuild) error {
	t := newTable(w)
	t.row("REBUILD OF", "PROJECTION", "STATE", "POSITION", "COMPARED", "DIFFERENT", "CHANGED", "REASON")
	for _, b := range all {
		state := b.State
		if b.Audit {
			state = "audit " + state
		}
		t.row(b.TenantCode, b.Projection, state, b.Position, versionText(b.Compared), versionText(b.Different), moment(b.ChangedAt), cut(b.Reason))
	}
	return t.w.Flush()
}

func printProjected(w io.Writer, all []client.ProjectedTenant, first bool) error {
	t := newTable(w)
	if first {
		t.row("TENANT", "POSITION", "APPLIED AT", "LAG", "APPLIED", "ERRORS", "WAITING")
	}
	for _, p := range all {
		t.row(p.TenantCode, p.Position, moment(p.AppliedAt), (time.Duration(p.LagMillis) * time.Millisecond).String(), versionText(p.Applied), versionText(p.Errors), versionText(p.Waiting))
	}
	return t.w.Flush()
}

// because is the flag of verbs that the audit log keeps a reason of.
type because struct {
	Reason string `required:"" placeholder:"TEXT" help:"Why; the audit log keeps it."`
}

type projectionRetry struct {
	Tenant code   `arg:"" help:"Tenant code."`
	Name   string `placeholder:"NAME" help:"Only what waits for this handler or projection."`
	SK     string `name:"sk" placeholder:"SK" help:"Only the record with this sort key."`
	because
	target
	output
}

// Help implements kong.HelpProvider.
func (projectionRetry) Help() string {
	return `Examples:

    tenantry projection retry acme --reason "the mail server is back"
    tenantry projection retry acme --name product --sk chair --reason "mended in 2.3"`
}

// Run runs the verb.
func (v projectionRetry) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		done, err := c.RetryWaiting(ctx, client.Which{TenantCode: v.Tenant.Code, Name: v.Name, SK: v.SK, Reason: v.Reason})
		if err != nil {
			return err
		}
		return v.ordered(std, done, "trying", "record")
	})
}

// ordered prints for how much something was ordered.
func (o output) ordered(std IO, done client.Changed, doing, what string) error {
	if o.JSON {
		return raw(std.Out, done.JSON)
	}
	if done.Changed != 1 {
		what += "s"
	}
	_, err := fmt.Fprintf(std.Out, "%s %d %s\n", doing, done.Changed, what)
	return err
}

type projectionSkip struct {
	Tenant  code   `arg:"" help:"Tenant code."`
	Name    string `arg:"" help:"Name of the handler or projection."`
	SK      string `arg:"" name:"sk" help:"Sort key of the record."`
	Version int64  `arg:"" help:"Version of the command that failed."`
	PK      string `name:"pk" placeholder:"PK" help:"PK of the record, where the sort key alone doesn't say which it is."`
	because
	target
	output
}

// Help implements kong.HelpProvider.
func (projectionSkip) Help() string {
	return `The command keeps its place in the log, and its record's state; what follows it leaves it out, a rebuild too. Example:

    tenantry projection skip acme product chair 7 --reason "an import that nobody wants"`
}

// Run runs the verb.
func (v projectionSkip) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		done, err := c.SkipWaiting(ctx, client.Which{TenantCode: v.Tenant.Code, Name: v.Name, PK: v.PK, SK: v.SK, Version: v.Version, Reason: v.Reason})
		if err == nil && done.Changed == 0 {
			err = fault.New(fault.NotFound, "cli", "version %d of %s does not wait for %s; tenantry projection status shows what does", v.Version, printable(v.SK), printable(v.Name))
		}
		if err != nil {
			return err
		}
		return v.ordered(std, done, "skipped", "command")
	})
}

// anew are the arguments of verbs that replay the log.
type anew struct {
	Tenant code   `arg:"" optional:"" help:"Tenant code. Without it, all tenants."`
	Name   string `placeholder:"NAME" help:"One projection, or counters. Defaults to all."`
	because
	target
	output
}

// replay asks for rebuilds or audits and, of one tenant of a server that runs, waits for their end, which it prints.
func (v anew) replay(ctx context.Context, std IO, audit bool) error {
	return v.withReadModel(ctx, std, func(*tenantry.App) error { return nil }, func(c *client.Client) error {
		done, err := c.RebuildProjections(ctx, client.Which{TenantCode: v.Tenant.Code, Name: v.Name, Audit: audit, Reason: v.Reason})
		if err != nil || v.Tenant.IsZero() || v.Server == "" { // a running server carries it out
			return errors.Join(err, v.asked(std, err == nil, done, audit))
		}
		if audit && done.Changed == 0 { // what is shown would be what another made of it
			return fault.New(fault.Unavailable, "cli", "this is rebuilt or audited now; tenantry projection status shows how far that is, audit when it has ended")
		}
		for {
			found, err := c.Rebuilds(ctx, v.Tenant.Code)
			if err != nil {
				return err
			}
			ended := true
			for _, b := range found.Items {
				ended = ended && b.State == "done"
			}
			if ended {
				found.Items = slices.DeleteFunc(found.Items, func(b client.Rebuild) bool { return b.Audit != audit || v.Name != "" && b.Projection != v.Name })
				return v.shown(std, found, audit)
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

func (v anew) asked(std IO, good bool, done client.Changed, audit bool) error {
	what := "rebuild"
	if audit {
		what = "audit"
	}
	switch {
	case !good:
		return nil
	case done.Changed == 0 && !v.JSON:
		_, err := fmt.Fprintln(std.Out, "nothing is asked for: all of it is rebuilt or audited already; tenantry projection status shows how far")
		return err
	}
	return v.ordered(std, done, "asked for", what)
}

// errDifferent ends an audit that found differences, which are printed by then.
var errDifferent = errors.New("the read model is not what a rebuild makes")

// shown prints what rebuilds found, as JSON all that is known of the tenant's.
func (v anew) shown(std IO, found client.Page[client.Rebuild], audit bool) error {
	show := printFound
	if v.JSON {
		show = func(w io.Writer, _ []client.Rebuild) error { return raw(w, found.JSON) }
	}
	err := show(std.Out, found.Items)
	if err == nil && audit && slices.ContainsFunc(found.Items, func(b client.Rebuild) bool { return b.Different > 0 }) {
		err = errDifferent
	}
	return err
}

func printFound(w io.Writer, all []client.Rebuild) error {
	if err := printRebuilds(w, all); err != nil {
		return err
	}
	t := newTable(w)
	headed := false
	for _, b := range all {
		for _, d := range b.Differences {
			if !headed {
				fmt.Fprintln(w)
				t.row("TABLE", "KEY", "", "COLUMNS")
				headed = true
			}
			t.row(d.Table, cut(strings.Join(d.Key, " ")), d.Kind, strings.Join(d.Columns, " "))
		}
	}
	return t.w.Flush()
}

type projectionRebuild struct{ anew }

// Help implements kong.HelpProvider.
func (projectionRebuild) Help() string {
	return `Reads go on. What a running server keeps is replayed from the log beside it, compared row by row, and put in its place in one
transaction. With a tenant and --server the verb waits for the end; tenantry projection status shows how far it is. Examples:

    tenantry projection rebuild acme --reason "rows were edited by hand"
    tenantry projection rebuild --name product --reason "the projection was mended"`
}

// Run runs the verb.
func (v projectionRebuild) Run(ctx context.Context, std IO) error { return v.replay(ctx, std, false) }

type projectionAudit struct{ anew }

// Help implements kong.HelpProvider.
func (projectionAudit) Help() string {
	return `Replays the log as a rebuild does, and reports rows that differ by table, key and column. It fails where one tenant's do. Examples:

    tenantry projection audit acme --reason "after the upgrade"
    tenantry projection audit --reason "monthly"`
}

// Run runs the verb.
func (v projectionAudit) Run(ctx context.Context, std IO) error { return v.replay(ctx, std, true) }

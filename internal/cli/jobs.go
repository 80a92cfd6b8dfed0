package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/tenantry/tenantry/client"
)

// jobsVerb are the verbs about background work.
type jobsVerb struct {
	List  jobsList  `cmd:"" help:"List the background work of a tenant."`
	Retry jobsRetry `cmd:"" help:"Have a job that is dead tried again."`
	Drop  jobsDrop  `cmd:"" help:"Remove a job, whatever its state."`
}

type jobsList struct {
	Tenant code   `arg:"" help:"Tenant code."`
	Kind   string `placeholder:"KIND" help:"Of this kind, as webhook. Defaults to all."`
	Dead   bool   `help:"Those that are dead or were dropped, in place of those that wait or run."`
	paging
	target
	output
}

// Help implements kong.HelpProvider.
func (jobsList) Help() string {
	return `Examples:

    tenantry jobs list acme
    tenantry jobs list acme --dead --all --json | jq -r .id`
}

// Run runs the verb.
func (v jobsList) Run(ctx context.Context, std IO) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		return pages(std, v.paging, v.output, printJobs, func(p client.Paging) (client.Page[client.Job], error) {
			return c.Jobs(ctx, v.Tenant.Code, client.JobQuery{Kind: v.Kind, Dead: v.Dead, Paging: p})
		})
	})
}

func printJobs(w io.Writer, all []client.Job, first bool) error {
	t := newTable(w)
	if first {
		t.row("ID", "STATE", "ATTEMPTS", "DUE", "BY", "REASON")
	}
	for _, j := range all {
		t.row(j.ID, j.State, strconv.Itoa(j.Attempts), moment(j.Due), cut(j.CreatedBy), cut(j.Reason))
	}
	return t.w.Flush()
}

// oneJob are the arguments of verbs about one job.
type oneJob struct {
	Tenant code   `arg:"" help:"Tenant code."`
	ID     string `arg:"" help:"The job's ID, as list shows it."`
	target
	output
}

func (v oneJob) run(ctx context.Context, std IO, done string, do func(*client.Client) (client.Job, error)) error {
	return v.withClient(ctx, std, false, func(c *client.Client) error {
		j, err := do(c)
		if err != nil {
			return err
		}
		if v.JSON {
			return raw(std.Out, j.JSON)
		}
		_, err = fmt.Fprintf(std.Out, "%s %s of %s\n", done, printable(j.ID), v.Tenant)
		return err
	})
}

type jobsRetry struct{ oneJob }

// Help implements kong.HelpProvider.
func (jobsRetry) Help() string {
	return `The job has all its attempts again. A server on the store runs it. Example:

    tenantry jobs retry acme mail.01HX7MBJK3V9WQBZ7XNDK5ZT2M`
}

// Run runs the verb.
func (v jobsRetry) Run(ctx context.Context, std IO) error {
	return v.run(ctx, std, "retried", func(c *client.Client) (client.Job, error) { return c.RetryJob(ctx, v.Tenant.Code, v.ID) })
}

type jobsDrop struct{ oneJob }

// Help implements kong.HelpProvider.
func (jobsDrop) Help() string {
	return `One that runs is ended; what it did until then stands. Example:

    tenantry jobs drop acme mail.01HX7MBJK3V9WQBZ7XNDK5ZT2M`
}

// Run runs the verb.
func (v jobsDrop) Run(ctx context.Context, std IO) error {
	return v.run(ctx, std, "dropped", func(c *client.Client) (client.Job, error) { return c.DropJob(ctx, v.Tenant.Code, v.ID) })
}

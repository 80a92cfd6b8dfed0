package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/transfer"
)

// copyVerb is the verb that moves a store.
type copyVerb struct {
	From         string `required:"" placeholder:"STORE" help:"The store to copy: sqlite:DIR, postgres://user@host:5432/database, or dynamodb:PREFIX[?endpoint=URL&blobs=WHERE&modules=TYPE=MODULE,...], without an endpoint AWS's own."`
	To           string `placeholder:"STORE" help:"Where it goes: a new store, or with --tenant one that doesn't have the tenant."`
	Tenant       code   `placeholder:"CODE" help:"This tenant only. Defaults to the whole store, with --resume-writes to what is paused."`
	ResumeWrites bool   `help:"Let --from accept writes again, after a copy that is done or given up; nothing is copied."`
	output
}

// Help implements kong.HelpProvider.
func (copyVerb) Help() string {
	return `Servers may go on using --from. At the end its writes are paused, for as long as is printed, and both stores are compared, tenant by
tenant; the copy is done when they are equal. From then on --from accepts no writes: point the servers to --to, or take it back with --resume-writes.
A copy that was interrupted goes on where it was when the same command is given again. Keys that sign tokens are not copied: users sign in again, or
keys.json goes along by hand. A URL with a password is better in TENANTRY_FROM or TENANTRY_TO, where other users don't see it.

With --tenant only that tenant is paused in --from, and stays so while others follow it, one copy at a time, into the same store or another. Servers may go on using
--to as well, unless they are of an application with handlers: stop those meanwhile. Examples:

    tenantry copy --from sqlite:/var/lib/tenantry --to sqlite:/mnt/new/tenantry
    tenantry copy --from sqlite:old --to postgres://tenantry@db.example/tenantry
    tenantry copy --from sqlite:old --to sqlite:new --tenant acme --json
    tenantry copy --from sqlite:old --resume-writes
    tenantry copy --from sqlite:old --resume-writes --tenant acme`
}

// Run runs the verb.
func (v copyVerb) Run(ctx context.Context, std IO) (err error) {
	if (v.To == "") != v.ResumeWrites {
		return fault.Invalid("cli.copy", fault.Field{Field: "--to, --resume-writes", Problem: "one of them is needed, and only one"})
	}
	from, closeFrom, err := openSide(ctx, "--from", v.From, false, std.Err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFrom()) }()
	if v.ResumeWrites {
		return v.resume(ctx, from, std)
	}
	to, closeTo, err := openSide(ctx, "--to", v.To, true, std.Err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTo()) }()
	opts := transfer.Options{Tenant: v.Tenant.Code}
	tell, end := newMeter(std.Err, v.JSON)
	opts.Progress = func(p transfer.Progress) {
		tell(progress{phase: string(p.Phase), share: p.Share, text: fmt.Sprintf("%d commands", p.Commands), over: p.Phase == transfer.Done})
	}
	result, err := transfer.Copy(ctx, from, to, opts)
	end()
	if err != nil {
		return err
	}
	return v.print(std.Out, result)
}

func (v copyVerb) resume(ctx context.Context, from transfer.Side, std IO) error {
	lifted, err := transfer.Resume(ctx, from, v.Tenant.Code)
	if err != nil {
		return err
	}
	text := "accepts writes again"
	if !lifted {
		text = "was not paused"
	}
	_, err = fmt.Fprintf(std.Out, "%s %s\n", v.what(), text)
	return err
}

// what returns what of --from the verb is about.
func (v copyVerb) what() string {
	if v.Tenant.IsZero() {
		return shownStore(v.From)
	}
	return v.Tenant.String() + " in " + shownStore(v.From)
}

func (v copyVerb) print(w io.Writer, r transfer.Result) error {
	if v.JSON {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return raw(w, text)
	}
	for _, t := range r.Tenants {
		fmt.Fprintf(w, "%s  %s: %d records, %d commands, %d past states\n", t.Digest[:12], printable(t.TenantCode), t.Records, t.Commands, t.History)
	}
	_, err := fmt.Fprintf(w, "copied %d records, %d commands, %d past states of %d tenants; writes were paused for %d ms\n%s accepts no more writes: point the servers to %s\n",
		r.Records, r.Commands, r.History, len(r.Tenants), r.PauseMillis, v.what(), shownStore(v.To))
	return err
}

// openSide opens the store that a flag names, and returns the operator's right to it and what closes it. With create, one that isn't there is begun.
func openSide(ctx context.Context, flag, text string, create bool, log io.Writer) (transfer.Side, func() error, error) {
	at, err := parseStore(flag, text)
	if err != nil {
		return transfer.Side{}, nil, err
	}
	if err := at.exists(); err != nil && !create {
		return transfer.Side{}, nil, fault.New(fault.NotFound, "cli.copy", "%s: there is no store in %s; name the directory of one", flag, at.Data)
	}
	app, err := at.open(ctx, tenantry.Config{}, quietLog(log))
	if err != nil {
		return transfer.Side{}, nil, err
	}
	sys, err := system(ctx, app, "copy")
	if err != nil {
		return transfer.Side{}, nil, errors.Join(err, app.Close())
	}
	return transfer.Side{Store: app.Store(), System: sys}, app.Close, nil
}

// parseStore returns the store that a text names: sqlite:DIR, a URL of PostgreSQL, or dynamodb:PREFIX with ?endpoint= and blobs= behind it. It
// fails with fault.ValidationFailed, naming the flag.
func parseStore(flag, text string) (store, error) {
	kind, rest, _ := strings.Cut(text, ":")
	problem := "is sqlite:DIR, postgres://user@host:5432/database or dynamodb:PREFIX, as dynamodb:prod-shop?blobs=s3://BUCKET"
	switch {
	case kind == "sqlite" && rest != "":
		return store{directory: directory{rest}, engine: engine{Store: kind}}, nil
	case kind == "postgres", kind == "postgresql":
		return store{engine: engine{Store: "postgres", StoreURL: text}}, nil
	case kind == "dynamodb" && rest != "":
		prefix, more, _ := strings.Cut(rest, "?")
		query, err := url.ParseQuery(more)
		var modules []moduleOf
		for name := range strings.SplitSeq(query.Get("modules"), ",") {
			var m moduleOf
			if name != "" {
				err = errors.Join(err, m.UnmarshalText([]byte(name)))
				modules = append(modules, m)
			}
		}
		if err == nil && prefix != "" {
			return store{engine: engine{Store: kind, Blobs: query.Get("blobs"),
				tables: tables{TablePrefix: prefix, DynamoDBEndpoint: query.Get("endpoint"), Modules: modules}}}, nil
		}
	case kind == "memory":
		problem = "is a store that outlives the process; memory forgets everything at the end"
	}
	return store{}, fault.Invalid("cli", fault.Field{Field: flag, Problem: problem})
}

// shownStore returns the name of a store as it may be printed: without a password.
func shownStore(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		text = u.Redacted()
	}
	return printable(text)
}

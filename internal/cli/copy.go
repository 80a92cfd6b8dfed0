package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/transfer"
)

// copyVerb is the verb that moves a store.
type copyVerb struct {
	From         string `required:"" placeholder:"STORE" help:"The store to copy: sqlite:DIR."`
	To           string `placeholder:"STORE" help:"Where it goes: a new store, or with --tenant one that doesn't have the tenant."`
	Tenant       *code  `placeholder:"CODE" help:"Copy this tenant only. Defaults to the whole store."`
	ResumeWrites bool   `help:"Let --from accept writes again, after a copy that is done or given up; nothing is copied."`
	output
}

// Help implements kong.HelpProvider.
func (copyVerb) Help() string {
	return `Servers may go on using --from. At the end its writes are paused, for as long as is printed, and both stores are compared, tenant by
tenant; the copy is done when they are equal. From then on --from accepts no writes: point the servers to --to, or take it back with --resume-writes.
A copy that was interrupted goes on where it was when the same command is given again. Keys that sign tokens, keys.json, are not copied. Examples:

    tenantry copy --from sqlite:/var/lib/tenantry --to sqlite:/mnt/new/tenantry
    tenantry copy --from sqlite:old --to sqlite:new --tenant acme --json
    tenantry copy --from sqlite:old --resume-writes`
}

// Run runs the verb.
func (v copyVerb) Run(ctx context.Context, std IO) (err error) {
	if (v.To == "") != v.ResumeWrites || v.ResumeWrites && v.Tenant != nil {
		return fault.Invalid("cli.copy", fault.Field{Field: "--to, --resume-writes", Problem: "one of them is needed, and only one; --tenant goes with --to"})
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
	opts := transfer.Options{Progress: v.progress(std.Err)}
	if v.Tenant != nil {
		opts.Tenant = v.Tenant.Code
	}
	result, err := transfer.Copy(ctx, from, to, opts)
	if err != nil {
		return err
	}
	return v.print(std.Out, result)
}

func (v copyVerb) resume(ctx context.Context, from transfer.Side, std IO) error {
	lifted, err := transfer.Resume(ctx, from)
	if err != nil {
		return err
	}
	text := "accepts writes again"
	if !lifted {
		text = "was not paused"
	}
	_, err = fmt.Fprintf(std.Out, "%s %s\n", printable(v.From), text)
	return err
}

// tellEvery is the time between two lines of progress.
const tellEvery = 2 * time.Second

// progress returns what tells the operator how far the copy is: a line for each phase, and now and then.
func (v copyVerb) progress(w io.Writer) func(transfer.Progress) {
	var phase transfer.Phase
	var told time.Time
	return func(p transfer.Progress) {
		if p.Phase == phase && time.Since(told) < tellEvery {
			return
		}
		phase, told = p.Phase, time.Now()
		fmt.Fprintf(w, "%s: %d commands\n", p.Phase, p.Commands)
	}
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
		r.Records, r.Commands, r.History, len(r.Tenants), r.PauseMillis, printable(v.From), printable(v.To))
	return err
}

// openSide opens the store that a flag names, and returns the operator's right to it and what closes it. With create, one that isn't there is begun.
func openSide(ctx context.Context, flag, text string, create bool, log io.Writer) (transfer.Side, func() error, error) {
	at, err := parseStore(flag, text)
	if err != nil {
		return transfer.Side{}, nil, err
	}
	if err := at.exists(); err != nil && !create {
		return transfer.Side{}, nil, err
	}
	app, err := at.open(ctx, tenantry.Config{Store: at.source}, quietLog(log))
	if err != nil {
		return transfer.Side{}, nil, err
	}
	sys, err := system(ctx, app, "copy")
	if err != nil {
		return transfer.Side{}, nil, errors.Join(err, app.Close())
	}
	return transfer.Side{Store: app.Store(), System: sys}, app.Close, nil
}

// namedStore is a store that is named by one text, and the data directory of its keys.
type namedStore struct {
	source driver.Source
	directory
}

// exists fails with fault.NotFound where the directory holds no store.
func (s namedStore) exists() error {
	if _, err := os.Stat(filepath.Join(s.Data, sqlite.FileName)); errors.Is(err, os.ErrNotExist) {
		return fault.New(fault.NotFound, "cli", "there is no store in %s", s.Data)
	}
	return nil
}

// parseStore returns the store that a text names: sqlite:DIR. It fails with fault.ValidationFailed, naming the flag.
func parseStore(flag, text string) (namedStore, error) {
	kind, rest, _ := strings.Cut(text, ":")
	problem := "is sqlite:DIR"
	switch {
	case kind == "sqlite" && rest != "":
		return namedStore{sqlite.At(rest), directory{rest}}, nil
	case kind == "memory":
		problem = "is a store that outlives the process; memory forgets everything at the end"
	}
	return namedStore{}, fault.Invalid("cli", fault.Field{Field: flag, Problem: problem})
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/integrity"
)

// verify is the verb that checks a store.
type verify struct {
	Finish  []string `sep:"none" placeholder:"ID" help:"Make an interrupted command that was found the state of its record: ENTITY#tenant#key@version. May be repeated."`
	Discard []string `sep:"none" placeholder:"ID" help:"Remove an interrupted command that was found from the log. May be repeated."`
	Limit   positive `default:"100" help:"How many problems are listed; all are counted. Defaults to 100."`
	store
	rules
	output
}

// Help implements kong.HelpProvider.
func (verify) Help() string {
	return `Every invariant of the data model is checked over the whole store, which may be in use meanwhile. The exit code is 1 where one
does not hold. Problems are named by their keys; what records say is not shown. Examples:

    tenantry verify --data /var/lib/tenantry
    tenantry verify --json | jq .problems
    tenantry verify --finish 'PRODUCT#acme#p1@3'`
}

// errUnsound ends a run that found problems, which are printed by then.
var errUnsound = errors.New("the store has problems")

// Run runs the verb.
func (v verify) Run(ctx context.Context, std IO) (err error) {
	if err := v.exists(); err != nil {
		return err
	}
	cfg, err := v.config()
	if err != nil {
		return err
	}
	app, err := v.open(ctx, cfg, quietLog(std.Err))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	if len(v.Finish)+len(v.Discard) > 0 {
		if err := v.mend(ctx, app, std); err != nil {
			return err
		}
	}
	report, err := v.verify(ctx, app, int(v.Limit))
	if len(report.Checks) > 0 { // what was found before a row that can't be read
		if err := v.print(std.Out, report); err != nil {
			return err
		}
	}
	if err == nil && !report.Clean() {
		return errUnsound
	}
	return err
}

func (v verify) verify(ctx context.Context, app *tenantry.App, limit int) (integrity.Report, error) {
	sys, err := system(ctx, app, "verify")
	if err != nil {
		return integrity.Report{}, err
	}
	return integrity.Verify(ctx, app.Store(), sys, integrity.Options{Entities: app.Entities(), Limit: limit})
}

func (v verify) print(w io.Writer, report integrity.Report) error {
	if !v.JSON {
		_, err := fmt.Fprint(w, report)
		return err
	}
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return raw(w, text)
}

// maxMended bounds the problems among which those to mend are looked for.
const maxMended = 100_000

// mend finishes and discards the interrupted commands that the flags name.
func (v verify) mend(ctx context.Context, app *tenantry.App, std IO) error {
	report, err := v.verify(ctx, app, maxMended)
	if err != nil {
		return err
	}
	for _, id := range slices.Concat(v.Finish, v.Discard) {
		i := slices.IndexFunc(report.Problems, func(p integrity.Problem) bool { return p.Kind == integrity.Interrupted && p.ID == id })
		if i < 0 {
			return fault.New(fault.NotFound, "cli.verify", "%s is not an interrupted command of this store", id)
		}
		done := "finished"
		if !slices.Contains(v.Finish, id) {
			done = "discarded"
		}
		sys, err := system(ctx, app, "verify: "+done+" "+id)
		if err != nil {
			return err
		}
		if done == "finished" {
			_, err = integrity.Finish(ctx, app.Commands(), sys, report.Problems[i].Ref())
		} else {
			err = integrity.Discard(ctx, app.Commands(), sys, report.Problems[i].Ref())
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(std.Err, "%s %s\n", done, printable(id))
	}
	return nil
}

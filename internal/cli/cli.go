// Package cli is the command line: every verb of the program tenantry, as a function of its arguments.
//
// Verbs that touch data call the HTTP API: a server's, or one in this process over the store of a data directory. So
// the same checks hold, and the same audit entries are left, wherever a verb runs.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/fault"
)

// IO are the streams of a run.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
}

// Main runs the program and ends the process. The first SIGINT or SIGTERM asks the verb to end, a second one kills.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(Run(ctx, os.Args[1:], IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// verbs are the program's commands. A flag is also read from the environment variable TENANTRY_ and its name.
type verbs struct {
	Serve      serve          `cmd:"" help:"Run the server."`
	Token      token          `cmd:"" help:"Issue a token, signed by the store's key."`
	Tenant     tenantVerb     `cmd:"" help:"Create, list and change tenants."`
	Member     memberVerb     `cmd:"" help:"Add, list, change, remove and invite the members of tenants."`
	Setting    settingVerb    `cmd:"" help:"Show, change and explain the settings of tenants."`
	Me         me             `cmd:"" help:"Show who the caller is."`
	Data       dataVerb       `cmd:"" help:"Read and write records."`
	Projection projectionVerb `cmd:"" help:"Show, retry, skip, rebuild and audit what follows commands."`
	Report     reportVerb     `cmd:"" help:"Count the records of all tenants, or of one."`
	Sync       syncVerb       `cmd:"" help:"Copy records between tenants."`
	Jobs       jobsVerb       `cmd:"" help:"List, retry and drop background work."`
	Keys       keysVerb       `cmd:"" help:"List, rotate and retire the keys that sign tokens."`
	Tables     tablesVerb     `cmd:"" help:"Create and check DynamoDB tables."`
	Policy     policyVerb     `cmd:"" help:"Print what a database's own access control should say."`
	Copy       copyVerb       `cmd:"" help:"Move the store, or one tenant, into another store, while it is used."`
	Backup     backup         `cmd:"" help:"Copy the store into a file, while it is used."`
	Restore    restore        `cmd:"" help:"Make a backup the store of a data directory."`
	Verify     verify         `cmd:"" help:"Check every invariant of the data model over a store."`
	Version    version        `cmd:"" help:"Print the program's version."`
	Completion completion     `cmd:"" help:"Print a completion script for a shell."`
	Complete   complete       `cmd:"" hidden:""`
}

// errHelp ends a run that was asked for help, which is printed by then.
var errHelp = errors.New("help was asked for")

// parser returns the parser of v.
func parser(v *verbs, std IO) (*kong.Kong, error) {
	return kong.New(v,
		kong.Name("tenantry"),
		kong.Description("Tenantry keeps the data of many organisations apart. This program is the server, and its operator's tool."),
		kong.Writers(std.Out, std.Err),
		kong.DefaultEnvars("TENANTRY"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ExplicitGroups(groups),
		kong.Help(func(options kong.HelpOptions, ctx *kong.Context) error {
			return errors.Join(kong.DefaultHelpPrinter(options, ctx), errHelp)
		}),
	)
}

// Run runs one verb and returns the exit code of the process: 0 for success, 1 a failure inside, 2 bad input, 3 refused,
// 4 not there, 5 conflict, 6 try again later, 130 interrupted. The verb ends when ctx does.
func Run(ctx context.Context, args []string, std IO) int {
	bare := len(args) == 0
	if bare {
		args, std.Out = []string{"--help"}, std.Err
	}
	var v verbs
	p, err := parser(&v, std)
	if err != nil {
		return report(std.Err, err)
	}
	chosen, err := p.Parse(negatives(spelt(args)))
	switch {
	case errors.Is(err, errHelp) && bare:
		return fault.InvalidRequest.ExitCode()
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		return misused(std.Err, err)
	}
	chosen.BindTo(ctx, (*context.Context)(nil))
	if err := chosen.Run(std, p.Model); err != nil {
		return report(std.Err, err)
	}
	return 0
}

// spelt returns args with what other programs take for a wish for help, or for the version, as it is spelt here.
func spelt(args []string) []string {
	switch args[0] {
	case "help":
		return append(slices.Clone(args[1:]), "--help")
	case "--version":
		return append([]string{"version"}, args[1:]...)
	}
	return args
}

// misused reports arguments that are none, and where to read what they should be.
func misused(w io.Writer, err error) int {
	verb := "tenantry"
	if e, ok := errors.AsType[*kong.ParseError](err); ok {
		if node := e.Context.Selected(); node != nil {
			verb = node.FullPath()
		}
	}
	text := err.Error()
	if e, ok := errors.AsType[*fault.Error](err); ok {
		text = strings.ReplaceAll(text, e.Error(), e.Msg)
	}
	fmt.Fprintf(w, "tenantry: %s\n  %s --help shows the flags, with examples\n", text, verb)
	return fault.InvalidRequest.ExitCode()
}

// interrupted is the exit code of a verb that a signal ended, as shells have it for SIGINT.
const interrupted = 130

// report says what went wrong, to an operator who has nothing else to go by, and returns the exit code.
func report(w io.Writer, err error) int {
	if errors.Is(err, errUnsound) || errors.Is(err, errUnsynced) {
		return fault.Internal.ExitCode()
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "tenantry: interrupted")
		return interrupted
	}
	e := fault.As(err)
	if len(e.Fields) > 0 {
		fmt.Fprintf(w, "tenantry: the input is not valid (%s)\n", e.Code)
		for _, f := range e.Fields {
			fmt.Fprintf(w, "  %s: %s\n", printable(f.Field), printable(f.Problem))
		}
	} else {
		fmt.Fprintf(w, "tenantry: %s (%s)\n", printable(cmp.Or(e.Msg, "the call failed")), e.Code)
	}
	exit := e.Code.ExitCode()
	switch id := client.RequestID(err); {
	case e.Code == fault.TenantForbidden:
		fmt.Fprintln(w, "  there is no such tenant, or the caller may not use it; tenantry tenant list shows those that there are")
	case exit != fault.Internal.ExitCode() && exit != fault.Unavailable.ExitCode():
	case id != "":
		fmt.Fprintf(w, "  the log says more about request %s\n", printable(id))
	case e.Err != nil && !strings.Contains(e.Msg, e.Err.Error()):
		fmt.Fprintf(w, "  cause: %s\n", printable(onOneLine.Replace(e.Err.Error())))
	}
	return exit
}

// onOneLine joins the lines of an error that holds several.
var onOneLine = strings.NewReplacer(":\n\t", ": ", "\n\t", "; ", "\n", "; ")

// negatives joins a number below zero to the flag before it: the parser would take it for a flag.
func negatives(args []string) []string {
	var out []string
	for _, arg := range args {
		if n := len(out); n > 0 && negative.MatchString(arg) && strings.HasPrefix(out[n-1], "--") && len(out[n-1]) > 2 && !strings.Contains(out[n-1], "=") {
			out[n-1] += "=" + arg
			continue
		}
		out = append(out, arg)
	}
	return out
}

var negative = regexp.MustCompile(`^-[0-9]+$`)

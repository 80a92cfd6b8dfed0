// Command longrun proves in full what the tests prove a twentieth of: kills, races, linearizability, fuzzing, hostile requests and
// planted bugs. It takes about an hour on two cores, goes on after a failure, and ends with a table of what was measured. What
// chance is drawn from is printed as seeds.
//
//	go run ./internal/longrun                 # everything
//	go run ./internal/longrun -list           # what there is
//	go run ./internal/longrun -only kill,race
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, attempts(), os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stdout, "longrun: %v\n", err)
		}
		stop()
		os.Exit(1)
	}
}

// attempt is one thing that is proved. What it measured is a line for the table, also where it fails.
type attempt struct {
	name, what string
	run        func(ctx context.Context, out io.Writer, seed uint64) (measured string, err error)
}

func run(ctx context.Context, out io.Writer, all []attempt, args []string) error {
	flags := flag.NewFlagSet("longrun", flag.ContinueOnError)
	flags.SetOutput(out)
	only := flags.String("only", "", "the proofs to run, separated by commas; all by default")
	list := flags.Bool("list", false, "say what there is, and end")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "what chance is drawn from; the time by default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(all, *only)
	if err != nil {
		return err
	}
	if *list {
		for _, p := range chosen {
			fmt.Fprintf(out, "%-8s %s\n", p.name, p.what)
		}
		return nil
	}
	return prove(ctx, out, chosen, *seed)
}

// choose returns the proofs that names, separated by commas, name; all for "".
func choose(all []attempt, names string) ([]attempt, error) {
	if names == "" {
		return all, nil
	}
	var chosen []attempt
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(p attempt) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no proof %q; -list says what there is", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// prove runs proofs one after the other, whether they fail or not, and prints the table.
func prove(ctx context.Context, out io.Writer, chosen []attempt, seed uint64) error {
	var table strings.Builder
	failed := 0
	for _, p := range chosen {
		fmt.Fprintf(out, "== %s: %s (seed %d)\n", p.name, p.what, seed)
		began := time.Now()
		measured, err := p.run(ctx, out, seed)
		verdict := "ok"
		if err != nil {
			failed++
			verdict, measured = "FAILED", strings.TrimPrefix(measured+"; "+err.Error(), "; ")
		}
		fmt.Fprintf(&table, "%-8s %-6s %8s  %s\n", p.name, verdict, time.Since(began).Round(time.Second), measured)
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Fprintf(out, "\n%s", table.String())
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it was stopped: %w", ctx.Err())
	case failed > 0:
		return fmt.Errorf("%d of %d proofs failed", failed, len(chosen))
	}
	return nil
}

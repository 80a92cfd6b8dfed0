// Longrun proves what the tests prove a twentieth of, in full: kills, races, linearizability, fuzzing and planted bugs. It takes
// about an hour on two cores.
//
//	go run ./internal/longrun            # everything
//	go run ./internal/longrun -list      # what there is
//	go run ./internal/longrun -only kill,race
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/internal/proof"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenant"
)

// How much each proof does; the tests do a twentieth.
const (
	races        = 2_000
	operations   = 40_000
	histories    = 20
	fuzzTime     = "60s"
	httpRequests = "20000"
)

// attempt is one proof. Its result is a line for the table.
type attempt struct {
	name, what string
	run        func(ctx context.Context, seed uint64) (result string, err error)
}

func attempts() []attempt {
	return []attempt{
		{"kill", "200 kills at random moments under load from 8 writers", kill},
		{"race", fmt.Sprintf("%d rounds of %d writers racing for one version", races, proof.Racers), race},
		{"linear", fmt.Sprintf("%d histories of versioned writes and reads, %d operations in all", histories, operations), linear},
		{"fuzz", "every fuzz target for " + fuzzTime, fuzz},
		{"http", httpRequests + " hostile requests over the API's description", http},
		{"mutants", "every planted bug is caught", goRun("run", "./internal/mutants")},
	}
}

func main() {
	only := flag.String("only", "", "the proofs to run, separated by commas; all by default")
	list := flag.Bool("list", false, "say what there is, and end")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "what chance is drawn from; the time by default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed := false
	var table []string
	for _, a := range attempts() {
		if *list {
			fmt.Printf("%-8s %s\n", a.name, a.what)
			continue
		}
		if *only != "" && !slices.Contains(strings.Split(*only, ","), a.name) {
			continue
		}
		fmt.Printf("== %s: %s (seed %d)\n", a.name, a.what, *seed)
		began := time.Now()
		result, err := a.run(ctx, *seed)
		if err != nil {
			failed, result = true, "FAILED: "+err.Error()
		}
		table = append(table, fmt.Sprintf("%-8s %8s  %s", a.name, time.Since(began).Round(time.Second), result))
	}
	fmt.Println(strings.Join(table, "\n"))
	if failed {
		os.Exit(1)
	}
}

func kill(ctx context.Context, _ uint64) (string, error) {
	err := goTest(ctx, []string{"TENANTRY_LONG_RUN=1"}, "-count=1", "-v", "-run", "^TestKill$", "./internal/crash")
	return "200 kills, nothing acknowledged was lost, the store verified after each", err
}

// subject returns the services over a new store, for a workload.
func subject(ctx context.Context) (s proof.Subject, end func(), err error) {
	dir, err := os.MkdirTemp("", "longrun")
	if err != nil {
		return s, nil, err
	}
	app, err := tenantry.Open(ctx, tenantry.Config{Store: sqlite.At(dir)})
	if err != nil {
		return s, nil, err
	}
	code, err := tenant.Parse("proof")
	if err != nil {
		return s, nil, err
	}
	sys := scope.NewSystem(record.NewID(), scope.Actor{UserID: "system", RequestID: "longrun", Source: "longrun"}, "prove", nil)
	sc, err := sys.Enter(ctx, code, time.Time{})
	return proof.Subject{Commands: app.Commands(), Data: app.Data(), Scope: sc}, func() {
		app.Close()
		os.RemoveAll(dir)
	}, err
}

func race(ctx context.Context, seed uint64) (string, error) {
	s, end, err := subject(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	return fmt.Sprintf("%d rounds, exactly one of %d won each", races, proof.Racers), proof.Race(ctx, s, races, seed)
}

func linear(ctx context.Context, seed uint64) (string, error) {
	for n := range histories {
		s, end, err := subject(ctx)
		if err != nil {
			return "", err
		}
		err = proof.Linearizable(ctx, s, operations/histories, seed+uint64(n))
		end()
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d histories of %d operations are linearizable", histories, operations/histories), nil
}

// fuzz runs every fuzz target of the module for its time.
func fuzz(ctx context.Context, _ uint64) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-list", "^Fuzz", "./...").Output()
	if err != nil {
		return "", err
	}
	var targets, n []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			targets = append(targets, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, target := range targets {
				if err := goTest(ctx, nil, "-run", "^$", "-fuzz", "^"+target+"$", "-fuzztime", fuzzTime, fields[1]); err != nil {
					return "", fmt.Errorf("%s in %s: %w", target, fields[1], err)
				}
				n = append(n, target)
			}
			targets = nil
		}
	}
	return fmt.Sprintf("%d targets of %s each: %s", len(n), fuzzTime, strings.Join(n, " ")), nil
}

func http(ctx context.Context, _ uint64) (string, error) {
	err := goTest(ctx, []string{"TENANTRY_FUZZ_REQUESTS=" + httpRequests}, "-count=1", "-v", "-run", "^TestRandomRequests$", "./httpapi")
	return httpRequests + " requests, each answered as described, none with 5xx", err
}

func goTest(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-timeout", "60m"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func goRun(args ...string) func(context.Context, uint64) (string, error) {
	return func(ctx context.Context, _ uint64) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return "all caught", cmd.Run()
	}
}

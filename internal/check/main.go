// Command check runs everything that a change must pass: formatting, vet, Tenantry's own analyzers, the build, and all
// tests under the race detector. It stops at the first of them that fails and says which.
//
//	go run ./internal/check
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// Limits of the tests: of all together, which take some 20 minutes on two cores, and of one package, less so that go test can say which test hangs.
const (
	testLimit    = 25 * time.Minute
	packageLimit = 15 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintf(os.Stdout, "check: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// step is one class of failure. Its error is the summary that a reader gets after the step's own output.
type step struct {
	name string
	run  func(context.Context, io.Writer) error
}

func run(ctx context.Context, out io.Writer) error {
	var testing limit
	api := []string{"./httpapi", "./internal/attacks"}
	steps := []step{
		{"tools", checkTools},
		{"gofmt", checkFormat},
		{"go vet", command("go", "vet", "./...")},
		{"tenantry-vet", checkAnalyzers},
		{"go build", command("go", "build", "./...")},
		{"go test -race", testing.tests(suite{packages: []string{"./..."}})},
		{"the API by engine", testing.tests(suite{"sqlite", api}, suite{"postgres", api}, suite{"dynamodb", api})}, // over memory it has just been tested
	}
	began := time.Now()
	for _, s := range steps {
		stepBegan := time.Now()
		err := s.run(ctx, out)
		took := time.Since(stepBegan).Round(100 * time.Millisecond)
		if err != nil {
			return fmt.Errorf("%s failed after %v: %w", s.name, took, err)
		}
		fmt.Fprintf(out, "check: %-19s ok %v\n", s.name, took)
	}
	fmt.Fprintf(out, "check: all passed in %v\n", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// command returns a step that runs a program and streams what it prints.
func command(name string, args ...string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, out io.Writer) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdout, cmd.Stderr = out, out
		return cmd.Run()
	}
}

// checkTools installs what a later step needs and the machine lacks: the race detector's C compiler, and what tests start servers
// with for themselves: PostgreSQL, and npm for DynamoDB's. It fails where it can't.
func checkTools(ctx context.Context, out io.Writer) error {
	if _, err := os.Stat("go.mod"); err != nil {
		return errors.New("there is no go.mod here; run it from the root of the module")
	}
	compiler, err := compiler(ctx)
	if err != nil {
		return err
	}
	var missing []string
	if _, err := exec.LookPath(compiler); err != nil {
		missing = append(missing, "gcc", "libc6-dev")
	}
	if !hasPostgres() {
		missing = append(missing, "postgresql")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		missing = append(missing, "npm")
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("the tests need a C compiler (%s), PostgreSQL (initdb) and npm; install what is missing (Debian: apt-get install %s)",
			compiler, strings.Join(missing, " "))
	}
	if err := command("apt-get", "update", "-q")(ctx, out); err != nil {
		return err
	}
	return command("apt-get", append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...)...)(ctx, out)
}

// hasPostgres reports whether there is a server that tests can start; Debian keeps its programs off the PATH.
func hasPostgres() bool {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	_, err := exec.LookPath("initdb")
	return err == nil || len(found) > 0
}

// compiler returns the C compiler that Go uses.
func compiler(ctx context.Context) (string, error) {
	cc, err := exec.CommandContext(ctx, "go", "env", "CC").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(cc)), " ")
	return cmp.Or(name, "gcc"), nil
}

func checkFormat(ctx context.Context, out io.Writer) error {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	gofmt := filepath.Join(strings.TrimSpace(string(goroot)), "bin", "gofmt")
	unformatted, err := exec.CommandContext(ctx, gofmt, "-l", ".").CombinedOutput()
	if err != nil || len(unformatted) > 0 {
		fmt.Fprintf(out, "%s", unformatted)
		return errors.New("these files are not formatted; run gofmt -w on them")
	}
	return nil
}

// checkAnalyzers runs the analyzers of package analysis in the form in which users run them.
func checkAnalyzers(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "tenantry-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tool := filepath.Join(dir, "tenantry-vet")
	if err := command("go", "build", "-o", tool, "./cmd/tenantry-vet")(ctx, out); err != nil {
		return err
	}
	return command("go", "vet", "-vettool="+tool, "./...")(ctx, out)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// command runs the go command and copies what it prints to out. It returns the lines that say something for the table.
func command(ctx context.Context, out io.Writer, env []string, args ...string) (notes, error) {
	var kept notes
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout = io.MultiWriter(out, &kept)
	cmd.Stderr = cmd.Stdout
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return kept, err
}

// notes keeps the lines of an output in which a test says what it measured, as "measured: 10 of 10", and where fuzzing has come to.
type notes struct {
	partial  []byte
	measured []string
	inputs   int64 // that fuzzing has tried
	passed   int   // tests
}

var (
	measuredLine = regexp.MustCompile(`measured: (.*)`)
	inputsLine   = regexp.MustCompile(`^fuzz: elapsed: .* execs: (\d+)`)
	passedLine   = regexp.MustCompile(`^--- PASS: `)
)

// Write takes a part of the output.
func (n *notes) Write(p []byte) (int, error) {
	n.partial = append(n.partial, p...)
	for {
		line, rest, whole := bytes.Cut(n.partial, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		n.line(string(line))
		n.partial = rest
	}
}

func (n *notes) line(line string) {
	if m := measuredLine.FindStringSubmatch(line); m != nil {
		n.measured = append(n.measured, m[1])
	}
	if m := inputsLine.FindStringSubmatch(line); m != nil {
		n.inputs, _ = strconv.ParseInt(m[1], 10, 64)
	}
	if passedLine.MatchString(line) {
		n.passed++
	}
}

// test returns a proof by go test. It fails where no test ran.
func test(env []string, args ...string) func(context.Context, io.Writer, uint64) (string, error) {
	return func(ctx context.Context, out io.Writer, _ uint64) (string, error) {
		kept, err := command(ctx, out, env, append([]string{"test", "-count=1", "-v", "-timeout", "60m"}, args...)...)
		if err == nil && kept.passed == 0 {
			err = fmt.Errorf("go test %s runs no test", strings.Join(args, " "))
		}
		return strings.Join(append(kept.measured, fmt.Sprintf("%d tests passed", kept.passed)), "; "), err
	}
}

func mutants(ctx context.Context, out io.Writer, _ uint64) (string, error) {
	_, err := command(ctx, out, nil, "run", "./internal/mutants")
	return "all planted bugs were caught", err
}

// fuzz runs every fuzz target of the module, one after the other.
func fuzz(ctx context.Context, out io.Writer, _ uint64) (string, error) {
	listed, err := exec.CommandContext(ctx, "go", "test", "-list", "^Fuzz", "./...").Output()
	if err != nil {
		return "", fmt.Errorf("go test -list: %w\n%s", err, listed)
	}
	all := targets(string(listed))
	var failed error
	inputs := int64(0)
	for _, t := range all {
		kept, err := command(ctx, out, nil, "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", fuzzTime.String(), t.pkg)
		failed = errors.Join(failed, err)
		inputs += kept.inputs
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Sprintf("%d targets, %v each, %d inputs", len(all), fuzzTime, inputs), failed
}

// target is a fuzz target.
type target struct{ pkg, name string }

// targets reads what go test -list prints: the names in a package, and then the package.
func targets(listed string) (all []target) {
	var names []string
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, name := range names {
				all = append(all, target{fields[1], name})
			}
			names = nil
		}
	}
	return all
}

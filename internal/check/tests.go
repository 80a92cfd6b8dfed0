package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// limit ends the tests of all steps together, counted from the first of them.
type limit struct{ end time.Time }

// tests returns a step that runs the tests of packages, over an engine where one is named, and shows what go test without -v shows, while they
// run. The last line has the form of go test's own, with the counts.
func (l *limit) tests(engine string, packages ...string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, out io.Writer) error {
		if l.end.IsZero() {
			l.end = time.Now().Add(testLimit)
		}
		ctx, cancel := context.WithDeadline(ctx, l.end)
		defer cancel()
		return runTests(ctx, out, engine, packages)
	}
}

func runTests(ctx context.Context, out io.Writer, engine string, packages []string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-race", "-timeout", packageLimit.String()}, packages...)...)
	if engine != "" {
		cmd.Env = append(os.Environ(), storeVariable+"="+engine)
	}
	cmd.Stderr = out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	total, readErr := follow(events, out)
	err = cmd.Wait()
	word := "ok  "
	if err != nil || readErr != nil {
		word = "FAIL"
	}
	fmt.Fprintf(out, "%s\t%s\t%.3fs\t%s\n", word, strings.Join(packages, " "), time.Since(began).Seconds(), total)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the tests were stopped: %w", context.Cause(ctx))
	case readErr != nil:
		return readErr
	}
	return err
}

// event is a line of go test -json, as "go doc test2json" describes it.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// counts are tests and subtests by result, and packages that hold tests.
type counts struct{ packages, passed, failed, skipped int }

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped in %d packages", c.passed, c.failed, c.skipped, c.packages)
}

// follow reads the events of go test -json and writes to out what packages print, and what tests print that do not pass.
func follow(events io.Reader, out io.Writer) (counts, error) {
	type test struct{ pkg, name string }
	var total counts
	printed := make(map[test]string) // by tests that have not ended
	tested := make(map[string]bool)
	for in := json.NewDecoder(bufio.NewReader(events)); ; {
		var e event
		if err := in.Decode(&e); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, fmt.Errorf("the output of go test -json: %w", err)
		}
		id := test{e.Package, e.Test}
		switch {
		case e.Action == "build-output", e.Action == "output" && e.Test == "":
			if e.Output != "PASS\n" {
				io.WriteString(out, e.Output)
			}
		case e.Action == "output":
			printed[id] += e.Output
		case e.Test == "" && e.Action == "fail": // a test that was under way when its process died
			for id, text := range printed {
				if id.pkg == e.Package {
					io.WriteString(out, text)
					delete(printed, id)
				}
			}
		case e.Test == "":
		case e.Action == "run":
			if !tested[e.Package] {
				tested[e.Package] = true
				total.packages++
			}
		case e.Action == "pass":
			total.passed++
			delete(printed, id)
		case e.Action == "skip":
			total.skipped++
			delete(printed, id)
		case e.Action == "fail":
			total.failed++
			io.WriteString(out, printed[id])
			delete(printed, id)
		}
	}
}

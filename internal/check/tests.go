package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// storeVariable names the engine under the tests of the API; see package internal/apitest.
const storeVariable = "TENANTRY_TEST_STORE"

// atOnce is how many packages are tested at a time, on a machine of few cores more than it has: many tests wait for a server, or for a moment.
const atOnce = 4

// suite are the tests of packages, over an engine where one is named.
type suite struct {
	engine   string
	packages []string
}

// limit ends the tests of all steps together, counted from the first of them.
type limit struct{ end time.Time }

// tests returns a step that runs suites beside each other and shows what go test without -v shows, while they run. The last line of each has
// the form of go test's own, with the counts.
func (l *limit) tests(suites ...suite) func(context.Context, io.Writer) error {
	return func(ctx context.Context, out io.Writer) error {
		if l.end.IsZero() {
			l.end = time.Now().Add(testLimit)
		}
		ctx, cancel := context.WithDeadline(ctx, l.end)
		defer cancel()
		var one sync.Mutex
		var running sync.WaitGroup
		failed := make([]error, len(suites))
		for i, s := range suites {
			running.Go(func() {
				show := func() io.Writer { return &lines{out: out, one: &one, engine: s.engine} }
				if failed[i] = s.run(ctx, show(), show()); failed[i] != nil && s.engine != "" {
					failed[i] = fmt.Errorf("on %s: %w", s.engine, failed[i])
				}
			})
		}
		running.Wait()
		return errors.Join(failed...)
	}
}

// run runs the suite. What go test itself says goes to trouble, in its own goroutine.
func (s suite) run(ctx context.Context, out, trouble io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-race", "-p", strconv.Itoa(max(atOnce, runtime.NumCPU())), "-timeout", packageLimit.String()}, s.packages...)...)
	if s.engine != "" {
		cmd.Env = append(os.Environ(), storeVariable+"="+s.engine)
	}
	cmd.Stderr = trouble
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
	fmt.Fprintf(out, "%s\t%s\t%.3fs\t%s\n", word, strings.Join(s.packages, " "), time.Since(began).Seconds(), total)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the tests were stopped: %w", context.Cause(ctx))
	case readErr != nil:
		return readErr
	}
	return err
}

// lines writes whole lines, each under the name of the engine where there is one, so that those of suites beside each other stay apart. Each is used by
// one goroutine.
type lines struct {
	out    io.Writer
	one    *sync.Mutex // of all who write to out
	engine string
	begun  []byte // a line whose end was not written
}

func (l *lines) Write(text []byte) (int, error) {
	l.begun = append(l.begun, text...)
	end := bytes.LastIndexByte(l.begun, '\n') + 1
	if end == 0 {
		return len(text), nil
	}
	whole := l.begun[:end]
	if l.engine != "" {
		var named []byte
		for line := range bytes.Lines(whole) {
			named = append(append(append(named, l.engine...), ": "...), line...)
		}
		whole = named
	}
	l.one.Lock()
	defer l.one.Unlock()
	_, err := l.out.Write(whole)
	l.begun = append(l.begun[:0], l.begun[end:]...)
	return len(text), err
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

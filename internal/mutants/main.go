// Command mutants plants known bugs, one at a time, in a copy of the tree and requires the test that is named for each to
// fail. It is part of the long run, not of every check: a test that no bug can make fail would pass for ever.
//
//	go run ./internal/mutants            # all of them
//	go run ./internal/mutants 'tenant'   # those whose name matches
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	pattern := ""
	if len(os.Args) > 1 {
		pattern = os.Args[1]
	}
	if err := run(ctx, os.Stdout, pattern); err != nil {
		fmt.Fprintf(os.Stdout, "mutants: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, pattern string) (err error) {
	chosen, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	tree, err := os.MkdirTemp("", "tenantry-mutants-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
	if err := copyTree(ctx, tree); err != nil {
		return err
	}
	survivors, count := 0, 0
	sound := make(map[string]bool) // test commands that pass without any bug
	for _, m := range mutants {
		if !chosen.MatchString(m.name) {
			continue
		}
		count++
		began := time.Now()
		if args := strings.Join(m.test, " "); !sound[args] {
			if printed, err := goTest(ctx, tree, m.test); err != nil {
				return fmt.Errorf("go test %s fails without any bug: %w\n%s", args, err, printed)
			}
			sound[args] = true
		}
		err := m.hunt(ctx, tree)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		verdict := "caught"
		if err != nil {
			survivors++
			verdict = "SURVIVED: " + err.Error()
		}
		fmt.Fprintf(out, "%-52s %5.1fs  %s\n", m.name, time.Since(began).Seconds(), verdict)
	}
	if survivors > 0 {
		return fmt.Errorf("%d of %d survived", survivors, count)
	}
	if count == 0 {
		return fmt.Errorf("there is no planted bug whose name matches %q", pattern)
	}
	fmt.Fprintf(out, "mutants: all %d caught\n", count)
	return nil
}

// copyTree copies the files that git knows or would add, so that no data and no build output goes along.
func copyTree(ctx context.Context, to string) error {
	list, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		content, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// goTest runs go test with args in tree and returns what it printed.
func goTest(ctx context.Context, tree string, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1"}, args...)...)
	cmd.Dir = tree
	out, err := cmd.CombinedOutput()
	return string(out), err
}

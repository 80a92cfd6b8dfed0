package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is a bug and the test that must notice it.
type mutant struct {
	name string   // what is broken, in words
	file string   // relative to the module's root
	old  string   // text that stands in the file exactly once
	new  string   // what the bug makes of it; it must compile
	test []string // arguments of go test
}

// apply returns source with the bug. It fails where the text to replace does not stand in it exactly once.
func (m mutant) apply(source string) (string, error) {
	switch n := strings.Count(source, m.old); {
	case n != 1:
		return "", fmt.Errorf("the text to replace stands %d times in %s; it must stand there once", n, m.file)
	case m.old == m.new:
		return "", errors.New("the bug changes nothing")
	}
	return strings.Replace(source, m.old, m.new, 1), nil
}

// hunt plants the bug in tree, runs the test, and takes the bug out again. It returns nil where the test failed.
func (m mutant) hunt(ctx context.Context, tree string) (err error) {
	path := filepath.Join(tree, filepath.FromSlash(m.file))
	sound, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	broken, err := m.apply(string(sound))
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(broken), 0o666); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.WriteFile(path, sound, 0o666)) }()
	switch out, testErr := goTest(ctx, tree, m.test); {
	case testErr == nil:
		return errors.New("the test passes")
	case !strings.Contains(out, "--- FAIL"):
		return fmt.Errorf("no test failed, the bug broke something else:\n%s", out)
	}
	return nil
}

package command_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// counting counts the reads and the commits of an engine.
type counting struct {
	driver.Engine
	gets, commits *atomic.Int64
}

func (c counting) Get(ctx context.Context, ref driver.Ref) (*record.Record, error) {
	c.gets.Add(1)
	return c.Engine.Get(ctx, ref)
}

func (c counting) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	c.commits.Add(1)
	return c.Engine.Commit(ctx, b)
}

// A create reads nothing where there is nothing; everything else is one read and one commit.
func TestReadsAndCommits(t *testing.T) {
	var gets, commits atomic.Int64
	w := worldtest.New(t, worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return counting{e, &gets, &commits} }), worldtest.Options{})
	acme, key := worldtest.Scope("acme"), w.Key(worldtest.Scope("acme"), "PRODUCT", "a")
	w.Publish(acme, command.Input{Key: w.Key(acme, "PRODUCT", "first"), Name: "notes the partition"})
	deleted := true
	receipt := command.WithReceipt(command.NewReceipt(worldtest.Code("acme"), acme.Born(), worldtest.Actor(), "POST /", "key", "", nil))
	keyed := func() (command.Result, error) {
		return w.Commands.PublishSync(t.Context(), acme, command.Input{Key: w.Key(acme, "PRODUCT", "keyed"), Name: "K"}, receipt)
	}
	for _, step := range []struct {
		what          string
		do            func() (command.Result, error)
		gets, commits int64
		version       int64
		fails         fault.Code
	}{
		{"a create", func() (command.Result, error) {
			return w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Name: "A"})
		}, 0, 1, 1, ""},
		{"a create of what is there", func() (command.Result, error) {
			return w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Name: "A"})
		}, 1, 1, 0, fault.VersionConflict},
		{"an update", func() (command.Result, error) {
			return w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Version: 1, Name: "B"})
		}, 1, 1, 2, ""},
		{"an update that changes nothing", func() (command.Result, error) {
			return w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Version: 2, Name: "B"})
		}, 1, 0, 2, ""},
		{"a delete", func() (command.Result, error) {
			return w.Commands.PublishPartialUpdateSync(t.Context(), acme, command.Partial{Key: key, Version: record.VersionLatest, IsDeleted: &deleted})
		}, 1, 1, 3, ""},
		{"a create with a receipt", keyed, 0, 1, 1, ""},
		{"a create whose receipt is there", keyed, 3, 1, 1, ""},
		{"a create of what is deleted", func() (command.Result, error) {
			return w.Commands.PublishSync(t.Context(), acme, command.Input{Key: key, Name: "C"})
		}, 1, 2, 4, ""},
	} {
		gets.Store(0)
		commits.Store(0)
		res, err := step.do()
		switch {
		case step.fails != "" && !errors.Is(err, step.fails), step.fails == "" && err != nil:
			t.Fatalf("%s: %v, want %q", step.what, err, step.fails)
		case err == nil && res.Record.Version != step.version:
			t.Errorf("%s made version %d, want %d", step.what, res.Record.Version, step.version)
		}
		if gets.Load() != step.gets || commits.Load() != step.commits {
			t.Errorf("%s: %d reads and %d commits, want %d and %d", step.what, gets.Load(), commits.Load(), step.gets, step.commits)
		}
	}
}

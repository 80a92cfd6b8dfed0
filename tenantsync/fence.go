package tenantsync

import (
	"context"
	"strconv"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// fence is what the writes of a task, or of rules, pass: each carries the condition that the fence is open. A process that stood still while
// the fence was closed (its machine was paused, its answer got lost) writes nothing when it wakes. Who goes on does so past a fence of another name.
type fence struct {
	rows  storage.Keeper
	owner string // of its rows: a task's stand in its target's own partition, as all that its writes are about
	name  string
}

// fence is what the writes of the part pass now.
func (s *Service) fence(p *part) fence {
	return fence{s.cfg.Fences, p.task.Target.String(), p.task.Sync + record.Separator + strconv.FormatInt(p.Fenced, 10)}
}

// fenceOf is what the writes of a process that follows the feed pass.
func (f *follower) fenceOf(holder string) fence {
	return fence{f.cfg.Feed, owner, feedSK + record.Separator + holder}
}

// pickets is how many rows a fence has. A closed one has all of them, an open one none, and a write looks at one of them: writes side by side do
// not meet at a single row, on which DynamoDB would have them wait for each other.
const pickets = 16

// picket is the row that the nth of several writes looks at.
func (f fence) picket(n int) storage.Row {
	return storage.Row{Owner: f.owner, SK: f.name + record.Separator + strconv.Itoa(n%pickets)}
}

// closed returns the writes that close a fence until a time, in Unix seconds, by which nobody stands before it any more.
func (f fence) closed(until int64) []storage.SystemWrite {
	writes := make([]storage.SystemWrite, pickets)
	for n := range writes {
		row := f.picket(n)
		row.Expires = until
		writes[n] = f.rows.Set(row)
	}
	return writes
}

// open returns the condition on which the nth of several writes passes.
func (f fence) open(n int) storage.SystemWrite { return f.rows.Absent(f.picket(n)) }

// check fails with fault.Unavailable where the fence is closed.
func (f fence) check(ctx context.Context, n int) error {
	row, err := f.rows.Get(ctx, f.owner, f.picket(n).SK)
	if err == nil && row.Version > 0 {
		err = fault.New(fault.Unavailable, "tenantsync", "this was overtaken while it stood still; who overtook it goes on")
	}
	return err
}

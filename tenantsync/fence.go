package tenantsync

import (
	"context"
	"strconv"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
)

// fence is the name of what the writes of a task, or of rules, pass: each carries the condition that the fence is open. A process that stood still while
// the fence was closed (its machine was paused, its answer got lost) writes nothing when it wakes. Who goes on does so past a fence of another name.
type fence string

// pickets is how many rows a fence has. A closed one has all of them, an open one none, and a write looks at one of them: writes side by side do
// not meet at a single row, on which DynamoDB would have them wait for each other.
const pickets = 16

// picket is the row of a fence that the nth of several writes looks at.
func (f fence) picket(n int) storage.Row {
	return storage.Row{Owner: owner, SK: string(f) + record.Separator + strconv.Itoa(n%pickets)}
}

// closed returns the writes that close a fence until a time, in Unix seconds, by which nobody stands before it any more.
func (s *Service) closed(f fence, until int64) []storage.SystemWrite {
	writes := make([]storage.SystemWrite, pickets)
	for n := range writes {
		row := f.picket(n)
		row.Expires = until
		writes[n] = s.cfg.Fences.Set(row)
	}
	return writes
}

// open returns the condition on which the nth of several writes passes a fence.
func (s *Service) open(f fence, n int) storage.SystemWrite { return s.cfg.Fences.Absent(f.picket(n)) }

// isOpen fails with fault.Unavailable for a fence that is closed.
func (s *Service) isOpen(ctx context.Context, f fence, n int) error {
	row, err := s.cfg.Fences.Get(ctx, owner, f.picket(n).SK)
	if err == nil && row.Version > 0 {
		err = fault.New(fault.Unavailable, "tenantsync", "this was overtaken while it stood still; who overtook it goes on")
	}
	return err
}

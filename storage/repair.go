package storage

import (
	"context"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Finish is Commit for a Change whose command already stands in the log without the rest of it: what is left where another
// framework died between its writes. That framework may have copied the current state to history already. It fails with
// *driver.Conflict as Commit does, and where the command is gone, and with fault.Unavailable while the store is copied to another.
func (v View) Finish(ctx context.Context, c Change) (driver.Position, error) {
	logged := driver.Condition{Kind: driver.IfVersion, Version: c.Command.Version}
	writes, err := v.writes(c, logged, driver.Condition{})
	if err != nil {
		return "", err
	}
	return v.repair(ctx, writes)
}

// Discard removes from the log a command that never became the state of its record, and the copy of the current state that
// its maker may have left in history. Current is nil where the record has none. It fails with *driver.Conflict where the command
// is gone or the record has changed since current was read, and with fault.Unavailable while the store is copied to another.
func (v View) Discard(ctx context.Context, cmd, current *record.Record) error {
	if !v.sc.Writable() {
		return fault.New(fault.TenantForbidden, "storage.Discard", "this scope reads shared records only")
	}
	key, pk, err := v.place(cmd)
	if err != nil {
		return err
	}
	gone := at(pk, cmd)
	writes := []driver.Write{{Collection: driver.Command, Record: gone, Delete: true, If: driver.Condition{Kind: driver.IfVersion, Version: gone.Version}}}
	if current == nil { // deleting what is absent is the guard that it still is
		writes = append(writes, driver.Write{Collection: driver.Data, Record: gone, Delete: true, If: driver.Condition{Kind: driver.IfAbsent}})
	} else {
		if current.PK != key.PK() || current.SK != key.SK() {
			return mixed()
		}
		kept := at(pk, current)
		writes = append(writes,
			driver.Write{Collection: driver.Data, Record: kept, If: driver.Condition{Kind: driver.IfVersion, Version: kept.Version}},
			driver.Write{Collection: driver.History, Record: kept, Delete: true})
	}
	_, err = v.repair(ctx, writes)
	return err
}

package integrity

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Finish makes an interrupted command the state of its record, in one commit with history and what the system keeps; ref is
// Problem.Ref, its Collection doesn't matter. The command keeps its provenance, and the audit log names the tenant.
//
// It fails with fault.InvalidKey for a key that no Scope can name, fault.NotFound where the log doesn't hold the command,
// fault.VersionConflict where it isn't the version after the record's, fault.AlreadyExists where the record's code is taken (it
// can be discarded then), fault.Unavailable where the record changed meanwhile, and fault.RoleRequired for the zero System.
func Finish(ctx context.Context, commands *command.Service, sys guard.System, ref driver.Ref) (command.Result, error) {
	sc, key, err := enter(ctx, sys, ref)
	if err != nil {
		return command.Result{}, err
	}
	return commands.Finish(ctx, sc, key, ref.Version)
}

// Discard removes an interrupted command from the log, so that its record can be changed again. What the command would have said
// is lost; that it was discarded, by whom and why, is in the audit log: name the record in the System's reason. It fails as Finish
// does.
func Discard(ctx context.Context, commands *command.Service, sys guard.System, ref driver.Ref) error {
	sc, key, err := enter(ctx, sys, ref)
	if err != nil {
		return err
	}
	return commands.Discard(ctx, sc, key, ref.Version)
}

// enter returns the Scope of the tenant that ref names, after the audit entry, and the record's key.
func enter(ctx context.Context, sys guard.System, ref driver.Ref) (guard.Scope, record.Key, error) {
	at, ok := locate(ref.PK)
	if !ok {
		return guard.Scope{}, record.Key{}, fault.New(fault.InvalidKey, "integrity", "no scope can name this pk; only the service that wrote it can mend its records")
	}
	if err := record.CheckSortKey(ref.SK); err != nil {
		return guard.Scope{}, record.Key{}, err
	}
	sc, err := sys.Enter(ctx, at.tenant, time.Time{})
	if err != nil {
		return guard.Scope{}, record.Key{}, err
	}
	key, err := record.ParseKey(sc, ref.PK, ref.SK)
	return sc, key, err
}

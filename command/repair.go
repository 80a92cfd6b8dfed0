package command

import (
	"context"
	"errors"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Finish makes a command the state of its record, in one commit with history and what the system keeps, where a crash of
// another framework left the command in the log without them. The command keeps its provenance. It fails with fault.NotFound where
// the log doesn't hold the command, fault.VersionConflict where it isn't the version after the record's, and
// fault.AlreadyExists where its code is taken: it can be discarded then.
func (s *Service) Finish(ctx context.Context, sc scope.Scope, key record.Key, version int64) (Result, error) {
	view, cmd, current, err := s.unfinished(ctx, sc, key, version)
	if err != nil {
		return Result{}, err
	}
	state := cmd.Clone()
	state.Status, state.SyncMode = "", ""
	cmd.Status, cmd.SyncMode = record.StatusFinished, record.SyncModeSync
	typ, ok := s.cfg.Entities.Lookup(key.Type())
	if !ok {
		return Result{}, fault.New(fault.NotFound, "command.Finish", "there is no entity type %s here", key.Type())
	}
	change := storage.Change{Command: cmd, Data: state, Replace: current}
	if change.System, err = s.beside(typ, key, current, state); err != nil {
		return Result{}, err
	}
	position, err := view.Finish(ctx, change)
	s.cfg.Committed(cmd)
	if lost, ok := errors.AsType[*driver.Conflict](err); ok {
		if lost.Write >= storage.SystemOffset(change) {
			return Result{}, codeTaken()
		}
		return Result{}, changedMeanwhile(version)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Command: cmd, Record: state, Changed: true, Created: current == nil || current.IsDeleted && !state.IsDeleted, Position: position}, nil
}

// Discard removes from the log a command that a crash of another framework left there without its data row, so that the
// record can be changed again. What the command would have said is lost. It fails with fault.NotFound and fault.VersionConflict as
// Finish does.
func (s *Service) Discard(ctx context.Context, sc scope.Scope, key record.Key, version int64) error {
	view, cmd, current, err := s.unfinished(ctx, sc, key, version)
	if err != nil {
		return err
	}
	err = view.Discard(ctx, cmd, current)
	if _, ok := errors.AsType[*driver.Conflict](err); ok {
		return changedMeanwhile(version)
	}
	return err
}

// unfinished reads a command that is to be finished or discarded, and its record's state, nil where there is none.
func (s *Service) unfinished(ctx context.Context, sc scope.Scope, key record.Key, version int64) (view storage.View, cmd, current *record.Record, err error) {
	if view, err = s.cfg.Store.In(sc); err != nil {
		return view, nil, nil, err
	}
	if cmd, err = view.Command(ctx, key, version); err != nil {
		return view, nil, nil, err
	}
	if current, err = view.Get(ctx, key); err != nil {
		return view, nil, nil, err
	}
	if cmd == nil {
		return view, nil, nil, fault.New(fault.NotFound, "command", "the log doesn't hold this version of the record")
	}
	at := int64(0)
	if current != nil {
		at = current.Version
	}
	if version != at+1 {
		return view, nil, nil, fault.Conflict("command", version, at)
	}
	return view, cmd.Clone(), current, nil
}

func changedMeanwhile(version int64) error {
	return fault.New(fault.Unavailable, "command", "the record changed while version %d was finished or discarded; verify it again", version)
}

// Package storage is scoped access to a store: the one place where a Scope meets an engine.
//
// [Open] opens a [Store], which by itself reads and writes nothing. [Store.In] yields a [View] of one Scope's tenant; every
// read checks that the row that came back belongs to the scope that asked. [Store.Across] yields what crosses tenants
// (the change feed, scans) and needs the System capability.
package storage

import (
	"context"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// Options configure a Store.
type Options struct {
	// Shared reports whether the common tenant's records of an entity type may be read by every tenant. Defaults to no type.
	Shared func(record.EntityType) bool

	// Observe is told of every operation that reached the engine. Defaults to nobody.
	Observe func(op string, took time.Duration, err error)
}

// Store is an open store. It may be used concurrently.
type Store struct {
	engine  driver.Engine
	name    string
	shared  func(record.EntityType) bool
	observe func(op string, took time.Duration, err error)
	notice  notice
	walled  driver.Walled // the engine, where it can have a wall of its own between tenants
}

// Open opens the store that src names. The caller closes it. It fails with fault.Unavailable where the store can't be
// reached, is locked or read-only, and with fault.Internal where it is corrupt.
func Open(ctx context.Context, src driver.Source, opts Options) (*Store, error) {
	engine, err := src.Open(ctx, scope.NewRoot())
	if err != nil {
		return nil, err
	}
	s := &Store{engine: engine, name: src.Name(), shared: opts.Shared, observe: opts.Observe}
	s.walled, _ = engine.(driver.Walled)
	if s.shared == nil {
		s.shared = func(record.EntityType) bool { return false }
	}
	return s, nil
}

// Close waits for the commits under way and closes the store.
func (s *Store) Close() error { return s.engine.Close() }

// Engine returns the engine's name, "sqlite".
func (s *Store) Engine() string { return s.name }

// Committed returns a channel that receives after commits, those of other processes within 250 ms.
// Signals may be merged. Stop releases it.
func (s *Store) Committed() (signal <-chan struct{}, stop func()) { return s.engine.Committed() }

// Backup writes a consistent copy of the store to path, which must not exist, while the store is used. It needs
// the System capability, and fails with fault.InvalidRequest where the engine has its own means of backup.
func (s *Store) Backup(ctx context.Context, sys scope.System, path string) error {
	if err := sys.Note(ctx); err != nil {
		return err
	}
	b, ok := s.engine.(driver.Backuper)
	if !ok {
		return fault.New(fault.InvalidRequest, "storage.Backup", "the %s store is not backed up by Tenantry; use the database's own backup", s.name)
	}
	return b.Backup(ctx, path)
}

func (s *Store) done(op string, began time.Time, err error) {
	if s.observe != nil {
		s.observe(op, time.Since(began), err)
	}
}

func (s *Store) began() time.Time {
	if s.observe == nil {
		return time.Time{}
	}
	return time.Now()
}

// foreign is the answer to a row that is not of the partition that was asked for: a defect of the engine that must never
// reach a caller.
func foreign(ctx context.Context, asked, got string) error {
	slog.ErrorContext(ctx, "the engine returned a row of another partition; it was withheld", "asked", asked, "got", got)
	return fault.New(fault.Internal, "storage", "the store answered with a row that was not asked for; it was withheld")
}

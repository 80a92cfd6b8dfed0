// Package command is the write side: every change is a versioned command in a log that is also the audit trail.
//
// One publish is one read and one atomic write of command, data and history, whatever the store; a create is the write
// alone, unless the record is there. PublishSync returns when the registered handlers have run, PublishAsync after the write; a
// reader of data sees the write in both cases.
package command

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
)

// Lengths of the longest name and code, in bytes.
const (
	MaxName = 1024
	MaxCode = 512
)

// Companion returns what the system keeps in the same commit as a change of a record of its entity type. Before is
// nil for the first version. It must not block and may be called more than once for a change.
type Companion func(before, after *record.Record) ([]storage.SystemWrite, error)

// Handlers runs what follows a command.
type Handlers interface {
	// Expect is called before a command is written. The returned wait blocks until its handlers have run (or its
	// record is parked), with the context's error; it takes the place in the feed that the commit returned. Cancel says that
	// the command was not written after all, or that nobody waits any more. Both are nil where no handler follows the command.
	Expect(module string, cmd *record.Record) (wait func(context.Context, driver.Position) error, cancel func())
}

// Config is what a Service is made of. Every field is required but those that state a default.
type Config struct {
	Store    *storage.Store
	Entities *entity.Registry

	// Companions of entity types. Defaults to none.
	Companions map[record.EntityType][]Companion

	// Handlers defaults to none: PublishSync returns after the write.
	Handlers Handlers

	// Outbox returns what is kept in the commit of changes of sc's tenant for those who are told of them; none of it may have a
	// condition that another commit can break. It must not publish. Defaults to nothing.
	Outbox func(ctx context.Context, sc scope.Scope, changes []storage.Change) ([]storage.SystemWrite, error)

	// Committed is told of every command that may have been written, before it is acknowledged. Defaults to nobody.
	Committed func(cmd *record.Record)

	// Receipts, Codes and Partitions keep idempotency receipts, unique codes, and which partitions a tenant has.
	Receipts, Codes, Partitions storage.Keeper

	// Now defaults to time.Now.
	Now func() time.Time
}

// Service publishes commands. It may be used concurrently.
type Service struct {
	cfg   Config
	known partitions
}

// New returns a Service.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Committed == nil {
		cfg.Committed = func(*record.Record) {}
	}
	return &Service{cfg: cfg}
}

// Input is a whole new state of a record.
type Input struct {
	Key        record.Key
	Version    int64  // 0 creates, -1 takes whatever is current, n must be the current version
	Code       string // defaults to the current code, and to the sort key for a new record
	Name       string
	Type       string // defaults to the current type, and to the entity type for a new record
	IsDeleted  bool
	Seq        string            // a canonical number, "" for none
	TTL        int64             // Unix seconds; 0 keeps the current one, NoTTL removes it
	Attributes record.Attributes // nil for none
	Metadata   record.Attributes // where a copy came from; nil for none
}

// NoTTL removes a TTL.
const NoTTL int64 = -1

// Partial is a change of some fields of a record. A nil field stays; Attributes merge deeply, lists and null replace.
type Partial struct {
	Key        record.Key
	Version    int64 // -1 takes whatever is current, n must be the current version
	Code       *string
	Name       *string
	IsDeleted  *bool
	Seq        *string
	TTL        *int64
	Attributes record.Attributes
}

// Result says what became of a command.
type Result struct {
	Command  *record.Record  // the accepted command; nil where nothing changed
	Record   *record.Record  // the record after the command
	Changed  bool            // false: the command would have changed nothing and was not written
	Created  bool            // there was no such record, or a deleted one
	Replayed bool            // an earlier command with the same receipt answered
	Position driver.Position // in the change feed; "" where nothing was written
}

// PublishSync publishes in and returns when its handlers have run. It fails with fault.VersionConflict (both versions
// named), fault.ValidationFailed, fault.AlreadyExists for a code that is taken, fault.IdempotencyConflict,
// fault.TenantRequired and fault.TenantForbidden; with fault.Timeout where the command was written but the context
// ended before its handlers had run.
func (s *Service) PublishSync(ctx context.Context, sc scope.Scope, in Input, opts ...Option) (Result, error) {
	return s.Change(ctx, sc, in.Key, in.Version, in.next, opts...)
}

// PublishAsync publishes in and returns after the write; handlers follow from the change feed. It fails as PublishSync does.
func (s *Service) PublishAsync(ctx context.Context, sc scope.Scope, in Input, opts ...Option) (Result, error) {
	return s.Change(ctx, sc, in.Key, in.Version, in.next, append(opts, async)...)
}

// PublishPartialUpdateSync merges p into the version named and returns when its handlers have run.
// It fails as PublishSync does, and with fault.NotFound where there is no such record.
func (s *Service) PublishPartialUpdateSync(ctx context.Context, sc scope.Scope, p Partial, opts ...Option) (Result, error) {
	return s.Change(ctx, sc, p.Key, p.Version, p.next, append(opts, existing)...)
}

// PublishPartialUpdateAsync is PublishPartialUpdateSync without waiting for handlers.
func (s *Service) PublishPartialUpdateAsync(ctx context.Context, sc scope.Scope, p Partial, opts ...Option) (Result, error) {
	return s.Change(ctx, sc, p.Key, p.Version, p.next, append(opts, existing, async)...)
}

func (in Input) next(current *record.Record) (*record.Record, error) {
	next := &record.Record{Code: in.Code, Name: in.Name, Type: in.Type, IsDeleted: in.IsDeleted, Seq: in.Seq, TTL: in.TTL,
		Attributes: in.Attributes, Metadata: in.Metadata}
	if current != nil {
		next.Code = cmpOr(next.Code, current.Code)
		next.Type = cmpOr(next.Type, current.Type)
		if next.TTL == 0 {
			next.TTL = current.TTL
		}
	}
	return next, nil
}

func (p Partial) next(current *record.Record) (*record.Record, error) {
	next := current.Clone()
	set(&next.Code, p.Code)
	set(&next.Name, p.Name)
	set(&next.IsDeleted, p.IsDeleted)
	set(&next.Seq, p.Seq)
	set(&next.TTL, p.TTL)
	var err error
	next.Attributes, err = current.Attributes.MergeDeep(p.Attributes)
	return next, err
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Option changes one publish.
type Option func(*options)

type options struct {
	async    bool
	existing bool
	live     bool
	receipt  *Receipt
	at       int64 // the version that AtVersion asks for; 0 for none
	beside   []func(context.Context, scope.Scope) ([]storage.SystemWrite, error)
}

func async(o *options)    { o.async = true }
func existing(o *options) { o.existing = true }

// Async makes a publish return after the write, without waiting for handlers.
func Async() Option { return async }

// Live makes a publish on a missing or deleted record fail with fault.NotFound, whatever the version.
func Live() Option { return func(o *options) { o.existing, o.live = true, true } }

// AtVersion makes a publish that takes whatever version is current fail with fault.VersionConflict unless that is n, which
// is at least 1. Of what Together changes, it is the first record's.
func AtVersion(n int64) Option { return func(o *options) { o.at = n } }

// Beside makes a publish keep what plan returns in the command's own commit. Where a condition of these writes does not hold, plan is called
// again; where nothing changes, nothing of it is written. The publish fails with what plan fails with.
func Beside(plan func(context.Context, scope.Scope) ([]storage.SystemWrite, error)) Option {
	return func(o *options) { o.beside = append(o.beside, plan) }
}

// planned returns what the options want kept beside a command.
func (o options) planned(ctx context.Context, sc scope.Scope) (writes []storage.SystemWrite, err error) {
	for _, plan := range o.beside {
		more, err := plan(ctx, sc)
		if err != nil {
			return nil, err
		}
		writes = append(writes, more...)
	}
	return storage.Distinct(writes), nil
}

// attempts bounds how often a publish reads again after another was first. With VersionLatest each attempt
// loses only to a command that was accepted.
const attempts = 64

// Change is the publish that the others are made of: it reads the record at key, has next make the new state of it
// (from nil where there never was one; next may be called again when another command was first), and writes that.
// Next sets what the caller decides: Code, Name, Type, IsDeleted, Seq, TTL, Attributes, Metadata; key, version and provenance
// are set here, in the record that next returns, which must be current or one that nobody else has. A next that returns current unchanged publishes
// nothing. It fails as PublishSync does, and with what next fails with.
func (s *Service) Change(ctx context.Context, sc scope.Scope, key record.Key, version int64,
	next func(current *record.Record) (*record.Record, error), opts ...Option) (Result, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	view, err := s.cfg.Store.In(sc)
	if err != nil {
		return Result{}, err
	}
	if version == record.VersionLatest && o.at > 0 {
		version = o.at
	}
	if version < record.VersionLatest {
		return Result{}, fault.Invalid("command.Change", fault.Field{Field: "version", Problem: "is -1, 0 or a version"})
	}
	var logged int64 // the version that the log turned out to hold
	// A create finds nothing, as a rule: it is written without a look, and the conditions of the write find what is there.
	blind := version == record.VersionFirst && !o.existing && !key.Tenant().IsCommon()
	for range attempts {
		var current *record.Record
		if !blind {
			if current, err = view.Get(ctx, key); err != nil {
				return Result{}, err
			}
		}
		if o.receipt != nil && !blind { // read after the state: where that is the receipt's own doing, the receipt is there
			if res, found, err := s.replay(ctx, view, key, o.receipt); found || err != nil {
				return res, err
			}
		}
		if versionOf(current) < logged {
			return Result{}, fault.New(fault.Internal, "command.Change",
				"the log holds version %d of this record but its data row doesn't; an operator can finish or discard it: see tenantry verify", logged)
		}
		if o.existing && current == nil || o.live && current.IsDeleted {
			return Result{}, fault.New(fault.NotFound, "command.Change", "there is no such record")
		}
		if o.existing && version == record.VersionFirst {
			return Result{}, fault.Conflict("command.Change", version, current.Version)
		}
		if err := checkVersion(version, current); err != nil {
			return Result{}, err
		}
		change, err := s.prepare(view, key, current, next, o.receipt)
		if err != nil {
			return Result{}, err
		}
		if change == nil {
			return Result{Record: current}, nil
		}
		planned, err := o.planned(ctx, sc)
		if err != nil {
			return Result{}, err
		}
		change.System = append(planned, change.System...)
		res, err := s.commit(ctx, view, o, *change)
		if lost, ok := errors.AsType[*driver.Conflict](err); ok {
			if err := lostTo(lost, *change, len(planned), o.receipt); err != nil {
				return Result{}, err
			}
			if lost.Write == 0 {
				logged = change.Command.Version
			}
			blind = false
			continue
		}
		return res, err
	}
	return Result{}, fault.New(fault.Unavailable, "command.Change", "the record changes too often to be written now; retry")
}

func codeTaken() error {
	return fault.New(fault.AlreadyExists, "command.Change", "the code is taken by another record of this entity type; choose another code")
}

// versionOf returns the version of a record's state, 0 where there is none.
func versionOf(current *record.Record) int64 {
	if current == nil {
		return 0
	}
	return current.Version
}

// created reports whether a change of before to after begins a life of the record.
func created(before, after *record.Record) bool {
	return before == nil || before.IsDeleted && !after.IsDeleted
}

func checkVersion(version int64, current *record.Record) error {
	switch {
	case version == record.VersionLatest:
		return nil
	case current == nil && version == record.VersionFirst:
		return nil
	case current == nil:
		return fault.Conflict("command.Change", version, 0)
	case version == record.VersionFirst && current.IsDeleted, version == current.Version && version != record.VersionFirst:
		return nil
	default:
		return fault.Conflict("command.Change", version, current.Version)
	}
}

// prepare makes the rows of a change, nil where it would change nothing.
func (s *Service) prepare(view storage.View, key record.Key, current *record.Record,
	next func(*record.Record) (*record.Record, error), receipt *Receipt) (*storage.Change, error) {
	state, err := next(current)
	if err != nil || state == current {
		return nil, err
	}
	if err := canonical(state); err != nil {
		return nil, err
	}
	s.provenance(state, key, current, view.Scope().Actor())
	if current != nil && state.SameState(current) {
		return nil, nil
	}
	typ, ok := s.cfg.Entities.Lookup(key.Type())
	if !ok {
		return nil, fault.New(fault.NotFound, "command.Change", "there is no entity type %s here", key.Type())
	}
	if err := Check(typ, state); err != nil {
		return nil, err
	}
	cmd := state.Clone()
	cmd.Status, cmd.SyncMode = record.StatusFinished, record.SyncModeSync
	change := &storage.Change{Command: cmd, Data: state, Replace: current}
	if change.System, err = s.beside(typ, key, current, state); err != nil {
		return nil, err
	}
	if receipt != nil {
		change.System = append(change.System, s.receiptWrite(*receipt, key, state.Version, created(current, state)))
	}
	return change, nil
}

// provenance sets what the caller doesn't decide. A create over a deleted record begins a new life of it.
func (s *Service) provenance(state *record.Record, key record.Key, current *record.Record, actor scope.Actor) {
	now := record.At(s.cfg.Now())
	state.PK, state.SK, state.TenantCode, state.StoredPK = key.PK(), key.SK(), key.Tenant().String(), ""
	state.Code, state.Type = cmpOr(state.Code, key.SK()), cmpOr(state.Type, key.Type().String())
	state.TTL = max(0, state.TTL)
	state.Version = 1
	state.Status, state.SyncMode = "", ""
	if current != nil {
		state.Version = current.Version + 1
		if current.UpdatedAt.After(now.Time()) {
			now = current.UpdatedAt // clocks of several nodes differ; versions and times of a record don't contradict each other
		}
	}
	state.Source, state.RequestID = actor.Source, actor.RequestID
	if actor.ActUserID != "" {
		state.Source += " for the user, by support access of " + actor.ActUserID + " (" + actor.ActIssuer + ")"
	}
	state.UpdatedAt, state.UpdatedBy, state.UpdatedIP = now, actor.UserID, actor.SourceIP
	if created(current, state) {
		state.CreatedAt, state.CreatedBy, state.CreatedIP = now, actor.UserID, actor.SourceIP
	} else {
		state.CreatedAt, state.CreatedBy, state.CreatedIP = current.CreatedAt, current.CreatedBy, current.CreatedIP
	}
}

// canonical puts what next set into the one form that is stored: Go callers may have written it by hand.
func canonical(state *record.Record) (err error) {
	if state.Attributes, err = state.Attributes.Canonical(); err != nil {
		return err
	}
	if state.Metadata, err = state.Metadata.Canonical(); err != nil {
		return err
	}
	if state.Seq != "" {
		state.Seq, err = record.ParseNumber(state.Seq)
	}
	return err
}

// Check returns what keeps a record from being published, as PublishSync would: fault.ValidationFailed for its name, its code,
// its type and its attributes. It is for callers who check several records before they publish the first.
func Check(typ entity.Type, state *record.Record) error {
	var problems []fault.Field
	if len(state.Name) > MaxName || !utf8.ValidString(state.Name) {
		problems = append(problems, fault.Field{Field: "name", Problem: "is at most 1024 bytes of UTF-8"})
	}
	if err := record.CheckText(state.Code, MaxCode); err != nil {
		problems = append(problems, fault.Field{Field: "code", Problem: err.Error() + "; it is 1 to 512 bytes of printable UTF-8"})
	}
	if len(state.Type) > MaxCode || !utf8.ValidString(state.Type) {
		problems = append(problems, fault.Field{Field: "type", Problem: "is at most 512 bytes of UTF-8"})
	}
	if typ.Check != nil && !state.IsDeleted {
		for _, p := range typ.Check(state.Attributes) {
			p.Field = strings.TrimSuffix("attributes."+p.Field, ".") // it has no name where it is about all of them
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		return fault.Invalid("command.Change", problems...)
	}
	return nil
}

// commit writes changes and waits for their handlers.
func (s *Service) commit(ctx context.Context, view storage.View, o options, changes ...storage.Change) (Result, error) {
	var waits []func(context.Context, driver.Position) error
	if s.cfg.Handlers != nil && !o.async {
		for _, change := range changes {
			typ, _ := s.cfg.Entities.Lookup(entityOf(change.Data))
			if wait, cancel := s.cfg.Handlers.Expect(typ.In(), change.Command); wait != nil {
				defer cancel()
				waits = append(waits, wait)
			}
		}
	}
	if err := s.toOutbox(ctx, view.Scope(), changes); err != nil {
		return Result{}, err
	}
	position, err := view.Commit(ctx, changes...)
	for _, change := range changes {
		if _, lost := errors.AsType[*driver.Conflict](err); !lost {
			s.cfg.Committed(change.Command)
		}
		if err == nil && change.Replace == nil {
			s.known.add(change.Data.PK)
		}
	}
	if err != nil {
		return Result{}, err
	}
	first := changes[0]
	res := Result{Command: first.Command, Record: first.Data, Changed: true, Position: position, Created: created(first.Replace, first.Data)}
	for _, wait := range waits {
		if err := wait(ctx, position); err != nil {
			return res, fault.Wrap(err, fault.Timeout, "command.PublishSync", "the command is accepted as version %d, but its handlers have not finished in time", first.Data.Version)
		}
	}
	return res, nil
}

// toOutbox adds what the outbox wants to the last of changes, behind everything that has conditions.
func (s *Service) toOutbox(ctx context.Context, sc scope.Scope, changes []storage.Change) error {
	if s.cfg.Outbox == nil {
		return nil
	}
	more, err := s.cfg.Outbox(ctx, sc, changes)
	if len(more) > 0 {
		last := &changes[len(changes)-1]
		last.System = append(last.System[:len(last.System):len(last.System)], more...)
	}
	return err
}

func entityOf(r *record.Record) record.EntityType {
	t, _, _, _ := record.SplitPK(r.PK)
	return t
}

// lostTo says what to do after another command was first: nil to try again, or the error to return.
func lostTo(lost *driver.Conflict, change storage.Change, planned int, receipt *Receipt) error {
	offset := storage.SystemOffset(change)
	if lost.Write >= offset+planned { // what was planned beside it is planned again
		if receipt != nil && lost.Write == offset+len(change.System)-1 {
			return nil // the same request was first: its receipt answers
		}
		return codeTaken()
	}
	return nil
}

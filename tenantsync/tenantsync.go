// Package tenantsync copies records of one tenant to others: master data that one tenant keeps and many use.
//
// A sync is planned first. The plan lists, for every target, each record that would be created, updated or deleted and each that is left
// alone, with the reason; it stands in rows of the system, so that planning changes no tenant's data. Applying a plan does what it lists and
// nothing else: each item is written if the target's record still has the version that the plan saw, with what the source's record said at
// the version that the plan saw. An item that can't be written fails by itself. Undoing a sync is another one, whose plan leads back.
//
//	id, err := syncs.Plan(ctx, sys, tenantsync.Request{Source: acme, Targets: []tenant.Code{bravo}, EntityType: product}, tenantsync.Order{})
//	…
//	status, err := syncs.Status(ctx, sys, id)   // until status.Status is planned
//	err = syncs.Apply(ctx, sys, id)
//
// The work on one target of a sync is a [Task], done page by page by [Service.Step], each step of which may be repeated: a process that dies
// is followed by another. A copy says where it came from in its metadata: {syncedFrom, syncedAt}. A [Rule] keeps targets in step as
// the source changes.
//
// The package is not called sync, as package sync of the standard library is.
package tenantsync

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// Retention is how long a sync can be looked at, resumed and undone, from when it was planned.
const Retention = 30 * 24 * time.Hour

// inFlight bounds how many records a Service writes at a time, over all its tasks: what the embedded store commits together.
const inFlight = 64

// Task is the work on one target of a sync.
type Task struct {
	Sync   string
	Target tenant.Code
}

// Queue has Service.Work called for tasks, with sc or another Scope of its tenant and actor: at least once, again where it failed or its process died,
// and for one target one at a time.
type Queue interface {
	// Enqueue adds the task of a sync in sc's tenant. One that waits already is added once.
	Enqueue(ctx context.Context, sc scope.Scope, sync string) error
}

// Config is what a Service is made of. Every field is required but those that state a default.
type Config struct {
	Store    *storage.Store
	Commands *command.Service
	Entities *entity.Registry
	Queue    Queue

	// Orders, Parts, Pages and Rules keep what was ordered, how far each target is, what is planned, and rules.
	Orders, Parts, Pages, Rules storage.Keeper

	Feed storage.Keeper // keeps where rules are in the change feed

	Partitions storage.Keeper // which partitions a tenant has; the one that command.Config was given

	// State answers whether a tenant exists and is active.
	State func(ctx context.Context, code tenant.Code) (guard.State, error)

	// Active returns the tenants that exist and are not suspended, common not among them.
	Active func(ctx context.Context, sys scope.System) ([]tenant.Code, error)

	// Auditor keeps the entries of the crossings that tasks and rules are.
	Auditor scope.Auditor

	// Log defaults to slog.Default.
	Log *slog.Logger

	// Now defaults to time.Now.
	Now func() time.Time
}

// Service plans and applies syncs. It may be used concurrently. Its methods that take a System are for system admins.
type Service struct {
	cfg       Config
	writing   chan struct{} // holds one for each record that is being written
	pageItems int           // how many records a page of a plan is about
	stepPages int           // how many pages a step is about
}

// New returns a Service. Nothing runs until the Queue calls Work.
func New(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{cfg: cfg, writing: make(chan struct{}, inFlight), pageItems: 100, stepPages: 5}
}

// Order says what follows a plan. The zero Order waits to be applied.
type Order struct {
	Apply bool // applies the plan as soon as it is made
}

// Plan begins to plan a sync and returns its ID. It fails with fault.ValidationFailed for a Request that contradicts itself and for a source
// that doesn't exist, and with fault.NotFound for an entity type that is unknown or a module's. A target that doesn't exist or is
// suspended stands still by itself: see PerTenant.
func (s *Service) Plan(ctx context.Context, sys scope.System, r Request, then Order) (id string, err error) {
	if err := sys.Note(ctx); err != nil {
		return "", err
	}
	source, err := s.check(ctx, r)
	if err != nil {
		return "", err
	}
	targets := r.Targets
	if r.All {
		if targets, err = s.cfg.Active(ctx, sys); err != nil {
			return "", err
		}
	}
	o := order{ID: record.NewID(), Body: r.body(), Born: born(source), By: actorOf(sys.Actor())}
	return o.ID, s.begin(ctx, o, then, r.without(targets))
}

// begin writes a new order with its parts, the order last: it is what makes the sync exist.
func (s *Service) begin(ctx context.Context, o order, then Order, targets []tenant.Code) error {
	now := s.cfg.Now()
	o.CreatedAt, o.expires = record.At(now), now.Add(Retention).Unix()
	if then.Apply {
		o.Applied = o.CreatedAt
	}
	writes := make([]storage.SystemWrite, 0, len(targets))
	parts := make([]*part, 0, len(targets))
	for _, code := range targets {
		state, err := s.cfg.State(ctx, code)
		if err != nil {
			return err
		}
		p := &part{task: Task{o.ID, code}, Born: born(state), expires: o.expires}
		p.stopUnless(state)
		row, err := s.partRow(p)
		if err != nil {
			return err
		}
		writes, parts = append(writes, row), append(parts, p)
	}
	for some := range slices.Chunk(writes, atOnce) {
		if err := s.cfg.Parts.CommitUnpaused(ctx, some...); err != nil {
			return err
		}
	}
	if err := s.saveOrder(ctx, &o); err != nil {
		return err
	}
	return s.enqueue(ctx, &o, parts)
}

// enqueue has parts worked on that are not done, as far as they don't stand still. The crossing names their tenants.
func (s *Service) enqueue(ctx context.Context, o *order, parts []*part) error {
	sys := s.crossing(o)
	for _, p := range parts {
		if p.Phase == applied || p.Code != "" {
			continue
		}
		sc, err := sys.Enter(ctx, p.task.Target, bornAt(p.Born))
		if err == nil {
			err = s.cfg.Queue.Enqueue(ctx, sc, o.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Apply applies a plan that is made. Applying one that is being applied, or was, changes nothing. It fails with fault.NotFound, and with
// fault.InvalidRequest while it is being planned and where it was cancelled.
func (s *Service) Apply(ctx context.Context, sys scope.System, id string) error {
	return s.change(ctx, sys, id, func(o *order, status string) error {
		switch {
		case status == Planning:
			return refused("the sync is being planned; apply it when its status is planned")
		case status == Cancelled:
			return refused("the sync was cancelled; resume it first")
		case o.Applied.IsZero():
			o.Applied = record.At(s.cfg.Now())
		}
		return nil
	})
}

// Resume goes on with a sync that was cancelled, or of which a target stood still. It fails with fault.NotFound.
func (s *Service) Resume(ctx context.Context, sys scope.System, id string) error {
	return s.change(ctx, sys, id, func(o *order, _ string) error {
		o.Cancelled = false
		return nil
	})
}

// Cancel ends the work on a sync, each target after the page that it is at. What was applied stays; it can be undone, or the rest
// resumed. Cancelling one that is over changes nothing. It fails with fault.NotFound.
func (s *Service) Cancel(ctx context.Context, sys scope.System, id string) error {
	if err := sys.Note(ctx); err != nil {
		return err
	}
	_, _, err := s.alter(ctx, id, func(o *order, status string) error {
		o.Cancelled = o.Cancelled || status != Applied
		return nil
	})
	return err
}

// change changes an order and has its targets worked on, those that stood still too.
func (s *Service) change(ctx context.Context, sys scope.System, id string, change func(*order, string) error) error {
	if err := sys.Note(ctx); err != nil {
		return err
	}
	o, parts, err := s.alter(ctx, id, change)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.Code == "" {
			continue
		}
		state, err := s.cfg.State(ctx, p.task.Target)
		if err != nil {
			return err
		}
		p.Code, p.Message = "", ""
		p.stopUnless(state)
		if err := s.savePart(ctx, p); err != nil && !lost(err) { // who was first goes on with it
			return err
		}
	}
	return s.enqueue(ctx, o, parts)
}

// alter changes an order, if another was not first, and returns it with its parts.
func (s *Service) alter(ctx context.Context, id string, change func(o *order, status string) error) (*order, []*part, error) {
	for {
		o, parts, err := s.whole(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		if err := change(o, statusOf(o, parts)); err != nil {
			return nil, nil, err
		}
		if err := s.saveOrder(ctx, o); !lost(err) {
			return o, parts, err
		}
	}
}

// Undo begins a sync that takes back what another wrote, and returns its ID: its plan restores every record that is as that sync left
// it, and leaves alone what was changed since. It fails with fault.NotFound, and with fault.InvalidRequest while the sync is worked on.
func (s *Service) Undo(ctx context.Context, sys scope.System, id string, then Order) (string, error) {
	if err := sys.Note(ctx); err != nil {
		return "", err
	}
	of, parts, err := s.whole(ctx, id)
	if err != nil {
		return "", err
	}
	if status := statusOf(of, parts); status == Planning || status == Applying {
		return "", refused("the sync is being worked on; cancel it first, or wait until it is over")
	}
	o := order{ID: record.NewID(), Body: of.Body, Undoes: of.ID, Born: of.Born, By: actorOf(sys.Actor())}
	targets := make([]tenant.Code, len(parts))
	for i, p := range parts {
		targets[i] = p.task.Target
	}
	return o.ID, s.begin(ctx, o, then, targets)
}

func refused(msg string) error {
	return fault.New(fault.InvalidRequest, "tenantsync", "%s", msg)
}

func notFound() error {
	return fault.New(fault.NotFound, "tenantsync", "there is no such sync")
}

// born is when a tenant was created, as Unix time; 0 for the built-in ones.
func born(state guard.State) int64 {
	if state.Born.IsZero() {
		return 0
	}
	return state.Born.Unix()
}

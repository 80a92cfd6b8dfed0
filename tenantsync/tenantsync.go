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
// An order is spread to its targets by [Service.Spread]. The work on one target of a sync is a [Task], done page by page by [Service.Step], each step of which may be repeated: a process that dies
// is followed by another, and one that only stood still writes nothing that would be undone. A copy says where it came from in its metadata: {syncedFrom, syncedAt}. A [Rule] keeps targets in step as
// the source changes.
//
// The package is not called sync, as package sync of the standard library is.
package tenantsync

import (
	"context"
	"log/slog"
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

// Queue has a Service called: at least once for each order, again where that failed or its process died. It returns writes, for the commit of what the order is
// about. Where they fail with *driver.Conflict, they are asked for anew.
type Queue interface {
	// Spread orders a call of Service.Spread. The Scope is of the common tenant.
	Spread(ctx context.Context, sc scope.Scope, sync string) ([]storage.SystemWrite, error)

	// Task orders calls of Service.Work, with sc or another Scope of its tenant and actor, for one target one at a time.
	Task(ctx context.Context, sc scope.Scope, sync string) ([]storage.SystemWrite, error)
}

// Config is what a Service is made of. Every field is required but those that state a default.
type Config struct {
	Store    *storage.Store
	Commands *command.Service
	Entities *entity.Registry
	Queue    Queue

	// Orders, Parts, Pages and Rules keep what was ordered, how far each target is, what is planned, and rules.
	Orders, Parts, Pages, Rules storage.Keeper

	Feed   storage.Keeper // keeps where rules are in the change feed, and which processes follow it no more
	Fences storage.Keeper // keeps which processes write no more for a sync

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

// Plan begins to plan a sync and returns its ID, whatever the number of targets: they are reached by and by, and Status has those that were. It fails with
// fault.ValidationFailed for a Request that contradicts itself and for a source that doesn't exist, and with fault.NotFound for an entity type that is
// unknown or a module's. A target that doesn't exist or is suspended stands still by itself: see PerTenant.
func (s *Service) Plan(ctx context.Context, sys scope.System, r Request, then Order) (id string, err error) {
	if err := sys.Note(ctx); err != nil {
		return "", err
	}
	source, err := s.check(ctx, r)
	if err != nil {
		return "", err
	}
	o := s.newOrder(sys, r.body(), born(source), then)
	return o.ID, s.begin(ctx, sys, o)
}

func (s *Service) newOrder(sys scope.System, b Body, born int64, then Order) *order {
	now := s.cfg.Now()
	o := &order{ID: record.NewID(), Body: b, Born: born, By: actorOf(sys.Actor()), CreatedAt: record.At(now), expires: now.Add(Retention).Unix()}
	if then.Apply {
		o.Applied = o.CreatedAt
	}
	return o
}

// Apply applies a plan that is made. Applying one that is being applied, or was, changes nothing. It fails with fault.NotFound, and with
// fault.InvalidRequest while it is being planned and where it was cancelled.
func (s *Service) Apply(ctx context.Context, sys scope.System, id string) error {
	return s.alter(ctx, sys, id, func(o *order, status string) (action, error) {
		switch {
		case status == Planning:
			return nothing, refused("the sync is being planned; apply it when its status is planned")
		case status == Cancelled:
			return nothing, refused("the sync was cancelled; resume it first")
		case !o.Applied.IsZero():
			return nothing, nil
		}
		o.Applied = record.At(s.cfg.Now())
		return spreads, nil
	})
}

// Resume goes on with a sync that was cancelled, or of which a target stood still. It fails with fault.NotFound.
func (s *Service) Resume(ctx context.Context, sys scope.System, id string) error {
	return s.alter(ctx, sys, id, func(o *order, status string) (action, error) {
		if status == Applied {
			return nothing, nil
		}
		o.Cancelled = false
		return spreads, nil
	})
}

// Cancel ends the work on a sync, each target after the page that it is at. What was applied stays; it can be undone, or the rest
// resumed. A plan that is cancelled is not applied before it is resumed. Cancelling a sync that is over changes nothing. It fails with fault.NotFound.
func (s *Service) Cancel(ctx context.Context, sys scope.System, id string) error {
	return s.alter(ctx, sys, id, func(o *order, status string) (action, error) {
		if o.Cancelled || status == Applied {
			return nothing, nil
		}
		o.Cancelled = true
		return changes, nil
	})
}

// action is what comes of a look at an order: nothing, or it changes, or it changes and has its targets worked on.
type action uint8

const (
	nothing action = iota
	changes
	spreads
)

// alter changes an order, as look says, if another was not first.
func (s *Service) alter(ctx context.Context, sys scope.System, id string, look func(o *order, status string) (action, error)) error {
	if err := sys.Note(ctx); err != nil {
		return err
	}
	for {
		o, parts, err := s.whole(ctx, id)
		if err != nil {
			return err
		}
		do, err := look(o, o.status(parts))
		switch {
		case err != nil || do == nothing:
			return err
		case do == spreads:
			err = s.begin(ctx, sys, o)
		default:
			err = s.saveOrder(ctx, o)
		}
		if !lost(err) {
			return err
		}
	}
}

// Undo begins a sync that takes back what another wrote, and returns its ID: its plan restores every record that is as that sync left
// it, and leaves alone what was changed since. A rule goes on beside it. It fails with fault.NotFound, and with fault.InvalidRequest while the sync is worked on.
func (s *Service) Undo(ctx context.Context, sys scope.System, id string, then Order) (string, error) {
	if err := sys.Note(ctx); err != nil {
		return "", err
	}
	of, parts, err := s.whole(ctx, id)
	if err != nil {
		return "", err
	}
	if status := of.status(parts); status == Planning || status == Applying {
		return "", refused("the sync is being worked on; cancel it first, or wait until it is over")
	}
	o := s.newOrder(sys, of.Body, of.Born, then)
	o.Undoes = of.ID
	return o.ID, s.begin(ctx, sys, o)
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

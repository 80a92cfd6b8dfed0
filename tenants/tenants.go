// Package tenants manages tenants: the operations of the TenantModule of mbc-cqrs-serverless, as a Go service.
//
// A tenant is the record TENANT#code / MASTER. Its groups live in attributes.setting; a tenant inside a group is the record
// TENANT#group / code. A directory of all tenants is kept in the commits that change them, so that listing is one ordered read.
package tenants

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/tenant"
)

// Master is the sort key of a tenant's own record.
const Master = "MASTER"

// Members of a tenant's attributes that this package gives a meaning.
const (
	settingMember     = "setting"
	descriptionMember = "description"
	suspendedMember   = "suspended"
)

// EntityType is the type of tenants.
func EntityType() record.EntityType { return record.MustEntityType("TENANT") }

// Declaration declares the type: only this package's routes reach it.
func Declaration() entity.Type {
	return entity.Type{Name: EntityType(), Module: "tenant", Owned: true}
}

// Config is what a Service is made of. Every field is required but those that state a default.
type Config struct {
	Commands   *command.Service
	Data       *data.Service
	Directory  *Directory
	Listing    storage.Keeper // the directory of tenants; the one that Companion was given
	Partitions storage.Keeper // which partitions a tenant has; the one that command.Config was given
	Cursors    *storage.Cursors

	// Left reports whether other modules keep something of a tenant outside its partitions: members, invitations. A code of which
	// something is left is not created again. Defaults to nothing.
	Left func(ctx context.Context, code tenant.Code) (bool, error)

	// Reserved reports whether no tenant may be created under a code, beside the reserved codes: aliases of common.
	// Defaults to none.
	Reserved func(tenant.Code) bool

	// CrossTenant reports whether a role counts in every tenant and so can't be given in one. Defaults to system_admin only.
	CrossTenant func(role string) bool
}

// Service manages tenants. It may be used concurrently. Its methods that take a System are for system admins; those that take a Scope
// act on its tenant. Errors are those of command.Service, and fault.NotFound for a missing or deleted tenant.
type Service struct{ cfg Config }

// New returns a Service.
func New(cfg Config) *Service {
	if cfg.Left == nil {
		cfg.Left = func(context.Context, tenant.Code) (bool, error) { return false, nil }
	}
	if cfg.Reserved == nil {
		cfg.Reserved = func(tenant.Code) bool { return false }
	}
	if cfg.CrossTenant == nil {
		cfg.CrossTenant = func(role string) bool { return role == "system_admin" }
	}
	return &Service{cfg: cfg}
}

// Ref names a tenant: its own record, or that of a tenant inside its group.
type Ref struct {
	Tenant tenant.Code
	Inside string // the code of the tenant inside the group; "" is the tenant's own record
}

// ParseRef returns what pk and sk of a route name: TENANT#x with MASTER or a tenant code. Anything else is fault.NotFound.
func ParseRef(pk, sk string) (Ref, error) {
	t, code, rest, err := record.SplitPK(pk)
	if err != nil || t != EntityType() || rest != "" {
		return Ref{}, notFound()
	}
	if sk == Master {
		return Ref{Tenant: code}, nil
	}
	inside, err := tenant.Parse(sk)
	if err != nil || inside.String() != sk {
		return Ref{}, notFound()
	}
	return Ref{Tenant: code, Inside: sk}, nil
}

func (r Ref) key(sc scope.Scope) (record.Key, error) {
	sk := Master
	if r.Inside != "" {
		sk = r.Inside
	}
	return record.NewKey(sc, EntityType(), sk)
}

func notFound() error { return fault.New(fault.NotFound, "tenants", "there is no such tenant") }

// State returns whether a tenant exists and is active.
func (s *Service) State(ctx context.Context, code tenant.Code) (guard.State, error) {
	return s.cfg.Directory.Lookup(ctx, code)
}

// Create is a new tenant.
type Create struct {
	Code        tenant.Code
	Name        string            // required
	Description *string           // kept as attributes.description; nil for none
	Attributes  record.Attributes // nil for none
}

// GetTenant returns a tenant's record, deleted or not. It fails with fault.NotFound where there never was one.
func (s *Service) GetTenant(ctx context.Context, sc scope.Scope, ref Ref) (*record.Record, error) {
	key, err := ref.key(sc)
	if err != nil {
		return nil, err
	}
	if ref.Tenant != sc.Tenant() {
		return nil, notFound()
	}
	return s.cfg.Data.Get(ctx, sc, key, data.IncludeDeleted())
}

// CreateCommonTenant creates the record of the common tenant. It fails with fault.AlreadyExists.
func (s *Service) CreateCommonTenant(ctx context.Context, sys scope.System, in Create, opts ...command.Option) (command.Result, error) {
	in.Code = tenant.Common()
	return s.create(ctx, sys, in, opts)
}

// CreateTenant creates a tenant. A code that was deleted continues its versions where nothing of the former tenant is left,
// else it fails with fault.TenantNotPurged. It fails with fault.AlreadyExists, and fault.InvalidKey for a reserved code.
func (s *Service) CreateTenant(ctx context.Context, sys scope.System, in Create, opts ...command.Option) (command.Result, error) {
	if in.Code.IsZero() || in.Code.Reserved() || s.cfg.Reserved(in.Code) {
		return command.Result{}, fault.New(fault.InvalidKey, "tenants.CreateTenant", "this tenant code is reserved; choose another")
	}
	return s.create(ctx, sys, in, opts)
}

func (s *Service) create(ctx context.Context, sys scope.System, in Create, opts []command.Option) (command.Result, error) {
	sc, err := sys.Enter(ctx, in.Code, time.Time{})
	if err != nil {
		return command.Result{}, err
	}
	key, err := record.NewKey(sc, EntityType(), Master)
	if err != nil {
		return command.Result{}, err
	}
	attributes, err := s.given(&in.Name, in.Description, in.Attributes)
	if err != nil {
		return command.Result{}, err
	}
	return s.change(ctx, sc, key, func(current *record.Record) (*record.Record, error) {
		if current != nil && !current.IsDeleted {
			return nil, fault.New(fault.AlreadyExists, "tenants.CreateTenant", "tenant %s already exists", in.Code)
		}
		if current != nil {
			if err := s.nothingLeft(ctx, sc); err != nil {
				return nil, err
			}
		}
		return &record.Record{Code: Master, Name: in.Name, Type: in.Code.String(), Attributes: attributes}, nil
	}, opts)
}

// nothingLeft fails with fault.TenantNotPurged while the tenant has partitions beside its own record and its audit log,
// or has had tenants inside its group.
func (s *Service) nothingLeft(ctx context.Context, sc scope.Scope) error {
	left := fault.New(fault.TenantNotPurged, "tenants.CreateTenant", "records of the deleted tenant %s are left; purge it, or restore it", sc.Tenant())
	there, err := s.cfg.Left(ctx, sc.Tenant())
	if err != nil {
		return err
	}
	if there {
		return left
	}
	own := EntityType().String() + record.Separator + sc.Tenant().String()
	more := func(pk string) bool { return pk != own && !strings.HasPrefix(pk, "AUDIT"+record.Separator) }
	rows, err := s.cfg.Partitions.List(ctx, sc.Tenant().String(), "", "", 16)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if more(row.SK) {
			return left
		}
	}
	partition, err := record.NewPartition(sc, EntityType())
	if err != nil {
		return err
	}
	page, err := s.cfg.Data.List(ctx, sc, data.Query{Partition: partition, IncludeDeleted: true, Limit: 2})
	if err != nil {
		return err
	}
	for _, r := range page.Items {
		if r.SK != Master {
			return left
		}
	}
	view, err := s.cfg.Directory.store.In(sc)
	if err != nil {
		return err
	}
	foreign, err := view.Foreign(ctx) // last: it may take long
	if err == nil && slices.ContainsFunc(foreign, more) {
		return left
	}
	return err
}

// Update changes a tenant. Nil fields stay; attributes merge at the first level.
type Update struct {
	Name        *string
	Description *string
	Attributes  record.Attributes
}

// UpdateTenant changes a tenant.
func (s *Service) UpdateTenant(ctx context.Context, sys scope.System, ref Ref, in Update, opts ...command.Option) (command.Result, error) {
	patch, err := s.given(in.Name, in.Description, in.Attributes)
	if err != nil {
		return command.Result{}, err
	}
	return s.live(ctx, sys, ref, func(next *record.Record) (err error) {
		if in.Name != nil {
			next.Name = *in.Name
		}
		next.Attributes, err = next.Attributes.MergeShallow(patch)
		return err
	}, opts)
}

// DeleteTenant deletes a tenant. Its records stay until it is purged, and can be restored.
func (s *Service) DeleteTenant(ctx context.Context, sys scope.System, ref Ref, opts ...command.Option) (command.Result, error) {
	return s.live(ctx, sys, ref, func(next *record.Record) error {
		next.IsDeleted = true
		return nil
	}, opts)
}

type suspension struct {
	Reason string      `json:"reason"`
	By     string      `json:"by"`
	At     record.Time `json:"at"`
}

// Suspend refuses everyone who acts in a tenant, at once on this node and within 1 second on every other, until it is resumed.
// Suspending a suspended tenant changes nothing.
func (s *Service) Suspend(ctx context.Context, sys scope.System, code tenant.Code, reason string, now time.Time, opts ...command.Option) (command.Result, error) {
	if code.IsCommon() {
		return command.Result{}, fault.New(fault.InvalidRequest, "tenants.Suspend", "the common tenant can't be suspended")
	}
	return s.live(ctx, sys, Ref{Tenant: code}, func(next *record.Record) error {
		if next.Attributes.Member(suspendedMember) != nil {
			return nil
		}
		value, err := record.EncodeAttributes(suspension{Reason: reason, By: sys.Actor().UserID, At: record.At(now)})
		if err != nil {
			return err
		}
		next.Attributes, err = next.Attributes.With(suspendedMember, value)
		return err
	}, opts)
}

// Resume ends a suspension. Resuming an active tenant changes nothing.
func (s *Service) Resume(ctx context.Context, sys scope.System, code tenant.Code, opts ...command.Option) (command.Result, error) {
	return s.live(ctx, sys, Ref{Tenant: code}, func(next *record.Record) (err error) {
		if next.Attributes.Member(suspendedMember) != nil {
			next.Attributes, err = next.Attributes.With(suspendedMember, nil)
		}
		return err
	}, opts)
}

// live changes the record of a tenant that exists and is not deleted.
func (s *Service) live(ctx context.Context, sys scope.System, ref Ref, change func(next *record.Record) error, opts []command.Option) (command.Result, error) {
	sc, err := sys.Enter(ctx, ref.Tenant, time.Time{})
	if err != nil {
		return command.Result{}, err
	}
	return s.liveIn(ctx, sc, ref, change, opts)
}

func (s *Service) liveIn(ctx context.Context, sc scope.Scope, ref Ref, change func(next *record.Record) error, opts []command.Option) (command.Result, error) {
	key, err := ref.key(sc)
	if err != nil {
		return command.Result{}, err
	}
	return s.change(ctx, sc, key, func(current *record.Record) (*record.Record, error) {
		if current == nil || current.IsDeleted {
			return nil, notFound()
		}
		next := current.Clone()
		return next, change(next)
	}, opts)
}

func (s *Service) change(ctx context.Context, sc scope.Scope, key record.Key, next func(*record.Record) (*record.Record, error), opts []command.Option) (command.Result, error) {
	return s.cfg.Commands.Change(ctx, sc, key, record.VersionLatest, next, opts...)
}

// given returns the attributes that a caller gives a tenant, description among them, nil for none. It fails with
// fault.ValidationFailed for what is not the caller's to write.
func (s *Service) given(name, description *string, attributes record.Attributes) (record.Attributes, error) {
	attributes, err := attributes.Canonical()
	if err != nil {
		return nil, err
	}
	var problems []fault.Field
	if name != nil && *name == "" {
		problems = append(problems, fault.Field{Field: "name", Problem: "is empty"})
	}
	if attributes.Member(suspendedMember) != nil {
		problems = append(problems, fault.Field{Field: "attributes.suspended", Problem: "is set by suspending the tenant"})
	}
	if problems = append(problems, s.checkSettings(attributes)...); problems != nil {
		return nil, fault.Invalid("tenants", problems...)
	}
	if description == nil {
		return attributes, nil
	}
	value, err := record.EncodeAttributes(map[string]string{descriptionMember: *description})
	if err != nil {
		return nil, err
	}
	if given := attributes.Member(descriptionMember); given != nil && string(given) != string(value.Member(descriptionMember)) {
		return nil, fault.New(fault.InvalidRequest, "tenants", "description and attributes.description differ; send one of them")
	}
	return attributes.MergeShallow(value)
}

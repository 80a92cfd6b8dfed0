package tenantry

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tenantry/tenantry/audit"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/events"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/feed"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/jobs"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/records"
	"github.com/tenantry/tenantry/report"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/settings"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenants"
	"github.com/tenantry/tenantry/tenantsync"
	"github.com/tenantry/tenantry/upkeep"
	"github.com/tenantry/tenantry/webhooks"
)

// Config configures an App. Store is required; the zero value of everything else is its default.
type Config struct {
	// Store is where the data is: sqlite.At(dir), memory.New(), postgres.At(url, …), dynamodb.At(cfg).
	Store driver.Source

	// Keyring is the built-in issuer. Defaults to the keys in the store where there is a MasterKey, and else to one that is held in
	// memory: tokens and cursors of another process don't work then. A store that several hosts share needs one or the other.
	Keyring *auth.Keyring

	// MasterKey seals the keys of the built-in issuer in the store: for a store that several processes share. Defaults to none.
	MasterKey auth.MasterKey

	// Issuers are the external issuers of tokens. Defaults to none.
	Issuers []auth.Issuer

	// Entities are the declared entity types. Defaults to none.
	Entities []entity.Type

	// ClosedEntities refuses entity types that are not declared. Defaults to false.
	ClosedEntities bool

	// Handlers run after commands. Defaults to none.
	Handlers []projection.Registration

	// Model is the read model: tables that follow commands, whose entity types have unique codes where their tables do. Defaults to none.
	Model *readmodel.Model

	// ReadModel is the database of the read model: SQLite or PostgreSQL. Defaults to the store's own, for stores of these two.
	ReadModel driver.Source

	// ModelAsFound changes no table of a read model that another program declares: for a tool beside it. Where the tables that are there are
	// not those of Model, this App has no read model. Defaults to false: Open brings the tables to the form that Model declares.
	ModelAsFound bool

	// HandlerTerm is the term of the leases that let one process at a time run a handler, or a job: see projection.Config. Defaults to 4 s.
	HandlerTerm time.Duration

	// Jobs are the application's own kinds of background work. Defaults to none.
	Jobs []jobs.Kind

	// Webhooks says what webhooks may reach, and how often they are tried. Defaults to public addresses, 8 times.
	Webhooks webhooks.Options

	// Tenants configures the tenant module.
	Tenants TenantOptions

	// Settings is the form of tenants' settings. Defaults to that of settings.Tenant with settings.Defaults.
	Settings settings.Declaration

	// MembershipRequired refuses callers without a membership record in the tenant that they act in. Defaults to false: there
	// the roles that their token claims count.
	MembershipRequired bool

	// Routes are operations of the application's own. Defaults to none.
	Routes []route.Operation

	// CommonTenantCodes are aliases of the common tenant. Defaults to none.
	CommonTenantCodes []tenant.Code

	// CrossTenantRoles are the roles that reach every tenant. system_admin always is one.
	CrossTenantRoles auth.CrossTenantRoles

	// SingleTenant makes single the acting tenant of callers that name none. Defaults to false.
	SingleTenant bool

	// Observe is told of every operation on the store. Defaults to nobody.
	Observe func(op string, took time.Duration, err error)

	// ObserveJob is told of every attempt of a job. Defaults to nobody.
	ObserveJob func(jobs.Outcome)

	// ObserveCache is told of every read through a cache, by the cache's name. Defaults to nobody.
	ObserveCache func(name string, hit bool)

	// Log defaults to slog.Default.
	Log *slog.Logger

	// Now defaults to time.Now.
	Now func() time.Time
}

// TenantOptions are the options of the tenant module, as TenantModule.register takes them.
type TenantOptions struct {
	// DisableController leaves the REST operations of tenants out. Defaults to false: they are served.
	DisableController bool

	// DataSyncHandlers run after commands on tenants. Defaults to none.
	DataSyncHandlers []projection.Registration
}

// App is a running application: its services over one store. It may be used concurrently. Close releases it.
type App struct {
	cfg      Config
	store    *storage.Store
	entities *entity.Registry
	commands *command.Service
	data     *data.Service
	runner   *projection.Runner
	upkeep   *upkeep.Runner // nil without a read model
	tenants  *tenants.Service
	members  *members.Service
	settings *settings.Service
	audit    *audit.Log
	guard    *guard.Guard
	verifier *auth.Verifier
	jobs     *jobs.Queue
	syncs    *tenantsync.Service
	webhooks *webhooks.Service
	cursors  *storage.Cursors
	answers  storage.Keeper
	tail     *feed.Tail
	events   *events.Hub
	reports  *report.Service
	dir      *tenants.Directory
	routes   []route.Operation
	model    model

	stop    context.CancelFunc
	working sync.WaitGroup
	closing sync.Once
	closed  error
}

// reserved are the entity types that modules will own and those that no module declares:
// their records are never reached by the general record routes.
var reserved = []string{"USER", "MEMBER_OF", "JOB"}

// Declarations returns the entity types that every App has: those of the built-in modules, and those that modules will own.
func Declarations() []entity.Type {
	types := slices.Concat(members.Declarations(), settings.Declarations(), []entity.Type{tenants.Declaration(), audit.Declaration(), webhooks.Declaration()})
	for _, name := range reserved {
		types = append(types, entity.Type{Name: record.MustEntityType(name), Owned: true})
	}
	return types
}

// Open opens the store and builds the services over it. Nothing runs in the background until Start. It fails with
// fault.Unavailable where the store can't be opened, and fault.InvalidRequest for a Config that contradicts itself.
func Open(ctx context.Context, cfg Config) (*App, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = slog.New(guard.NewLogHandler(cfg.Log.Handler()))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &App{cfg: cfg}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context) (err error) {
	cfg := a.cfg
	if cfg.Store.IsShared() && cfg.Keyring == nil && cfg.MasterKey.IsZero() {
		return fault.New(fault.InvalidRequest, "tenantry.Open", "the %s store is shared by several processes, which need the same keys for tokens and cursors; "+
			"set Config.MasterKey, or Config.Keyring", cfg.Store.Name())
	}
	if a.entities, err = entity.NewRegistry(cfg.ClosedEntities, cfg.declared()...); err != nil {
		return err
	}
	if a.store, err = storage.Open(ctx, cfg.Store, storage.Options{Shared: a.entities.Shared, Observe: cfg.Observe}); err != nil {
		return err
	}
	if err := a.openKeyring(ctx); err != nil {
		return err
	}
	cursors, err := storage.NewCursors(a.cfg.Keyring.CursorKey())
	if err != nil {
		return err
	}
	a.data = data.New(a.store, cursors)
	if a.model, err = a.openModel(ctx, cursors); err != nil {
		return err
	}
	a.tail = feed.New(a.store, cfg.Log)
	revocations := members.NewRevocations(a.data, a.tail)
	if a.verifier, err = auth.NewVerifier(auth.Config{Keyring: a.cfg.Keyring, Issuers: cfg.Issuers, CrossTenantRoles: cfg.CrossTenantRoles,
		Revocations: revocations, Now: cfg.Now, Log: cfg.Log}); err != nil {
		return err
	}
	if err := a.build(cursors, revocations); err != nil || a.upkeep == nil {
		return err
	}
	return a.upkeep.Open(ctx)
}

// build makes the services, each of those it needs.
func (a *App) build(cursors *storage.Cursors, revocations *members.Revocations) error {
	cfg := a.cfg
	var failed error
	keeper := func(word string) storage.Keeper {
		k, err := a.store.Keeper(scope.NewRoot(), record.MustEntityType(word))
		failed = errors.Join(failed, err)
		return k
	}
	listing, partitions, inverse := keeper("TENANTS"), keeper("PARTITIONS"), keeper("MEMBER_OF")
	a.answers, a.cursors = keeper("ANSWER"), cursors
	a.runner = projection.New(projection.Config{Store: a.store, Registrations: slices.Concat(cfg.Handlers, inModule(tenants.Declaration().Module, cfg.Tenants.DataSyncHandlers)),
		ModuleOf: a.moduleOf, Checkpoints: keeper("CHECKPOINT"), Parked: keeper("PARKED"), Leases: keeper("LEASE"), Term: cfg.HandlerTerm, Log: cfg.Log, Now: cfg.Now})
	a.jobs = jobs.New(jobs.Config{Store: a.store, Jobs: keeper("JOB"), Directory: keeper("JOBS"), Workers: keeper("WORKER"), Tenant: func(ctx context.Context, code tenant.Code) (guard.State, error) { return a.guard.Lookup(ctx, code) }, Term: cfg.HandlerTerm,
		Observe: cfg.ObserveJob, Log: cfg.Log, Now: cfg.Now})
	var err error
	a.webhooks, err = webhooks.New(webhooks.Config{Options: cfg.Webhooks, Commands: a.Commands, Store: a.store, Data: a.data, Entities: a.entities, Jobs: a.jobs, Feed: a.tail, Cursors: cursors,
		Deliveries: keeper("DELIVERY"), Key: a.cfg.Keyring.Secret("webhooks"), Observe: cfg.ObserveCache, Log: cfg.Log, Now: cfg.Now})
	failed = errors.Join(failed, err, a.jobs.Register(cfg.Jobs...))
	a.commands = command.New(command.Config{Store: a.store, Entities: a.entities, Handlers: a.runner, Outbox: a.webhooks.Outbox, Committed: a.tail.Committed, Now: cfg.Now,
		Companions: map[record.EntityType][]command.Companion{tenants.EntityType(): {tenants.Companion(listing)},
			members.EntityType(): {members.Companion(inverse)}},
		Receipts: keeper("RECEIPT"), Codes: keeper("CODE"), Partitions: partitions})
	a.audit = audit.New(a.commands, a.data)
	a.dir = tenants.NewDirectory(a.store, a.tail, cfg.ObserveCache)
	directory := members.NewDirectory(a.store, a.tail, cfg.CrossTenantRoles.Has, cfg.ObserveCache)
	a.guard = guard.New(guard.Config{Directory: a.dir, Members: directory, MembershipRequired: cfg.MembershipRequired, Auditor: a.audit, CommonAliases: cfg.CommonTenantCodes, SingleTenant: cfg.SingleTenant})
	a.members = members.New(members.Config{Commands: a.commands, Data: a.data, Directory: directory, Revocations: revocations, Keyring: a.cfg.Keyring,
		Tenants: a.guard, Required: cfg.MembershipRequired, System: a.guard.System, CrossTenant: cfg.CrossTenantRoles.Has,
		Inverse: inverse, Defaults: keeper("DEFAULT_TENANT"), Admins: keeper("ADMINS"), Families: keeper("REFRESH"), Now: cfg.Now})
	a.tenants = tenants.New(tenants.Config{Commands: a.commands, Data: a.data, Directory: a.dir, Left: a.members.Left, Listing: listing, Partitions: partitions, Cursors: cursors,
		Reserved: a.guard.Reserved, CrossTenant: cfg.CrossTenantRoles.Has})
	a.syncs = tenantsync.New(tenantsync.Config{Store: a.store, Commands: a.commands, Entities: a.entities, Queue: tenantsync.Jobs(a.jobs), Orders: keeper("SYNC"), Parts: keeper("SYNC_TARGET"),
		Pages: keeper("SYNC_PAGE"), Rules: keeper("SYNC_RULE"), Feed: keeper("SYNC_FEED"), Fences: keeper("SYNC_FENCE"), Partitions: partitions, State: a.guard.Lookup, Active: a.tenants.Active, Auditor: a.audit, Log: cfg.Log, Now: cfg.Now})
	failed = errors.Join(failed, a.jobs.Register(a.syncs.Kinds()...))
	a.settings, err = settings.New(settings.Config{Commands: a.commands, Data: a.data, Cursors: cursors, Groups: tenants.GroupsFor, State: a.guard.Lookup, Declaration: cfg.Settings,
		Feed: a.tail, Observe: cfg.ObserveCache})
	failed = errors.Join(failed, err)
	a.events = events.New(events.Config{Store: a.store, Entities: a.entities, Cursors: cursors, Log: cfg.Log,
		EndedBy: func(t record.EntityType, sk string) bool { return t == tenants.EntityType() && sk == tenants.Master }})
	if a.model.declared != nil {
		a.upkeep = upkeep.New(upkeep.Config{Store: a.store, Database: a.model.relational, Model: cfg.Model, Leases: keeper("LEASE"), Term: cfg.HandlerTerm, Log: cfg.Log, Now: cfg.Now,
			Owners: map[record.EntityType]func(*record.Record) (tenant.Code, error){members.EntityType(): readmodel.MemberOf}})
	}
	a.reports = report.New(report.Config{ReadModel: a.counted(), Entities: a.entities, State: a.guard.Lookup, Now: cfg.Now})
	a.routes = a.modules()
	return failed
}

// modules lists the operations of every module, a line each.
func (a *App) modules() []route.Operation {
	var ops []route.Operation
	if !a.cfg.Tenants.DisableController {
		ops = append(ops, (&tenants.Routes{Tenants: a.tenants, Now: a.cfg.Now}).Operations()...)
	}
	ops = append(ops, (&members.Routes{Members: a.members}).Operations()...)
	ops = append(ops, (&settings.Routes{Settings: a.settings}).Operations()...)
	ops = append(ops, (&records.Routes{Entities: a.entities, Commands: a.commands, Data: a.data, Waiting: a.runner.Waiting}).Operations()...)
	ops = append(ops, a.audit.Operations()...)
	ops = append(ops, a.events.Operations()...)
	ops = append(ops, a.reports.Operations()...)
	ops = append(ops, (&upkeep.Routes{Handlers: a.runner, ReadModel: a.upkeep, State: a.guard.Lookup}).Operations()...)
	ops = append(ops, (&tenantsync.Routes{Syncs: a.syncs}).Operations()...)
	ops = append(ops, (&jobs.Routes{Queue: a.jobs, Cursors: a.cursors}).Operations()...)
	ops = append(ops, (&webhooks.Routes{Webhooks: a.webhooks}).Operations()...)
	return append(ops, a.cfg.Routes...)
}

func inModule(module string, regs []projection.Registration) []projection.Registration {
	out := slices.Clone(regs)
	for i := range out {
		out[i].Module = module
	}
	return out
}

func (a *App) moduleOf(t record.EntityType) string {
	typ, ok := a.entities.Lookup(t)
	if !ok {
		return ""
	}
	return typ.In()
}

// Start begins what runs beside requests: handlers, the read model, jobs, event streams, and following what other processes change. It
// returns at once;
// Close ends it.
func (a *App) Start(ctx context.Context) error {
	ctx, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := a.runner.Start(ctx); err != nil {
		return err
	}
	run, err := a.tail.Start(ctx)
	if err != nil {
		return err
	}
	if a.upkeep != nil {
		a.upkeep.Start(ctx)
	}
	a.working.Go(run)
	a.working.Go(func() { a.events.Run(ctx) })
	a.working.Go(func() { a.jobs.Run(ctx) })
	a.working.Go(func() { a.syncs.Follow(ctx) })
	return nil
}

// Close ends what Start began and closes the store. Calls under way should have ended.
func (a *App) Close() error {
	a.closing.Do(func() {
		if a.stop != nil {
			a.stop()
		}
		if a.runner != nil {
			a.runner.Close()
		}
		if a.upkeep != nil {
			a.upkeep.Close()
		}
		a.working.Wait()
		if a.verifier != nil {
			a.verifier.Close()
		}
		a.closed = a.model.close()
		if a.store != nil {
			a.closed = errors.Join(a.closed, a.store.Close())
		}
	})
	return a.closed
}

// Ready returns nil where the store answers.
func (a *App) Ready(ctx context.Context) error {
	across, err := a.store.Across(ctx, scope.NewSystem("", scope.Actor{UserID: "system"}, "readiness", nil))
	if err != nil {
		return err
	}
	_, err = across.End(ctx)
	return err
}

// Commands returns the write side.
func (a *App) Commands() *command.Service { return a.commands }

// Data returns the query side.
func (a *App) Data() *data.Service { return a.data }

// Tenants returns the tenant module.
func (a *App) Tenants() *tenants.Service { return a.tenants }

// Members returns the memberships.
func (a *App) Members() *members.Service { return a.members }

// Settings returns the settings of tenants, and master settings.
func (a *App) Settings() *settings.Service { return a.settings }

// Reports returns what counts records, over all tenants and of one.
func (a *App) Reports() *report.Service { return a.reports }

// Audit returns the log of crossings.
func (a *App) Audit() *audit.Log { return a.audit }

// Handlers returns the runner of the handlers.
func (a *App) Handlers() *projection.Runner { return a.runner }

// Syncs returns the copying of records between tenants.
func (a *App) Syncs() *tenantsync.Service { return a.syncs }

// Jobs returns the queue of background work.
func (a *App) Jobs() *jobs.Queue { return a.jobs }

// Webhooks returns the webhooks of tenants.
func (a *App) Webhooks() *webhooks.Service { return a.webhooks }

// Guard returns the only door to data.
func (a *App) Guard() *guard.Guard { return a.guard }

// Verifier returns the verifier of tokens.
func (a *App) Verifier() *auth.Verifier { return a.verifier }

// Keyring returns the built-in issuer.
func (a *App) Keyring() *auth.Keyring { return a.cfg.Keyring }

// Entities returns the declared entity types.
func (a *App) Entities() *entity.Registry { return a.entities }

// Store returns the store.
func (a *App) Store() *storage.Store { return a.store }

// Operations returns every HTTP operation.
func (a *App) Operations() []route.Operation { return slices.Clone(a.routes) }

// Answers returns the keeper of answers to idempotent requests.
func (a *App) Answers() storage.Keeper { return a.answers }

// Version returns the version of Tenantry that the program was built with, "devel" where it isn't known.
func (a *App) Version() string { return Version() }

// Version returns the version of Tenantry that the program was built with, "devel" where it isn't known.
func Version() string {
	const module = "github.com/tenantry/tenantry"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return "devel"
}

// System returns the right to cross tenants to a verified system admin, for a reason that the audit log keeps. It fails
// with fault.RoleRequired for anybody else.
func (a *App) System(p *auth.Principal, actor guard.Actor, reason string) (guard.System, error) {
	return a.guard.System(p, actor, reason)
}

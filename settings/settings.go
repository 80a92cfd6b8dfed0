// Package settings holds what tenants set, typed and validated, and master settings, which are resolved user → group → tenant → common.
//
// A tenant's settings are the record SETTINGS#tenant / config. Only what was set is stored; reading merges it over the defaults of the
// [Declaration], which an application may replace by a struct of its own:
//
//	type Shop struct {
//		settings.Tenant
//		MaxItems int `json:"maxItems" minimum:"1"`
//	}
//	app, err := tenantry.Open(ctx, tenantry.Config{Settings: settings.Declare(Shop{Tenant: settings.Defaults(), MaxItems: 10})})
//	…
//	shop, err := settings.Get[Shop](ctx, app.Settings(), sc)
//
// A master setting is a value under a code, kept for a user, a group, a tenant or all tenants; [Service.Resolve] answers the one that
// holds for a caller, and [Service.Explain] why it does.
//
// Reads are cached: what a commit of this process changed is not read any more once the commit is acknowledged, what another changed not
// later than a second after. A store that fails is an error, never a default.
package settings

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/cache"
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

// The records of this package.
const (
	configSK   = "config"               // the sort key of a tenant's settings
	configName = "Tenant Configuration" // their name, as the other framework has it
)

var (
	settingsType = record.MustEntityType("SETTINGS")
	masterType   = record.MustEntityType("MASTER")
	tenantType   = record.MustEntityType("TENANT")
)

// Declarations declares the types: only this package's routes reach them, and every tenant reads the master settings of common.
func Declarations() []entity.Type {
	return []entity.Type{{Name: settingsType, Module: "settings", Owned: true}, {Name: masterType, Module: "master", Owned: true, Shared: true}}
}

// Feed tells what was committed; feed.Tail is one.
type Feed interface {
	// Follow has forget called for every change of a record of types, and reset where any may have been missed.
	Follow(types []record.EntityType, forget func(pk, sk string), reset func())

	// Fresh reports whether all that was committed more than a second ago was told.
	Fresh() bool
}

// Config is what a Service is made of. Every field is required but those that state a default.
type Config struct {
	Commands *command.Service
	Data     *data.Service
	Cursors  *storage.Cursors

	// Groups returns the setting groups of a role in a tenant's record, in their order; tenants.GroupsFor.
	Groups func(rec *record.Record, role string) ([]string, error)

	// State returns whether a tenant exists; the guard's directory.
	State func(ctx context.Context, code tenant.Code) (guard.State, error)

	// Declaration is the form of tenants' settings. Defaults to that of Tenant, with Defaults.
	Declaration Declaration

	// Feed must not be started yet. Defaults to none: every read reads the store.
	Feed Feed

	// CacheSize is how many records each cache of the service holds. Defaults to that of package cache.
	CacheSize int

	// Observe is told of every read through a cache. Defaults to nobody.
	Observe func(name string, hit bool)
}

// Service reads and changes settings. It may be used concurrently. Every method fails with fault.TenantRequired for the zero Scope, with
// fault.TenantForbidden for one that only reads what is shared, and as the store does.
type Service struct {
	cfg      Config
	declared *declared
	actor    *scope.Actor

	tenants *cache.Cache[tenantKey, *loaded]
	masters *cache.Cache[masterKey, *stored]
	groups  *cache.Cache[tenantKey, roleGroups]
}

// tenantKey names what is remembered of a tenant.
type tenantKey struct{ tenant tenant.Code }

// Owner implements cache.Key.
func (k tenantKey) Owner() tenant.Code { return k.tenant }

// loaded are the settings of a tenant, decoded.
type loaded struct {
	value   any // a *T of the declaration
	text    jsontext.Value
	version int64 // of the record; 0 where there is none
}

// roleGroups are the setting groups of a tenant's roles, in their order.
type roleGroups map[string][]string

// New returns a Service. It fails with fault.InvalidRequest and fault.ValidationFailed for a Declaration that can't be.
func New(cfg Config) (*Service, error) {
	if cfg.Declaration.declared == nil {
		cfg.Declaration = Declare(Defaults())
	}
	if err := cfg.Declaration.err; err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, declared: cfg.Declaration.declared, actor: &scope.Actor{UserID: "system", Source: "settings"}}
	var fresh func() bool
	if cfg.Feed != nil {
		fresh = cfg.Feed.Fresh
	}
	s.tenants = cache.New(cache.Options[tenantKey, *loaded]{Name: "settings", Size: cfg.CacheSize, Load: s.loadTenant, Fresh: fresh, Observe: cfg.Observe})
	s.masters = cache.New(cache.Options[masterKey, *stored]{Name: "master_settings", Size: cfg.CacheSize, Load: s.loadMaster, Fresh: fresh, Observe: cfg.Observe})
	s.groups = cache.New(cache.Options[tenantKey, roleGroups]{Name: "setting_groups", Size: cfg.CacheSize, Load: s.loadGroups, Fresh: fresh, Observe: cfg.Observe})
	if cfg.Feed != nil {
		cfg.Feed.Follow([]record.EntityType{settingsType, masterType, tenantType}, s.forget, s.forgetAll)
	}
	return s, nil
}

// forget drops what is remembered of a record that changed.
func (s *Service) forget(pk, sk string) {
	typ, code, _, err := record.SplitPK(pk)
	if err != nil {
		return
	}
	switch typ {
	case settingsType:
		s.tenants.Forget(tenantKey{code})
	case tenantType:
		s.groups.Forget(tenantKey{code})
	case masterType:
		if ref, ok := parseSK(sk); ok {
			s.masters.Forget(ref.in(code))
		}
	}
}

func (s *Service) forgetAll() {
	s.tenants.ForgetAll()
	s.groups.ForgetAll()
	s.masters.ForgetAll()
}

// own checks that sc reaches all records of its tenant. What is remembered is not read through the store, which would check it.
func own(sc scope.Scope) error {
	if err := sc.Check(); err != nil {
		return err
	}
	if !sc.Writable() {
		return fault.New(fault.TenantForbidden, "settings", "the settings of this tenant are not shared")
	}
	return nil
}

// Get returns the settings of sc's tenant, with defaults for what it has not set. T is the type of the service's Declaration, else
// it fails with fault.Internal. Maps and slices in it are shared: don't change them.
func Get[T any](ctx context.Context, s *Service, sc scope.Scope) (T, error) {
	var none T
	if err := own(sc); err != nil {
		return none, err
	}
	l, err := s.tenants.Get(ctx, tenantKey{sc.Tenant()})
	if err != nil {
		return none, err
	}
	v, ok := l.value.(*T)
	if !ok {
		return none, fault.New(fault.Internal, "settings.Get", "the settings of this application are a %T", s.declared.answer)
	}
	return *v, nil
}

// Settings are a tenant's settings of whatever type.
type Settings struct {
	JSON    jsontext.Value // whole, with defaults
	Version int64          // of the record; 0 where the tenant has set nothing yet
}

// Tenant returns the settings of sc's tenant.
func (s *Service) Tenant(ctx context.Context, sc scope.Scope) (Settings, error) {
	if err := own(sc); err != nil {
		return Settings{}, err
	}
	l, err := s.tenants.Get(ctx, tenantKey{sc.Tenant()})
	if err != nil {
		return Settings{}, err
	}
	return Settings{l.text, l.version}, nil
}

// Update merges patch into the settings of sc's tenant, as RFC 7396 has it: objects merge at any depth, and null returns a member to
// its default. It fails with fault.ValidationFailed, each member named, for a member that is not declared and for what would not be valid,
// with fault.VersionConflict where command.AtVersion asks for another version.
func (s *Service) Update(ctx context.Context, sc scope.Scope, patch record.Attributes, opts ...command.Option) (Settings, command.Result, error) {
	patch, err := patch.Canonical()
	if err != nil {
		return Settings{}, command.Result{}, err
	}
	if len(patch) == 0 {
		patch = record.Attributes("{}")
	}
	d := s.declared
	problems, err := d.unknown(d.schema, jsontext.Value(patch), "")
	if err == nil && problems != nil {
		err = fault.Invalid("settings.Update", problems...)
	}
	if err != nil {
		return Settings{}, command.Result{}, err
	}
	key, err := record.NewKey(sc, settingsType, configSK)
	if err != nil {
		return Settings{}, command.Result{}, err
	}
	res, err := s.cfg.Commands.Change(ctx, sc, key, record.VersionLatest, func(current *record.Record) (*record.Record, error) {
		next := &record.Record{Code: configSK, Name: configName, Type: settingsType.String()}
		if current != nil && !current.IsDeleted {
			next = current.Clone()
		}
		if err := s.patch(next, patch); err != nil {
			return nil, err
		}
		if next.Version == 0 && string(next.Attributes) == "{}" {
			return nil, errNothingSet
		}
		return next, nil
	}, opts...)
	if errors.Is(err, errNothingSet) {
		res, err = command.Result{Record: &record.Record{}}, nil
	}
	if err != nil {
		return Settings{}, res, err
	}
	l, err := s.decode(res.Record)
	if err != nil {
		return Settings{}, res, err
	}
	return Settings{l.text, l.version}, res, nil
}

// errNothingSet keeps a patch of nothing from becoming the first version of a record.
var errNothingSet = errors.New("nothing is set")

// patch changes the settings that rec holds.
func (s *Service) patch(rec *record.Record, patch record.Attributes) error {
	d := s.declared
	text, err := d.apply(d.schema, jsontext.Value(rec.Attributes), jsontext.Value(patch))
	if err != nil {
		return err
	}
	if rec.Attributes, err = record.ParseAttributes(text); err != nil {
		return err
	}
	whole, err := d.over(rec.Attributes)
	if err != nil {
		return err
	}
	if _, problems := d.valid(whole); problems != nil {
		return fault.Invalid("settings.Update", problems...)
	}
	return nil
}

// loadTenant reads a tenant's settings.
func (s *Service) loadTenant(ctx context.Context, k tenantKey) (*loaded, error) {
	rec, err := s.read(ctx, k.tenant, settingsType, configSK)
	if err != nil {
		return nil, err
	}
	if rec == nil || rec.IsDeleted {
		rec = &record.Record{}
	}
	return s.decode(rec)
}

func (s *Service) decode(rec *record.Record) (*loaded, error) {
	unreadable := func(err error) error {
		return fault.Wrap(err, fault.Internal, "settings", "what is stored at SETTINGS / config does not have the form of settings; set the member anew that another program wrote")
	}
	whole, err := s.declared.over(rec.Attributes)
	if err != nil {
		return nil, unreadable(err)
	}
	l := &loaded{version: rec.Version}
	if l.value, err = s.declared.decode(whole); err != nil {
		return nil, unreadable(err)
	}
	if l.text, err = json.Marshal(l.value, json.Deterministic(true)); err != nil {
		return nil, unreadable(err)
	}
	return l, nil
}

// loadGroups reads the setting groups of a tenant's roles.
func (s *Service) loadGroups(ctx context.Context, k tenantKey) (roleGroups, error) {
	rec, err := s.read(ctx, k.tenant, tenantType, "MASTER")
	if err != nil || rec == nil || rec.IsDeleted {
		return nil, err
	}
	var roles []struct {
		Role string `json:"tenantRole"`
	}
	if text := rec.Attributes.Member("setting"); text != nil {
		if err := json.Unmarshal(text, &roles); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "settings", "attributes.setting of this tenant is not a list of roles with their groups; mend it first")
		}
	}
	out := roleGroups{}
	for _, r := range roles {
		if role, err := auth.ParseRole(r.Role); err == nil {
			groups, err := s.cfg.Groups(rec, role)
			if err != nil {
				return nil, err
			}
			out[role] = unique(groups)
		}
	}
	return out, nil
}

// unique returns the elements of list in their order, each once.
func unique(list []string) []string {
	seen := make(map[string]bool, len(list))
	out := make([]string, 0, len(list))
	for _, text := range list {
		if !seen[text] {
			seen[text] = true
			out = append(out, text)
		}
	}
	return out
}

// read returns a record of a tenant, nil where there never was one, by a right of the service's own: what it loads is for all callers that
// the tenant's Scope was issued to.
func (s *Service) read(ctx context.Context, code tenant.Code, typ record.EntityType, sk string) (*record.Record, error) {
	sc := scope.New(code, scope.Full, time.Time{}, s.actor)
	key, err := record.NewKey(sc, typ, sk)
	if err != nil {
		return nil, err
	}
	rec, err := s.cfg.Data.Get(ctx, sc, key, data.IncludeDeleted())
	if errors.Is(err, fault.NotFound) {
		return nil, nil
	}
	return rec, err
}

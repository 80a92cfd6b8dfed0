// Package guard is the only door to data: it turns who calls and which tenants the call mentions into a Scope, or refuses.
//
// Everything fails closed: no tenant, no policy, no answer from the directory of tenants is a refusal. A Scope can be named
// and passed on by anyone and made by nobody else; its zero value is refused everywhere. A System is the right to cross
// tenants, issued with an actor and a reason, and leaves an audit entry that names the tenants it touches.
package guard

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// Scope is the right to touch one tenant's records.
type Scope = scope.Scope

// System is the right to cross tenants.
type System = scope.System

// Actor says who acts, from where and in which request.
type Actor = scope.Actor

// SystemAdmin is the role that may cross tenants always.
const SystemAdmin = "system_admin"

// State is what the guard must know of a tenant. The zero State is a tenant that doesn't exist.
type State struct {
	Exists    bool // created and not deleted
	Suspended bool
	Born      time.Time // when it was created; zero for the built-in tenants
}

// Directory answers whether a tenant exists and is active. It is asked for every request.
type Directory interface {
	Lookup(ctx context.Context, code tenant.Code) (State, error)
}

// Config is what a Guard is made of.
type Config struct {
	Directory Directory
	Auditor   scope.Auditor

	// CommonAliases are codes that name the common tenant too. Defaults to none.
	CommonAliases []tenant.Code

	// SingleTenant makes single the acting tenant of a caller that names none. Defaults to false.
	SingleTenant bool
}

// Guard decides. It may be used concurrently.
type Guard struct {
	cfg     Config
	aliases map[tenant.Code]bool
}

// New returns a Guard.
func New(cfg Config) *Guard {
	g := &Guard{cfg: cfg, aliases: make(map[tenant.Code]bool, len(cfg.CommonAliases))}
	for _, c := range cfg.CommonAliases {
		g.aliases[c] = true
	}
	return g
}

// Reserved reports whether code is an alias of common, under which no tenant can be created.
func (g *Guard) Reserved(code tenant.Code) bool { return g.aliases[code] }

// Reach says what an operation reaches, and so who may call it.
type Reach uint8

// The reaches. The zero Reach is no policy, and an operation without one does not start.
const (
	Nothing    Reach = iota
	Self             // the caller's own identity; no acting tenant needed
	Tenant           // the records of one tenant
	Shared           // the common tenant's records of shared entity types, for reading
	Admin            // a tenant that the operation manages: system admins any, existing or not; others their own
	AllTenants       // across tenants, system admins only
)

// Policy is what an operation declares of who may call it.
type Policy struct {
	Reach Reach

	// Roles are those of which the caller needs one in the tenant; system_admin always may. Empty means any
	// with Tenant and Shared, and system_admin only with Admin and AllTenants.
	Roles []string

	// Members lets every member of the tenant call an operation that reaches Admin, whatever their role.
	Members bool

	// TargetInBody says that the body's tenantCode is the tenant that an operation reaches, with Admin.
	TargetInBody bool
}

// Mentions are the tenants that a request, or its body, names, as it spells them.
type Mentions struct {
	Codes []string // tenant codes
	PKs   []string // ENTITY#tenant…
	IDs   []string // PK#SK
}

// Request is one call for the guard to decide. The guard sets who acts in Actor, and the Scope it issues refers to it:
// a Request is not used twice.
type Request struct {
	Principal *auth.Principal
	Header    string // x-tenant-code
	HasHeader bool
	Mentions  Mentions // of path and query
	Policy    Policy
	Actor     Actor // with RequestID, SourceIP and Source
}

// Grant is the guard's answer to a request that it admits. It belongs to one request and is not for concurrent use.
type Grant struct {
	Scope  Scope       // of the tenant that the request reaches; zero where it reaches none
	System System      // for a system admin's Admin and AllTenants
	Acting tenant.Code // zero where the caller has no acting tenant

	guard   *Guard
	request *Request
	target  tenant.Code
	cross   bool // the caller acts by a cross-tenant role
}

// Admit decides a request before its body is read. It fails with fault.Unauthenticated, fault.InvalidKey for a malformed
// mention, fault.TenantConflict, and TenantRequired, TenantMismatch, TenantForbidden, TenantSuspended, RoleRequired.
func (g *Guard) Admit(ctx context.Context, r *Request) (Grant, error) {
	p := r.Principal
	if p == nil || r.Policy.Reach == Nothing {
		return Grant{}, fault.New(fault.Unauthenticated, "guard.Admit", "a bearer token is needed")
	}
	a := &r.Actor
	a.Issuer, a.UserID, a.UserCode, a.Email = p.Issuer(), p.Subject(), p.UserCode(), p.Email()
	grant := Grant{guard: g, request: r}
	a.Role, grant.cross = p.CrossTenantRole()

	var err error
	if grant.Acting, err = g.acting(r, grant.cross); err != nil {
		return grant, err
	}
	if grant.target, err = grant.reached(); err != nil {
		return grant, err
	}
	born, err := grant.exists(ctx)
	if err != nil {
		return grant, err
	}
	if err := grant.authorise(); err != nil {
		return grant, err
	}
	return grant, grant.issue(ctx, born)
}

// acting returns the tenant that the caller acts in, zero for none.
func (g *Guard) acting(r *Request, cross bool) (tenant.Code, error) {
	bound := g.canonical(r.Principal.Tenant())
	if !bound.IsZero() && !r.Principal.MayAssert(bound) {
		return tenant.Code{}, forbidden()
	}
	if r.HasHeader {
		named, err := g.parse(r.Header)
		switch {
		case err != nil:
			return tenant.Code{}, err
		case cross, named == bound, bound.IsZero() && named.IsCommon():
			return named, nil
		case bound.IsZero():
			return tenant.Code{}, forbidden()
		}
		return tenant.Code{}, fault.New(fault.TenantMismatch, "guard.Admit", "the header x-tenant-code contradicts the token's tenant; leave the header out, or switch tenants")
	}
	if bound.IsZero() && g.cfg.SingleTenant {
		return tenant.Single(), nil
	}
	return bound, nil
}

func (g *Guard) parse(text string) (tenant.Code, error) {
	code, err := tenant.Parse(text)
	return g.canonical(code), err
}

func (g *Guard) canonical(code tenant.Code) tenant.Code {
	if g.aliases[code] {
		return tenant.Common()
	}
	return code
}

// each calls visit for every tenant that m names. It fails with fault.InvalidKey for a malformed mention.
func (g *Guard) each(m Mentions, visit func(tenant.Code) error) error {
	for _, text := range m.Codes {
		code, err := g.parse(text)
		if err != nil {
			return err
		}
		if err := visit(code); err != nil {
			return err
		}
	}
	for _, pk := range m.PKs {
		_, code, _, err := record.SplitPK(pk)
		if err != nil {
			return err
		}
		if err := visit(g.canonical(code)); err != nil {
			return err
		}
	}
	for _, id := range m.IDs {
		code, err := record.TenantOfID(id)
		if err != nil {
			return err
		}
		if err := visit(g.canonical(code)); err != nil {
			return err
		}
	}
	return nil
}

// reached returns the tenant that the request reaches: the one it mentions, else the acting one.
func (gr *Grant) reached() (tenant.Code, error) {
	r, target, named := gr.request, gr.Acting, false
	if gr.cross && r.HasHeader {
		named = true
	}
	err := gr.guard.each(r.Mentions, func(code tenant.Code) error {
		if !gr.cross {
			if code != gr.Acting && !(r.Policy.Reach == Shared && code.IsCommon()) {
				return forbidden()
			}
			return nil
		}
		if named && code != target {
			return conflict()
		}
		target, named = code, true
		return nil
	})
	if r.Policy.Reach == Shared {
		target = tenant.Common()
	}
	return target, err
}

// exists checks that the acting tenant exists and is active, and that the tenant reached exists. It returns
// when the tenant reached was created.
func (gr *Grant) exists(ctx context.Context) (born time.Time, err error) {
	r := gr.request
	switch reach := r.Policy.Reach; {
	case reach == Self, reach >= Admin && gr.cross:
		return born, nil
	case gr.Acting.IsZero() && !(gr.cross && !gr.target.IsZero()):
		return born, fault.New(fault.TenantRequired, "guard.Admit", "no tenant is named: the token has none; a system admin names one in the header x-tenant-code")
	case gr.Acting.IsCommon() && !gr.cross && reach != Shared:
		return born, forbidden()
	}
	if !gr.Acting.IsZero() {
		state, err := gr.guard.lookup(ctx, gr.Acting)
		switch {
		case err != nil:
			return born, err
		case !state.Exists:
			return born, forbidden()
		case state.Suspended:
			return born, fault.New(fault.TenantSuspended, "guard.Admit", "the tenant is suspended; ask the operator of this system")
		case r.Principal.External() && r.Principal.IssuedAt().Unix() < state.Born.Unix() && !state.Born.IsZero():
			return born, fault.New(fault.Unauthenticated, "guard.Admit", "the token is older than its tenant; sign in again")
		}
		born = state.Born
	}
	if gr.target == gr.Acting || r.Policy.Reach == Shared {
		return born, nil
	}
	state, err := gr.guard.lookup(ctx, gr.target)
	if err == nil && !state.Exists {
		err = forbidden()
	}
	return state.Born, err
}

func (g *Guard) lookup(ctx context.Context, code tenant.Code) (State, error) {
	if code.IsCommon() || g.cfg.SingleTenant && code == tenant.Single() {
		return State{Exists: true}, nil
	}
	return g.cfg.Directory.Lookup(ctx, code)
}

// authorise checks the caller's role. A cross-tenant role other than system_admin acts in a tenant with that role.
func (gr *Grant) authorise() error {
	policy := gr.request.Policy
	if gr.cross && gr.request.Actor.Role == SystemAdmin {
		return nil
	}
	if !gr.cross {
		gr.request.Actor.Role = gr.request.Principal.RoleIn(gr.target)
	}
	allowed := false
	switch policy.Reach {
	case Self:
		allowed = true
	case Tenant, Shared:
		allowed = len(policy.Roles) == 0 && !(policy.Reach == Tenant && gr.target.IsCommon())
	case Admin:
		allowed = policy.Members && !gr.cross
	}
	if !allowed && !gr.has(policy.Roles) {
		return roleRequired()
	}
	return nil
}

// System returns the right to cross tenants to a system admin, for a reason that the audit log keeps. Actor says from
// where and in which request; who it is, is the principal. It fails with fault.RoleRequired for anybody else and without a reason.
func (g *Guard) System(p *auth.Principal, actor Actor, reason string) (System, error) {
	if p == nil || reason == "" {
		return System{}, roleRequired()
	}
	role, _ := p.CrossTenantRole()
	if role != SystemAdmin {
		return System{}, roleRequired()
	}
	actor.Issuer, actor.UserID, actor.UserCode, actor.Email, actor.Role = p.Issuer(), p.Subject(), p.UserCode(), p.Email(), role
	return scope.NewSystem(record.NewID(), actor, reason, g.cfg.Auditor), nil
}

// Actor returns who acts.
func (gr *Grant) Actor() Actor { return gr.request.Actor }

// Crosses reports whether the caller acts by a cross-tenant role.
func (gr *Grant) Crosses() bool { return gr.cross }

// has reports whether the caller has one of roles in the tenant reached.
func (gr *Grant) has(roles []string) bool {
	for _, role := range roles {
		if gr.cross && gr.request.Actor.Role == role || !gr.cross && gr.request.Principal.HasRole(gr.target, role) {
			return true
		}
	}
	return false
}

// Need fails with fault.RoleRequired unless the caller is a system admin or has one of roles in the tenant reached.
// No roles means that any will do.
func (gr *Grant) Need(roles []string) error {
	if len(roles) == 0 || gr.cross && gr.request.Actor.Role == SystemAdmin || gr.has(roles) {
		return nil
	}
	return roleRequired()
}

func roleRequired() error {
	return fault.New(fault.RoleRequired, "guard.Admit", "this needs a role that the caller doesn't have in the tenant")
}

// issue makes the Scope, and the System where the request crosses tenants.
func (gr *Grant) issue(ctx context.Context, born time.Time) error {
	r := gr.request
	switch r.Policy.Reach {
	case Shared:
		gr.Scope = scope.New(tenant.Common(), scope.SharedRead, time.Time{}, &r.Actor)
		return nil
	case Self:
		return nil
	case Tenant:
		if !gr.cross || gr.target == gr.guard.canonical(r.Principal.Tenant()) {
			gr.Scope = scope.New(gr.target, scope.Full, born, &r.Actor)
			return nil
		}
	case Admin:
		if !gr.cross {
			gr.Scope = scope.New(gr.target, scope.Full, born, &r.Actor)
			return nil
		}
	}
	gr.System = scope.NewSystem(record.NewID(), r.Actor, "request by "+r.Actor.Role, gr.guard.cfg.Auditor)
	if r.Policy.Reach == AllTenants || gr.target.IsZero() || r.Policy.TargetInBody {
		return nil
	}
	return gr.enter(ctx, born)
}

func (gr *Grant) enter(ctx context.Context, born time.Time) (err error) {
	gr.Scope, err = gr.System.Enter(ctx, gr.target, born)
	return err
}

// Body decides the mentions of the request's body, after it was read and found well-formed. With TargetInBody the Scope is
// issued here. It fails as Admit does.
func (gr *Grant) Body(ctx context.Context, m Mentions) error {
	r := gr.request
	inBody := r.Policy.TargetInBody && gr.cross
	named := !gr.target.IsZero() && (!inBody || r.HasHeader)
	err := gr.guard.each(m, func(code tenant.Code) error {
		switch {
		case !gr.cross && code != gr.Acting:
			return forbidden()
		case gr.cross && named && code != gr.target:
			if state, err := gr.guard.lookup(ctx, code); err != nil || !state.Exists {
				return cmpErr(err, forbidden())
			}
			return conflict()
		case gr.cross && r.Policy.Reach < AllTenants:
			gr.target, named = code, true
		}
		return nil
	})
	if err != nil || !inBody || gr.target.IsZero() {
		return err
	}
	return gr.enter(ctx, time.Time{})
}

func cmpErr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func forbidden() error {
	return fault.New(fault.TenantForbidden, "guard.Admit", "the request names a tenant that the caller may not use")
}

func conflict() error {
	return fault.New(fault.TenantConflict, "guard.Admit", "the request names several tenants; name one")
}

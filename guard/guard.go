// Package guard is the only door to data: it turns who calls and which tenants the call mentions into a Scope, or refuses.
//
// Everything fails closed: no tenant, no policy, no answer from the directory of tenants is a refusal. A Scope can be named
// and passed on by anyone and made by nobody else; its zero value is refused everywhere. A System is the right to cross
// tenants, issued with an actor and a reason, and leaves an audit entry that names the tenants it touches.
package guard

import (
	"context"
	"slices"
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

// Member is what the membership record of a tenant and a user code says. The zero Member is one that there is no record of.
type Member struct {
	Exists bool   // there is a record, of a member or of a former one
	Live   bool   // not removed
	Role   string // "" also for a role that no membership can give
	Issuer string // whose subject UserID is, "" for any issuer's
	UserID string // the only sub that the membership serves, "" for any that has the user code
	Epoch  string // names this life of the membership
}

// Serves reports whether the membership is p's own, and of the life that p's token was issued for.
func (m Member) Serves(p *auth.Principal) bool {
	if !m.Live || p.Epoch() != "" && p.Epoch() != m.Epoch {
		return false
	}
	if _, acted := p.Act(); acted {
		return true // issued for the membership that its epoch names
	}
	return (m.UserID == "" || m.UserID == p.Subject()) && (m.Issuer == "" || m.Issuer == p.Issuer())
}

// Members answers what membership a user code has in a tenant. It is asked for every request that acts in a tenant.
type Members interface {
	Membership(ctx context.Context, code tenant.Code, userCode string) (Member, error)
}

// Config is what a Guard is made of.
type Config struct {
	Directory Directory
	Auditor   scope.Auditor

	// Members are the memberships. Defaults to none: what tokens claim decides.
	Members Members

	// MembershipRequired refuses callers without a membership record in the tenant they act in. Defaults to false: there the
	// token's claims decide.
	MembershipRequired bool

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
	Anyone           // nothing: no token is needed, since the operation proves by its body who calls
	Self             // the caller's own identity; no acting tenant needed
	Tenant           // the records of one tenant
	Shared           // the common tenant's records of shared entity types, for reading
	Admin            // a tenant that the operation manages: system admins any, existing or not; others their own
	AllTenants       // across tenants, system admins only
)

// Policy is what an operation declares of who may call it.
type Policy struct {
	Reach Reach

	// Roles are those of which the caller needs one in the acting tenant; system_admin always may. Empty means any
	// with Tenant and Shared, and system_admin only with Admin. The other reaches take none.
	Roles []string

	// Members lets every member of the tenant call an operation that reaches Admin, whatever their role.
	Members bool

	// Personal refuses support access: what only the user may do, not who acts for them (a token with act).
	Personal bool

	// TargetInBody says that the body's tenantCode is the tenant that an operation reaches, with Admin; with Self it is one
	// that the operation checks itself.
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
	System System      // with Admin and AllTenants, for a cross-tenant role
	Acting tenant.Code // zero where the caller has no acting tenant

	guard   *Guard
	request *Request
	target  tenant.Code
	member  Member    // of the caller in Acting, where that decides
	named   bool      // the request mentions target, in the header, the path, the query or the body
	cross   bool      // the caller acts by a cross-tenant role
	born    time.Time // when target was created, as far as it was asked
}

// Admit decides a request before its body is read. It fails with fault.Unauthenticated, fault.InvalidKey for a malformed
// mention, fault.TenantConflict, and TenantRequired, TenantMismatch, TenantForbidden, TenantSuspended, NotAMember, RoleRequired.
func (g *Guard) Admit(ctx context.Context, r *Request) (Grant, error) {
	grant, err := g.decide(ctx, r)
	if err != nil || r.Policy.Reach == Anyone {
		return grant, err
	}
	return grant, grant.issue(ctx)
}

// Recheck decides a request like one that Admit has admitted, while that goes on, and issues nothing: what it reaches was
// entered then. Afterwards r.Actor says who acts, in which role. It fails as Admit does.
func (g *Guard) Recheck(ctx context.Context, r *Request) error {
	_, err := g.decide(ctx, r)
	return err
}

// decide is Admit without what it issues.
func (g *Guard) decide(ctx context.Context, r *Request) (Grant, error) {
	p := r.Principal
	if r.Policy.Reach == Anyone {
		return Grant{guard: g, request: r}, nil
	}
	if p == nil {
		return Grant{}, fault.New(fault.Unauthenticated, "guard.Admit", "a bearer token is needed")
	}
	if r.Policy.Reach == Nothing || r.Policy.Reach > AllTenants {
		return Grant{}, roleRequired()
	}
	a := &r.Actor
	a.Issuer, a.UserID, a.UserCode, a.Email = p.Issuer(), p.Subject(), p.UserCode(), p.Email()
	grant := Grant{guard: g, request: r}
	a.Role, grant.cross = p.CrossTenantRole()
	if act, acted := p.Act(); acted {
		if a.ActIssuer, a.ActUserID = act.Issuer, act.Subject; r.Policy.Personal {
			return grant, fault.New(fault.RoleRequired, "guard.Admit", "this is the user's own to do; support access can't")
		}
	}

	var err error
	if grant.Acting, err = g.acting(r, grant.cross); err != nil {
		return grant, err
	}
	grant.target, grant.named = grant.Acting, r.HasHeader
	several, err := grant.name(ctx, r.Mentions)
	if err != nil {
		return grant, err
	}
	if !several && !grant.admin() && grant.atHome() {
		grant.cross = false // there the claims decide, as for anybody
	}
	if r.Policy.Reach == Shared {
		grant.target = tenant.Common()
	}
	if err := grant.active(ctx); err != nil {
		return grant, err
	}
	if several {
		return grant, conflict()
	}
	return grant, grant.authorise()
}

// home returns the tenant that a token's bearer acts in without naming one, zero for none.
func (g *Guard) home(p *auth.Principal) tenant.Code {
	bound := p.Tenant()
	if bound.IsZero() && g.cfg.SingleTenant {
		return tenant.Single()
	}
	return g.canonical(bound)
}

// atHome reports whether the request needs no right to cross tenants: it stays in the tenant that the token gives.
func (gr *Grant) atHome() bool {
	reached := gr.target
	switch gr.request.Policy.Reach {
	case Self, AllTenants:
		return false
	case Shared:
		reached = gr.Acting
	}
	return !reached.IsZero() && reached == gr.guard.home(gr.request.Principal)
}

// acting returns the tenant that the caller acts in, zero for none.
func (g *Guard) acting(r *Request, cross bool) (tenant.Code, error) {
	bound, home := !r.Principal.Tenant().IsZero(), g.home(r.Principal)
	if (bound || !r.HasHeader) && !home.IsZero() && !r.Principal.MayAssert(home) {
		return tenant.Code{}, forbidden()
	}
	if !r.HasHeader {
		return home, nil
	}
	named, err := g.parse(r.Header)
	switch {
	case err != nil:
		return tenant.Code{}, err
	case cross, bound && named == home, !bound && named.IsCommon():
		return named, nil
	case !bound:
		return tenant.Code{}, forbidden()
	}
	return tenant.Code{}, fault.New(fault.TenantMismatch, "guard.Admit", "the header x-tenant-code contradicts the token's tenant; leave the header out, or switch tenants")
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
func (g *Guard) each(m Mentions, visit func(tenant.Code)) error {
	for _, text := range m.Codes {
		code, err := tenant.Parse(text)
		if err != nil {
			return err
		}
		visit(g.canonical(code))
	}
	for _, pk := range m.PKs {
		_, code, _, err := record.SplitPK(pk)
		if err != nil {
			return err
		}
		visit(g.canonical(code))
	}
	for _, id := range m.IDs {
		code, err := record.TenantOfID(id)
		if err != nil {
			return err
		}
		visit(g.canonical(code))
	}
	return nil
}

// name takes the tenants that m mentions: the first one becomes the target, where none was mentioned before. It fails with
// fault.InvalidKey for a malformed mention before anything else, and with fault.TenantForbidden for a tenant that the
// caller may not use. Several reports whether those that the caller may use are more than one.
func (gr *Grant) name(ctx context.Context, m Mentions) (several bool, err error) {
	foreign, failed := false, error(nil)
	err = gr.guard.each(m, func(code tenant.Code) {
		if gr.named && code == gr.target || foreign || failed != nil {
			return
		}
		var state State
		if state, foreign, failed = gr.use(ctx, code); foreign || failed != nil {
			return
		}
		if gr.named {
			several = true
			return
		}
		gr.target, gr.named, gr.born = code, true, state.Born
	})
	switch {
	case err != nil:
		return false, err
	case failed != nil:
		return false, failed
	case foreign:
		return false, forbidden()
	}
	return several, nil
}

// use reports whether a tenant that the request mentions is foreign to the caller. The state is known only of one that
// the caller reaches by a cross-tenant role.
func (gr *Grant) use(ctx context.Context, code tenant.Code) (state State, foreign bool, err error) {
	reach := gr.request.Policy.Reach
	switch {
	case reach == Shared && code.IsCommon():
		return state, false, nil
	case !gr.cross:
		return state, code != gr.Acting, nil
	case code.IsCommon():
		return state, !gr.admin(), nil
	case reach >= Admin:
		return state, false, nil
	}
	state, err = gr.guard.Lookup(ctx, code)
	return state, !state.Exists, err
}

// active checks that the tenant acted in exists and is active, where the operation needs one.
func (gr *Grant) active(ctx context.Context) error {
	r := gr.request
	switch reach := r.Policy.Reach; {
	case reach == Self, reach >= Admin && gr.cross:
		return nil
	case gr.Acting.IsZero() && gr.cross && !gr.target.IsZero():
		return nil
	case gr.Acting.IsZero():
		return fault.New(fault.TenantRequired, "guard.Admit", "no tenant is named: the token has none; a system admin names one in the header x-tenant-code")
	case gr.Acting.IsCommon() && reach != Shared && !gr.admin():
		return forbidden()
	}
	state, err := gr.guard.Lookup(ctx, gr.Acting)
	switch {
	case err != nil:
		return err
	case !state.Exists:
		return forbidden()
	case state.Suspended:
		return fault.New(fault.TenantSuspended, "guard.Admit", "the tenant is suspended; ask the operator of this system")
	case r.Principal.External() && r.Principal.IssuedAt().Unix() < state.Born.Unix() && !state.Born.IsZero():
		return fault.New(fault.Unauthenticated, "guard.Admit", "the token is older than its tenant; sign in again")
	}
	if gr.target == gr.Acting {
		gr.born = state.Born
	}
	if gr.cross || gr.Acting.IsCommon() {
		return nil
	}
	return gr.join(ctx)
}

// join looks for the caller's membership in the tenant acted in. Where there is a record, it decides.
func (gr *Grant) join(ctx context.Context) (err error) {
	g, p := gr.guard, gr.request.Principal
	if g.cfg.Members == nil {
		return nil
	}
	if gr.member, err = g.cfg.Members.Membership(ctx, gr.Acting, p.UserCode()); err != nil {
		return err
	}
	needed := g.cfg.MembershipRequired || p.Epoch() != ""
	if gr.member.Exists || needed {
		if !gr.member.Serves(p) {
			return fault.New(fault.NotAMember, "guard.Admit", "the caller is not a member of the tenant")
		}
	}
	return nil
}

// Lookup is that of the Guard's Directory, but that common and, in single-tenant mode, single always exist.
func (g *Guard) Lookup(ctx context.Context, code tenant.Code) (State, error) {
	if code.IsCommon() || g.cfg.SingleTenant && code == tenant.Single() {
		return State{Exists: true}, nil
	}
	return g.cfg.Directory.Lookup(ctx, code)
}

// authorise checks the caller's role. A cross-tenant role other than system_admin acts in a tenant with that role.
func (gr *Grant) authorise() error {
	if gr.admin() {
		return nil
	}
	if !gr.cross {
		gr.request.Actor.Role = gr.request.Principal.RoleIn(gr.Acting)
	}
	if gr.member.Live {
		gr.request.Actor.Role = gr.member.Role
	}
	policy, allowed := gr.request.Policy, false
	switch policy.Reach {
	case Self:
		allowed = true
	case Tenant, Shared:
		allowed = len(policy.Roles) == 0 || gr.has(policy.Roles)
	case Admin:
		allowed = policy.Members && !gr.cross || gr.has(policy.Roles)
	}
	if !allowed {
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

// admin reports whether the caller is a system admin.
func (gr *Grant) admin() bool { return gr.cross && gr.request.Actor.Role == SystemAdmin }

// has reports whether the caller has one of roles in the tenant acted in.
func (gr *Grant) has(roles []string) bool {
	if gr.member.Live {
		return gr.member.Role != "" && slices.Contains(roles, gr.member.Role)
	}
	for _, role := range roles {
		if gr.cross && gr.request.Actor.Role == role || !gr.cross && gr.request.Principal.HasRole(gr.Acting, role) {
			return true
		}
	}
	return false
}

// Need fails with fault.RoleRequired unless the caller is a system admin or has one of roles in the tenant acted in.
// No roles means that any will do.
func (gr *Grant) Need(roles []string) error {
	if len(roles) == 0 || gr.admin() || gr.has(roles) {
		return nil
	}
	return roleRequired()
}

func roleRequired() error {
	return fault.New(fault.RoleRequired, "guard.Admit", "this needs a role that the caller doesn't have in the tenant")
}

// issue makes the Scope, and the System where the request crosses tenants.
func (gr *Grant) issue(ctx context.Context) error {
	r := gr.request
	reach := r.Policy.Reach
	switch {
	case reach == Self:
		return nil
	case reach == Shared:
		gr.Scope = scope.New(tenant.Common(), scope.SharedRead, time.Time{}, &r.Actor)
		return nil
	case !gr.cross, reach == Tenant && gr.atHome():
		gr.Scope = scope.New(gr.target, scope.Full, gr.born, &r.Actor)
		return nil
	}
	crossing := scope.NewSystem(record.NewID(), r.Actor, "request by "+r.Actor.Role, gr.guard.cfg.Auditor)
	if reach >= Admin {
		gr.System = crossing
	}
	if reach == AllTenants || gr.target.IsZero() || gr.open() {
		return nil
	}
	return gr.enter(ctx, crossing)
}

// open reports whether the body names the tenant that the request reaches.
func (gr *Grant) open() bool {
	return gr.cross && gr.request.Policy.Reach == Admin && gr.request.Policy.TargetInBody
}

func (gr *Grant) enter(ctx context.Context, crossing System) (err error) {
	gr.Scope, err = crossing.Enter(ctx, gr.target, gr.born)
	return err
}

// Body decides the mentions of the request's body, after it was read and found well-formed. With TargetInBody the Scope is
// issued here. It fails as Admit does, and takes back then what Admit issued.
func (gr *Grant) Body(ctx context.Context, m Mentions) error {
	err := gr.body(ctx, m)
	if err != nil {
		*gr = Grant{Acting: gr.Acting, guard: gr.guard, request: gr.request, target: gr.target, member: gr.member, named: gr.named, cross: gr.cross, born: gr.born}
	}
	return err
}

func (gr *Grant) body(ctx context.Context, m Mentions) error {
	switch policy := gr.request.Policy; {
	case policy.Reach == Anyone:
		return nil
	case policy.Reach == Self && policy.TargetInBody:
		m.Codes = nil
	}
	if !gr.open() && gr.request.Policy.Reach != AllTenants && !gr.target.IsZero() {
		gr.named = true // the request reaches its target, whether it mentions it or not
	}
	several, err := gr.name(ctx, m)
	switch {
	case err != nil:
		return err
	case several:
		return conflict()
	case !gr.open() || gr.target.IsZero():
		return nil
	}
	return gr.enter(ctx, gr.System)
}

func forbidden() error {
	return fault.New(fault.TenantForbidden, "guard.Admit", "the request names a tenant that the caller may not use")
}

func conflict() error {
	return fault.New(fault.TenantConflict, "guard.Admit", "the request names several tenants; name one")
}

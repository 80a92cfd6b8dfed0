package guard_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/tenant"
)

// The moments of this world. Charlie was created after early tokens were issued, in the second of punctual ones.
var (
	start    = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	founded  = start.Add(-24 * time.Hour)
	early    = start.Add(-30 * time.Minute)
	punctual = start.Add(-20 * time.Minute)
	young    = punctual.Add(900 * time.Millisecond)
)

// directory is the tenants of this world.
type directory map[tenant.Code]guard.State

func (d directory) Lookup(_ context.Context, c tenant.Code) (guard.State, error) { return d[c], nil }

// tenants: shared is an alias of common, and nobody was never created.
func tenants() directory {
	return directory{
		code("alpha"):   {Exists: true, Born: founded},
		code("bravo"):   {Exists: true, Born: founded},
		code("charlie"): {Exists: true, Born: young},
		code("halted"):  {Exists: true, Suspended: true, Born: founded},
		code("gone"):    {Born: founded},
	}
}

// recorder is an auditor that remembers, or refuses.
type recorder struct {
	crossings []scope.Crossing
	refuse    error
}

func (r *recorder) Crossed(_ context.Context, c scope.Crossing) error {
	if r.refuse != nil {
		return r.refuse
	}
	r.crossings = append(r.crossings, c)
	return nil
}

// Issuers of tokens: the built-in one and three external ones. Narrow may assert alpha alone and no cross-tenant role, odd
// alpha alone and those.
const (
	builtin = auth.BuiltinIssuer
	wide    = "https://idp.example/wide"
	narrow  = "https://idp.example/narrow"
	odd     = "https://idp.example/odd"
)

// world is a guard with what it asks, and issuers of tokens.
type world struct {
	testing.TB
	auditor  *recorder
	guards   map[bool]*guard.Guard // by single-tenant mode
	verifier *auth.Verifier
	keyrings map[string]*auth.Keyring
	issuedAt time.Time // of the next token
	known    map[string]*auth.Principal
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, auditor: &recorder{}, guards: map[bool]*guard.Guard{}, keyrings: map[string]*auth.Keyring{}, known: map[string]*auth.Principal{}}
	cross, err := auth.ParseCrossTenantRoles("support")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{builtin, wide, narrow, odd} {
		w.keyrings[name], err = auth.NewKeyring(auth.KeyringOptions{Issuer: name, Audience: name, CrossTenantRoles: cross, Now: func() time.Time { return w.issuedAt }})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.verifier, err = auth.NewVerifier(auth.Config{Keyring: w.keyrings[builtin], CrossTenantRoles: cross, Now: func() time.Time { return start }, Issuers: []auth.Issuer{
		{Name: wide, Audience: wide, Keys: w.keyrings[wide], AllTenants: true, CrossTenant: new(true)},
		{Name: narrow, Audience: narrow, Keys: w.keyrings[narrow], Tenants: []tenant.Code{code("alpha")}, CrossTenant: new(false)},
		{Name: odd, Audience: odd, Keys: w.keyrings[odd], Tenants: []tenant.Code{code("alpha")}, CrossTenant: new(true)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.verifier.Close)
	for _, single := range []bool{false, true} {
		w.guards[single] = guard.New(guard.Config{Directory: tenants(), Auditor: w.auditor, CommonAliases: []tenant.Code{code("shared")}, SingleTenant: single})
	}
	return w
}

func code(text string) tenant.Code {
	c, err := tenant.Parse(text)
	if err != nil {
		panic(err)
	}
	return c
}

// caller is who calls. Roles hold in the tenant before the colon, "acme:admin", or without one everywhere.
type caller struct {
	issuer string // defaults to the built-in one
	bound  string
	roles  []string
	iat    time.Time // defaults to a minute ago
}

// who returns the caller that text describes, "user@alpha" or "user": bound to a tenant and with a role in it, or with a role
// that holds everywhere. A cross-tenant role holds everywhere in both.
func who(text string) caller {
	role, bound, _ := strings.Cut(text, "@")
	if bound != "" && role != "system_admin" && role != "support" {
		role = bound + ":" + role
	}
	return caller{bound: bound, roles: []string{role}}
}

func (c caller) by(issuer string) caller     { c.issuer = issuer; return c }
func (c caller) at(iat time.Time) caller     { c.iat = iat; return c }
func (c caller) with(roles ...string) caller { c.roles = slices.Concat(c.roles, roles); return c }

func (c caller) String() string {
	return fmt.Sprintf("%s@%s by %s at %s", strings.Join(c.roles, "+"), c.bound, c.issuer, c.iat.Format(time.TimeOnly))
}

// principal returns who a verified token of c speaks for.
func (w *world) principal(c caller) *auth.Principal {
	w.Helper()
	if c.issuer == "" {
		c.issuer = builtin
	}
	if c.iat.IsZero() {
		c.iat = start.Add(-time.Minute)
	}
	if p := w.known[c.String()]; p != nil {
		return p
	}
	claims := auth.Claims{Subject: "u1", UserCode: "code#1", Email: "u1@example.com", TTL: 2 * time.Hour}
	if c.bound != "" {
		claims.Tenant = code(c.bound)
	}
	for _, text := range c.roles {
		grant := auth.RoleGrant{Role: text}
		if in, role, ok := strings.Cut(text, ":"); ok {
			grant = auth.RoleGrant{Tenant: code(in), Role: role}
		}
		claims.Roles = append(claims.Roles, grant)
	}
	w.issuedAt = c.iat
	token, err := w.keyrings[c.issuer].Issue(claims)
	if err != nil {
		w.Fatal(err)
	}
	p, err := w.verifier.Verify(w.Context(), token)
	if err != nil {
		w.Fatal(err)
	}
	w.known[c.String()] = p
	return p
}

// ask is a request: what it mentions before its body and in it, and what the operation declares.
type ask struct {
	header *string
	named  guard.Mentions // in path and query
	body   *guard.Mentions
	policy guard.Policy
	single bool // in single-tenant mode
}

func (a ask) String() string {
	text := fmt.Sprintf("policy %+v", a.policy)
	if a.header != nil {
		text += fmt.Sprintf(", header %q", *a.header)
	}
	text += fmt.Sprintf(", named %+q", a.named)
	if a.body != nil {
		text += fmt.Sprintf(", body %+q", *a.body)
	}
	if a.single {
		text += ", single-tenant mode"
	}
	return text
}

// verdict is what became of a request: a refusal, or what was issued.
type verdict struct {
	refused fault.Code
	tenant  string // whose Scope was issued, "" for none
	shared  bool   // the Scope only reads what is shared
	crossed string // the tenants that the audit log names, joined by spaces
	system  bool   // a System was issued
	role    string // of the actor
}

// String is the verdict in the words of the tables, without the role: "tenant_forbidden", "alpha", "bravo, system, audited bravo".
func (v verdict) String() string {
	if v.refused != "" {
		return string(v.refused)
	}
	text := v.tenant
	if text == "" {
		text = "nothing"
	}
	if v.shared {
		text += ", shared records only"
	}
	if v.system {
		text += ", system"
	}
	if v.crossed != "" {
		text += ", audited " + v.crossed
	}
	return text
}

// decide has the guard decide a request, its body included.
func (w *world) decide(c caller, a ask) (verdict, guard.Grant) {
	w.Helper()
	w.auditor.crossings = nil
	r := &guard.Request{Principal: w.principal(c), Mentions: a.named, Policy: a.policy, Actor: guard.Actor{RequestID: "r1", SourceIP: "192.0.2.1", Source: "GET /test"}}
	if a.header != nil {
		r.Header, r.HasHeader = *a.header, true
	}
	grant, err := w.guards[a.single].Admit(w.Context(), r)
	if err == nil && a.body != nil {
		err = grant.Body(w.Context(), *a.body)
	}
	v := verdict{role: r.Actor.Role, system: grant.System.Check() == nil}
	if err != nil {
		v = verdict{refused: fault.As(err).Code}
	} else if grant.Scope.Check() == nil {
		v.tenant, v.shared = grant.Scope.Tenant().String(), !grant.Scope.Writable()
	}
	var crossed []string
	for _, crossing := range w.auditor.crossings {
		for _, t := range crossing.Tenants {
			crossed = append(crossed, cmp.Or(t.String(), "(none)"))
		}
	}
	v.crossed = strings.Join(crossed, " ")
	return v, grant
}

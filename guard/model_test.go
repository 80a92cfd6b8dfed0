package guard_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
)

// mention is a way to name a tenant, and the tenant that it names: "" where it is malformed.
type mention struct{ text, means string }

var (
	spelledCodes = []mention{{"alpha", "alpha"}, {"ALPHA", "alpha"}, {"bravo", "bravo"}, {"charlie", "charlie"}, {"halted", "halted"}, {"gone", "gone"},
		{"nobody", "nobody"}, {"common", "common"}, {"Shared", "common"}, {"single", "single"}, {"", ""}, {"a#b", ""}, {" alpha", ""}, {"*", ""}}
	spelledPKs = []mention{{"PRODUCT#alpha", "alpha"}, {"LOG#Alpha#2026-11", "alpha"}, {"PRODUCT#bravo#alpha", "bravo"}, {"X#shared", "common"}, {"TENANT#nobody", "nobody"},
		{"PRODUCT", ""}, {"PRODUCT#", ""}, {"product#alpha", ""}, {"PRODUCT#alpha#", ""}}
	spelledIDs = []mention{{"PRODUCT#alpha#1", "alpha"}, {"PRODUCT#bravo#alpha", "bravo"}, {"X#COMMON#1@2", "common"}, {"PRODUCT#alpha", ""}, {"PRODUCT##1", ""}}
)

// sketch is a request of the model: who calls, and what is mentioned where.
type sketch struct {
	caller  caller
	header  *mention
	codes   []mention
	pks     []mention
	ids     []mention
	body    []mention // as tenant codes
	hasBody bool
	policy  guard.Policy
	single  bool
}

func draw(t *rapid.T) sketch {
	oneOf := func(label string, texts ...string) string { return rapid.SampledFrom(texts).Draw(t, label) }
	few := func(label string, from []mention, n int) []mention {
		return rapid.SliceOfN(rapid.SampledFrom(from), 0, n).Draw(t, label)
	}
	s := sketch{
		caller: caller{
			issuer: oneOf("issuer", builtin, wide, narrow, odd),
			bound:  oneOf("bound", "", "alpha", "alpha", "bravo", "charlie", "halted", "gone", "common", "single", "shared"),
			roles:  rapid.SliceOfN(rapid.SampledFrom([]string{"user", "admin", "alpha:admin", "alpha:user", "bravo:admin", "common:admin", "support", "system_admin", "system_admin"}), 0, 3).Draw(t, "roles"),
		},
		codes:  few("codes", spelledCodes, 2),
		pks:    few("pks", spelledPKs, 1),
		ids:    few("ids", spelledIDs, 1),
		policy: rapid.SampledFrom([]guard.Policy{records, records, audits, shared, me, manage, read, inside, group, system, {}}).Draw(t, "policy"),
		single: rapid.Bool().Draw(t, "single"),
	}
	if rapid.Bool().Draw(t, "early") {
		s.caller.iat = early
	}
	if rapid.Bool().Draw(t, "hasHeader") {
		h := rapid.SampledFrom(spelledCodes).Draw(t, "header")
		s.header = &h
	}
	if s.hasBody = rapid.Bool().Draw(t, "hasBody"); s.hasBody {
		s.body = few("body", spelledCodes, 2)
	}
	return s
}

func texts(mentions []mention) (out []string) {
	for _, m := range mentions {
		out = append(out, m.text)
	}
	return out
}

func (s sketch) ask() ask {
	a := ask{named: guard.Mentions{Codes: texts(s.codes), PKs: texts(s.pks), IDs: texts(s.ids)}, policy: s.policy, single: s.single}
	if s.header != nil {
		a.header = &s.header.text
	}
	if s.hasBody {
		a.body = &guard.Mentions{Codes: texts(s.body)}
	}
	return a
}

// model decides as sections 1 and 2 of the contract read, over sets of names and without regard for cost.
type model struct {
	sketch
	cross  string // the cross-tenant role, "" for none
	home   string // the tenant that the token gives
	acting string
}

func (m *model) assertable(tenant string) bool {
	return m.caller.issuer == builtin || m.caller.issuer == wide || tenant == "alpha"
}

func (m *model) exists(tenant string) bool {
	return slices.Contains([]string{"alpha", "bravo", "charlie", "halted", "common"}, tenant) || m.single && tenant == "single"
}

// roles returns those that the claims give in a tenant: by entries for it, else by entries without tenant.
func (m *model) roles(tenant string) (roles []string) {
	if !m.assertable(tenant) {
		return nil
	}
	for _, text := range m.caller.roles {
		if in, role, bound := strings.Cut(text, ":"); bound && in == tenant {
			roles = append(roles, role)
		}
	}
	if roles != nil {
		return roles
	}
	for _, text := range m.caller.roles {
		crosses := text == "support" || text == "system_admin"
		if !strings.Contains(text, ":") && (!crosses || m.caller.issuer != narrow) {
			roles = append(roles, text)
		}
	}
	return roles
}

// may reports whether the caller may use a tenant that is mentioned.
func (m *model) may(tenant string, cross bool) bool {
	managing := m.policy.Reach == guard.Admin || m.policy.Reach == guard.AllTenants
	switch {
	case m.header != nil && tenant == m.acting:
		return true // what the header names is judged as the acting tenant
	case tenant == "common" && m.policy.Reach == guard.Shared:
		return true
	case !cross:
		return tenant == m.acting
	case tenant == "common":
		return m.cross == "system_admin"
	}
	return managing || m.exists(tenant)
}

// mentioned returns the tenants of mentions, and a refusal where one is malformed or foreign.
func (m *model) mentioned(mentions []mention, cross bool) (set map[string]bool, refused fault.Code) {
	set = map[string]bool{}
	for _, one := range mentions {
		switch {
		case one.means == "":
			return nil, fault.InvalidKey
		case !m.may(one.means, cross):
			refused = fault.TenantForbidden
		}
		set[one.means] = true
	}
	return set, refused
}

func (s sketch) decide() verdict {
	m := &model{sketch: s}
	for _, role := range []string{"support", "system_admin"} {
		if slices.Contains(s.caller.roles, role) && s.caller.issuer != narrow {
			m.cross = role
		}
	}
	if s.policy.Reach == guard.Nothing {
		return verdict{refused: fault.RoleRequired}
	}
	if refused := m.act(); refused != "" {
		return verdict{refused: refused}
	}
	named, refused := m.mentioned(slices.Concat(s.codes, s.pks, s.ids), m.cross != "")
	if refused != "" {
		return verdict{refused: refused}
	}
	if s.header != nil {
		named[m.acting] = true
	}
	reached := m.acting
	if len(named) == 1 {
		reached = one(named)
	}
	stays := reached // what decides whether a tenant's border is crossed
	if s.policy.Reach == guard.Shared {
		reached, stays = "common", m.acting
	}
	crosses := m.cross != ""
	atHome := stays != "" && stays == m.home && len(named) <= 1 && s.policy.Reach != guard.Self && s.policy.Reach != guard.AllTenants
	if atHome && m.cross == "support" {
		crosses = false
	}
	if refused := m.active(crosses, reached, len(named) > 0); refused != "" {
		return verdict{refused: refused}
	}
	if len(named) > 1 {
		return verdict{refused: fault.TenantConflict}
	}
	if !m.authorised(crosses) {
		return verdict{refused: fault.RoleRequired}
	}
	return m.grant(reached, named, crosses, atHome)
}

func one(set map[string]bool) string {
	for name := range set {
		return name
	}
	return ""
}

// act finds the acting tenant.
func (m *model) act() fault.Code {
	bound := strings.Replace(m.caller.bound, "shared", "common", 1)
	if m.home = bound; bound == "" && m.single {
		m.home = "single"
	}
	if bound != "" && !m.assertable(bound) {
		return fault.TenantForbidden
	}
	if m.header == nil {
		if m.acting = m.home; m.acting == "single" && !m.assertable("single") {
			return fault.TenantForbidden
		}
		return ""
	}
	m.acting = m.header.means
	switch {
	case m.acting == "":
		return fault.InvalidKey
	case m.cross != "":
		return ""
	case bound == "" && m.acting != "common":
		return fault.TenantForbidden
	case bound != "" && m.acting != bound:
		return fault.TenantMismatch
	}
	return ""
}

// active checks the acting tenant, where one is needed.
func (m *model) active(crosses bool, reached string, named bool) fault.Code {
	switch {
	case m.policy.Reach == guard.Self, crosses && (m.policy.Reach == guard.Admin || m.policy.Reach == guard.AllTenants):
		return ""
	case m.acting == "" && crosses && (named || m.policy.Reach == guard.Shared):
		return ""
	case m.acting == "":
		return fault.TenantRequired
	case m.acting == "common" && m.policy.Reach != guard.Shared && m.cross != "system_admin":
		return fault.TenantForbidden
	case !m.exists(m.acting):
		return fault.TenantForbidden
	case m.acting == "halted":
		return fault.TenantSuspended
	case m.acting == "charlie" && m.caller.issuer != builtin && m.caller.iat == early:
		return fault.Unauthenticated
	}
	return ""
}

func (m *model) authorised(crosses bool) bool {
	if m.cross == "system_admin" {
		return true
	}
	held := m.roles(m.acting)
	if crosses {
		held = []string{m.cross}
	}
	has := slices.ContainsFunc(m.policy.Roles, func(role string) bool { return slices.Contains(held, role) })
	switch m.policy.Reach {
	case guard.Self:
		return true
	case guard.Tenant, guard.Shared:
		return len(m.policy.Roles) == 0 || has
	case guard.Admin:
		return has || m.policy.Members && !crosses
	}
	return false
}

// grant says what is issued, after the tenants of the body.
func (m *model) grant(reached string, named map[string]bool, crosses, atHome bool) verdict {
	reach := m.policy.Reach
	chosen := m.policy.TargetInBody && crosses // by the body
	v := verdict{tenant: reached, shared: reach == guard.Shared, system: crosses && (reach == guard.Admin || reach == guard.AllTenants)}
	if reach == guard.Self || reach == guard.AllTenants || chosen {
		v.tenant = ""
	}
	if crosses && (reach == guard.Admin || reach == guard.Tenant && !atHome) {
		v.crossed = v.tenant
	}
	if !m.hasBody {
		return v
	}
	bodies, refused := m.mentioned(m.body, crosses)
	if refused != "" {
		return verdict{refused: refused}
	}
	if !chosen && reach != guard.AllTenants && reached != "" {
		bodies[reached] = true
	} else {
		for name := range named {
			bodies[name] = true
		}
	}
	if len(bodies) > 1 {
		return verdict{refused: fault.TenantConflict}
	}
	if chosen {
		if v.tenant = reached; len(bodies) == 1 {
			v.tenant = one(bodies)
		}
		v.crossed = v.tenant
	}
	return v
}

// TestModel compares the guard with the model on random requests, and holds what must never break whatever a model says.
func TestModel(t *testing.T) {
	w := newWorld(t)
	admitted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			s := draw(t)
			got, grant := w.decide(s.caller, s.ask())
			want := s.decide()
			got.role = ""
			if got.refused != "" { // an entry that stays behind a refusal of the body names the tenant that was entered before
				got.crossed, want.crossed = "", ""
				refused++
			} else {
				admitted++
			}
			if got != want {
				t.Fatalf("%v, %v:\n the guard says %v,\n the model says %v", s.caller, s.ask(), got, want)
			}
			w.invariants(t, s, got, grant)
		}
	})
	if admitted < 20 || refused < 20 { // about 150 of the 2,000 are admitted
		t.Errorf("%d requests were admitted and %d refused; the draw shows nothing", admitted, refused)
	}
}

// invariants are what no error in model and guard alike may break.
func (w *world) invariants(t *rapid.T, s sketch, v verdict, grant guard.Grant) {
	everywhere := func(role string) bool { return slices.Contains(s.caller.roles, role) && s.caller.issuer != narrow }
	admin := everywhere("system_admin")
	ordinary := !admin && !everywhere("support")
	bound := strings.Replace(s.caller.bound, "shared", "common", 1)
	switch {
	case v.refused != "" && (grant.System.Check() == nil || grant.Scope.Check() == nil):
		t.Fatalf("a refused request holds a capability: %v: %v", s.caller, v)
	case v.refused != "":
	case ordinary && (v.crossed != "" || v.system):
		t.Fatalf("an ordinary caller crossed tenants: %v: %v", s.caller, v)
	case ordinary && v.tenant != "" && !v.shared && v.tenant != bound && (v.tenant != "single" || !s.single || bound != ""):
		t.Fatalf("an ordinary caller got the Scope of a tenant that isn't theirs: %v: %v", s.caller, v)
	case !admin && v.tenant == "common" && !v.shared:
		t.Fatalf("somebody writes common who is no system admin: %v: %v", s.caller, v)
	case v.shared && v.tenant != "common":
		t.Fatalf("shared records of a tenant: %v: %v", s.caller, v)
	case v.tenant != "" && v.tenant != bound && !v.shared && v.tenant != "single" && v.crossed != v.tenant:
		t.Fatalf("a crossing without an audit entry: %v: %v", s.caller, v)
	}
}

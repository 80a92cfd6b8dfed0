package guard_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/tenant"
)

func TestNobodyIsRefused(t *testing.T) {
	w := newWorld(t)
	_, err := w.guards[false].Admit(t.Context(), &guard.Request{Policy: me})
	if !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("without a principal: %v", err)
	}
}

// TestActor checks that a Scope says who acts, by what the token proves, and when its tenant was created.
func TestActor(t *testing.T) {
	w := newWorld(t)
	_, grant := w.decide(who("admin@charlie").by(wide).at(punctual), ask{policy: records})
	want := guard.Actor{Issuer: wide, UserID: "u1", UserCode: "code#1", Email: "u1@example.com", Role: "admin", RequestID: "r1", SourceIP: "192.0.2.1", Source: "GET /test"}
	if diff := cmp.Diff(want, grant.Scope.Actor()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, grant.Actor()); diff != "" {
		t.Error(diff)
	}
	if grant.Scope.Born() != young.Unix() {
		t.Errorf("born %d; want %d", grant.Scope.Born(), young.Unix())
	}
	if grant.Acting != code("charlie") || grant.Crosses() {
		t.Errorf("acting %v, crosses %v", grant.Acting, grant.Crosses())
	}
	_, grant = w.decide(who("system_admin"), ask{policy: records, named: codes("charlie")})
	if grant.Scope.Born() != young.Unix() || !grant.Acting.IsZero() || !grant.Crosses() {
		t.Errorf("a crossing: born %d, acting %v, crosses %v", grant.Scope.Born(), grant.Acting, grant.Crosses())
	}
}

// TestRoleOfActor checks under which role somebody is written down.
func TestRoleOfActor(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		caller caller
		ask    ask
		want   string
	}{
		{who("user@alpha"), ask{policy: records}, "user"},
		{caller{bound: "alpha", roles: []string{"user", "alpha:admin"}}, ask{policy: records}, "admin"},
		{caller{bound: "alpha", roles: []string{"user"}}, ask{policy: records}, "user"},
		{caller{bound: "alpha"}, ask{policy: records}, ""},
		{caller{bound: "alpha", roles: []string{"alpha:admin", "common:user"}}, ask{policy: shared}, "admin"},
		{who("user"), ask{policy: me}, ""},
		{who("system_admin@alpha"), ask{policy: records}, "system_admin"},
		{who("support@alpha").with("alpha:admin"), ask{policy: records}, "admin"},
		{who("support@alpha").with("alpha:admin"), ask{policy: records, named: codes("bravo")}, "support"},
		{who("support@alpha").with("system_admin"), ask{policy: records, named: codes("bravo")}, "system_admin"},
	} {
		if got, _ := w.decide(c.caller, c.ask); got.refused != "" || got.role != c.want {
			t.Errorf("%v, %v: %v as %q; want %q", c.caller, c.ask, got, got.role, c.want)
		}
	}
}

// TestCrossing checks what the auditor is told of a crossing.
func TestCrossing(t *testing.T) {
	w := newWorld(t)
	actor := guard.Actor{Issuer: builtin, UserID: "u1", UserCode: "code#1", Email: "u1@example.com", Role: "system_admin", RequestID: "r1", SourceIP: "192.0.2.1", Source: "GET /test"}
	_, grant := w.decide(who("system_admin@alpha"), ask{policy: records, named: codes("bravo")})
	if len(w.auditor.crossings) != 1 {
		t.Fatalf("%d entries; want 1", len(w.auditor.crossings))
	}
	got := w.auditor.crossings[0]
	if _, err := ulid.ParseStrict(got.ID); err != nil {
		t.Errorf("the entry's ID: %v", err)
	}
	got.ID = ""
	want := scope.Crossing{Actor: actor, Reason: "request by system_admin", Tenants: []tenant.Code{code("bravo")}}
	if diff := cmp.Diff(want, got, equalCodes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(actor, grant.Scope.Actor()); diff != "" {
		t.Error(diff)
	}
	if err := grant.System.Check(); !errors.Is(err, fault.RoleRequired) {
		t.Errorf("a call that reaches one tenant holds a System: %v", err)
	}

	_, grant = w.decide(who("system_admin"), ask{policy: system})
	for _, text := range []string{"bravo", "alpha", "bravo"} {
		if _, err := grant.System.Enter(t.Context(), code(text), founded); err != nil {
			t.Fatal(err)
		}
	}
	var entries [][]tenant.Code
	for _, c := range w.auditor.crossings {
		if c.ID != w.auditor.crossings[0].ID {
			t.Error("one use of a System left several entries")
		}
		entries = append(entries, c.Tenants)
	}
	if diff := cmp.Diff([][]tenant.Code{{code("bravo")}, {code("bravo"), code("alpha")}}, entries, equalCodes); diff != "" {
		t.Error(diff)
	}
}

var equalCodes = cmp.Comparer(func(a, b tenant.Code) bool { return a == b })

// TestAuditorThatFails checks that nothing is reached which the audit log does not say.
func TestAuditorThatFails(t *testing.T) {
	w := newWorld(t)
	down := fault.New(fault.Unavailable, "test", "the log is full")
	for what, c := range map[string]struct {
		ask  ask
		want fault.Code
	}{
		"a record":                      {ask{policy: records, named: codes("bravo")}, fault.Unavailable},
		"a tenant":                      {ask{policy: manage, named: codes("bravo")}, fault.Unavailable},
		"a tenant in the body":          {ask{policy: group, body: new(codes("bravo"))}, fault.Unavailable},
		"an admin's own tenant":         {ask{policy: records}, ""},
		"what is shared":                {ask{policy: shared}, ""},
		"across tenants, until it does": {ask{policy: system}, ""},
	} {
		w.auditor.refuse = down
		got, grant := w.decide(who("system_admin@alpha"), c.ask)
		if got.refused != c.want {
			t.Errorf("%s: %v; want %q", what, got, c.want)
		}
		if c.want != "" && grant.Scope.Check() == nil {
			t.Errorf("%s: refused with a Scope", what)
		}
		w.auditor.refuse = nil
		if got, _ := w.decide(who("system_admin@alpha"), c.ask); got.refused != "" {
			t.Errorf("%s, control: %v", what, got)
		}
	}
	w.auditor.refuse = down
	_, grant := w.decide(who("system_admin"), ask{policy: system})
	if _, err := grant.System.Enter(t.Context(), code("bravo"), founded); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a tenant was entered without an entry: %v", err)
	}
	if err := grant.System.Note(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("all tenants were read without an entry: %v", err)
	}
}

// TestDirectoryThatFails checks that a tenant of which nothing is known is not acted in.
func TestDirectoryThatFails(t *testing.T) {
	w := newWorld(t)
	w.guards[false] = guard.New(guard.Config{Directory: broken{}, Auditor: w.auditor})
	for what, c := range map[string]struct {
		caller caller
		ask    ask
		want   fault.Code
	}{
		"acting":         {who("user@alpha"), ask{policy: records}, fault.Unavailable},
		"named":          {who("system_admin"), ask{policy: records, named: codes("bravo")}, fault.Unavailable},
		"named in body":  {who("system_admin"), ask{policy: me, body: new(codes("bravo"))}, fault.Unavailable},
		"to be managed":  {who("system_admin"), ask{policy: manage, named: codes("bravo")}, ""}, // whether it exists is for the operation to say
		"what is shared": {who("user@common"), ask{policy: shared}, ""},
	} {
		if got, grant := w.decide(c.caller, c.ask); got.refused != c.want || c.want != "" && grant.Scope.Check() == nil {
			t.Errorf("%s: %v; want %q", what, got, c.want)
		}
	}
}

type broken struct{ directory }

func (broken) Lookup(context.Context, tenant.Code) (guard.State, error) {
	return guard.State{Exists: true}, fault.New(fault.Unavailable, "test", "no answer")
}

func TestNeed(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		caller caller
		ask    ask
		roles  []string
		want   bool
	}{
		{who("user@alpha"), ask{policy: records}, nil, true},
		{who("user@alpha"), ask{policy: records}, []string{"admin"}, false},
		{who("user@alpha"), ask{policy: records}, []string{"admin", "user"}, true},
		{who("user@alpha"), ask{policy: records}, []string{"system_admin"}, false},
		{caller{bound: "alpha", roles: []string{"bravo:admin", "alpha:user"}}, ask{policy: records}, []string{"admin"}, false},
		{who("system_admin@alpha"), ask{policy: records}, []string{"admin"}, true},
		{who("system_admin"), ask{policy: records, named: codes("bravo")}, []string{"admin"}, true},
		{who("support@alpha").with("alpha:admin"), ask{policy: records}, []string{"admin"}, true},
		{who("support@alpha").with("alpha:admin"), ask{policy: records, named: codes("bravo")}, []string{"admin"}, false},
		{who("support@alpha").with("alpha:admin"), ask{policy: records, named: codes("bravo")}, []string{"support"}, true},
		{who("admin@alpha"), ask{policy: shared}, []string{"admin"}, true},
		{who("user@alpha"), ask{policy: shared}, []string{"admin"}, false},
	} {
		got, grant := w.decide(c.caller, c.ask)
		if err := grant.Need(c.roles); got.refused != "" || (err == nil) != c.want || err != nil && !errors.Is(err, fault.RoleRequired) {
			t.Errorf("%v, %v: %v, Need(%v) is %v; want %v", c.caller, c.ask, got, c.roles, err, c.want)
		}
	}
}

// TestSystem checks who gets the right to cross tenants.
func TestSystem(t *testing.T) {
	w := newWorld(t)
	g := w.guards[false]
	forged := guard.Actor{Issuer: "x", UserID: "somebody", UserCode: "x", Email: "x", Role: "user", RequestID: "r1", SourceIP: "192.0.2.1", Source: "backup"}
	for _, c := range []caller{who("user@alpha"), who("admin@alpha"), who("support"), who("support@alpha"), who("system_admin").by(narrow), {}} {
		if sys, err := g.System(w.principal(c), forged, "backup"); !errors.Is(err, fault.RoleRequired) || sys.Check() == nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	admin := w.principal(who("system_admin").by(odd))
	if sys, err := g.System(admin, forged, ""); !errors.Is(err, fault.RoleRequired) || sys.Check() == nil {
		t.Errorf("without a reason: %v", err)
	}
	if sys, err := g.System(nil, forged, "backup"); !errors.Is(err, fault.RoleRequired) || sys.Check() == nil {
		t.Errorf("without a principal: %v", err)
	}
	sys, err := g.System(admin, forged, "backup")
	if err != nil {
		t.Fatal(err)
	}
	want := guard.Actor{Issuer: odd, UserID: "u1", UserCode: "code#1", Email: "u1@example.com", Role: "system_admin", RequestID: "r1", SourceIP: "192.0.2.1", Source: "backup"}
	if diff := cmp.Diff(want, sys.Actor()); diff != "" {
		t.Error(diff)
	}
	w.auditor.crossings = nil
	if _, err := sys.Enter(t.Context(), code("bravo"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if len(w.auditor.crossings) != 1 || w.auditor.crossings[0].Reason != "backup" {
		t.Errorf("entries %v", w.auditor.crossings)
	}
}

func TestReserved(t *testing.T) {
	g := newWorld(t).guards[false]
	if !g.Reserved(code("SHARED")) || g.Reserved(code("alpha")) {
		t.Error("a tenant can be created under an alias of common, or none under another code")
	}
}

package tenants_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenants"
)

func (o *office) add(role, group string) (command.Result, error) {
	return o.Tenants().AddTenantGroup(o.t.Context(), worldtest.Scope("acme"), tenants.AddGroup{GroupID: group, Role: role})
}

func (o *office) customize(role string, groups ...string) (command.Result, error) {
	return o.Tenants().CustomizeSettingGroups(o.t.Context(), worldtest.Scope("acme"), tenants.CustomizeGroups{SettingGroups: groups, Role: role})
}

// TestGroups goes through the modes of a role's groups.
func TestGroups(t *testing.T) {
	o := newOffice(t)
	o.Scope("acme")
	const auto, custom = `"setting_groups_mode":"auto"`, `"setting_groups_mode":"customized"`
	setting := func(entries ...string) string { return `{"setting":[` + strings.Join(entries, ",") + `]}` }
	entry := func(role, mode, groups string) string {
		return fmt.Sprintf(`{"groups":[%[1]s],"setting_groups":[%[1]s],%s,"tenantRole":%q}`, groups, mode, role)
	}
	for _, step := range []struct {
		what string
		do   func() (command.Result, error)
		want string // "" is no change
	}{
		{"a role of a tenant without settings is customized", func() (command.Result, error) { return o.customize("company", "1") }, `{"setting":[]}`},
		{"and again", func() (command.Result, error) { return o.customize("company", "1") }, ""},
		{"the first group of a role", func() (command.Result, error) { return o.add("company", "b") }, setting(entry("company", auto, `"b"`))},
		{"alphabetical", func() (command.Result, error) { return o.add("company", "a") }, setting(entry("company", auto, `"a","b"`))},
		{"more segments first", func() (command.Result, error) { return o.add("company", "z#1") }, setting(entry("company", auto, `"z#1","a","b"`))},
		{"and alphabetical among them", func() (command.Result, error) { return o.add("company", "y#1") }, setting(entry("company", auto, `"y#1","z#1","a","b"`))},
		{"three segments before two", func() (command.Result, error) { return o.add("company", "z#1#1") }, setting(entry("company", auto, `"z#1#1","y#1","z#1","a","b"`))},
		{"one that is there", func() (command.Result, error) { return o.add("company", "a") }, ""},
		{"in any letter case of the role", func() (command.Result, error) { return o.add("COMPANY", "a") }, ""},
		{"in the letter case of the group", func() (command.Result, error) { return o.add("company", "A") }, setting(entry("company", auto, `"z#1#1","y#1","z#1","A","a","b"`))},
		{"customized", func() (command.Result, error) { return o.customize("Company", "c", "b#1") }, setting(entry("company", custom, `"c","b#1"`))},
		{"as it is", func() (command.Result, error) { return o.customize("company", "c", "b#1") }, ""},
		{"appended where it is customized", func() (command.Result, error) { return o.add("company", "a#1#1") }, setting(entry("company", custom, `"c","b#1","a#1#1"`))},
		{"one that is there, customized", func() (command.Result, error) { return o.add("company", "c") }, ""},
		{"a role that is not there is customized", func() (command.Result, error) { return o.customize("ghost", "1") }, ""},
		{"another role", func() (command.Result, error) { return o.add("branch", "1") }, setting(entry("company", custom, `"c","b#1","a#1#1"`), entry("branch", auto, `"1"`))},
		{"emptied", func() (command.Result, error) { return o.customize("company") }, setting(entry("company", custom, ""), entry("branch", auto, `"1"`))},
	} {
		before := o.get(own("acme"))
		res, err := step.do()
		if err != nil {
			t.Errorf("%s: %v", step.what, err)
			continue
		}
		want := step.want
		if want == "" {
			want = string(before.Attributes)
		}
		if got := string(o.get(own("acme")).Attributes); got != want || res.Changed != (step.want != "") {
			t.Errorf("%s: changed %v\n got %s\nwant %s", step.what, res.Changed, got, want)
		}
	}
	for role, want := range map[string][]string{"branch": {"1"}, "company": {}, "ghost": nil} {
		if got, err := tenants.GroupsFor(o.get(own("acme")), role); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("groups for %s: %q, %v; want %q", role, got, err, want)
		}
	}
}

// TestGroupsOfOthers checks that what other services keep in a setting survives, and that their roles are ours in any letter case.
func TestGroupsOfOthers(t *testing.T) {
	o := newOffice(t)
	o.Scope("acme")
	attributes := `{"other":1,"setting":[{"groups":["1"],"label":{"ja":"会社"},"n":1e30,"setting_groups":["1"],"setting_groups_mode":"auto","tenantRole":"Company"},{"tenantRole":"Not a role","x":null}]}`
	res, err := o.update("acme", tenants.Update{Attributes: o.attributes(attributes)})
	must(t, res, err)
	res, err = o.add("company", "2#1")
	must(t, res, err)
	want := `{"other":1,"setting":[{"groups":["2#1","1"],"label":{"ja":"会社"},"n":1000000000000000000000000000000,"setting_groups":["2#1","1"],"setting_groups_mode":"auto","tenantRole":"Company"},` +
		`{"tenantRole":"Not a role","x":null}]}`
	if diff := cmp.Diff(o.attributes(want), o.get(own("acme")).Attributes); diff != "" {
		t.Error(diff)
	}
	if res, err := o.customize("ghost", "1"); err != nil || res.Changed {
		t.Errorf("a role that is not there changes the others: %+v, %v", res, err)
	}
	if got, err := tenants.GroupsFor(o.get(own("acme")), "company"); err != nil || !slices.Equal(got, []string{"2#1", "1"}) {
		t.Errorf("groups for company: %q, %v", got, err)
	}
}

func TestGroupsAreRefused(t *testing.T) {
	o := newOffice(t)
	o.Scope("acme")
	long := strings.Repeat("x", 256)
	many := make([]string, 1001)
	for i := range many {
		many[i] = "g"
	}
	for what, do := range map[string]func() (command.Result, error){
		"a cross-tenant role":                     func() (command.Result, error) { return o.add("system_admin", "1") },
		"a cross-tenant role in capitals":         func() (command.Result, error) { return o.add("SYSTEM_ADMIN", "1") },
		"a cross-tenant role of the installation": func() (command.Result, error) { return o.add("support", "1") },
		"a cross-tenant role, customized":         func() (command.Result, error) { return o.customize("support", "1") },
		"no role":                                 func() (command.Result, error) { return o.add("", "1") },
		"what is no role":                         func() (command.Result, error) { return o.add("a role", "1") },
		"no group":                                func() (command.Result, error) { return o.add("company", "") },
		"a long group":                            func() (command.Result, error) { return o.add("company", long) },
		"a group that can't be printed":           func() (command.Result, error) { return o.add("company", "a\n") },
		"an empty group among others":             func() (command.Result, error) { return o.customize("company", "a", "") },
		"too many groups":                         func() (command.Result, error) { return o.customize("company", many...) },
	} {
		_, err := do()
		o.is(what, err, fault.ValidationFailed)
	}
	if rec := o.get(own("acme")); rec.Version != 1 {
		t.Errorf("a refused call changed the tenant: %+v", rec)
	}
	res, err := o.add("company", long[1:])
	must(t, res, err)
	_, err = o.Tenants().AddTenantGroup(t.Context(), guard.Scope{}, tenants.AddGroup{GroupID: "1", Role: "company"})
	o.is("the zero Scope", err, fault.TenantRequired)
	_, err = o.Tenants().AddTenantGroup(t.Context(), worldtest.ReadingCommon(), tenants.AddGroup{GroupID: "1", Role: "company"})
	o.is("a Scope that only reads", err, fault.TenantForbidden)
	res, err = o.delete(own("acme"))
	must(t, res, err)
	_, err = o.add("company", "2")
	o.is("a deleted tenant", err, fault.NotFound)
	_, err = o.customize("company", "2")
	o.is("a deleted tenant, customized", err, fault.NotFound)
}

// TestSettingThatIsNone checks that a setting which another service left in another form is not overwritten.
func TestSettingThatIsNone(t *testing.T) {
	o := newOffice(t)
	sc := o.Scope("acme")
	key, err := record.NewKey(sc, tenants.EntityType(), tenants.Master)
	if err != nil {
		t.Fatal(err)
	}
	res, err := o.Commands().PublishPartialUpdateSync(t.Context(), sc, command.Partial{Key: key, Version: record.VersionLatest, Attributes: o.attributes(`{"setting":{"company":["1"]}}`)})
	must(t, res, err)
	_, err = o.add("company", "2")
	o.is("add", err, fault.ValidationFailed)
	_, err = o.customize("company", "2")
	o.is("customize", err, fault.ValidationFailed)
	_, err = tenants.GroupsFor(o.get(own("acme")), "company")
	o.is("read", err, fault.ValidationFailed)
	name := "Renamed"
	res, err = o.update("acme", tenants.Update{Name: &name})
	must(t, res, err)
}

// TestGroupsSort compares the order of groups added in auto mode with the rule, for random groups in random order.
func TestGroupsSort(t *testing.T) {
	o := newOffice(t)
	o.Scope("acme")
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		role := fmt.Sprintf("role%d", n)
		groups := rapid.SliceOfN(rapid.StringMatching(`[a-cA-C0-9é](#[a-c0-9]){0,3}`), 1, 6).Draw(t, "groups")
		for _, g := range groups {
			if _, err := o.add(role, g); err != nil {
				t.Fatal(err)
			}
		}
		got, err := tenants.GroupsFor(o.get(own("acme")), role)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got[1:] {
			a, b := got[i], got[i+1]
			if deeper := strings.Count(a, "#") - strings.Count(b, "#"); deeper < 0 || deeper == 0 && a >= b {
				t.Fatalf("%q comes before %q in %q", a, b, got)
			}
		}
		slices.Sort(groups)
		if want := slices.Compact(groups); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Fatalf("%q; added were %q", got, want)
		}
	})
}

// TestTenantsInside checks tenants inside a group: records of it, unique in it, and nothing else.
func TestTenantsInside(t *testing.T) {
	o := newOffice(t)
	inside := func(group, code string) (command.Result, error) {
		return o.Tenants().CreateTenantGroup(t.Context(), o.Scope(group), tenants.Create{Code: worldtest.Code(code), Name: "Dept", Attributes: o.attributes(`{"floor":3}`)})
	}
	res, err := inside("acme", "dept")
	if must(t, res, err); res.Record.PK != "TENANT#acme" || res.Record.SK != "dept" || res.Record.Code != "dept" || res.Record.Type != "TENANT" || res.Record.TenantCode != "acme" || res.Record.Version != 1 {
		t.Errorf("%+v", res.Record)
	}
	_, err = inside("acme", "dept")
	o.is("twice in one group", err, fault.AlreadyExists)
	if e := fault.As(err); e == nil || !strings.Contains(e.Msg, "dept") || !strings.Contains(e.Msg, "acme") {
		t.Errorf("the message names neither tenant nor group: %v", err)
	}
	res, err = inside("beta", "dept")
	must(t, res, err)
	if state, err := o.Tenants().State(t.Context(), worldtest.Code("dept")); err != nil || state.Exists {
		t.Errorf("a tenant inside a group is an acting tenant: %+v, %v", state, err)
	}
	res, err = o.create("dept", "")
	must(t, res, err)
	for _, code := range []string{"common", "master", "single", "null"} {
		_, err := inside("acme", code)
		o.is(code, err, fault.InvalidKey)
	}
	_, err = o.Tenants().CreateTenantGroup(t.Context(), worldtest.Scope("nobody"), tenants.Create{Code: worldtest.Code("dept"), Name: "x"})
	o.is("a group that is no tenant", err, fault.NotFound)
	_, err = o.Tenants().CreateTenantGroup(t.Context(), o.Scope("acme"), tenants.Create{Name: "x"})
	o.is("no code", err, fault.InvalidKey)
	_, err = o.Tenants().CreateTenantGroup(t.Context(), o.Scope("acme"), tenants.Create{Code: worldtest.Code("beta")})
	o.is("no name", err, fault.ValidationFailed)

	ref := tenants.Ref{Tenant: worldtest.Code("acme"), Inside: "dept"}
	name := "Renamed"
	res, err = o.Tenants().UpdateTenant(t.Context(), o.System("test"), ref, tenants.Update{Name: &name})
	if must(t, res, err); res.Record.Name != name || string(res.Record.Attributes) != `{"floor":3}` {
		t.Errorf("%+v", res.Record)
	}
	if rec := o.get(own("acme")); rec.Version != 1 {
		t.Errorf("the group's own record changed: %+v", rec)
	}
	res, err = o.delete(ref)
	must(t, res, err)
	_, err = o.delete(ref)
	o.is("delete again", err, fault.NotFound)
	if rec := o.get(ref); !rec.IsDeleted || rec.Version != 3 {
		t.Errorf("%+v", rec)
	}
	if res, err := inside("acme", "dept"); err != nil || res.Record.Version != 4 || !res.Created {
		t.Errorf("created again: %+v, %v", res, err)
	}
	res, err = o.delete(own("acme"))
	must(t, res, err)
	_, err = o.Tenants().CreateTenantGroup(t.Context(), worldtest.Scope("acme"), tenants.Create{Code: worldtest.Code("other"), Name: "x"})
	o.is("a deleted group", err, fault.NotFound)
}

package tenants_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenants"
)

// office is where tenants are managed: an App with aliases of common and a cross-tenant role of its own.
type office struct {
	*tenantrytest.App
	t *testing.T
}

func newOffice(t *testing.T) *office {
	t.Helper()
	cross, err := auth.ParseCrossTenantRoles("support")
	if err != nil {
		t.Fatal(err)
	}
	return &office{t: t, App: tenantrytest.New(t, tenantry.Config{CommonTenantCodes: []tenant.Code{worldtest.Code("shared")}, CrossTenantRoles: cross})}
}

func (o *office) attributes(text string) record.Attributes {
	o.t.Helper()
	if text == "" {
		return nil
	}
	a, err := record.ParseAttributes([]byte(text))
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

func (o *office) create(code, attributes string) (command.Result, error) {
	return o.Tenants().CreateTenant(o.t.Context(), o.System("test"), tenants.Create{Code: worldtest.Code(code), Name: "Name", Attributes: o.attributes(attributes)})
}

func (o *office) update(code string, in tenants.Update) (command.Result, error) {
	return o.Tenants().UpdateTenant(o.t.Context(), o.System("test"), own(code), in)
}

func (o *office) delete(ref tenants.Ref) (command.Result, error) {
	return o.Tenants().DeleteTenant(o.t.Context(), o.System("test"), ref)
}

func (o *office) get(ref tenants.Ref) *record.Record {
	o.t.Helper()
	rec, err := o.Tenants().GetTenant(o.t.Context(), worldtest.Scope(ref.Tenant.String()), ref)
	if err != nil {
		o.t.Fatal(err)
	}
	return rec
}

func own(code string) tenants.Ref { return tenants.Ref{Tenant: worldtest.Code(code)} }

// is fails the test unless err has the code; "" is no error.
func (o *office) is(what string, err error, want fault.Code) {
	o.t.Helper()
	if e := fault.As(err); err == nil && want != "" || err != nil && (e == nil || e.Code != want) {
		o.t.Errorf("%s: %v; want %q", what, err, want)
	}
}

func TestCreate(t *testing.T) {
	o := newOffice(t)
	res, err := o.create("acme", `{"plan":"gold"}`)
	must(t, res, err)
	if !res.Created || !res.Changed || res.Record.PK != "TENANT#acme" || res.Record.SK != "MASTER" || res.Record.Code != "MASTER" || res.Record.Type != "acme" || res.Record.TenantCode != "acme" || res.Record.Version != 1 {
		t.Errorf("%+v", res)
	}
	if diff := cmp.Diff(res.Record, o.get(own("acme")), cmp.AllowUnexported(record.Time{})); diff != "" {
		t.Error(diff)
	}
	_, err = o.create("acme", "")
	o.is("again", err, fault.AlreadyExists)
	if e := fault.As(err); e == nil || !strings.Contains(e.Msg, "acme") {
		t.Errorf("the message doesn't name the tenant: %v", err)
	}
	for _, code := range []string{"common", "single", "system", "master", "admin", "all", "null", "undefined", "shared"} {
		_, err := o.create(code, "")
		o.is(code, err, fault.InvalidKey)
	}
	_, err = o.Tenants().CreateTenant(t.Context(), o.System("test"), tenants.Create{Name: "No code"})
	o.is("no code", err, fault.InvalidKey)
	_, err = o.Tenants().CreateTenant(t.Context(), o.System("test"), tenants.Create{Code: worldtest.Code("nameless")})
	o.is("no name", err, fault.ValidationFailed)
	_, err = o.Tenants().CreateTenant(t.Context(), guard.System{}, tenants.Create{Code: worldtest.Code("beta"), Name: "Beta"})
	o.is("without the right", err, fault.RoleRequired)
}

func TestCreateCommon(t *testing.T) {
	o := newOffice(t)
	create := func() (command.Result, error) {
		return o.Tenants().CreateCommonTenant(t.Context(), o.System("test"), tenants.Create{Code: worldtest.Code("acme"), Name: "Common"})
	}
	res, err := create()
	if must(t, res, err); res.Record.PK != "TENANT#common" || res.Record.Type != "common" {
		t.Errorf("%+v", res.Record)
	}
	_, err = create()
	o.is("again", err, fault.AlreadyExists)
	if _, err := o.delete(own("common")); err != nil {
		t.Fatal(err)
	}
	if state, err := o.Tenants().State(t.Context(), tenant.Common()); err != nil || !state.Exists {
		t.Errorf("common always exists: %+v, %v", state, err)
	}
}

// TestRoundTrip creates, deletes and creates again: versions go on, the earlier life's provenance and attributes don't.
func TestRoundTrip(t *testing.T) {
	o := newOffice(t)
	res, err := o.create("acme", `{"plan":"gold"}`)
	must(t, res, err)
	born := o.Clock.Now()
	o.Clock.Advance(time.Hour)
	name := "Renamed"
	res, err = o.update("acme", tenants.Update{Name: &name, Attributes: o.attributes(`{"limits":{"a":1}}`)})
	if must(t, res, err); string(res.Record.Attributes) != `{"limits":{"a":1},"plan":"gold"}` || res.Record.Name != name || res.Created {
		t.Errorf("%+v", res.Record)
	}
	if res.Record.CreatedAt != record.At(born) || res.Record.UpdatedAt != record.At(o.Clock.Now()) {
		t.Errorf("created %v, updated %v", res.Record.CreatedAt, res.Record.UpdatedAt)
	}
	if res, err := o.update("acme", tenants.Update{Name: &name, Attributes: o.attributes(`{"plan":"gold"}`)}); err != nil || res.Changed || res.Record.Version != 2 {
		t.Errorf("an update that changes nothing: %+v, %v", res, err)
	}
	res, err = o.delete(own("acme"))
	if must(t, res, err); !res.Record.IsDeleted || res.Record.Version != 3 || res.Record.Name != name {
		t.Errorf("%+v", res.Record)
	}
	_, err = o.delete(own("acme"))
	o.is("delete again", err, fault.NotFound)
	_, err = o.update("acme", tenants.Update{Name: &name})
	o.is("update what is deleted", err, fault.NotFound)
	if rec := o.get(own("acme")); !rec.IsDeleted {
		t.Error("a deleted tenant's record is not answered as deleted")
	}
	o.Clock.Advance(time.Hour)
	res, err = o.create("acme", `{"gen":2}`)
	if must(t, res, err); !res.Created || res.Record.Version != 4 || res.Record.IsDeleted || string(res.Record.Attributes) != `{"gen":2}` {
		t.Errorf("%+v", res.Record)
	}
	state, err := o.Tenants().State(t.Context(), worldtest.Code("acme"))
	if want := (guard.State{Exists: true, Born: o.Clock.Now().UTC()}); err != nil || !state.Born.Equal(want.Born) || state.Suspended || !state.Exists {
		t.Errorf("state %+v, %v; want %+v", state, err, want)
	}
}

func TestMissingTenants(t *testing.T) {
	o := newOffice(t)
	name := "x"
	_, err := o.update("nobody", tenants.Update{Name: &name})
	o.is("update", err, fault.NotFound)
	_, err = o.delete(own("nobody"))
	o.is("delete", err, fault.NotFound)
	_, err = o.Tenants().Suspend(t.Context(), o.System("test"), worldtest.Code("nobody"), "x", o.Clock.Now())
	o.is("suspend", err, fault.NotFound)
	_, err = o.Tenants().Resume(t.Context(), o.System("test"), worldtest.Code("nobody"))
	o.is("resume", err, fault.NotFound)
	_, err = o.Tenants().GetTenant(t.Context(), worldtest.Scope("nobody"), own("nobody"))
	o.is("get", err, fault.NotFound)
	_, err = o.Tenants().GetTenant(t.Context(), o.Scope("acme"), own("nobody"))
	o.is("get another tenant's", err, fault.NotFound)
	_, err = o.Tenants().GetTenant(t.Context(), guard.Scope{}, own("acme"))
	o.is("get without a scope", err, fault.TenantRequired)
	if state, err := o.Tenants().State(t.Context(), worldtest.Code("nobody")); err != nil || state != (guard.State{}) {
		t.Errorf("state %+v, %v", state, err)
	}
}

// TestNotPurged checks that a code is free for a new tenant only when nothing of the former one can be read in it.
func TestNotPurged(t *testing.T) {
	for what, leave := range map[string]func(o *office, sc guard.Scope) error{
		"a record": func(o *office, sc guard.Scope) error {
			return o.publish(sc, "PRODUCT", "1", false)
		},
		"a deleted record, which has its history": func(o *office, sc guard.Scope) error {
			return errors.Join(o.publish(sc, "PRODUCT", "1", false), o.publish(sc, "PRODUCT", "1", true))
		},
		"a record whose type comes after its own": func(o *office, sc guard.Scope) error {
			return o.publish(sc, "ZEBRA", "1", false)
		},
		"a tenant inside": func(o *office, sc guard.Scope) error {
			_, err := o.Tenants().CreateTenantGroup(o.t.Context(), sc, tenants.Create{Code: worldtest.Code("dept"), Name: "Dept"})
			return err
		},
		"a deleted tenant inside": func(o *office, sc guard.Scope) error {
			_, err := o.Tenants().CreateTenantGroup(o.t.Context(), sc, tenants.Create{Code: worldtest.Code("dept"), Name: "Dept"})
			_, deleted := o.delete(tenants.Ref{Tenant: sc.Tenant(), Inside: "dept"})
			return errors.Join(err, deleted)
		},
	} {
		t.Run(what, func(t *testing.T) {
			o := newOffice(t)
			if err := leave(o, o.Scope("acme")); err != nil {
				t.Fatal(err)
			}
			if _, err := o.delete(own("acme")); err != nil {
				t.Fatal(err)
			}
			_, err := o.create("acme", "")
			o.is("create again", err, fault.TenantNotPurged)
			if rec := o.get(own("acme")); !rec.IsDeleted || rec.Version != 2 {
				t.Errorf("the refused create left %+v", rec)
			}
		})
	}
	o := newOffice(t)
	o.Scope("acme")
	for range 3 { // entries in the audit log are not what keeps a code
		if _, err := o.delete(own("acme")); err != nil {
			t.Fatal(err)
		}
		if _, err := o.create("acme", ""); err != nil {
			t.Fatal(err)
		}
	}
}

func (o *office) publish(sc guard.Scope, entityType, sk string, deleted bool) error {
	key, err := record.NewKey(sc, record.MustEntityType(entityType), sk)
	if err != nil {
		return err
	}
	_, err = o.Commands().PublishSync(o.t.Context(), sc, command.Input{Key: key, Version: record.VersionLatest, IsDeleted: deleted})
	return err
}

func TestDescription(t *testing.T) {
	o := newOffice(t)
	text := func(s string) *string { return &s }
	create := func(code string, description *string, attributes string) (string, error) {
		res, err := o.Tenants().CreateTenant(t.Context(), o.System("test"), tenants.Create{Code: worldtest.Code(code), Name: "x", Description: description, Attributes: o.attributes(attributes)})
		if err != nil {
			return "", err
		}
		return string(res.Record.Attributes), nil
	}
	for i, c := range []struct {
		description *string
		attributes  string
		want        string
		refused     fault.Code
	}{
		{nil, "", "", ""},
		{text("d"), "", `{"description":"d"}`, ""},
		{text(""), "", `{"description":""}`, ""},
		{nil, `{"description":"d"}`, `{"description":"d"}`, ""},
		{text("d"), `{"description":"d","z":1}`, `{"description":"d","z":1}`, ""},
		{text("d"), `{"description":"\u0064"}`, `{"description":"d"}`, ""},
		{text("d"), `{"description":"e"}`, "", fault.InvalidRequest},
		{text("d"), `{"description":null}`, "", fault.InvalidRequest},
	} {
		code := "t" + string(rune('a'+i))
		got, err := create(code, c.description, c.attributes)
		o.is(code, err, c.refused)
		if got != c.want {
			t.Errorf("%s: attributes %s; want %s", code, got, c.want)
		}
	}
	res, err := o.update("tb", tenants.Update{Description: text("new")})
	if must(t, res, err); string(res.Record.Attributes) != `{"description":"new"}` || res.Record.Name != "x" {
		t.Errorf("%+v", res.Record)
	}
	_, err = o.update("tb", tenants.Update{Description: text("a"), Attributes: o.attributes(`{"description":"b"}`)})
	o.is("an update that says two things", err, fault.InvalidRequest)
}

// TestWhatIsNotTheCallers checks members that a caller can't write.
func TestWhatIsNotTheCallers(t *testing.T) {
	o := newOffice(t)
	o.Scope("acme")
	for _, attributes := range []string{
		`{"suspended":{}}`, `{"suspended":null}`, `{"\u0073uspended":false}`,
		`{"setting":"x"}`, `{"setting":{}}`, `{"setting":[1]}`,
		`{"setting":[{"tenantRole":"company"},{"tenantRole":"system_admin"}]}`, `{"setting":[{"tenantRole":"SUPPORT","groups":["1"]}]}`,
	} {
		_, err := o.create("beta", attributes)
		o.is("create with "+attributes, err, fault.ValidationFailed)
		_, err = o.update("acme", tenants.Update{Attributes: record.Attributes(attributes)})
		o.is("update with "+attributes, err, fault.ValidationFailed)
		_, err = o.Tenants().CreateTenantGroup(t.Context(), o.Scope("acme"), tenants.Create{Code: worldtest.Code("dept"), Name: "x", Attributes: record.Attributes(attributes)})
		o.is("create inside with "+attributes, err, fault.ValidationFailed)
	}
	for _, attributes := range []string{`{"setting":null}`, `{"setting":[]}`, `{"setting":[{"tenantRole":"company","groups":["1"]},{"tenantRole":"Not a role"}]}`, `{"suspension":1}`} {
		_, err := o.update("acme", tenants.Update{Attributes: o.attributes(attributes)})
		o.is("update with "+attributes, err, "")
	}
	empty := ""
	_, err := o.update("acme", tenants.Update{Name: &empty})
	o.is("update to no name", err, fault.ValidationFailed)
	_, err = o.update("acme", tenants.Update{Attributes: record.Attributes(`{"a":1,`)})
	o.is("update with what is no JSON", err, fault.InvalidRequest)
}

func TestSuspension(t *testing.T) {
	o := newOffice(t)
	o.Scope("acme")
	code := worldtest.Code("acme")
	suspend := func(reason string) command.Result {
		res, err := o.Tenants().Suspend(t.Context(), o.System("test"), code, reason, o.Clock.Now())
		return must(t, res, err)
	}
	suspended := func() bool {
		state, err := o.Tenants().State(t.Context(), code)
		if err != nil || !state.Exists {
			t.Fatalf("state %+v, %v", state, err)
		}
		return state.Suspended
	}
	if suspended() {
		t.Fatal("suspended from the beginning")
	}
	first := suspend("unpaid")
	var kept struct {
		Suspended struct {
			Reason string      `json:"reason"`
			By     string      `json:"by"`
			At     record.Time `json:"at"`
		} `json:"suspended"`
	}
	if err := first.Record.Attributes.Decode(&kept); err != nil {
		t.Fatal(err)
	}
	if s := kept.Suspended; s.Reason != "unpaid" || s.By != "tester" || s.At != record.At(o.Clock.Now()) || !suspended() {
		t.Errorf("%+v, suspended %v", s, suspended())
	}
	o.Clock.Advance(time.Minute)
	if again := suspend("another reason"); again.Changed {
		t.Error("suspending a suspended tenant changes something")
	}
	name := "Renamed"
	if res, err := o.update("acme", tenants.Update{Name: &name}); err != nil || !res.Changed || !suspended() {
		t.Errorf("an update of a suspended tenant: %v, suspended %v", err, suspended())
	}
	res, err := o.Tenants().Resume(t.Context(), o.System("test"), code)
	if must(t, res, err); !res.Changed || suspended() || res.Record.Attributes.Member("suspended") != nil {
		t.Errorf("resumed: %+v, suspended %v", res.Record, suspended())
	}
	if res, err := o.Tenants().Resume(t.Context(), o.System("test"), code); err != nil || res.Changed {
		t.Errorf("resuming an active tenant: %+v, %v", res, err)
	}
	suspend("again")
	if _, err := o.delete(own("acme")); err != nil {
		t.Fatal(err)
	}
	if _, err := o.create("acme", ""); err != nil || suspended() {
		t.Errorf("a new tenant under the code: %v, suspended %v", err, suspended())
	}
	_, err = o.Tenants().Suspend(t.Context(), o.System("test"), tenant.Common(), "x", o.Clock.Now())
	o.is("suspend common", err, fault.InvalidRequest)
	_, err = o.Tenants().Suspend(t.Context(), guard.System{}, code, "x", o.Clock.Now())
	o.is("suspend without the right", err, fault.RoleRequired)
}

func TestParseRef(t *testing.T) {
	for _, c := range []struct {
		pk, sk string
		want   tenants.Ref
		found  bool
	}{
		{"TENANT#acme", "MASTER", own("acme"), true},
		{"TENANT#ACME", "MASTER", own("acme"), true},
		{"TENANT#acme", "dept", tenants.Ref{Tenant: worldtest.Code("acme"), Inside: "dept"}, true},
		{"TENANT#acme", "Dept", tenants.Ref{}, false},
		{"TENANT#acme", "master@1", tenants.Ref{}, false},
		{"TENANT#acme", "MASTER@1", tenants.Ref{}, false},
		{"TENANT#acme", "", tenants.Ref{}, false},
		{"TENANT#acme#x", "MASTER", tenants.Ref{}, false},
		{"PRODUCT#acme", "MASTER", tenants.Ref{}, false},
		{"USER_TENANT#common", "acme", tenants.Ref{}, false},
		{"TENANT", "MASTER", tenants.Ref{}, false},
		{"TENANT#", "MASTER", tenants.Ref{}, false},
	} {
		got, err := tenants.ParseRef(c.pk, c.sk)
		if got != c.want || (err == nil) != c.found || err != nil && !errors.Is(err, fault.NotFound) {
			t.Errorf("%s / %s: %+v, %v", c.pk, c.sk, got, err)
		}
	}
}

// TestCrossingsAreAudited checks that managing a tenant leaves an entry that names it, a refused attempt included.
func TestCrossingsAreAudited(t *testing.T) {
	o := newOffice(t)
	name := "x"
	for what, do := range map[string]func(guard.System) error{
		"create": func(sys guard.System) error {
			_, err := o.Tenants().CreateTenant(t.Context(), sys, tenants.Create{Code: worldtest.Code("acme"), Name: "x"})
			return err
		},
		"update": func(sys guard.System) error {
			_, err := o.Tenants().UpdateTenant(t.Context(), sys, own("acme"), tenants.Update{Name: &name})
			return err
		},
		"delete": func(sys guard.System) error {
			_, err := o.Tenants().DeleteTenant(t.Context(), sys, own("acme"))
			return err
		},
	} {
		do(o.System(what)) // whether it succeeds depends on the order
		page, err := o.Audit().List(t.Context(), worldtest.Scope("common"), 1, "")
		if err != nil || len(page.Items) != 1 || page.Items[0].Reason != what || cmp.Diff([]string{"acme"}, page.Items[0].Tenants) != "" {
			t.Errorf("%s: %+v, %v", what, page.Items, err)
		}
	}
}

package tenants_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenants"
)

// recorded is a call of another framework's service and what came of it: see testdata/golden/README.md.
type recorded struct {
	N         int
	Name      string
	Service   string
	Method    string
	Input     []json.RawMessage
	Returned  map[string]any
	Error     *struct{ Name string }
	Claims    map[string]string
	SourceIP  string
	RequestID string
}

func golden[T any](t *testing.T, name string) (all []T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	if err := dec.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// difference is how a call ends here where it was recorded to end otherwise.
type difference struct {
	code      fault.Code           // the error; "" for none
	versions  *fault.Versions      // with VersionConflict
	unchanged bool                 // nothing is written, the record is answered
	accepted  bool                 // recorded as an error
	edit      func(map[string]any) // changes what was recorded into what comes
}

var differences = map[int]difference{
	2: {code: fault.AlreadyExists},
	3: {code: fault.AlreadyExists},
	7: {edit: func(m map[string]any) {
		m["pk"], m["id"], m["tenantCode"], m["type"] = "TENANT#mixedcase", "TENANT#mixedcase#MASTER", "mixedcase", "mixedcase"
	}},
	8:  {code: fault.AlreadyExists},
	9:  {code: fault.RoleRequired}, // then a system admin does it, because later calls build on it
	10: {edit: func(m map[string]any) { m["name"] = "Gamma" }},
	12: {unchanged: true},
	13: {code: fault.NotFound},
	15: {code: fault.NotFound},
	16: {code: fault.NotFound},
	18: {code: fault.NotFound},
	19: {edit: func(m map[string]any) { m["createdAt"], m["updatedAt"], m["csk"] = at(4), at(9), "MASTER@2" }},
	20: {code: fault.NotFound},
	24: {unchanged: true},
	28: {unchanged: true},
	29: {edit: func(m map[string]any) { m["name"] = "Gamma" }}, // which call 10 erased there
	30: {edit: func(m map[string]any) { m["name"] = "Gamma" }},
	31: {code: fault.NotFound},
	32: {code: fault.NotFound},
	34: {code: fault.AlreadyExists},
	37: {unchanged: true},
	38: {unchanged: true},
	45: {code: fault.VersionConflict, versions: &fault.Versions{Expected: 2, Actual: 5}},
	46: {code: fault.VersionConflict, versions: &fault.Versions{Expected: 9, Actual: 5}},
	47: {code: fault.VersionConflict, versions: &fault.Versions{Expected: 3, Actual: 0}},
	50: {unchanged: true},
	51: {unchanged: true},
	55: {code: fault.VersionConflict, versions: &fault.Versions{Expected: 1, Actual: 4}},
	56: {accepted: true},
	57: {code: fault.NotFound},
	61: {edit: func(m map[string]any) { m["ttl"] = json.Number("1800000000") }},
}

// at returns the recording's clock at call n, as the wire has it.
func at(n int) string { return clockAt(n).Format("2006-01-02T15:04:05.000Z") }

func clockAt(n int) time.Time {
	return time.Date(2026, 1, 15, 9, 0, n, 123_000_000, time.UTC)
}

// replay is the state of a replay beside the application.
type replay struct {
	*tenantrytest.App
	t       *testing.T
	clock   *worldtest.Clock
	skipped map[string]int64          // by record: how many recorded commands were not written here
	birth   map[string]map[string]any // by record: created… of its life
}

// id names the record that a call is about, "" where that is told by its result only.
func (c *recorded) id() string {
	var key struct{ PK, SK string }
	if c.Service == "commandService" || c.Method == "updateTenant" || c.Method == "deleteTenant" {
		if err := json.Unmarshal(c.Input[0], &key); err != nil {
			panic(err)
		}
	}
	return key.PK + "#" + key.SK
}

// TestGoldenOperations replays the recorded calls under their claims and compares what comes back with what was recorded.
func TestGoldenOperations(t *testing.T) {
	clock := worldtest.NewClock(clockAt(0))
	r := &replay{t: t, clock: clock, skipped: map[string]int64{}, birth: map[string]map[string]any{},
		App: tenantrytest.New(t, tenantry.Config{Store: memory.New(), Now: clock.Now})}
	calls := golden[recorded](t, "operations.json")
	if len(calls) != 60 {
		t.Fatalf("%d calls", len(calls))
	}
	seen := map[int]bool{}
	for _, c := range calls {
		seen[c.N] = true
		clock.Set(clockAt(c.N))
		t.Run(fmt.Sprintf("%d %s", c.N, c.Name), func(t *testing.T) { r.call(t, &c) })
	}
	for n := range differences {
		if !seen[n] {
			t.Errorf("there is no call %d", n)
		}
	}
}

func (r *replay) call(t *testing.T, c *recorded) {
	d := differences[c.N]
	res, err := r.perform(t, c)
	if d.code == fault.RoleRequired && errors.Is(err, fault.RoleRequired) {
		c.Claims["custom:roles"] = `[{"tenant":"","role":"system_admin"}]`
		res, err = r.perform(t, c)
		d.code = ""
	}
	if err != nil || d.code != "" {
		e := fault.As(err)
		if e == nil || e.Code != d.code || cmp.Diff(d.versions, e.Versions) != "" {
			t.Fatalf("%v; want %q, %+v", err, d.code, d.versions)
		}
		if d.code == fault.AlreadyExists && !strings.Contains(e.Msg, map[int]string{2: "common", 3: "common", 8: "acme", 34: "department-a"}[c.N]) {
			t.Errorf("the message doesn't name the tenant: %s", e.Msg)
		}
		if c.Returned != nil { // it had an effect there
			r.skipped[c.id()]++
		}
		return
	}
	if d.unchanged {
		if res.Changed || res.Command != nil || res.Record == nil {
			t.Errorf("it changes something: %+v", res)
		}
		if c.Returned != nil {
			r.skipped[c.id()]++
		}
		return
	}
	if d.accepted {
		r.skipped[c.id()]--
		if !res.Changed {
			t.Errorf("%+v", res)
		}
		return
	}
	if c.Error != nil || c.Returned == nil {
		t.Fatalf("it was recorded to fail, and gave %+v", res)
	}
	got, want := r.wire(t, c, res), r.expected(t, c, res, d)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want, got: %s", diff)
	}
}

// wire returns what came back as a client sees it, without what the recording has no name for.
func (r *replay) wire(t *testing.T, c *recorded, res command.Result) map[string]any {
	text := record.AppendJSON(nil, res.Record, record.Data)
	if c.Method != "getTenant" {
		text = record.AppendJSON(nil, res.Command, record.Command)
	}
	m := decode(t, string(text))
	delete(m, "source")
	return m
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	m := map[string]any{}
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// expected returns what was recorded with the differences that every call has, and then those of this one.
func (r *replay) expected(t *testing.T, c *recorded, res command.Result, d difference) map[string]any {
	m := maps.Clone(c.Returned)
	id := res.Record.ID()
	version := res.Record.Version
	if recordedVersion := m["version"].(json.Number); recordedVersion.String() != fmt.Sprint(version+r.skipped[id]) {
		t.Errorf("version %d; recorded %s, of which %d were not written here", version, recordedVersion, r.skipped[id])
	}
	m["version"] = json.Number(fmt.Sprint(version))
	if m["isDeleted"] == nil {
		m["isDeleted"] = false
	}
	if attributes, _ := m["attributes"].(map[string]any); len(attributes) == 0 {
		delete(m, "attributes")
	} else {
		m["attributes"] = canonical(t, attributes)
	}
	if c.Method != "getTenant" {
		delete(m, "cpk")
		delete(m, "csk")
		m["sk"] = record.VersionedSK(res.Record.SK, version)
		m["status"], m["syncMode"] = record.StatusFinished, record.SyncModeSync
		by := map[string]any{"At": at(c.N), "By": c.Claims["sub"], "Ip": c.SourceIP}
		if res.Created {
			r.birth[id] = by
		}
		for what, value := range by {
			m["updated"+what], m["created"+what] = value, r.birth[id][what]
		}
		m["requestId"] = c.RequestID
	}
	if d.edit != nil {
		d.edit(m)
	}
	return m
}

// canonical returns attributes with their numbers as they are written here: 1e-07 is 1e-7.
func canonical(t *testing.T, attributes map[string]any) map[string]any {
	text, err := json.Marshal(attributes)
	if err != nil {
		t.Fatal(err)
	}
	a, err := record.ParseAttributes(text)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(a))
}

// input is the union of what the recorded methods take.
type input struct {
	PK, SK, Code, Name, Type, TenantCode, GroupID, Role string
	SettingGroups                                       []string
	Attributes                                          json.RawMessage
	Version                                             int64
	IsDeleted                                           *bool
	Seq                                                 json.Number
	TTL                                                 int64

	has map[string]any
}

func (in input) name() *string {
	if _, there := in.has["name"]; there {
		return &in.Name
	}
	return nil
}

// perform makes a call under its claims: a token is issued and verified, and the guard decides.
func (r *replay) perform(t *testing.T, c *recorded) (res command.Result, err error) {
	var group string
	ins := make([]input, len(c.Input))
	merged := input{has: map[string]any{}}
	for i, raw := range c.Input {
		if json.Unmarshal(raw, &group) == nil {
			continue
		}
		for _, into := range []any{&ins[i], &merged, &merged.has} {
			if err := json.Unmarshal(raw, into); err != nil {
				t.Fatal(err)
			}
		}
	}
	in := merged
	var attributes record.Attributes
	if in.Attributes != nil {
		if attributes, err = record.ParseAttributes(in.Attributes); err != nil {
			t.Fatal(err)
		}
	}
	ask := guard.Request{Principal: r.principal(t, c.Claims), Actor: guard.Actor{RequestID: c.RequestID, SourceIP: c.SourceIP}, Policy: guard.Policy{Reach: guard.Tenant}}
	if c.Service == "tenantService" {
		ask.Policy = r.policy(t, c.Method)
	}
	if in.PK != "" {
		ask.Mentions.PKs = []string{in.PK}
	}
	if group != "" {
		ask.Mentions.Codes = []string{group}
	}
	ctx := t.Context()
	grant, err := r.Guard().Admit(ctx, &ask)
	if err != nil {
		return res, err
	}
	if in.TenantCode != "" {
		if err := grant.Body(ctx, guard.Mentions{Codes: []string{in.TenantCode}}); err != nil {
			return res, err
		}
	}
	service := r.Tenants()
	ref, refErr := tenants.ParseRef(in.PK, in.SK)
	create := tenants.Create{Name: in.Name, Attributes: attributes}
	if in.Code != "" && c.Service == "tenantService" {
		if create.Code, err = tenant.Parse(in.Code); err != nil {
			t.Fatal(err)
		}
	}
	switch c.Method {
	case "createCommonTenant":
		return service.CreateCommonTenant(ctx, grant.System, create)
	case "createTenant":
		return service.CreateTenant(ctx, grant.System, create)
	case "updateTenant":
		return service.UpdateTenant(ctx, grant.System, ref, tenants.Update{Name: in.name(), Attributes: attributes})
	case "deleteTenant":
		return service.DeleteTenant(ctx, grant.System, ref)
	case "getTenant":
		res.Record, err = service.GetTenant(ctx, grant.Scope, ref)
		return res, errors.Join(err, refErr)
	case "addTenantGroup":
		return service.AddTenantGroup(ctx, grant.Scope, tenants.AddGroup{GroupID: in.GroupID, Role: in.Role})
	case "customizeSettingGroups":
		return service.CustomizeSettingGroups(ctx, grant.Scope, tenants.CustomizeGroups{SettingGroups: in.SettingGroups, Role: in.Role})
	case "createTenantGroup":
		return service.CreateTenantGroup(ctx, grant.Scope, create)
	}
	key, err := record.ParseKey(grant.Scope, in.PK, in.SK)
	if err != nil {
		return res, err
	}
	if in.Version > 0 && differences[c.N].versions == nil {
		in.Version -= r.skipped[c.id()] // the version that the recording means
	}
	switch c.Method {
	case "publishSync":
		return r.Commands().PublishSync(ctx, grant.Scope, command.Input{Key: key, Version: in.Version, Code: in.Code, Name: in.Name, Type: in.Type,
			IsDeleted: in.IsDeleted != nil && *in.IsDeleted, Seq: in.Seq.String(), TTL: in.TTL, Attributes: attributes})
	case "publishPartialUpdateSync":
		return r.Commands().PublishPartialUpdateSync(ctx, grant.Scope, command.Partial{Key: key, Version: in.Version, Name: in.name(), IsDeleted: in.IsDeleted, Attributes: attributes})
	}
	t.Fatalf("%s is not replayed", c.Method)
	return res, nil
}

// policy returns the policy that the route of a method declares.
func (r *replay) policy(t *testing.T, method string) guard.Policy {
	for _, op := range r.Operations() {
		if op.ID == method {
			return op.Policy
		}
	}
	t.Fatalf("there is no operation %s", method)
	return guard.Policy{}
}

func (r *replay) principal(t *testing.T, recorded map[string]string) *auth.Principal {
	claims := auth.Claims{Subject: recorded["sub"], Tenant: worldtest.Code(recorded["custom:tenant"])}
	var roles []struct{ Tenant, Role string }
	if err := json.Unmarshal([]byte(recorded["custom:roles"]), &roles); err != nil {
		t.Fatal(err)
	}
	for _, role := range roles {
		granted := auth.RoleGrant{Role: role.Role}
		if role.Tenant != "" {
			granted.Tenant = worldtest.Code(role.Tenant)
		}
		claims.Roles = append(claims.Roles, granted)
	}
	p, err := r.Verifier().Verify(t.Context(), r.Token(claims))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

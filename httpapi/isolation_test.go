package httpapi_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/jobs"
)

// TestIsolation sweeps every operation of the API's description: without a token, with a forged and with an expired one, with the
// tokens of another tenant and the parameters of the victim's real objects, and with the right ones. A new operation is covered
// without a word here, unless it has a parameter whose meaning hints doesn't know: then the test fails until it does.
func TestIsolation(t *testing.T) {
	world := func(t *testing.T) apitest.Options {
		opts := world()
		opts.App.Model = modelOfProducts(t)
		return opts
	}
	var described []*apitest.Operation
	if !t.Run("description", func(t *testing.T) {
		s := apitest.Start(t, world(t))
		if described = s.Doc.Operations; len(described) != len(s.App.Operations()) {
			t.Errorf("%d operations are described; %d are served", len(described), len(s.App.Operations()))
		}
	}) {
		return
	}
	for _, op := range described {
		t.Run(op.ID, func(t *testing.T) {
			t.Parallel()
			m := &matrix{Server: apitest.Start(t, world(t)), made: map[string]map[string]string{}} // a store of its own: what is digested stays small
			m.send(t, m.sa("POST", "/api/tenants/common/data/TEMPLATE", `{"sk":"b1","name":"shared by all"}`), 201)
			if op.Policy.Reach == "anyone" {
				m.sweepOpen(t, op)
			} else {
				m.sweep(t, op)
			}
		})
	}
}

type matrix struct {
	*apitest.Server
	made map[string]map[string]string // by tenant, what the server chose for its objects, by parameter
}

func (m *matrix) sa(method, path, body string) apitest.Request {
	return apitest.Request{Token: m.Token("system_admin"), Method: method, Path: path, Body: body}
}

func (m *matrix) send(t *testing.T, r apitest.Request, statuses ...int) *apitest.Answer {
	t.Helper()
	a := m.Do(t, r)
	if !slices.Contains(statuses, a.Status) {
		t.Errorf("%v: %v; want %v", r, a, statuses)
	}
	return a
}

// settle makes two tenants with objects: the victim, whose every text carries the canary, and the attacker, who
// has objects of the same names.
func (m *matrix) settle(t *testing.T) (victim, attacker, canary string) {
	t.Helper()
	victim, attacker = "victim1", "attacker1"
	canary = "CANARY-" + victim
	for code, text := range map[string]string{victim: canary, attacker: "nothing"} {
		m.send(t, m.sa("POST", "/api/tenant", fmt.Sprintf(`{"code":%q,"name":%q,"attributes":{"note":%[2]q}}`, code, text)), 201)
		m.send(t, m.sa("POST", "/api/tenants/"+code+"/data/PRODUCT", fmt.Sprintf(`{"sk":"b1","name":%q,"attributes":{"note":%[1]q}}`, text)), 201)
		m.send(t, m.sa("PATCH", "/api/tenants/"+code+"/data/PRODUCT/b1", fmt.Sprintf(`{"version":1,"attributes":{"more":%q}}`, text)), 200)
		m.people(t, code)
		m.master(t, code, text)
		m.sync(t, code)
		m.background(t, code, text)
	}
	return victim, attacker, canary
}

// people makes members of a tenant, an invitation to it and a session in it.
func (m *matrix) people(t *testing.T, code string) {
	t.Helper()
	for _, role := range []string{"user", "clerk"} {
		m.send(t, m.sa("POST", "/api/tenants/"+code+"/users", fmt.Sprintf(`{"userCode":"%s@%s","role":%[1]q}`, role, code)), 201)
	}
	var invited, session struct{ ID, Secret, RefreshToken string }
	m.send(t, m.sa("POST", "/api/tenants/"+code+"/invitations", fmt.Sprintf(`{"userCode":"guest@%s","role":"sales"}`, code)), 201).Decode(t, &invited)
	switching := apitest.Request{Token: m.Token("user@" + code), Method: "POST", Path: "/api/auth/switch-tenant", Body: fmt.Sprintf(`{"tenantCode":%q}`, code)}
	m.send(t, switching, 200).Decode(t, &session)
	m.made[code] = map[string]string{"id": invited.ID, "secret": invited.Secret, "refreshToken": session.RefreshToken}
}

// sync plans a sync of a tenant, to one that does not exist, and makes a rule.
func (m *matrix) sync(t *testing.T, code string) {
	t.Helper()
	var planned, rule struct{ ID string }
	m.send(t, m.sa("POST", "/api/admin/sync/plan", fmt.Sprintf(`{"sourceTenantCode":%q,"targetTenantCodes":["nowhere"],"entityType":"PRODUCT"}`, code)), 202).Decode(t, &planned)
	m.send(t, m.sa("POST", "/api/admin/sync-rules", fmt.Sprintf(`{"sourceTenantCode":%q,"targetTenantCodes":["nowhere"],"entityType":"NOTHING"}`, code)), 201).Decode(t, &rule)
	m.made[code]["sync"], m.made[code]["rule"] = planned.ID, rule.ID
	apitest.Eventually(t, func() bool { // until neither is worked on
		all := string(m.send(t, m.sa("GET", "/api/admin/sync", ""), 200).Body)
		return !strings.Contains(all, `"planning"`) && !strings.Contains(all, `"applying"`)
	})
}

// master makes the master setting new-code of a tenant on every level.
func (m *matrix) master(t *testing.T, code, text string) {
	t.Helper()
	for _, level := range []string{"common", "tenant", "group/sales", "user/user@" + code} {
		r := m.sa("PUT", "/api/master-setting/"+level+"/new-"+code, fmt.Sprintf(`{"name":%q,"settingValue":{"note":%[1]q}}`, text))
		if level != "common" {
			r.Header = []string{"X-Tenant-Code", code}
		} else {
			r.Body = `{"name":"shared by all","settingValue":{}}`
		}
		m.send(t, r, 200, 201)
	}
}

// background makes a webhook of a tenant, with a delivery, and a job that is dead. None of them goes on by itself.
func (m *matrix) background(t *testing.T, code, text string) {
	t.Helper()
	hooks := "/api/tenants/" + code + "/webhooks"
	var hook, delivery struct{ ID string }
	m.send(t, m.sa("POST", hooks, fmt.Sprintf(`{"url":"https://hooks.example/%s","description":%q,"active":false}`, code, text)), 201).Decode(t, &hook)
	m.send(t, m.sa("POST", hooks+"/"+hook.ID+"/ping", ""), 202).Decode(t, &delivery)
	m.made[code]["webhookId"], m.made[code]["deliveryId"] = hook.ID, delivery.ID
	job, err := m.App.Jobs().Enqueue(t.Context(), m.App.Scope(code), jobs.Order{Kind: failing().Name, Unique: text})
	if err != nil {
		t.Fatal(err)
	}
	m.made[code]["jobId"] = job.ID
	m.await(t, "/api/tenants/"+code+"/jobs?dead=true", `"dead"`)
	m.await(t, hooks+"/"+hook.ID+"/deliveries", `"cancelled"`)
	m.await(t, "/api/tenants/"+code+"/jobs", `{"items":[]}`)
}

// await reads a path until the answer holds a text.
func (m *matrix) await(t *testing.T, path, text string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(string(m.send(t, m.sa("GET", path, ""), 200).Body), text) {
		select {
		case <-deadline:
			t.Fatalf("%s does not come to hold %s", path, text)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// failing is a kind of jobs that are dead after one attempt, for a reason that is not meant for tenants.
func failing() jobs.Kind {
	return jobs.Kind{Name: "failing", Attempts: 1, Run: func(_ context.Context, _ guard.Scope, j jobs.Job) error {
		return errors.New("it failed: " + j.Unique)
	}}
}

// sweep plays the row of one operation.
func (m *matrix) sweep(t *testing.T, op *apitest.Operation) {
	victim, attacker, canary := m.settle(t)
	const absent = "absent1"
	before := m.Digest(t)
	refused := func(r apitest.Request, statuses ...int) *apitest.Answer {
		t.Helper()
		a := m.send(t, r, statuses...)
		if strings.Contains(fmt.Sprint(a.Header)+string(a.Body), canary) {
			t.Errorf("%v shows the victim's data: %v", r, a)
		}
		return a
	}

	for _, token := range []string{"", m.forged("user@" + victim), m.forged("system_admin")} {
		refused(m.fill(t, op, victim, token), 401)
	}
	if a := refused(m.fill(t, op, victim, m.expired("user@"+victim)), 401); a.Code() != "token_expired" {
		t.Errorf("an expired token: %v", a)
	}

	for _, role := range []string{"user@", "admin@", "system_admin@"} {
		token := m.Token(role + attacker)
		for _, named := range m.naming(t, op, victim, token) {
			answers := []string{refused(named.request, 403, 404).Masked()}
			twin := named.again(absent)
			answers = append(answers, refused(twin, 403, 404).Masked())
			if answers[0] != answers[1] {
				t.Errorf("%v tells what exists from what doesn't:\n%s\n%s", named.request, answers[0], answers[1])
			}
		}
	}
	if changed := before.Changed(m.Digest(t)); len(changed) > 0 {
		t.Fatalf("refused requests changed what is keyed to %v", changed)
	}

	// What the attacker may call acts on their own tenant, whatever exists elsewhere under the same names.
	for _, role := range []string{"user@", "admin@"} {
		own := m.fill(t, op, attacker, m.Token(role+attacker))
		if a := m.send(t, own, 200, 201, 202, 400, 403, 404, 409); strings.Contains(string(a.Body), canary) {
			t.Errorf("%v shows the victim's data: %v", own, a)
		}
	}
	if changed := before.Changed(m.Digest(t)); len(changed) > 1 || len(changed) == 1 && changed[0] != attacker {
		t.Fatalf("the attacker changed what is keyed to %v", changed)
	}

	for _, user := range m.insufficient(op, victim) {
		refused(m.fill(t, op, victim, m.Token(user)), 403)
	}
	control := m.fill(t, op, victim, m.Token(m.right(op, victim)))
	if a := m.Do(t, control); !a.OK() {
		t.Errorf("the control, %v as %s: %v", control, m.right(op, victim), a)
	}
	m.send(t, apitest.Request{Method: "GET", Path: "/healthz"}, 200)
	m.send(t, apitest.Request{Token: m.Token("user@" + attacker), Method: "GET", Path: "/api/me"}, 200)
}

// sweepOpen plays the row of an operation that needs no token: its body proves who calls, and no mention counts.
func (m *matrix) sweepOpen(t *testing.T, op *apitest.Operation) {
	victim, attacker, canary := m.settle(t)
	const absent = "absent1"
	before := m.Digest(t)
	for _, token := range []string{"", m.forged("system_admin"), m.Token("admin@" + attacker), m.Token("system_admin")} {
		for _, place := range m.places(t, op, attacker, token) {
			var answers []string
			for _, code := range []string{victim, absent} {
				r := place(code)
				r.Body = strings.ReplaceAll(r.Body, m.made[attacker]["refreshToken"], "x")
				a := m.send(t, r, 401, 422)
				if strings.Contains(fmt.Sprint(a.Header)+string(a.Body), canary) {
					t.Errorf("%v shows the victim's data: %v", r, a)
				}
				answers = append(answers, a.Masked())
			}
			if answers[0] != answers[1] {
				t.Errorf("%v tells what exists from what doesn't:\n%s\n%s", place(victim), answers[0], answers[1])
			}
		}
	}
	if changed := before.Changed(m.Digest(t)); len(changed) > 0 {
		t.Fatalf("refused requests changed what is keyed to %v", changed)
	}
	control := m.fill(t, op, victim, "")
	control.Header = []string{"X-Tenant-Code", attacker}
	if a := m.Do(t, control); !a.OK() || !strings.Contains(string(a.Body), victim) || strings.Contains(string(a.Body), attacker) {
		t.Errorf("the control, %v: %v", control, a)
	}
}

// right returns a caller who may call the operation.
func (m *matrix) right(op *apitest.Operation, code string) string {
	switch p := op.Policy; {
	case op.ID == "acceptInvitation":
		return "guest@" + code
	case p.Reach == "all-tenants", p.Reach == "admin" && len(p.Roles) == 0 && !p.Members:
		return "system_admin"
	case len(p.Roles) > 0:
		return p.Roles[0] + "@" + code
	}
	return "user@" + code
}

// insufficient returns members of the tenant who lack the role that the operation asks for.
func (m *matrix) insufficient(op *apitest.Operation, code string) []string {
	switch p := op.Policy; {
	case p.Reach == "all-tenants", p.Reach == "admin" && len(p.Roles) == 0 && !p.Members:
		return []string{"user@" + code, "admin@" + code, "system_admin@" + code}
	case len(p.Roles) > 0:
		return []string{"user@" + code, "system_admin@" + code}
	}
	return nil
}

func (m *matrix) forged(user string) string {
	good := strings.Split(m.Token(user), ".")
	other := strings.Split(m.Token("clerk@nowhere"), ".")
	return good[0] + "." + good[1] + "." + other[2]
}

func (m *matrix) expired(user string) string {
	_, code, _ := strings.Cut(user, "@")
	now := m.App.Clock.Now().Unix()
	return m.IdP.Token(user, apitest.Claims{"custom:tenant": code, "custom:role": "user", "iat": now - 7200, "exp": now - 61})
}

// also are the members and query parameters that an operation needs though its schema doesn't say so.
func also(op *apitest.Operation) []string {
	return map[string][]string{"invite": {"userCode"}, "revoke": {"sub"}, "listMasterSettings": {"level", "user"}, "listSyncItems": {"target"}}[op.ID]
}

// hints are the values of parameters and members whose meaning a schema doesn't say, for a tenant.
func (m *matrix) hints(op *apitest.Operation, name, code string) (value any, ok bool) {
	switch name {
	case "userCode":
		return cmp.Or(map[string]string{"listTenantsOfUser": "user@", "addMember": "new@", "invite": "new@"}[op.ID], "clerk@") + code, true
	case "target":
		return "nowhere", true
	case "id", "secret", "refreshToken":
		for path, made := range map[string]string{"/api/admin/sync/": "sync", "/api/admin/sync-rules/": "rule"} {
			if strings.HasPrefix(op.Path, path) {
				return cmp.Or(m.made[code][made], "01ARZ3NDEKTSV4RRFFQ69G5FAV"), true
			}
		}
		absent := map[string]string{"id": code + ".01ARZ3NDEKTSV4RRFFQ69G5FAV"}[name]
		return cmp.Or(m.made[code][name], absent, "x"), true
	case "reason":
		return "because", true
	case "webhookId", "deliveryId", "jobId":
		absent := map[string]string{"jobId": failing().Name + "."}[name] + "01ARZ3NDEKTSV4RRFFQ69G5FAV"
		return cmp.Or(m.made[code][name], absent), true
	case "url":
		return "https://hooks.example/", true
	case "sourceTenantCode":
		return code, true
	case "targetTenantCodes":
		return []any{"alpha"}, true
	case "groupId":
		return "sales", true
	case "userId", "user":
		return "user@" + code, true
	case "level":
		return "user", true
	case "tenantCode", "tenantGroupCode":
		return code, true
	case "pk":
		return "TENANT#" + code, true
	case "entityType":
		if op.Policy.Reach == "shared" {
			return "TEMPLATE", true
		}
		return "PRODUCT", true
	case "sk":
		if strings.Contains(op.Path, "{pk}") {
			return "MASTER", true
		}
		return "b1", true
	case "sks":
		return []any{"b1"}, true
	case "version":
		if op.Method == http.MethodGet {
			return "1", true
		}
		return -1, true
	case "code":
		return "new-" + code, true
	case "role":
		return "sales", true
	}
	return nil, false
}

// fill returns a good request for the objects of a tenant.
func (m *matrix) fill(t *testing.T, op *apitest.Operation, code, token string) apitest.Request {
	t.Helper()
	r := apitest.Request{Token: token, Method: op.Method, Path: op.Path}
	query := url.Values{}
	for _, p := range op.Parameters {
		value, known := m.hints(op, p.Name, code)
		switch {
		case p.In == "path" && !known:
			t.Fatalf("%s has the parameter %s; say in hints what it means", op.ID, p.Name)
		case p.In == "path":
			r.Path = strings.ReplaceAll(r.Path, "{"+p.Name+"}", url.PathEscape(fmt.Sprint(value)))
		case p.In == "query" && (p.Name == "version" && op.Method != http.MethodGet || slices.Contains(also(op), p.Name)):
			query.Set(p.Name, fmt.Sprint(value))
		}
	}
	if len(query) > 0 {
		r.Path += "?" + query.Encode()
	}
	if op.Body != nil && op.BodyNeeded {
		r.Body = m.encode(t, m.value(t, op, op.Body, "", code))
	}
	return r
}

func (m *matrix) encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// value returns the smallest value that a schema takes.
func (m *matrix) value(t *testing.T, op *apitest.Operation, schema *apitest.Schema, name, code string) any {
	t.Helper()
	if v, ok := m.hints(op, name, code); ok {
		return v
	}
	schema = m.Doc.Resolve(schema)
	switch {
	case len(schema.Enum) > 0:
		return schema.Enum[0]
	case slices.Contains(schema.Types, "object"):
		object := map[string]any{}
		for _, required := range slices.Concat(schema.Required, also(op)) {
			object[required] = m.value(t, op, schema.Properties[required], required, code)
		}
		return object
	case slices.Contains(schema.Types, "array"):
		return []any{m.value(t, op, schema.Items, "", code)}
	case slices.Contains(schema.Types, "string"):
		return "x"
	case slices.Contains(schema.Types, "boolean"):
		return true
	case schema.Minimum != nil:
		return *schema.Minimum
	case slices.Contains(schema.Types, "integer"), slices.Contains(schema.Types, "number"):
		return 1
	}
	t.Fatalf("%s takes %s of the types %v; teach value to make one", op.ID, name, schema.Types)
	return nil
}

// named is a request that names a tenant in one of the places where a request can.
type named struct {
	request apitest.Request
	again   func(code string) apitest.Request // the same request, naming another tenant there
}

// naming returns the request with the tenant in every place: that of the path, the query, the header, the body.
func (m *matrix) naming(t *testing.T, op *apitest.Operation, victim, token string) []named {
	t.Helper()
	places := m.places(t, op, strings.Replace(victim, "victim", "attacker", 1), token)
	out := make([]named, len(places))
	for i, place := range places {
		out[i] = named{place(victim), place}
	}
	return out
}

// places returns the attacker's request with another tenant in every place.
func (m *matrix) places(t *testing.T, op *apitest.Operation, attacker, token string) []func(code string) apitest.Request {
	t.Helper()
	own := func() apitest.Request { return m.fill(t, op, attacker, token) }
	places := []func(code string) apitest.Request{
		func(code string) apitest.Request { return inQuery(own(), "tenantCode", code) },
		func(code string) apitest.Request { return inQuery(own(), "tenantCode", strings.ToUpper(code)) },
		func(code string) apitest.Request { return inQuery(own(), "pk", "PRODUCT#"+code) },
		func(code string) apitest.Request { return inQuery(own(), "id", "PRODUCT#"+code+"#b1") },
		func(code string) apitest.Request {
			r := own()
			r.Header = []string{"X-Tenant-Code", code}
			return r
		},
	}
	if strings.Contains(op.Path, "{tenantCode}") || strings.Contains(op.Path, "{tenantGroupCode}") || strings.Contains(op.Path, "{pk}") {
		places = append(places, func(code string) apitest.Request {
			r := m.fill(t, op, code, token)
			r.Body = ""
			if op.BodyNeeded {
				r.Body = own().Body
			}
			return r
		})
	}
	if op.Body != nil {
		for _, mention := range []string{`"tenantCode":%q`, `"pk":"PRODUCT#%s"`, `"id":"PRODUCT#%s#b1"`, `"tenantCode":null,"pk":"PRODUCT#%s#2026"`} {
			places = append(places, func(code string) apitest.Request {
				r := own()
				r.Body = m.mentioning(t, op, attacker, fmt.Sprintf(mention, code))
				return r
			})
		}
	}
	for _, name := range []string{"userCode", "id", "webhookId", "jobId"} { // objects that have names of their own
		if strings.Contains(op.Path, "{"+name+"}") {
			places = append(places, func(code string) apitest.Request {
				mine, _ := m.hints(op, name, attacker)
				other, _ := m.hints(op, name, code)
				r := own()
				r.Path = strings.Replace(r.Path, url.PathEscape(fmt.Sprint(mine)), url.PathEscape(fmt.Sprint(other)), 1)
				return r
			})
		}
	}
	return places
}

func inQuery(r apitest.Request, name, value string) apitest.Request {
	sign := "?"
	if strings.Contains(r.Path, "?") {
		sign = "&"
	}
	r.Path += sign + name + "=" + url.QueryEscape(value)
	return r
}

// mentioning returns a good body with a mention added, in the last element of a list.
func (m *matrix) mentioning(t *testing.T, op *apitest.Operation, code, mention string) string {
	t.Helper()
	v := m.value(t, op, op.Body, "", code)
	object, isObject := v.(map[string]any)
	if list, ok := v.([]any); ok {
		object = map[string]any{}
		for name, member := range list[0].(map[string]any) {
			object[name] = member
		}
		v = append(list, object)
	} else if !isObject {
		t.Fatalf("%s takes a body that is neither an object nor a list of them", op.ID)
	}
	added := map[string]any{}
	if err := json.Unmarshal([]byte("{"+mention+"}"), &added); err != nil {
		t.Fatal(err)
	}
	for name, member := range added {
		object[name] = member
	}
	return m.encode(t, v)
}

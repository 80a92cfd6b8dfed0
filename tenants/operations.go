package tenants

import (
	"context"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// Routes are the tenant operations over HTTP: section 4 of the contract, with suspend and resume.
type Routes struct {
	Tenants *Service

	// Now defaults to time.Now.
	Now func() time.Time
}

// The bodies of the operations.
type (
	// NameBody is the body that creates the common tenant.
	NameBody struct {
		route.Mentions
		Name        string         `json:"name" minLength:"1"`
		Description *string        `json:"description,omitempty"`
		Attributes  map[string]any `json:"attributes,omitempty"`
	}
	// CreateBody is the body that creates a tenant.
	CreateBody struct {
		NameBody
		Code string `json:"code" doc:"[a-z0-9][a-z0-9_-]{0,62}; upper case is lower-cased"`
	}
	// UpdateBody is the body that changes a tenant; attributes merge at the first level.
	UpdateBody struct {
		route.Mentions
		Name        *string        `json:"name,omitempty" minLength:"1"`
		Description *string        `json:"description,omitempty"`
		Attributes  map[string]any `json:"attributes,omitempty"`
	}
	// AddGroupBody is the body that adds a group to a tenant's role.
	AddGroupBody struct {
		TenantCode string `json:"tenantCode"`
		PK         string `json:"pk,omitempty"`
		ID         string `json:"id,omitempty"`
		GroupID    string `json:"groupId" minLength:"1" maxLength:"255"`
		Role       string `json:"role" minLength:"1" maxLength:"63"`
	}
	// CustomizeBody is the body that sets the groups of a tenant's role.
	CustomizeBody struct {
		TenantCode    string   `json:"tenantCode"`
		PK            string   `json:"pk,omitempty"`
		ID            string   `json:"id,omitempty"`
		SettingGroups []string `json:"settingGroups" maxItems:"1000"`
		Role          string   `json:"role" minLength:"1" maxLength:"63"`
	}
	// ReasonBody is the body of suspend and resume.
	ReasonBody struct {
		route.Mentions
		Reason string `json:"reason" minLength:"1" maxLength:"1000"`
	}
)

// Operations returns the operations.
func (rs *Routes) Operations() []route.Operation {
	system := guard.Policy{Reach: guard.AllTenants}
	managed := guard.Policy{Reach: guard.Admin}
	const one = "/api/tenant/{pk}/{sk}"
	group := guard.Policy{Reach: guard.Admin, Roles: []string{"admin"}, TargetInBody: true}
	changes := []fault.Code{fault.NotFound, fault.VersionConflict, fault.IdempotencyConflict}
	creates := append([]fault.Code{fault.AlreadyExists, fault.TenantNotPurged, fault.InvalidKey}, changes...)
	answers := func(status int) map[int]any { return map[int]any{status: route.Data{}, 200: route.Data{}} }
	ops := []route.Operation{
		{ID: "createCommonTenant", Method: "POST", Path: "/api/tenant/common", Summary: "Create the common tenant", Policy: system, Handle: rs.createCommon, Body: NameBody{}, Answers: answers(201), Errors: creates},
		{ID: "createTenant", Method: "POST", Path: "/api/tenant", Summary: "Create a tenant", Policy: system, Handle: rs.create, Body: CreateBody{}, Answers: answers(201), Errors: creates},
		{ID: "listTenants", Method: "GET", Path: "/api/tenant", Summary: "List all tenants by code", Policy: system, Handle: rs.list,
			Query: []route.Param{{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit}, {Name: "cursor", Summary: "of the page before"},
				{Name: "includeDeleted", Summary: "answer deleted tenants too", Kind: route.Boolean}},
			Answers: map[int]any{200: route.Items{}}, Errors: []fault.Code{fault.InvalidCursor}},
		{ID: "getTenant", Method: "GET", Path: one, PathPK: "pk", Summary: "Read a tenant", Policy: guard.Policy{Reach: guard.Admin, Members: true}, Precheck: named, Handle: rs.get, Answers: answers(200), Errors: []fault.Code{fault.NotFound}},
		{ID: "updateTenant", Method: "PATCH", Path: one, PathPK: "pk", Summary: "Change a tenant", Policy: managed, Precheck: named, Handle: rs.update, Body: UpdateBody{}, Answers: answers(200), Errors: changes},
		{ID: "deleteTenant", Method: "DELETE", Path: one, PathPK: "pk", Summary: "Delete a tenant", Policy: managed, Precheck: named, Handle: rs.delete, Answers: answers(200), Errors: changes},
		{ID: "addTenantGroup", Method: "POST", Path: "/api/tenant/group", Summary: "Add a group to a role of a tenant", Policy: group, Handle: rs.addGroup, Body: AddGroupBody{}, Answers: answers(201), Errors: changes},
		{ID: "customizeSettingGroups", Method: "PATCH", Path: "/api/tenant/group", Summary: "Set the groups of a role in an order of one's own", Policy: group, Handle: rs.customize, Body: CustomizeBody{}, Answers: answers(200), Errors: changes},
		{ID: "createTenantGroup", Method: "POST", Path: "/api/tenant/{tenantGroupCode}/tenant", Summary: "Create a tenant inside a group", Policy: guard.Policy{Reach: guard.Admin, Roles: []string{"admin"}},
			PathTenant: "tenantGroupCode", Handle: rs.createInside, Body: CreateBody{}, Answers: answers(201), Errors: creates},
		{ID: "suspendTenant", Method: "POST", Path: "/api/admin/tenants/{tenantCode}/suspend", Summary: "Refuse everyone who acts in a tenant", Policy: managed, Handle: rs.suspend, Body: ReasonBody{}, Answers: answers(200), Errors: changes},
		{ID: "resumeTenant", Method: "POST", Path: "/api/admin/tenants/{tenantCode}/resume", Summary: "End a suspension", Policy: managed, Handle: rs.resume, Body: ReasonBody{}, Answers: answers(200), Errors: changes},
	}
	for i := range ops {
		ops[i].Tag = "tenants"
		ops[i].Versioned = true
	}
	return ops
}

// named refuses paths that name no tenant's record.
func named(c *route.Call) error {
	_, err := refOf(c)
	return err
}

// refOf returns the record that the path names. Its tenant is the one that the guard decided about: an alias of common names common.
func refOf(c *route.Call) (Ref, error) {
	ref, err := ParseRef(c.Path("pk"), c.Path("sk"))
	ref.Tenant = c.Scope().Tenant()
	return ref, err
}

func (rs *Routes) createCommon(ctx context.Context, c *route.Call) (route.Answer, error) {
	b, err := read(c)
	if err != nil {
		return route.Answer{}, err
	}
	in, err := b.create(tenant.Common())
	if err != nil {
		return route.Answer{}, err
	}
	return answer(http.StatusCreated)(rs.Tenants.CreateCommonTenant(ctx, c.Grant.System, in, c.Idempotent("")...))
}

func (rs *Routes) create(ctx context.Context, c *route.Call) (route.Answer, error) {
	b, err := read(c)
	if err != nil {
		return route.Answer{}, err
	}
	code, err := tenant.Parse(b.Code)
	if err != nil {
		return route.Answer{}, err
	}
	in, err := b.create(code)
	if err != nil {
		return route.Answer{}, err
	}
	return answer(http.StatusCreated)(rs.Tenants.CreateTenant(ctx, c.Grant.System, in, c.Idempotent("")...))
}

func (rs *Routes) list(ctx context.Context, c *route.Call) (route.Answer, error) {
	page, err := rs.Tenants.List(ctx, c.Grant.System, int(c.Int("limit")), c.Query("cursor"), c.Flag("includeDeleted"))
	if err != nil {
		return route.Answer{}, err
	}
	return route.List(page.Items, page.Cursor), nil
}

func (rs *Routes) get(ctx context.Context, c *route.Call) (route.Answer, error) {
	ref, err := refOf(c)
	if err != nil {
		return route.Answer{}, err
	}
	rec, err := rs.Tenants.GetTenant(ctx, c.Scope(), ref)
	if err != nil {
		return route.Answer{}, err
	}
	return route.Record(rec), nil
}

func (rs *Routes) update(ctx context.Context, c *route.Call) (route.Answer, error) {
	ref, err := refOf(c)
	if err != nil {
		return route.Answer{}, err
	}
	b, err := read(c)
	if err == nil {
		err = b.agree(ref.Tenant, c.Path("sk"))
	}
	if err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	in := Update{Name: b.Name, Description: b.Description, Attributes: b.attributes}
	return answer(http.StatusOK)(rs.Tenants.UpdateTenant(ctx, c.Grant.System, ref, in, opts...))
}

func (rs *Routes) delete(ctx context.Context, c *route.Call) (route.Answer, error) {
	ref, err := refOf(c)
	if err != nil {
		return route.Answer{}, err
	}
	b, err := read(c)
	if err == nil {
		err = b.agree(ref.Tenant, c.Path("sk"))
	}
	if err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	return answer(http.StatusOK)(rs.Tenants.DeleteTenant(ctx, c.Grant.System, ref, opts...))
}

func (rs *Routes) addGroup(ctx context.Context, c *route.Call) (route.Answer, error) {
	b, err := reached(c)
	if err != nil {
		return route.Answer{}, err
	}
	in := AddGroup{GroupID: b.GroupID, Role: b.Role}
	return answer(http.StatusCreated)(rs.Tenants.AddTenantGroup(ctx, c.Scope(), in, c.Idempotent("")...))
}

func (rs *Routes) customize(ctx context.Context, c *route.Call) (route.Answer, error) {
	b, err := reached(c)
	if err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	in := CustomizeGroups{SettingGroups: b.SettingGroups, Role: b.Role}
	return answer(http.StatusOK)(rs.Tenants.CustomizeSettingGroups(ctx, c.Scope(), in, opts...))
}

func (rs *Routes) createInside(ctx context.Context, c *route.Call) (route.Answer, error) {
	b, err := read(c)
	if err != nil {
		return route.Answer{}, err
	}
	in := Create{Description: b.Description, Attributes: b.attributes, Name: b.name()}
	if in.Code, err = tenant.Parse(b.Code); err == nil {
		err = b.agree(c.Scope().Tenant(), in.Code.String())
	}
	if err != nil {
		return route.Answer{}, err
	}
	return answer(http.StatusCreated)(rs.Tenants.CreateTenantGroup(ctx, c.Scope(), in, c.Idempotent("")...))
}

func (rs *Routes) suspend(ctx context.Context, c *route.Call) (route.Answer, error) {
	b, err := reached(c)
	if err != nil {
		return route.Answer{}, err
	}
	return answer(http.StatusOK)(rs.Tenants.Suspend(ctx, c.Grant.System, c.Scope().Tenant(), b.Reason, rs.now(), c.Idempotent("")...))
}

func (rs *Routes) resume(ctx context.Context, c *route.Call) (route.Answer, error) {
	if _, err := reached(c); err != nil {
		return route.Answer{}, err
	}
	return answer(http.StatusOK)(rs.Tenants.Resume(ctx, c.Grant.System, c.Scope().Tenant(), c.Idempotent("")...))
}

func (rs *Routes) now() time.Time {
	if rs.Now == nil {
		return time.Now()
	}
	return rs.Now()
}

// answer returns what a command becomes on the wire. Only If-Match names a version here.
func answer(status int) func(command.Result, error) (route.Answer, error) {
	return func(res command.Result, err error) (route.Answer, error) {
		if err != nil {
			return route.Answer{}, route.Precondition(err, true)
		}
		return route.Command(status, res), nil
	}
}

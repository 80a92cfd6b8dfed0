package settings

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// Routes are the settings over HTTP: section 7 of the contract, with bulk, list and copy.
type Routes struct{ Settings *Service }

// Operations returns the operations.
func (rs *Routes) Operations() []route.Operation {
	const one = "/api/master-setting/"
	member := guard.Policy{Reach: guard.Tenant}
	admin := guard.Policy{Reach: guard.Tenant, Roles: []string{"admin"}}
	system := guard.Policy{Reach: guard.AllTenants}
	whole := map[int]any{200: rs.Settings.declared.answer}
	conflicts := []fault.Code{fault.VersionConflict, fault.IdempotencyConflict}
	ops := []route.Operation{
		{ID: "getSettings", Method: "GET", Path: "/api/settings", Summary: "Read the tenant's settings, with defaults for what it has not set", Policy: member, Versioned: true, Handle: rs.get, Answers: whole},
		{ID: "updateSettings", Method: "PATCH", Path: "/api/settings", Summary: "Merge into the tenant's settings; null returns a member to its default", Policy: admin, Versioned: true,
			Handle: rs.update, Body: rs.Settings.declared.body, Answers: whole, Errors: conflicts},
		{ID: "getSettingsTenant", Method: "GET", Path: "/api/tenants/{tenantCode}/settings", Summary: "Read the settings of a named tenant", Policy: member, Versioned: true, Handle: rs.get, Answers: whole},
		{ID: "updateSettingsTenant", Method: "PATCH", Path: "/api/tenants/{tenantCode}/settings", Summary: "Merge into the settings of a named tenant; null returns a member to its default", Policy: admin, Versioned: true,
			Handle: rs.update, Body: rs.Settings.declared.body, Answers: whole, Errors: conflicts},
		{ID: "resolveMasterSetting", Method: "GET", Path: one + "{code}", Summary: "Read the master setting that holds for the caller, and why: that of the user, a group, the tenant or common", Policy: member,
			Precheck: mayAsk, Handle: rs.resolve, Answers: map[int]any{200: Resolved{}}, Query: []route.Param{
				{Name: "explain", Summary: "answer every level, and why the one won", Kind: route.Boolean},
				{Name: "userId", Summary: "for another user, for admins: their user level, and the groups of role"},
				{Name: "role", Summary: "with userId: the role of that user, whose setting groups are looked at; none by default"}}},
		{ID: "listMasterSettings", Method: "GET", Path: "/api/master-setting", Summary: "List master settings; callers who are no admin name a level that is theirs. A page may be shorter than the limit and have a cursor",
			Policy: member, Handle: rs.list, Answers: map[int]any{200: SettingList{}}, Errors: []fault.Code{fault.InvalidCursor}, Query: []route.Param{
				{Name: "level", Summary: "all of the tenant's by default", Enum: []string{"common", "tenant", "group", "user"}},
				{Name: "group", Summary: "with level=group: of this group"}, {Name: "user", Summary: "with level=user: of this user"},
				{Name: "prefix", Summary: "codes that begin with this"},
				{Name: "limit", Summary: "how many at most; 100 by default", Kind: route.Integer, Min: 1, Max: data.MaxLimit}, {Name: "cursor", Summary: "of the page before"}}},
		{ID: "createMasterSettings", Method: "POST", Path: one + "bulk", Summary: "Create up to 500 master settings of the tenant, each in its own commit, after all were checked", Policy: admin,
			Handle: rs.bulk, Body: BulkBody{}, MaxItems: MaxBulk, Answers: map[int]any{200: []BulkAnswer{}}},
		{ID: "copyMasterSettings", Method: "POST", Path: "/api/admin/master-setting/copy", Summary: "Copy master settings of one tenant to others, each in its own commit", Policy: system,
			Handle: rs.copy, Body: CopyBody{}, Answers: map[int]any{200: CopyAnswer{}}},
	}
	for _, at := range []struct {
		id, path, what string
		policy         guard.Policy
		precheck       func(*route.Call) error
	}{
		{"CommonMasterSetting", one + "common/{code}", "of all tenants", system, nil},
		{"TenantMasterSetting", one + "tenant/{code}", "of the tenant", admin, nil},
		{"GroupMasterSetting", one + "group/{groupId}/{code}", "of a group", admin, nil},
		{"UserMasterSetting", one + "user/{userId}/{code}", "of a user", member, ownOrAdmin},
	} {
		ops = append(ops,
			route.Operation{ID: "put" + at.id, Method: "PUT", Path: at.path, Summary: "Create or replace a master setting " + at.what, Policy: at.policy, Precheck: at.precheck, Versioned: true,
				Handle: rs.put, Body: SettingBody{}, Answers: map[int]any{200: ChangedSetting{}, 201: ChangedSetting{}}, Errors: conflicts},
			route.Operation{ID: "delete" + at.id, Method: "DELETE", Path: at.path, Summary: "Delete a master setting " + at.what, Policy: at.policy, Precheck: at.precheck, Versioned: true,
				Handle: rs.delete, Answers: map[int]any{200: ChangedSetting{}}, Errors: conflicts})
	}
	for i := range ops {
		ops[i].Tag = "settings"
	}
	return ops
}

// managers are the roles that manage a tenant's settings, beside system_admin.
var managers = []string{"admin"}

// ownOrAdmin lets users write their own settings, and managers those of all.
func ownOrAdmin(c *route.Call) error {
	if c.Path("userId") == c.Principal.Subject() {
		return nil
	}
	return c.Grant.Need(managers)
}

// mayAsk lets managers ask for others.
func mayAsk(c *route.Call) error {
	if id := c.Query("userId"); id == "" || id == c.Principal.Subject() {
		return nil
	}
	return c.Grant.Need(managers)
}

func (rs *Routes) get(ctx context.Context, c *route.Call) (route.Answer, error) {
	settings, err := rs.Settings.Tenant(ctx, c.Scope())
	if err != nil {
		return route.Answer{}, err
	}
	return route.Answer{Status: http.StatusOK, JSON: settings.JSON, Version: settings.Version}, nil
}

func (rs *Routes) update(ctx context.Context, c *route.Call) (route.Answer, error) {
	patch, err := readPatch(c)
	if err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	settings, res, err := rs.Settings.Update(ctx, c.Scope(), patch, opts...)
	if err != nil {
		return route.Answer{}, route.Precondition(err, true)
	}
	return route.Answer{Status: http.StatusOK, JSON: settings.JSON, Version: settings.Version, Position: res.Position}, nil
}

func (rs *Routes) resolve(ctx context.Context, c *route.Call) (route.Answer, error) {
	who := caller(c)
	switch id := c.Query("userId"); {
	case id != "" && !validUser(id):
		return route.Answer{}, fault.Invalid("settings.resolve", fault.Field{Field: "userId", Problem: "is 1 to 255 bytes of printable UTF-8 without #, not . or .."})
	case id != "" && id != who.UserID:
		who = Caller{UserID: id, Role: c.Query("role")}
	case c.Query("role") != "":
		return route.Answer{}, fault.Invalid("settings.resolve", fault.Field{Field: "role", Problem: "goes with userId, of another user"})
	}
	if !c.Flag("explain") {
		setting, err := rs.Settings.Resolve(ctx, c.Scope(), c.Path("code"), who)
		if err != nil {
			return route.Answer{}, err
		}
		return route.JSON(http.StatusOK, setting)
	}
	setting, how, err := rs.Settings.Explain(ctx, c.Scope(), c.Path("code"), who)
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, struct {
		Setting
		Explain Explanation `json:"explain"`
	}{setting, how})
}

func (rs *Routes) list(ctx context.Context, c *route.Call) (route.Answer, error) {
	q := Query{Level: Level(c.Query("level")), GroupID: c.Query("group"), UserID: c.Query("user"), Prefix: c.Query("prefix"), Limit: int(c.Int("limit")), Cursor: c.Query("cursor")}
	if err := rs.mayList(ctx, c, q); err != nil {
		return route.Answer{}, err
	}
	page, err := rs.Settings.List(ctx, c.Scope(), q)
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, struct {
		Items  []Setting `json:"items"`
		Cursor string    `json:"cursor,omitzero"`
	}{page.Items, page.Cursor})
}

// mayList lets managers list everything, and others the levels that hold for them.
func (rs *Routes) mayList(ctx context.Context, c *route.Call, q Query) error {
	refused := c.Grant.Need(managers)
	if refused == nil {
		return nil
	}
	switch q.Level {
	case LevelCommon, LevelTenant:
		return nil
	case LevelUser:
		if q.UserID == c.Principal.Subject() {
			return nil
		}
	case LevelGroup:
		groups, err := rs.Settings.groupsOf(ctx, c.Scope().Tenant(), caller(c))
		if err != nil {
			return err
		}
		if slices.Contains(groups, q.GroupID) {
			return nil
		}
	}
	return refused
}

// caller returns whose levels hold for a call.
func caller(c *route.Call) Caller {
	return Caller{UserID: c.Principal.Subject(), Role: c.Grant.Actor().Role, Groups: c.Principal.GroupsIn(c.Scope().Tenant())}
}

// named returns the setting that the path names, and the Scope to change it in.
func named(ctx context.Context, c *route.Call) (scope.Scope, Ref, error) {
	ref := Ref{Level: LevelTenant, GroupID: c.Path("groupId"), UserID: c.Path("userId"), Code: c.Path("code")}
	switch {
	case ref.GroupID != "":
		ref.Level = LevelGroup
	case ref.UserID != "":
		ref.Level = LevelUser
	case c.Scope().Tenant().IsZero(): // the route of common reaches no tenant by itself
		ref.Level = LevelCommon
	}
	if problems := ref.check(); problems != nil {
		return scope.Scope{}, ref, fault.Invalid("settings", problems...)
	}
	if ref.Level != LevelCommon {
		return c.Scope(), ref, nil
	}
	sc, err := c.Grant.System.Enter(ctx, tenant.Common(), time.Time{})
	return sc, ref, err
}

func (rs *Routes) put(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b body
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	return rs.change(ctx, c, b, func(sc scope.Scope, ref Ref, opts []command.Option) (Setting, command.Result, error) {
		v, err := b.value()
		if err != nil {
			return Setting{}, command.Result{}, err
		}
		return rs.Settings.Put(ctx, sc, ref, v, opts...)
	})
}

func (rs *Routes) delete(ctx context.Context, c *route.Call) (route.Answer, error) {
	var b body
	if err := c.Decode(&b); err != nil {
		return route.Answer{}, err
	}
	return rs.change(ctx, c, b, func(sc scope.Scope, ref Ref, opts []command.Option) (Setting, command.Result, error) {
		return rs.Settings.Delete(ctx, sc, ref, opts...)
	})
}

// change makes one change of the setting that the path names.
func (rs *Routes) change(ctx context.Context, c *route.Call, b body, do func(scope.Scope, Ref, []command.Option) (Setting, command.Result, error)) (route.Answer, error) {
	sc, ref, err := named(ctx, c)
	if err == nil {
		err = b.agree(sc.Tenant(), masterType, ref.sk())
	}
	if err != nil {
		return route.Answer{}, err
	}
	opts, err := c.Changing()
	if err != nil {
		return route.Answer{}, err
	}
	setting, res, err := do(sc, ref, opts)
	if err != nil {
		return route.Answer{}, route.Precondition(err, true)
	}
	status := http.StatusOK
	if res.Created {
		status = http.StatusCreated
	}
	answer, err := route.JSON(status, struct {
		Setting
		Changed bool `json:"changed"`
	}{setting, res.Changed})
	answer.Version, answer.Position = setting.Version, res.Position
	return answer, err
}

func (rs *Routes) bulk(ctx context.Context, c *route.Call) (route.Answer, error) {
	list, err := readBulk(c)
	if err != nil {
		return route.Answer{}, err
	}
	created, err := rs.Settings.CreateAll(ctx, c.Scope(), list, c.Idempotent)
	if err != nil {
		return route.Answer{}, err
	}
	answers := make([]bulkAnswer, len(created))
	for i, one := range created {
		if e := fault.As(one.Err); e != nil {
			answers[i] = bulkAnswer{Status: e.HTTPStatus(), Error: &CreateError{Code: e.Code, Detail: e.Msg}}
		} else {
			answers[i] = bulkAnswer{Status: http.StatusCreated, Setting: &created[i].Setting}
		}
	}
	return route.JSON(http.StatusOK, answers)
}

func (rs *Routes) copy(ctx context.Context, c *route.Call) (route.Answer, error) {
	in, err := readCopy(c)
	if err != nil {
		return route.Answer{}, err
	}
	copied, err := rs.Settings.Copy(ctx, c.Grant.System, in, c.Idempotent)
	if err != nil {
		return route.Answer{}, err
	}
	return route.JSON(http.StatusOK, struct {
		Items []Copied `json:"items"`
	}{copied})
}

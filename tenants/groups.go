package tenants

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
)

// The modes of a role's setting groups.
const (
	modeAuto       = "auto"       // kept in order: more # segments first, then alphabetical
	modeCustomized = "customized" // kept as an administrator ordered them
)

// roleSetting is one element of attributes.setting.
type roleSetting struct {
	TenantRole    string         `json:"tenantRole"`
	Groups        []string       `json:"groups,omitzero"`
	SettingGroups []string       `json:"setting_groups,omitzero"`
	Mode          string         `json:"setting_groups_mode,omitzero"`
	Rest          jsontext.Value `json:",embed"` // what other services keep beside them
}

// is reports whether r is the setting of a role. Other services keep roles in the letter case that they were sent in.
func (r *roleSetting) is(role string) bool {
	stored, err := auth.ParseRole(r.TenantRole)
	return err == nil && stored == role
}

// AddGroup adds a group to a role of the tenant.
type AddGroup struct {
	GroupID string // 1 to 255 bytes; # divides its segments
	Role    string
}

// AddTenantGroup adds a group to the scope's tenant. In auto mode the role's groups are sorted anew, in customized mode the
// group comes last. Adding a group that is there changes nothing.
func (s *Service) AddTenantGroup(ctx context.Context, sc scope.Scope, in AddGroup, opts ...command.Option) (command.Result, error) {
	role, err := s.checkGroups(in.Role, "groupId", in.GroupID)
	if err != nil {
		return command.Result{}, err
	}
	return s.liveIn(ctx, sc, Ref{Tenant: sc.Tenant()}, func(next *record.Record) error {
		settings, err := settingsOf(next.Attributes)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(settings, func(r roleSetting) bool { return r.is(role) })
		if i < 0 {
			settings = append(settings, roleSetting{TenantRole: role, Mode: modeAuto})
			i = len(settings) - 1
		}
		r := &settings[i]
		if slices.Contains(r.Groups, in.GroupID) {
			return nil
		}
		r.Groups = append(r.Groups, in.GroupID)
		r.SettingGroups = append(r.SettingGroups, in.GroupID)
		if r.Mode != modeCustomized {
			r.Mode = modeAuto
			sortGroups(r.Groups)
			sortGroups(r.SettingGroups)
		}
		return setSettings(next, settings)
	}, opts)
}

// sortGroups puts groups with more segments first and orders those with as many alphabetically.
func sortGroups(groups []string) {
	slices.SortStableFunc(groups, func(a, b string) int {
		if n := strings.Count(b, "#") - strings.Count(a, "#"); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
}

// CustomizeGroups sets the groups of a role in an order of the administrator's own.
type CustomizeGroups struct {
	SettingGroups []string
	Role          string
}

// CustomizeSettingGroups sets the groups of a role that the scope's tenant has. For another role it changes nothing
// but that the tenant has a list of settings afterwards.
func (s *Service) CustomizeSettingGroups(ctx context.Context, sc scope.Scope, in CustomizeGroups, opts ...command.Option) (command.Result, error) {
	role, err := s.checkGroups(in.Role, "settingGroups", in.SettingGroups...)
	if err != nil {
		return command.Result{}, err
	}
	groups := append([]string{}, in.SettingGroups...) // never nil: no groups are a list too
	return s.liveIn(ctx, sc, Ref{Tenant: sc.Tenant()}, func(next *record.Record) error {
		settings, err := settingsOf(next.Attributes)
		if err != nil {
			return err
		}
		for i := range settings {
			if r := &settings[i]; r.is(role) {
				r.Groups, r.SettingGroups, r.Mode = groups, groups, modeCustomized
			}
		}
		return setSettings(next, settings)
	}, opts)
}

// CreateTenantGroup creates a tenant inside the group that the scope's tenant is: a record of the group, unique in it, never
// an acting tenant. Code is the code of the new tenant; in.Code is not used. It fails with fault.AlreadyExists.
func (s *Service) CreateTenantGroup(ctx context.Context, sc scope.Scope, in Create, opts ...command.Option) (command.Result, error) {
	if in.Code.IsZero() || in.Code.Reserved() {
		return command.Result{}, fault.New(fault.InvalidKey, "tenants.CreateTenantGroup", "this tenant code is reserved; choose another")
	}
	group, err := s.cfg.Directory.Lookup(ctx, sc.Tenant())
	if err != nil {
		return command.Result{}, err
	}
	if !group.Exists {
		return command.Result{}, notFound()
	}
	attributes, err := s.given(&in.Name, in.Description, in.Attributes)
	if err != nil {
		return command.Result{}, err
	}
	key, err := record.NewKey(sc, EntityType(), in.Code.String())
	if err != nil {
		return command.Result{}, err
	}
	return s.change(ctx, sc, key, func(current *record.Record) (*record.Record, error) {
		if current != nil && !current.IsDeleted {
			return nil, fault.New(fault.AlreadyExists, "tenants.CreateTenantGroup", "tenant %s already exists in group %s", in.Code, sc.Tenant())
		}
		return &record.Record{Code: in.Code.String(), Name: in.Name, Type: EntityType().String(), Attributes: attributes}, nil
	}, opts)
}

// GroupsFor returns the setting groups of a role in a tenant's record, in their order.
func GroupsFor(rec *record.Record, role string) ([]string, error) {
	settings, err := settingsOf(rec.Attributes)
	if err != nil {
		return nil, err
	}
	for _, r := range settings {
		if r.is(role) {
			return r.SettingGroups, nil
		}
	}
	return nil, nil
}

func (s *Service) checkGroups(role, field string, groups ...string) (string, error) {
	parsed, err := auth.ParseRole(role)
	var problems []fault.Field
	if err != nil {
		problems = append(problems, fault.Field{Field: "role", Problem: "is a letter and up to 62 of a-z, 0-9 and _"})
	} else if s.cfg.CrossTenant(parsed) {
		problems = append(problems, fault.Field{Field: "role", Problem: crossTenantRole})
	}
	for _, g := range groups {
		if err := record.CheckText(g, 255); err != nil {
			problems = append(problems, fault.Field{Field: field, Problem: err.Error() + "; a group is 1 to 255 bytes of printable UTF-8"})
			break
		}
	}
	if len(groups) > 1000 {
		problems = append(problems, fault.Field{Field: field, Problem: "has more than 1000 groups"})
	}
	if problems != nil {
		return "", fault.Invalid("tenants", problems...)
	}
	return parsed, nil
}

const crossTenantRole = "counts in every tenant and can't be given in one"

// checkSettings returns what is wrong with the groups in attributes that a caller writes.
func (s *Service) checkSettings(attributes record.Attributes) (problems []fault.Field) {
	settings, err := settingsOf(attributes)
	if err != nil {
		return []fault.Field{{Field: "attributes.setting", Problem: "is a list of {tenantRole, groups, setting_groups, setting_groups_mode}"}}
	}
	for i, r := range settings {
		if role, err := auth.ParseRole(r.TenantRole); err == nil && s.cfg.CrossTenant(role) {
			problems = append(problems, fault.Field{Field: fmt.Sprintf("attributes.setting[%d].tenantRole", i), Problem: crossTenantRole})
		}
	}
	return problems
}

func settingsOf(attributes record.Attributes) ([]roleSetting, error) {
	text := attributes.Member(settingMember)
	settings := []roleSetting{}
	if text == nil {
		return settings, nil
	}
	if err := json.Unmarshal(text, &settings); err != nil {
		return nil, fault.Wrap(err, fault.ValidationFailed, "tenants", "attributes.setting of this tenant is not a list of roles with their groups; mend it first")
	}
	return settings, nil
}

func setSettings(rec *record.Record, settings []roleSetting) error {
	patch, err := record.EncodeAttributes(map[string]any{settingMember: settings})
	if err != nil {
		return err
	}
	rec.Attributes, err = rec.Attributes.MergeShallow(patch)
	return err
}

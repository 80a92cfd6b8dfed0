package settings

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// Caller says for whom a master setting is resolved. Its zero value has no level of their own: the tenant's and common's hold.
type Caller struct {
	UserID string   // the sub; "" for no user level
	Role   string   // in the tenant: its setting groups come first, in their order; "" for none
	Groups []string // of the token: those that are not among the role's come after them, in their order
}

// Resolve returns the master setting that holds for who in sc's tenant: the first there is of the user's, of each group's, the
// tenant's and common's. It fails with fault.NotFound where no level has it, and with fault.ValidationFailed for a code that is none.
func (s *Service) Resolve(ctx context.Context, sc scope.Scope, code string, who Caller) (Setting, error) {
	var won Setting
	found := false
	err := s.walk(ctx, sc, code, who, func(r Ref, st *stored) bool {
		if found = st.found(); found {
			won = settingOf(r, st)
		}
		return !found
	})
	if err == nil && !found {
		err = notFound()
	}
	return won, err
}

// Step is one level that was looked at.
type Step struct {
	Level   Level             `json:"level"`
	GroupID string            `json:"groupId,omitzero"`
	UserID  string            `json:"userId,omitzero"`
	Found   bool              `json:"found"`   // the level has the setting
	Deleted bool              `json:"deleted"` // it had it, and it was deleted
	Version int64             `json:"version,omitzero"`
	Name    string            `json:"name,omitzero"`
	Value   record.Attributes `json:"settingValue,omitzero"` // nil unless found
}

// Explanation says how a master setting was resolved.
type Explanation struct {
	Levels []Step `json:"levels"` // all, in the order in which they were looked at; the first found won
	Reason string `json:"reason"` // why it won
}

// Explain is Resolve with the reason: every level, those after the one that won included.
func (s *Service) Explain(ctx context.Context, sc scope.Scope, code string, who Caller) (Setting, Explanation, error) {
	var won Setting
	var how Explanation
	found := false
	err := s.walk(ctx, sc, code, who, func(r Ref, st *stored) bool {
		step := Step{Level: r.Level, GroupID: r.GroupID, UserID: r.UserID, Found: st.found(), Deleted: st.deleted, Version: st.version}
		if st.found() {
			step.Name, step.Value = st.name, st.value
		}
		if st.found() && !found {
			found, won = true, settingOf(r, st)
			how.Reason = reason(step, how.Levels)
		}
		how.Levels = append(how.Levels, step)
		return true
	})
	if err == nil && !found {
		err = notFound()
	}
	if err != nil {
		return Setting{}, Explanation{}, err
	}
	return won, how, nil
}

func notFound() error {
	return fault.New(fault.NotFound, "settings.Resolve", "no level has this setting: neither user, group, tenant nor common")
}

// reason says why a level won over those before it, of which none has the setting.
func reason(won Step, before []Step) string {
	const order = "user → group → tenant → common"
	if len(before) == 0 {
		return fmt.Sprintf("%s is the first level in the order %s, and has the setting", won.who(), order)
	}
	passed := make([]string, len(before))
	for i, step := range before {
		has := "has none"
		if step.Deleted {
			has = "deleted it"
		}
		passed[i] = step.who() + " " + has
	}
	return fmt.Sprintf("%s is the first level in the order %s that has the setting: %s", won.who(), order, strings.Join(passed, ", "))
}

func (s Step) who() string {
	switch s.Level {
	case LevelUser:
		return fmt.Sprintf("user %q", s.UserID)
	case LevelGroup:
		return fmt.Sprintf("group %q", s.GroupID)
	}
	return string(s.Level)
}

// walk calls visit for each level in order, until it returns false.
func (s *Service) walk(ctx context.Context, sc scope.Scope, code string, who Caller, visit func(Ref, *stored) bool) error {
	if err := own(sc); err != nil {
		return err
	}
	if problem := checkCode(code); problem != "" {
		return fault.Invalid("settings.Resolve", fault.Field{Field: "code", Problem: problem})
	}
	if who.UserID != "" {
		if more, err := s.look(ctx, sc.Tenant(), Ref{Level: LevelUser, UserID: who.UserID, Code: code}, visit); err != nil || !more {
			return err
		}
	}
	first, err := s.roleGroups(ctx, sc.Tenant(), who.Role)
	if err != nil {
		return err
	}
	for n := range len(first) + len(who.Groups) {
		id, again := groupAt(first, who.Groups, n)
		if again {
			continue
		}
		if more, err := s.look(ctx, sc.Tenant(), Ref{Level: LevelGroup, GroupID: id, Code: code}, visit); err != nil || !more {
			return err
		}
	}
	if !sc.Tenant().IsCommon() {
		if more, err := s.look(ctx, sc.Tenant(), Ref{Level: LevelTenant, Code: code}, visit); err != nil || !more {
			return err
		}
	}
	_, err = s.look(ctx, sc.Shared().Tenant(), Ref{Level: LevelCommon, Code: code}, visit)
	return err
}

// groupsOf returns the groups that hold for who in a tenant, in their order.
func (s *Service) groupsOf(ctx context.Context, code tenant.Code, who Caller) ([]string, error) {
	first, err := s.roleGroups(ctx, code, who.Role)
	if err != nil {
		return nil, err
	}
	var all []string
	for n := range len(first) + len(who.Groups) {
		if id, again := groupAt(first, who.Groups, n); !again {
			all = append(all, id)
		}
	}
	return all, nil
}

// roleGroups returns the setting groups of a role in a tenant.
func (s *Service) roleGroups(ctx context.Context, code tenant.Code, role string) ([]string, error) {
	if role == "" {
		return nil, nil
	}
	roles, err := s.groups.Get(ctx, tenantKey{code})
	return roles[role], err
}

// groupAt returns the n-th of the groups of first, each of which is there once, and then of then; again says that it came before.
func groupAt(first, then []string, n int) (id string, again bool) {
	if n < len(first) {
		return first[n], false
	}
	n -= len(first)
	return then[n], slices.Contains(first, then[n]) || slices.Contains(then[:n], then[n])
}

func (s *Service) look(ctx context.Context, code tenant.Code, r Ref, visit func(Ref, *stored) bool) (more bool, err error) {
	st, err := s.masters.Get(ctx, r.in(code))
	if err != nil {
		return false, err
	}
	return visit(r, st), nil
}

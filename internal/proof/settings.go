package proof

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/settings"
)

// SettingsSubject is what Settings runs against: a Service over the Subject's store, and a Scope of the tenant common.
type SettingsSubject struct {
	Subject
	Settings *settings.Service
	Common   scope.Scope
}

// Names that trees are made of: some are parts of others, and look like keys.
var (
	treeUsers  = []string{"ann", "an", "nn", "GROUP", "a b@9"}
	treeGroups = []string{"sales", "sales#eu", "eu", "USER", "USER#ann", "9@1", "日本", "#", "sales#"}
	treeRoles  = []string{"user", "clerk", "admin"}
)

// held is a master setting as the oracle keeps it.
type held struct {
	ref     settings.Ref
	name    string
	value   string
	version int64
	deleted bool
}

// tree is all master settings of one code, and who there is.
type tree struct {
	code  string
	held  []held              // at most one of each place
	roles map[string][]string // setting groups
}

// Settings makes trees of master settings at random, each a code of its own, with setting groups of the tenant's roles, and returns
// an error unless for random callers what is resolved, and how that is explained, is what an oracle says that goes through all
// settings by force. Each tree changes once while it is looked at.
func Settings(ctx context.Context, s SettingsSubject, trees int, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 1))
	for n := range trees {
		t := tree{code: fmt.Sprintf("c%d", n)}
		err := t.setGroups(ctx, s, random)
		for range 1 + random.IntN(3) {
			for range random.IntN(5) {
				if err == nil {
					err = t.change(ctx, s, random)
				}
			}
			for range 2 {
				if err == nil {
					err = t.compare(ctx, s, random)
				}
			}
		}
		if err != nil {
			return fmt.Errorf("tree %d, seed %d: %w", n, seed, err)
		}
	}
	return nil
}

// some returns up to limit of list, in any order, perhaps one twice.
func some(random *rand.Rand, list []string, limit int) []string {
	out := []string{}
	for range random.IntN(limit + 1) {
		out = append(out, list[random.IntN(len(list))])
	}
	return out
}

func (t *tree) setGroups(ctx context.Context, s SettingsSubject, random *rand.Rand) error {
	t.roles = map[string][]string{}
	type role struct {
		Role   string   `json:"tenantRole"`
		Groups []string `json:"setting_groups"`
	}
	var list []role
	for _, name := range treeRoles[:random.IntN(len(treeRoles)+1)] {
		t.roles[name] = some(random, treeGroups, 4)
		list = append(list, role{name, t.roles[name]})
	}
	attributes, err := record.EncodeAttributes(map[string]any{"setting": list})
	if err != nil {
		return err
	}
	key, err := record.NewKey(s.Scope, record.MustEntityType("TENANT"), "MASTER")
	if err != nil {
		return err
	}
	_, err = s.Commands.PublishSync(ctx, s.Scope, command.Input{Key: key, Version: record.VersionLatest, Name: "Tenant", Attributes: attributes})
	return err
}

// change puts or deletes one setting.
func (t *tree) change(ctx context.Context, s SettingsSubject, random *rand.Rand) error {
	ref, sc := settings.Ref{Code: t.code}, s.Scope
	switch random.IntN(5) {
	case 0:
		ref.Level, sc = settings.LevelCommon, s.Common
	case 1:
		ref.Level = settings.LevelTenant
	case 2:
		ref.Level, ref.UserID = settings.LevelUser, treeUsers[random.IntN(len(treeUsers))]
	default:
		ref.Level, ref.GroupID = settings.LevelGroup, treeGroups[random.IntN(len(treeGroups))]
	}
	at := slices.IndexFunc(t.held, func(h held) bool { return h.ref == ref })
	if at >= 0 && !t.held[at].deleted && random.IntN(2) == 0 {
		h := &t.held[at]
		h.deleted, h.version = true, h.version+1
		_, _, err := s.Settings.Delete(ctx, sc, ref)
		return err
	}
	if at < 0 {
		t.held = append(t.held, held{ref: ref})
		at = len(t.held) - 1
	}
	h := &t.held[at]
	h.deleted, h.version, h.name = false, h.version+1, fmt.Sprint("name ", random.Uint32())
	h.value = fmt.Sprintf(`{"v":%d}`, random.Uint32())
	_, _, err := s.Settings.Put(ctx, sc, ref, settings.Value{Name: h.name, Value: record.Attributes(h.value)})
	return err
}

// compare resolves and explains for a random caller, and asks the oracle.
func (t *tree) compare(ctx context.Context, s SettingsSubject, random *rand.Rand) error {
	who := settings.Caller{Groups: some(random, treeGroups, 3)}
	if random.IntN(5) > 0 {
		who.UserID = treeUsers[random.IntN(len(treeUsers))]
	}
	if random.IntN(5) > 0 {
		who.Role = treeRoles[random.IntN(len(treeRoles))]
	}
	want, steps := t.oracle(who)
	got, err := s.Settings.Resolve(ctx, s.Scope, t.code, who)
	if err := t.differs("resolved", who, want, got, err); err != nil {
		return err
	}
	got, how, err := s.Settings.Explain(ctx, s.Scope, t.code, who)
	if err := t.differs("explained", who, want, got, err); err != nil || want == nil {
		return err
	}
	if diff := cmp.Diff(steps, how.Levels); diff != "" {
		return fmt.Errorf("for %+v the levels of %s are not those of the oracle:\n%s", who, t.code, diff)
	}
	if reason := t.reason(steps); reason != how.Reason {
		return fmt.Errorf("for %+v the reason is %q, the oracle's %q", who, how.Reason, reason)
	}
	return nil
}

func (t *tree) differs(how string, who settings.Caller, want *held, got settings.Setting, err error) error {
	if want == nil {
		if fault.CodeOf(err) != fault.NotFound {
			return fmt.Errorf("%s for %+v: %+v, %v, where there is none", how, who, got, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s for %+v: %w", how, who, err)
	}
	expected := settings.Setting{Code: t.code, Name: want.name, Value: record.Attributes(want.value), Level: want.ref.Level, GroupID: want.ref.GroupID, UserID: want.ref.UserID, Version: want.version}
	if diff := cmp.Diff(expected, got); diff != "" {
		return fmt.Errorf("%s for %+v, not as the oracle:\n%s", how, who, diff)
	}
	return nil
}

// oracle goes through every place there is, ranks those that hold for who, and looks for the first.
func (t *tree) oracle(who settings.Caller) (won *held, steps []settings.Step) {
	var places []settings.Ref
	if who.UserID != "" {
		places = append(places, settings.Ref{Level: settings.LevelUser, UserID: who.UserID})
	}
	for _, group := range append(slices.Clone(t.roles[who.Role]), who.Groups...) {
		place := settings.Ref{Level: settings.LevelGroup, GroupID: group}
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	places = append(places, settings.Ref{Level: settings.LevelTenant}, settings.Ref{Level: settings.LevelCommon})
	for _, place := range places {
		place.Code = t.code
		step := settings.Step{Level: place.Level, GroupID: place.GroupID, UserID: place.UserID}
		for i := range t.held {
			if h := &t.held[i]; h.ref == place {
				step.Version, step.Deleted, step.Found = h.version, h.deleted, !h.deleted
				if step.Found {
					step.Name, step.Value = h.name, record.Attributes(h.value)
				}
				if step.Found && won == nil {
					won = h
				}
			}
		}
		steps = append(steps, step)
	}
	return won, steps
}

// reason says in words why the first step that has the setting won.
func (t *tree) reason(steps []settings.Step) string {
	who := func(s settings.Step) string {
		switch s.Level {
		case settings.LevelUser:
			return fmt.Sprintf("user %q", s.UserID)
		case settings.LevelGroup:
			return fmt.Sprintf("group %q", s.GroupID)
		}
		return string(s.Level)
	}
	passed := ""
	for i, step := range steps {
		switch {
		case step.Found && i == 0:
			return who(step) + " is the first level in the order user → group → tenant → common, and has the setting"
		case step.Found:
			return who(step) + " is the first level in the order user → group → tenant → common that has the setting: " + passed[2:]
		case step.Deleted:
			passed += ", " + who(step) + " deleted it"
		default:
			passed += ", " + who(step) + " has none"
		}
	}
	return ""
}

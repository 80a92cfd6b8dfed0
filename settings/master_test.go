package settings_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/settings"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
)

func ofUser(id, code string) settings.Ref {
	return settings.Ref{Level: settings.LevelUser, UserID: id, Code: code}
}

func ofGroup(id, code string) settings.Ref {
	return settings.Ref{Level: settings.LevelGroup, GroupID: id, Code: code}
}

func ofTenant(code string) settings.Ref {
	return settings.Ref{Level: settings.LevelTenant, Code: code}
}

func ofCommon(code string) settings.Ref {
	return settings.Ref{Level: settings.LevelCommon, Code: code}
}

func TestResolution(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	who := settings.Caller{UserID: "u1", Role: "clerk", Groups: []string{"b", "token"}}
	w.groups(w.acme, `[{"tenantRole":"CLERK","groups":["a","b"],"setting_groups":["b","a","b"],"setting_groups_mode":"customized"},{"tenantRole":"user","groups":["z"],"setting_groups":["z"]}]`)
	for _, step := range []struct {
		ref  settings.Ref
		want string
	}{
		{ofTenant("other"), "not_found"},
		{ofUser("u2", "tax"), "not_found"},
		{ofGroup("z", "tax"), "not_found"},
		{ofCommon("tax"), `common{"v":3}`},
		{ofTenant("tax"), `tenant{"v":4}`},
		{ofGroup("token", "tax"), `grouptoken{"v":5}`},
		{ofGroup("a", "tax"), `groupa{"v":6}`},
		{ofGroup("b", "tax"), `groupb{"v":7}`},
		{ofUser("u1", "tax"), `useru1{"v":8}`},
	} {
		sc := w.acme
		if step.ref.Level == settings.LevelCommon {
			sc = w.common
		}
		n := map[string]int{"not_found": 0}[step.want]
		if at := strings.Index(step.want, ":"); at > 0 {
			n = int(step.want[at+1] - '0')
		}
		w.put(sc, step.ref, fmt.Sprintf(`{"v":%d}`, n))
		if got := w.resolve(w.acme, "tax", who); got != step.want {
			t.Errorf("after %+v: %s; want %s", step.ref, got, step.want)
		}
	}
	if got := w.resolve(w.bravo, "tax", who); got != `common{"v":3}` {
		t.Errorf("in another tenant: %s", got)
	}
	if got := w.resolve(w.common, "tax", settings.Caller{}); got != `common{"v":3}` {
		t.Errorf("in common: %s", got)
	}
	if got := w.resolve(w.acme, "tax", settings.Caller{}); got != `tenant{"v":4}` {
		t.Errorf("for nobody: %s", got)
	}
	// What is deleted is absent; the order of the groups is the tenant's.
	if _, _, err := w.Delete(t.Context(), w.acme, ofUser("u1", "tax")); err != nil {
		t.Fatal(err)
	}
	w.groups(w.acme, `[{"tenantRole":"clerk","groups":["a"],"setting_groups":["a"],"setting_groups_mode":"customized"}]`)
	got, how, err := w.Explain(t.Context(), w.acme, "tax", who)
	if err != nil || got.GroupID != "a" {
		t.Errorf("%+v, %v", got, err)
	}
	value := func(n int) record.Attributes { return w.Attributes(fmt.Sprintf(`{"v":%d}`, n)) }
	want := settings.Explanation{Reason: `group "a" is the first level in the order user → group → tenant → common that has the setting: user "u1" deleted it`, Levels: []settings.Step{
		{Level: "user", UserID: "u1", Deleted: true, Version: 2},
		{Level: "group", GroupID: "a", Found: true, Version: 1, Name: "Name", Value: value(6)},
		{Level: "group", GroupID: "b", Found: true, Version: 1, Name: "Name", Value: value(7)},
		{Level: "group", GroupID: "token", Found: true, Version: 1, Name: "Name", Value: value(5)},
		{Level: "tenant", Found: true, Version: 1, Name: "Name", Value: value(4)},
		{Level: "common", Found: true, Version: 1, Name: "Name", Value: value(3)},
	}}
	if diff := cmp.Diff(want, how); diff != "" {
		t.Error(diff)
	}
	if _, _, err := w.Delete(t.Context(), w.acme, ofUser("u1", "tax")); !errors.Is(err, fault.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	// Groups that can't be read are an error.
	w.groups(w.acme, `{"tenantRole":"clerk"}`)
	if got := w.resolve(w.acme, "tax", who); got != "internal" {
		t.Errorf("with groups that are no list: %s", got)
	}
}

// Keys are made as the other framework makes them, and no name of a user or group leads to a setting of another.
func TestKeysOfMasterSettings(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	refs := map[string]settings.Ref{
		"MASTER_SETTING#tax": ofTenant("tax"), "MASTER_SETTING#GROUP": ofTenant("GROUP"), "MASTER_SETTING#USER": ofTenant("USER"),
		"MASTER_SETTING#GROUP#sales#tax": ofGroup("sales", "tax"), "MASTER_SETTING#GROUP#sales#eu#tax": ofGroup("sales#eu", "tax"), "MASTER_SETTING#GROUP#USER#u1#tax": ofGroup("USER#u1", "tax"),
		"MASTER_SETTING#USER#u1#tax": ofUser("u1", "tax"), "MASTER_SETTING#USER#a b@9#tax": ofUser("a b@9", "tax"), "MASTER_SETTING#USER#GROUP#tax": ofUser("GROUP", "tax"),
		"MASTER_SETTING#GROUP#営業部/😀#税 率": ofGroup("営業部/😀", "税 率"), "MASTER_SETTING#GROUP###tax": ofGroup("#", "tax"),
	}
	for sk, ref := range refs {
		w.put(w.acme, ref, `{"sk":"`+sk+`"}`)
		rec, err := w.Data.Get(t.Context(), w.acme, w.Key(w.acme, "MASTER", sk))
		if err != nil || rec.Code != ref.Code || rec.Name != "Name" || rec.PK != "MASTER#acme" {
			t.Errorf("%+v is not stored at %s: %+v, %v", ref, sk, rec, err)
		}
	}
	for sk, ref := range refs {
		who := settings.Caller{UserID: ref.UserID}
		if ref.GroupID != "" {
			who.Groups = []string{ref.GroupID}
		}
		if got := w.resolve(w.acme, ref.Code, who); !strings.HasSuffix(got, `{"sk":"`+sk+`"}`) {
			t.Errorf("%+v resolves to %s", ref, got)
		}
	}
	// The guide's endsWith mistake: a user or group whose name is the end of another's.
	for _, who := range []settings.Caller{{UserID: "1"}, {UserID: "b@9"}, {Groups: []string{"eu"}}, {Groups: []string{"les", "sales#e", "", "\x00", strings.Repeat("x", 600)}}} {
		if got := w.resolve(w.acme, "tax", who); got != `tenant{"sk":"MASTER_SETTING#tax"}` {
			t.Errorf("for %+v: %s", who, got)
		}
	}
	for _, code := range []string{"", "a#b", "x@1", "\x00", "a\nb", strings.Repeat("c", 201), "\xff"} {
		if got := w.resolve(w.acme, code, settings.Caller{}); got != "validation_failed" {
			t.Errorf("the code %q resolves to %s", code, got)
		}
	}
	for _, c := range []struct {
		ref  settings.Ref
		want string
	}{{ofTenant("a#b"), "code"}, {ofGroup("", "a"), "groupId"}, {ofGroup(strings.Repeat("g", 256), "a"), "groupId"}, {ofUser("a#b", "c"), "userId"}, {ofUser("", "c"), "userId"},
		{settings.Ref{Level: "planet", Code: "a"}, "level"}, {settings.Ref{Code: "a"}, "level"}, {ofCommon("a"), "level"}, {settings.Ref{Level: "tenant", GroupID: "g", Code: "a"}, "groupId"}, {settings.Ref{Level: "group", GroupID: "g", UserID: "u", Code: "a"}, "userId"}} {
		_, _, err := w.Put(t.Context(), w.acme, c.ref, settings.Value{Name: "N", Value: record.Attributes("{}")})
		if got := fields(t, err); !slices.Contains(got, c.want) {
			t.Errorf("%+v: %v names %v; want %s", c.ref, err, got, c.want)
		}
	}
	for want, v := range map[string]settings.Value{"name": {Value: record.Attributes("{}")}, "settingValue": {Name: "N"}} {
		_, _, err := w.Put(t.Context(), w.acme, ofTenant("a"), v)
		if got := fields(t, err); !slices.Contains(got, want) {
			t.Errorf("%+v names %v", v, got)
		}
	}
}

func TestVersionsOfMasterSettings(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	v := func(text string) settings.Value { return settings.Value{Name: "N", Value: w.Attributes(text)} }
	if _, res, err := w.Create(t.Context(), w.acme, ofTenant("a"), v(`{"n":1}`)); err != nil || !res.Created {
		t.Fatal(err)
	}
	if _, _, err := w.Create(t.Context(), w.acme, ofTenant("a"), v(`{"n":2}`)); !errors.Is(err, fault.AlreadyExists) {
		t.Errorf("created twice: %v", err)
	}
	if _, _, err := w.Put(t.Context(), w.acme, ofTenant("a"), v(`{"n":2}`), command.AtVersion(7)); !errors.Is(err, fault.VersionConflict) {
		t.Errorf("at another version: %v", err)
	}
	if s, res, err := w.Put(t.Context(), w.acme, ofTenant("a"), v(`{"n":2}`), command.AtVersion(1)); err != nil || s.Version != 2 || !res.Changed || res.Created {
		t.Errorf("%+v, %+v, %v", s, res, err)
	}
	if _, res, err := w.Put(t.Context(), w.acme, ofTenant("a"), v(`{"n":2}`)); err != nil || res.Changed {
		t.Errorf("what changes nothing: %+v, %v", res, err)
	}
	if _, _, err := w.Delete(t.Context(), w.acme, ofTenant("a")); err != nil {
		t.Fatal(err)
	}
	if s, res, err := w.Create(t.Context(), w.acme, ofTenant("a"), v(`{}`)); err != nil || !res.Created || s.Version != 4 || string(s.Value) != "{}" {
		t.Errorf("after it was deleted: %+v, %v", s, err)
	}
}

func TestListOfMasterSettings(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	var want []string
	for _, code := range []string{"A", "B", "FOO", "GROUP", "HOST", "TAX", "USER", "a", "b", "z"} {
		for _, ref := range []settings.Ref{ofTenant(code), ofGroup("g", code), ofGroup("g#h", code), ofUser("u", code), ofUser("u2", code)} {
			w.put(w.acme, ref, "{}")
			want = append(want, string(ref.Level)+"/"+ref.GroupID+ref.UserID+"/"+code)
		}
		w.put(w.common, ofCommon(code), "{}")
	}
	w.put(w.acme, ofTenant("gone"), "{}")
	if _, _, err := w.Delete(t.Context(), w.acme, ofTenant("gone")); err != nil {
		t.Fatal(err)
	}
	w.Publish(w.acme, command.Input{Key: w.Key(w.acme, "MASTER", "CURRENCY#eur"), Name: "no setting"})
	w.Publish(w.acme, command.Input{Key: w.Key(w.acme, "MASTER", "MASTER_SETTING#ODD#x#y"), Name: "no setting"})
	for _, c := range []struct {
		q    settings.Query
		hold func(string) bool
	}{
		{settings.Query{}, func(string) bool { return true }},
		{settings.Query{Prefix: "USE"}, func(s string) bool { return strings.HasSuffix(s, "/USER") }},
		{settings.Query{Level: "tenant"}, func(s string) bool { return strings.HasPrefix(s, "tenant/") }},
		{settings.Query{Level: "tenant", Prefix: "G"}, func(s string) bool { return s == "tenant//GROUP" }},
		{settings.Query{Level: "group"}, func(s string) bool { return strings.HasPrefix(s, "group/") }},
		{settings.Query{Level: "group", GroupID: "g"}, func(s string) bool { return strings.HasPrefix(s, "group/g/") }},
		{settings.Query{Level: "group", GroupID: "g#h", Prefix: "T"}, func(s string) bool { return s == "group/g#h/TAX" }},
		{settings.Query{Level: "user", UserID: "u"}, func(s string) bool { return strings.HasPrefix(s, "user/u/") }},
		{settings.Query{Level: "user", Prefix: "a"}, func(s string) bool { return strings.HasPrefix(s, "user/") && strings.HasSuffix(s, "/a") }},
		{settings.Query{Level: "user", UserID: "nobody"}, func(string) bool { return false }},
	} {
		held := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return !c.hold(s) })
		slices.Sort(held)
		for _, limit := range []int{1, 3, 0} {
			var got []string
			for q := (settings.Query{Level: c.q.Level, GroupID: c.q.GroupID, UserID: c.q.UserID, Prefix: c.q.Prefix, Limit: limit}); ; {
				page, err := w.List(t.Context(), w.acme, q)
				if err != nil {
					t.Fatal(err)
				}
				if limit > 0 && len(page.Items) > limit {
					t.Errorf("%+v: a page of %d", q, len(page.Items))
				}
				for _, s := range page.Items {
					got = append(got, string(s.Level)+"/"+s.GroupID+s.UserID+"/"+s.Code)
				}
				if q.Cursor = page.Cursor; q.Cursor == "" {
					break
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(held, got); len(held)+len(got) > 0 && diff != "" {
				t.Errorf("%+v in pages of %d: %s", c.q, limit, diff)
			}
		}
	}
	page, err := w.List(t.Context(), w.acme, settings.Query{Level: "common"})
	if err != nil || len(page.Items) != 10 || page.Items[0].Level != "common" {
		t.Errorf("common: %+v, %v", page, err)
	}
	for want, q := range map[string]settings.Query{"group": {GroupID: "g"}, "user": {UserID: "u", Level: "group", GroupID: "g"}, "prefix": {Prefix: "a#"}, "limit": {Limit: 1001}} {
		_, err := w.List(t.Context(), w.acme, q)
		if got := fields(t, err); !slices.Contains(got, want) {
			t.Errorf("%+v names %v", q, got)
		}
	}
	first, err := w.List(t.Context(), w.acme, settings.Query{Level: "tenant", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, cursor := range map[string]string{"of nothing": "x", "out of range": "9.", "without the beginning": first.Cursor[1:], "changed": first.Cursor + "A", "made by hand": "1.", "of the beginning": "0."} {
		if _, err := w.List(t.Context(), w.acme, settings.Query{Level: "tenant", Cursor: cursor}); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("a cursor %s: %v", name, err)
		}
	}
	for _, q := range []settings.Query{{}, {Level: "user"}, {Level: "tenant", Prefix: "a"}, {Level: "common"}} {
		q.Cursor = first.Cursor
		if _, err := w.List(t.Context(), w.acme, q); !errors.Is(err, fault.InvalidCursor) {
			t.Errorf("a cursor of another query than %+v: %v", q, err)
		}
	}
	if _, err := w.List(t.Context(), w.bravo, settings.Query{Level: "tenant", Cursor: first.Cursor}); !errors.Is(err, fault.InvalidCursor) {
		t.Errorf("a cursor of another tenant: %v", err)
	}
}

func TestBulk(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	v := settings.Value{Name: "N", Value: record.Attributes(`{"n":1}`)}
	w.put(w.acme, ofTenant("b"), "{}")
	list := []settings.NewSetting{{Ref: ofTenant("a"), Value: v}, {Ref: ofTenant("b"), Value: v}, {Ref: ofGroup("g#h", "c"), Value: v}, {Ref: ofUser("u", "c"), Value: v}}
	created, err := w.CreateAll(t.Context(), w.acme, list, nil)
	if err != nil || len(created) != 4 || created[0].Err != nil || !errors.Is(created[1].Err, fault.AlreadyExists) || created[2].Setting.GroupID != "g#h" || created[3].Setting.UserID != "u" {
		t.Errorf("%+v, %v", created, err)
	}
	if got := w.resolve(w.acme, "b", settings.Caller{}); got != "tenant{}" {
		t.Errorf("what there was is %s", got)
	}
	_, err = w.CreateAll(t.Context(), w.acme, []settings.NewSetting{{Ref: ofTenant("x"), Value: v}, {Ref: ofTenant("y#")}, {Ref: ofTenant("x"), Value: v},
		{Ref: ofTenant(".."), Value: v}, {Ref: ofGroup(".", "z"), Value: v}, {Ref: ofUser("..", "z"), Value: v}}, nil)
	if got, want := fields(t, err), []string{"[1].name", "[1].settingValue", "[1].code", "[2]", "[3].code", "[4].groupId", "[5].userId"}; !slices.Equal(got, want) {
		t.Errorf("a bulk that can't be names %v; want %v", got, want)
	}
	if got := w.resolve(w.acme, "x", settings.Caller{}); got != "not_found" {
		t.Errorf("a refused bulk stored %s", got)
	}
	if _, err := w.CreateAll(t.Context(), w.acme, make([]settings.NewSetting, 501), nil); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("501: %v", err)
	}
}

func TestCopy(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	for _, ref := range []settings.Ref{ofTenant("a"), ofTenant("z"), ofTenant("GROUP"), ofGroup("g", "a"), ofGroup("h", "b"), ofUser("u", "a")} {
		w.put(w.acme, ref, `{"from":"acme"}`)
	}
	w.put(w.bravo, ofTenant("a"), `{"from":"bravo"}`)
	system := worldtest.System("copy", nil)
	codes := func(texts ...string) (out []tenant.Code) {
		for _, text := range texts {
			out = append(out, worldtest.Code(text))
		}
		return out
	}
	acme := worldtest.Code("acme")
	for _, step := range []struct {
		c    settings.Copy
		want string
	}{
		{settings.Copy{Targets: codes("bravo"), Skip: true, Level: "tenant"}, "bravo/tenant/GROUP:copied bravo/tenant/a:skipped bravo/tenant/z:copied"},
		{settings.Copy{Targets: codes("bravo", "charlie"), Codes: []string{"a"}}, "bravo/group/ga:copied bravo/tenant/a:copied charlie/group/ga:copied charlie/tenant/a:copied"},
		{settings.Copy{Targets: codes("bravo"), Level: "group", GroupID: "g"}, "bravo/group/ga:unchanged"},
		{settings.Copy{Targets: codes("common"), Level: "tenant", Codes: []string{"z"}}, "common/common/z:copied"},
		{settings.Copy{Targets: codes("bravo"), Codes: []string{"nothing"}}, ""},
	} {
		step.c.Source = acme
		copied, err := w.Copy(t.Context(), system, step.c, nil)
		if err != nil {
			t.Errorf("%+v: %v", step.c, err)
		}
		var got []string
		for _, one := range copied {
			got = append(got, one.TenantCode.String()+"/"+string(one.Level)+"/"+one.GroupID+one.Code+":"+one.Status)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != step.want {
			t.Errorf("%+v: %v; want %s", step.c, got, step.want)
		}
	}
	if got := w.resolve(w.bravo, "a", settings.Caller{UserID: "u"}); got != `tenant{"from":"acme"}` {
		t.Errorf("in the target: %s", got)
	}
	for want, c := range map[string]settings.Copy{"targetTenantCodes": {Source: acme}, "targetTenantCodes[0]": {Source: acme, Targets: codes("ghost")}, "targetTenantCodes[1]": {Source: acme, Targets: codes("bravo", "bravo")},
		"sourceTenantCode": {Source: worldtest.Code("ghost"), Targets: codes("bravo")}, "level": {Source: acme, Targets: codes("bravo"), Level: "user"}, "groupId": {Source: acme, Targets: codes("bravo"), GroupID: "g"}} {
		_, err := w.Copy(t.Context(), system, c, nil)
		if got := fields(t, err); !slices.Contains(got, want) {
			t.Errorf("%+v: names %v; want %s", c, got, want)
		}
	}
	if _, err := w.Copy(t.Context(), system, settings.Copy{Source: acme, Targets: codes("acme")}, nil); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("to itself: %v", err)
	}
}

// BenchmarkCached reads what the caches hold: it allocates nothing.
func BenchmarkCached(b *testing.B) {
	w := newWorld(b, settings.Declaration{})
	w.groups(w.acme, `[{"tenantRole":"clerk","groups":["a","b"],"setting_groups":["b","a"]}]`)
	w.put(w.acme, ofTenant("tax"), `{"rate":10}`)
	who := settings.Caller{UserID: "u1", Role: "clerk", Groups: []string{"b", "token"}}
	ctx := b.Context()
	b.Run("settings", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := settings.Get[settings.Tenant](ctx, w.Service, w.acme); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("resolution", func(b *testing.B) { // of five levels, the last of which has it
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.Resolve(ctx, w.acme, "tax", who); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestCachedReadsAllocateNothing(t *testing.T) {
	w := newWorld(t, settings.Declaration{})
	w.groups(w.acme, `[{"tenantRole":"clerk","groups":["a"],"setting_groups":["a"]}]`)
	w.put(w.common, ofCommon("tax"), `{"rate":10}`)
	who := settings.Caller{UserID: "u1", Role: "clerk", Groups: []string{"token"}}
	ctx := t.Context()
	if n := testing.AllocsPerRun(200, func() {
		_, err := settings.Get[settings.Tenant](ctx, w.Service, w.acme)
		if _, again := w.Resolve(ctx, w.acme, "tax", who); err != nil || again != nil {
			t.Error(err, again)
		}
	}); n >= 1 { // a mean: the feed is followed beside
		t.Errorf("cached reads allocate %v times", n)
	}
}

// Another process on the same store sees a change not later than a second after.
func TestOtherProcesses(t *testing.T) {
	src := memory.New()
	here, there := worldOn(t, src, settings.Declaration{}), worldOn(t, src, settings.Declaration{})
	for n := range 3 {
		here.put(here.acme, ofTenant("tax"), fmt.Sprintf(`{"n":%d}`, n))
		want := fmt.Sprintf(`tenant{"n":%d}`, n)
		within(t, func() bool { return there.resolve(there.acme, "tax", settings.Caller{}) == want })
	}
	if _, err := there.update(there.acme, `{"locale":"en"}`); err != nil {
		t.Fatal(err)
	}
	within(t, func() bool {
		got, err := settings.Get[settings.Tenant](t.Context(), here.Service, here.acme)
		return err == nil && got.Locale == "en"
	})
}

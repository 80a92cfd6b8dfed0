package tenantsync_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenantsync"
)

func TestPlanSaysWhatAndWhy(t *testing.T) {
	w := newWorld(t)
	first := []string{"copied", "gone", "gone-changed", "mine-now", "changed", "removed"}
	for _, sk := range first {
		w.put(w.acme, sk, `{"n":1}`)
	}
	w.plan(w.request("bravo"), tenantsync.Order{Apply: true})
	for _, sk := range []string{"copied", "changed", "removed"} {
		w.put(w.acme, sk, `{"n":2}`)
	}
	w.put(w.acme, "new", `{"n":1}`)
	w.put(w.acme, "same", `{"n":1}`)
	w.put(w.bravo, "same", `{"n":1}`)
	w.put(w.acme, "both", `{"n":1}`)
	w.put(w.bravo, "both", `{"n":9}`)
	w.remove(w.acme, "gone")
	w.remove(w.acme, "gone-changed")
	w.remove(w.acme, "mine-now")
	w.put(w.bravo, "mine-now", `{"n":7}`) // replaced whole: it says no more that it is a copy
	w.put(w.bravo, "own", `{"n":7}`)
	for _, sk := range []string{"changed", "gone-changed"} {
		_, err := w.Commands.PublishPartialUpdateSync(w.Context(), w.bravo, command.Partial{Key: w.Key(w.bravo, "PRODUCT", sk), Version: -1, Attributes: w.Attributes(`{"local":true}`)})
		w.must(err)
	}
	w.remove(w.bravo, "removed")

	for _, c := range []struct {
		policy  tenantsync.Policy
		deletes bool
		want    []string
	}{
		{tenantsync.Overwrite, false, []string{"both update local_changes", "changed update local_changes", "copied update source_changed", "new create missing", "removed create deleted", "same unchanged same"}},
		{tenantsync.Overwrite, true, []string{"gone delete gone", "gone-changed delete gone", "mine-now skip own", "own skip own",
			"both update local_changes", "changed update local_changes", "copied update source_changed", "new create deleted", "removed create deleted", "same unchanged same"}},
		{tenantsync.Skip, false, []string{"both skip exists", "changed skip exists", "copied skip exists", "new create deleted", "removed create deleted", "same unchanged same"}},
		{tenantsync.KeepLocal, true, []string{"gone delete gone", "gone-changed skip local_changes", "mine-now skip own", "own skip own",
			"both skip local_changes", "changed skip local_changes", "copied update source_changed", "new create deleted", "removed skip deleted_locally", "same unchanged same"}},
	} {
		before := w.content("bravo")
		r := w.request("bravo")
		r.OnConflict, r.Deletes = c.policy, c.deletes
		id := w.plan(r, tenantsync.Order{})
		if diff := cmp.Diff(c.want, w.items(id, "bravo")); diff != "" {
			t.Errorf("%s, deletes %v:\n%s", c.policy, c.deletes, diff)
		}
		if st := w.status(id); st.Status != tenantsync.Planned || st.Synced != 0 || st.Total != int64(len(c.want)) {
			t.Errorf("%s: %+v", c.policy, st)
		}
		if diff := cmp.Diff(before, w.content("bravo")); diff != "" {
			t.Errorf("%s: planning changed the target:\n%s", c.policy, diff)
		}
		st := w.apply(id)
		if st.Status != tenantsync.Applied || st.Synced+st.Unchanged+st.Skipped != st.Total || st.Failed != 0 {
			t.Errorf("%s: %+v", c.policy, st)
		}
		if again := w.status(w.plan(r, tenantsync.Order{Apply: true})); again.Synced != 0 || again.Total == 0 {
			t.Errorf("%s: a second run is no no-op: %+v", c.policy, again)
		}
		w.undo(id)
		if diff := cmp.Diff(before, w.content("bravo")); diff != "" {
			t.Errorf("%s: undone, but not as before:\n%s", c.policy, diff)
		}
	}
}

func TestCopy(t *testing.T) {
	w := newWorld(t)
	key := w.Key(w.acme, "PRODUCT", "chair")
	w.Publish(w.acme, command.Input{Key: key, Code: "C-1", Name: "Chair", Type: "furniture", Seq: "7", TTL: 4102444800, Attributes: w.Attributes(`{"price":0.10000000000000000000001}`)})
	id := w.plan(w.request("bravo", "charlie"), tenantsync.Order{Apply: true})
	for _, sc := range []guard.Scope{w.bravo, w.charlie} {
		got := w.get(sc, "chair")
		if got == nil || got.Code != "C-1" || got.Name != "Chair" || got.Type != "furniture" || got.Seq != "7" || got.TTL != 4102444800 || got.Version != 1 ||
			string(got.Attributes) != `{"price":0.10000000000000000000001}` || got.TenantCode != sc.Tenant().String() {
			t.Errorf("the copy is %+v", got)
		}
		if want := `{"syncedAt":"2090-03-04T05:06:07.000Z","syncedFrom":"PRODUCT#acme#chair"}`; string(got.Metadata) != want {
			t.Errorf("metadata %s, want %s", got.Metadata, want)
		}
		if got.RequestID != id || got.Source != "sync" || got.CreatedBy != "tester" {
			t.Errorf("written by %s in %s, %s", got.CreatedBy, got.RequestID, got.Source)
		}
	}
	if _, err := w.Commands.PublishSync(w.Context(), w.acme, command.Input{Key: key, Version: 1, Name: "Stool"}); err != nil {
		t.Error("the source is not as it was:", err)
	}
}

// The tasks cross tenants in the name of who ordered, and each tenant's entries name it.
func TestCrossingsAreEntered(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{}`)
	w.plan(w.request("bravo"), tenantsync.Order{Apply: true})
	for _, code := range []string{"acme", "bravo"} {
		entries := w.crossed.named(code)
		if len(entries) == 0 {
			t.Errorf("no entry names %s", code)
		}
		for _, e := range entries {
			if e.Actor.UserID != "tester" || !strings.HasPrefix(e.Reason, "sync PRODUCT") {
				t.Errorf("%s: %+v", code, e)
			}
		}
	}
	if entries := w.crossed.named("charlie"); len(entries) != 0 {
		t.Errorf("charlie is named: %+v", entries)
	}
}

func TestMapping(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{"price":1,"cost":2,"a":"A","b":"B","stock":5}`)
	r := w.request("bravo")
	r.Mapping = tenantsync.Mapping{Omit: []string{"cost"}, Rename: map[string]string{"a": "b", "b": "a", "price": "listPrice"}, Set: tenantsync.Values(`{"currency":"EUR"}`), Keep: []string{"stock", "shelf"}}
	w.plan(r, tenantsync.Order{Apply: true})
	if got, want := string(w.get(w.bravo, "1").Attributes), `{"a":"B","b":"A","currency":"EUR","listPrice":1,"stock":5}`; got != want {
		t.Fatalf("the copy is %s, want %s", got, want)
	}
	_, err := w.Commands.PublishPartialUpdateSync(w.Context(), w.bravo, command.Partial{Key: w.Key(w.bravo, "PRODUCT", "1"), Version: 1, Attributes: w.Attributes(`{"stock":1,"shelf":"K7"}`)})
	w.must(err)
	w.put(w.acme, "1", `{"price":2,"stock":99}`)
	w.plan(r, tenantsync.Order{Apply: true})
	if got, want := string(w.get(w.bravo, "1").Attributes), `{"currency":"EUR","listPrice":2,"shelf":"K7","stock":1}`; got != want {
		t.Errorf("the copy is %s, want %s", got, want)
	}
	if st := w.status(w.plan(r, tenantsync.Order{Apply: true})); st.Unchanged != 1 {
		t.Errorf("a second run is no no-op: %+v", st)
	}
}

// Applying does what the plan says: what the source says since is not copied, and what the target says since is not overwritten.
func TestAppliesExactlyThePlan(t *testing.T) {
	w := newWorld(t)
	for _, sk := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		w.put(w.acme, sk, `{"n":1}`)
	}
	w.put(w.bravo, "4", `{"own":4}`)
	w.put(w.bravo, "5", `{"own":5}`)
	id := w.plan(w.request("bravo"), tenantsync.Order{})
	digest := w.status(id).Digest
	w.put(w.acme, "1", `{"n":2}`)
	w.remove(w.acme, "2")
	w.put(w.acme, "8", `{"n":1}`)
	w.put(w.bravo, "3", `{"since":3}`)
	w.put(w.bravo, "5", `{"since":5}`)
	w.remove(w.bravo, "4")
	st := w.apply(id)
	if st.Synced != 4 || st.Failed != 3 || st.Total != 7 || st.Digest != digest {
		t.Errorf("%+v", st)
	}
	want := []string{"1 create missing", "2 create missing", "3 create missing version_conflict", "4 update local_changes version_conflict",
		"5 update local_changes version_conflict", "6 create missing", "7 create missing"}
	if diff := cmp.Diff(want, w.items(id, "bravo")); diff != "" {
		t.Error(diff)
	}
	for sk, want := range map[string]string{"1": `{"n":1}`, "2": `{"n":1}`, "3": `{"since":3}`, "5": `{"since":5}`, "6": `{"n":1}`} {
		if got := w.get(w.bravo, sk); got == nil || string(got.Attributes) != want || got.IsDeleted {
			t.Errorf("%s is %+v, want %s", sk, got, want)
		}
	}
	if got := w.get(w.bravo, "8"); got != nil {
		t.Errorf("8 was not in the plan: %+v", got)
	}
	if len(st.Errors) != 3 || st.Errors[0].ID != "PRODUCT#bravo#3" || st.Errors[0].TenantCode != "bravo" || st.Errors[0].Code != fault.VersionConflict {
		t.Errorf("errors %+v", st.Errors)
	}
	if again := w.apply(id); again.Synced != 4 {
		t.Errorf("applied twice: %+v", again)
	}
}

// Records of one page hand codes on from one to the next.
func TestCodesAreHandedOn(t *testing.T) {
	w := newWorld(t, entity.Type{Name: product, UniqueCode: true})
	code := func(sk, code string) {
		w.Publish(w.acme, command.Input{Key: w.Key(w.acme, "PRODUCT", sk), Version: record.VersionLatest, Code: code, Name: sk})
	}
	for n, sk := range []string{"a", "b", "c"} {
		code(sk, string(rune('1'+n)))
	}
	w.plan(w.request("bravo"), tenantsync.Order{Apply: true})
	code("c", "4")
	code("b", "3")
	code("a", "2")
	if st := w.status(w.plan(w.request("bravo"), tenantsync.Order{Apply: true})); st.Failed != 0 || st.Synced != 3 {
		t.Errorf("%+v", st)
	}
	if got := w.get(w.bravo, "a").Code + w.get(w.bravo, "b").Code + w.get(w.bravo, "c").Code; got != "234" {
		t.Errorf("the codes are %s", got)
	}
}

// What cannot be written fails by itself.
func TestErrorsPerItem(t *testing.T) {
	priced := entity.Type{Name: product, UniqueCode: true, Check: func(a record.Attributes) []fault.Field {
		if a.Member("bad") != nil {
			return []fault.Field{{Field: "bad", Problem: strings.Repeat("ü", 1000)}}
		}
		return nil
	}}
	w := newWorld(t, priced)
	for _, sk := range []string{"1", "2", "3"} {
		w.put(w.acme, sk, `{}`)
	}
	w.Publish(w.bravo, command.Input{Key: w.Key(w.bravo, "PRODUCT", "other"), Code: "2", Name: "holds the code"})
	r := w.request("bravo")
	st := w.status(w.plan(r, tenantsync.Order{Apply: true}))
	if st.Synced != 2 || st.Failed != 1 || st.Status != tenantsync.Applied || st.Errors[0].Code != fault.AlreadyExists {
		t.Errorf("a taken code: %+v", st)
	}
	r.Mapping.Set = tenantsync.Values(`{"bad":1}`)
	st = w.status(w.plan(r, tenantsync.Order{Apply: true}))
	if st.Synced != 0 || st.Failed != 3 || st.Errors[0].Code != fault.ValidationFailed || len(st.Errors[0].Message) > 510 {
		t.Errorf("attributes that the type refuses: %+v", st)
	}
}

// A code that a copy held is free for the record that takes it over: what is gone goes first, and comes back last.
func TestCodesMove(t *testing.T) {
	w := newWorld(t, entity.Type{Name: product, UniqueCode: true})
	w.Publish(w.acme, command.Input{Key: w.Key(w.acme, "PRODUCT", "z"), Code: "K", Name: "z"})
	for _, sk := range []string{"a", "b", "c", "d"} {
		w.put(w.acme, sk, `{}`)
	}
	r := w.request("bravo")
	r.Deletes = true
	w.plan(r, tenantsync.Order{Apply: true})
	before := w.content("bravo")
	w.remove(w.acme, "z")
	w.Publish(w.acme, command.Input{Key: w.Key(w.acme, "PRODUCT", "aa"), Code: "K", Name: "aa"})
	id := w.plan(r, tenantsync.Order{Apply: true})
	if st := w.status(id); st.Failed != 0 || st.Synced != 2 {
		t.Errorf("%+v", st)
	}
	if st := w.undo(id); st.Failed != 0 || st.Synced != 2 {
		t.Errorf("%+v", st)
	}
	if diff := cmp.Diff(before, w.content("bravo")); diff != "" {
		t.Error(diff)
	}
}

func TestTargetsThatStandStill(t *testing.T) {
	w := newWorld(t)
	for _, sk := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		w.put(w.acme, sk, `{}`)
	}
	w.set("bravo", guard.State{Exists: true, Suspended: true})
	id := w.plan(w.request("bravo", "charlie", "ghost"), tenantsync.Order{Apply: true})
	st := w.status(id)
	var codes []fault.Code
	for _, p := range st.PerTenant {
		codes = append(codes, p.Code)
	}
	if diff := cmp.Diff([]fault.Code{fault.TenantSuspended, "", fault.NotFound}, codes); diff != "" || st.Status != tenantsync.Failed || st.Synced != 7 {
		t.Errorf("%s %+v", diff, st)
	}
	if got := w.content("bravo"); len(got) != 0 {
		t.Errorf("a suspended tenant was written to: %v", got)
	}
	w.set("bravo", guard.State{Exists: true})
	w.must(w.Resume(w.Context(), w.sys(), id))
	w.run()
	if st := w.status(id); st.Synced != 14 || st.PerTenant[0].Status != tenantsync.Applied || st.Status != tenantsync.Failed {
		t.Errorf("resumed: %+v", st)
	}

	// A tenant of another life is not the one that the plan was made for.
	born := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w.set("bravo", guard.State{Exists: true, Born: born})
	w.put(w.acme, "8", `{}`)
	id = w.plan(w.request("bravo"), tenantsync.Order{})
	w.set("bravo", guard.State{Exists: true, Born: born.Add(time.Hour)})
	if st := w.apply(id); st.Status != tenantsync.Failed || st.Synced != 0 || st.Errors[0].Code != fault.NotFound {
		t.Errorf("%+v", st)
	}
	// Nor is a source of another life.
	w.set("acme", guard.State{Exists: true, Born: born})
	id = w.plan(w.request("charlie"), tenantsync.Order{})
	w.set("acme", guard.State{})
	if st := w.apply(id); st.Status != tenantsync.Failed || st.Synced != 0 {
		t.Errorf("%+v", st)
	}
}

func TestCancelAndResume(t *testing.T) {
	w := newWorld(t)
	for _, sk := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		w.put(w.acme, sk, `{}`)
	}
	id := w.plan(w.request("bravo"), tenantsync.Order{})
	w.must(w.Apply(w.Context(), w.sys(), id))
	task, sc, _ := w.next()
	more, err := w.Step(w.Context(), sc, task.Sync)
	w.must(err)
	w.must(w.Cancel(w.Context(), w.sys(), id))
	if !more {
		t.Fatal("one step is all")
	}
	w.must(w.Work(w.Context(), sc, task.Sync))
	if st := w.status(id); st.Status != tenantsync.Cancelled || st.Synced != 4 {
		t.Errorf("cancelled: %+v", st)
	}
	if err := w.Apply(w.Context(), w.sys(), id); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("a cancelled sync is applied: %v", err)
	}
	undone := w.undo(id)
	if got := w.content("bravo"); len(got) != 0 || undone.Synced != 4 {
		t.Errorf("undone: %v %+v", got, undone)
	}
	w.must(w.Resume(w.Context(), w.sys(), id))
	w.run()
	if st := w.status(id); st.Status != tenantsync.Applied || st.Synced != 7 {
		t.Errorf("resumed: %+v", st)
	}
	w.must(w.Cancel(w.Context(), w.sys(), id))
	if st := w.status(id); st.Status != tenantsync.Applied {
		t.Errorf("cancelled when it was over: %+v", st)
	}
}

// Undoing leaves alone what was changed since.
func TestUndoKeepsWhatCameAfter(t *testing.T) {
	w := newWorld(t)
	for _, sk := range []string{"1", "2", "3"} {
		w.put(w.acme, sk, `{"n":1}`)
	}
	w.put(w.bravo, "2", `{"own":true}`)
	id := w.plan(w.request("bravo"), tenantsync.Order{Apply: true})
	w.put(w.bravo, "3", `{"since":true}`)
	undone := w.undo(id)
	if diff := cmp.Diff([]string{"3 skip changed_since", "2 update written", "1 delete written"}, w.items(undone.ID, "bravo")); diff != "" {
		t.Error(diff)
	}
	if undone.Undoes != id || undone.Synced != 2 || undone.Skipped != 1 {
		t.Errorf("%+v", undone)
	}
	if got := w.get(w.bravo, "2"); string(got.Attributes) != `{"own":true}` || got.Metadata != nil {
		t.Errorf("2 is %+v", got)
	}
	if got := w.get(w.bravo, "3"); string(got.Attributes) != `{"since":true}` {
		t.Errorf("3 is %+v", got)
	}
	again := w.undo(undone.ID) // the undoing is undone
	if got := w.get(w.bravo, "2"); string(got.Attributes) != `{"n":1}` || again.Synced != 2 {
		t.Errorf("2 is %+v, %+v", got, again)
	}
	if _, err := w.Undo(w.Context(), w.sys(), record.NewID(), tenantsync.Order{}); !errors.Is(err, fault.NotFound) {
		t.Errorf("undo of nothing: %v", err)
	}
}

// What undoing restores is a copy again where it was one.
func TestUndoRestoresCopies(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{"n":1}`)
	w.plan(w.request("bravo"), tenantsync.Order{Apply: true})
	w.put(w.acme, "1", `{"n":2}`)
	w.undo(w.plan(w.request("bravo"), tenantsync.Order{Apply: true}))
	r := w.request("bravo")
	r.OnConflict = tenantsync.KeepLocal
	if diff := cmp.Diff([]string{"1 update source_changed"}, w.items(w.plan(r, tenantsync.Order{}), "bravo")); diff != "" {
		t.Error(diff)
	}
}

func TestPartitionsAndPrefixes(t *testing.T) {
	w := newWorld(t)
	put := func(sc guard.Scope, pk, sk string) {
		key, err := record.ParseKey(sc, pk, sk)
		w.must(err)
		w.Publish(sc, command.Input{Key: key, Version: record.VersionLatest, Name: sk})
	}
	for _, pk := range []string{"PRODUCT#acme", "PRODUCT#acme#2026-10", "PRODUCT#acme#2026-11", "ORDER#acme", "PRODUCTS#acme"} {
		for _, sk := range []string{"a1", "a2", "a3", "a4", "b1"} {
			put(w.acme, pk, sk)
		}
	}
	put(w.bravo, "PRODUCT#bravo#2026-09", "a9")
	r := w.request("bravo")
	r.Prefix, r.Deletes = "a", true
	st := w.status(w.plan(r, tenantsync.Order{Apply: true}))
	if st.Synced != 12 || st.Skipped != 1 || st.Total != 13 {
		t.Errorf("%+v", st)
	}
	got := w.content("bravo")
	if _, ok := got["PRODUCT#bravo#2026-11#a4"]; !ok || len(got) != 13 {
		t.Errorf("bravo has %v", got)
	}
}

func TestEveryActiveTenant(t *testing.T) {
	w := newWorld(t)
	w.set("delta", guard.State{Exists: true, Suspended: true})
	w.put(w.acme, "1", `{}`)
	id := w.plan(tenantsync.Request{Source: w.acme.Tenant(), All: true, EntityType: product}, tenantsync.Order{Apply: true})
	var names []string
	for _, p := range w.status(id).PerTenant {
		names = append(names, p.TenantCode)
	}
	if diff := cmp.Diff([]string{"bravo", "charlie"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	before := len(w.Rows(driver.System))
	good := w.request("bravo")
	for name, c := range map[string]struct {
		change func(*tenantsync.Request)
		want   fault.Code
	}{
		"no targets":          {func(r *tenantsync.Request) { r.Targets = nil }, fault.ValidationFailed},
		"all and some":        {func(r *tenantsync.Request) { r.All = true }, fault.ValidationFailed},
		"the source":          {func(r *tenantsync.Request) { r.Targets = append(r.Targets, r.Source) }, fault.ValidationFailed},
		"one twice":           {func(r *tenantsync.Request) { r.Targets = append(r.Targets, r.Targets[0]) }, fault.ValidationFailed},
		"an unknown source":   {func(r *tenantsync.Request) { r.Source = worldtest.Code("ghost") }, fault.ValidationFailed},
		"an unknown policy":   {func(r *tenantsync.Request) { r.OnConflict = "guess" }, fault.ValidationFailed},
		"two of one name":     {func(r *tenantsync.Request) { r.Mapping.Rename = map[string]string{"a": "c", "b": "c"} }, fault.ValidationFailed},
		"a module's type":     {func(r *tenantsync.Request) { r.EntityType = record.MustEntityType("SECRET_THING") }, fault.NotFound},
		"no type":             {func(r *tenantsync.Request) { r.EntityType = record.EntityType{} }, fault.NotFound},
		"a prefix of control": {func(r *tenantsync.Request) { r.Prefix = "\x00" }, fault.ValidationFailed},
	} {
		r := good
		r.Targets = slices.Clone(good.Targets)
		c.change(&r)
		if _, err := w.Plan(w.Context(), w.sys(), r, tenantsync.Order{Apply: true}); fault.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := w.Plan(w.Context(), guard.System{}, good, tenantsync.Order{}); !errors.Is(err, fault.RoleRequired) {
		t.Errorf("without a System: %v", err)
	}
	if after := len(w.Rows(driver.System)); after != before {
		t.Errorf("refused requests left %d rows", after-before)
	}
}

// A task runs with the Scope of its target: it reaches no other tenant, and does nothing for one that the sync doesn't have.
func TestTaskReachesItsTenantOnly(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{}`)
	id, err := w.Plan(w.Context(), w.sys(), w.request("bravo"), tenantsync.Order{Apply: true})
	w.must(err)
	task, sc, _ := w.next()
	if task.Target != w.bravo.Tenant() || sc.Tenant() != task.Target {
		t.Fatalf("the task of %s has the Scope of %s", task.Target, sc.Tenant())
	}
	for _, pk := range []string{"PRODUCT#acme", "PRODUCT#charlie", "PRODUCT#common"} {
		if _, err := record.ParseKey(sc, pk, "1"); !errors.Is(err, fault.TenantForbidden) {
			t.Errorf("%s is in reach: %v", pk, err)
		}
	}
	w.must(w.Work(w.Context(), w.charlie, id))
	if got := w.content("charlie"); len(got) != 0 {
		t.Errorf("charlie got %v", got)
	}
	w.must(w.Work(w.Context(), sc, id))
	if got := w.content("bravo"); len(got) != 1 {
		t.Errorf("bravo got %v", got)
	}
}

// An older service writes a record of common after it was planned that there is none: a copy beside it would hide it.
func TestCopyToCommonHidesNothing(t *testing.T) {
	w := newWorld(t)
	common := worldtest.Scope("common")
	w.put(w.acme, "1", `{"n":1}`)
	w.put(w.acme, "2", `{"n":1}`)
	id := w.plan(w.request("common"), tenantsync.Order{})
	older := w.put(w.bravo, "1", `{"older":true}`).Record.Clone()
	older.PK, older.TenantCode = "PRODUCT#COMMON", "COMMON"
	w.Plant(driver.Data, older)
	if st := w.apply(id); st.Synced != 1 || st.Failed != 1 || st.Errors[0].Code != fault.VersionConflict {
		t.Errorf("%+v", st)
	}
	if got := w.get(common, "1"); string(got.Attributes) != `{"older":true}` {
		t.Errorf("common has %+v", got)
	}
	if got := w.get(common, "2"); string(got.Attributes) != `{"n":1}` {
		t.Errorf("common has %+v", got)
	}
}

// purged is an engine on which a tenant is purged before the next look at one of its records.
type purged struct {
	driver.Engine
	pk    string
	purge *func() // nil for never
}

func (p purged) BatchGet(ctx context.Context, refs []driver.Ref) ([]*record.Record, error) {
	if purge := *p.purge; purge != nil && refs[0].PK == p.pk {
		purge()
		return make([]*record.Record, len(refs)), nil
	}
	return p.Engine.BatchGet(ctx, refs)
}

// A source that is purged while a step looks for what is gone in it takes no copies with it.
func TestSourceIsPurgedMeanwhile(t *testing.T) {
	var purge func()
	w := worldOn(t, worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return purged{e, "PRODUCT#acme", &purge} }), worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)))
	w.put(w.acme, "1", `{}`)
	w.put(w.acme, "2", `{}`)
	r := w.request("bravo")
	r.Deletes = true
	w.plan(r, tenantsync.Order{Apply: true})
	purge = func() { w.set("acme", guard.State{}) }
	if st := w.status(w.plan(r, tenantsync.Order{Apply: true})); st.Status != tenantsync.Failed || st.Synced != 0 || st.Errors[0].Code != fault.NotFound {
		t.Errorf("%+v", st)
	}
	if got := w.content("bravo"); len(got) != 2 {
		t.Errorf("bravo has %v", got)
	}
}

// The same on each engine, over several steps of several pages.
func TestEngines(t *testing.T) {
	eachEngine(t, func(t *testing.T, src driver.Source) {
		w := worldOn(t, src, worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)))
		tenantsync.SetPages(w.Service, 20, 5)
		for n := range 130 {
			w.put(w.acme, fmt.Sprintf("p%03d", n), `{"n":1}`)
		}
		for n := range 14 { // between the source's, so that a stretch of the target ends early
			w.put(w.bravo, fmt.Sprintf("p%03d-own", 7*n), `{"own":true}`)
			w.put(w.bravo, fmt.Sprintf("p%03d", 9*n), `{"own":true}`)
		}
		before := w.content("bravo")
		id := w.plan(w.request("bravo", "charlie"), tenantsync.Order{})
		st := w.apply(id)
		if st.Synced != 260 || st.Failed != 0 || st.PerTenant[0].Create != 116 || st.PerTenant[0].Update != 14 {
			t.Errorf("%+v", st)
		}
		if got := len(w.content("charlie")); got != 130 {
			t.Errorf("charlie has %d", got)
		}
		if st := w.undo(id); st.Synced != 260 {
			t.Errorf("%+v", st)
		}
		if diff := cmp.Diff(before, w.content("bravo")); diff != "" || len(w.content("charlie")) != 0 {
			t.Error(diff)
		}
	})
}

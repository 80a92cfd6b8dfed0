package tenantsync_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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

// rule adds a rule and syncs its targets.
func (w *world) rule(r tenantsync.Request, o tenantsync.RuleOptions) string {
	w.Helper()
	id, _, err := w.AddRule(w.Context(), w.sys(), r, o)
	w.must(err)
	w.run()
	return id
}

func (w *world) follower() tenantsync.Follower {
	w.Helper()
	f, err := tenantsync.NewFollower(w.Context(), w.process(), w.sys())
	w.must(err)
	return f
}

// look has a follower look until it has seen everything.
func (w *world) look(f tenantsync.Follower) {
	w.Helper()
	for range 50 {
		before := len(w.Rows(driver.Command))
		w.must(f.Look(w.Context()))
		w.must(f.Look(w.Context()))
		if len(w.Rows(driver.Command)) == before {
			return
		}
	}
	w.Fatal("there is no end of it")
}

func TestRuleKeepsTargetsInStep(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "before", `{"n":1}`)
	r := w.request("bravo", "charlie")
	r.Deletes, r.Prefix = true, "b"
	w.rule(r, tenantsync.RuleOptions{})
	if got := w.get(w.charlie, "before"); got == nil {
		t.Fatal("adding a rule did not sync its targets")
	}
	f := w.follower()
	for _, sk := range []string{"b1", "b2", "b3", "b4", "b5", "other"} {
		w.put(w.acme, sk, `{"n":1}`)
	}
	w.put(w.acme, "b1", `{"n":2}`)
	w.remove(w.acme, "b2")
	w.remove(w.acme, "before")
	w.put(w.bravo, "b9", `{"own":true}`)
	w.look(f)
	want := map[string]string{"b1": `{"n":2}`, "b3": `{"n":1}`, "b4": `{"n":1}`, "b5": `{"n":1}`}
	for _, sc := range []guard.Scope{w.bravo, w.charlie} {
		for _, sk := range []string{"before", "b1", "b2", "b3", "b4", "b5", "other"} {
			got := ""
			if rec := w.get(sc, sk); rec != nil && !rec.IsDeleted {
				got = string(rec.Attributes)
			}
			if got != want[sk] {
				t.Errorf("%s of %s is %q, want %q", sk, sc.Tenant(), got, want[sk])
			}
		}
	}
	if got := w.get(w.bravo, "b9"); got == nil || got.IsDeleted {
		t.Error("the target's own record is gone")
	}
	w.must(w.RemoveRule(w.Context(), w.sys(), w.rules()[0].ID))
	w.put(w.acme, "b1", `{"n":3}`)
	w.look(f)
	if got := w.get(w.bravo, "b1"); string(got.Attributes) != `{"n":2}` {
		t.Errorf("a rule that was removed copies: %s", got.Attributes)
	}
	if err := w.RemoveRule(w.Context(), w.sys(), "nonsense"); !errors.Is(err, fault.NotFound) {
		t.Errorf("no rule: %v", err)
	}
}

func (w *world) rules() []tenantsync.Rule {
	w.Helper()
	all, err := w.Rules(w.Context(), w.sys())
	w.must(err)
	return all
}

// Rules in a circle end, also where their mappings would go on for ever.
func TestRulesInACircleEnd(t *testing.T) {
	scopes := []string{"acme", "bravo", "charlie"}
	for _, copies := range []bool{false, true} {
		for circle := 2; circle <= 3; circle++ {
			w := newWorld(t)
			for i := range circle {
				r := w.request(scopes[(i+1)%circle])
				r.Source = worldtest.Code(scopes[i])
				r.Mapping.Rename = map[string]string{"x": "y", "y": "x"}
				w.rule(r, tenantsync.RuleOptions{Copies: copies})
			}
			w.put(w.acme, "1", `{"x":1,"y":2}`)
			w.look(w.follower()) // it would never see the end
			chain := w.get(w.bravo, "1")
			if chain == nil || string(chain.Attributes) != `{"x":2,"y":1}` {
				t.Errorf("copies %v, circle of %d: bravo has %+v", copies, circle, chain)
			}
			if last := w.get(w.charlie, "1"); circle == 3 && (last != nil) != copies {
				t.Errorf("copies %v: charlie has %+v", copies, last)
			}
			if first := w.get(w.acme, "1"); circle == 2 && first.Version != 1 {
				t.Errorf("copies %v, circle of %d: acme was written to: %+v", copies, circle, first)
			}
		}
	}
}

// A rule does not copy what itself was synced, unless asked.
func TestRulesLeaveCopies(t *testing.T) {
	w := newWorld(t)
	r := w.request("charlie")
	r.Source = w.bravo.Tenant()
	w.rule(r, tenantsync.RuleOptions{})
	w.put(w.acme, "1", `{}`)
	w.plan(w.request("bravo"), tenantsync.Order{Apply: true})
	f := w.follower()
	w.look(f)
	if got := w.get(w.charlie, "1"); got != nil {
		t.Errorf("a copy was copied on: %+v", got)
	}
	w.put(w.bravo, "1", `{"mine":true}`)
	w.look(f)
	if got := w.get(w.charlie, "1"); got == nil {
		t.Error("what the source says itself was not copied")
	}
}

// A target that can't be written to holds up no other, and is synced once it can.
func TestTargetsLeftBehind(t *testing.T) {
	w := newWorld(t, entity.Type{Name: product, UniqueCode: true})
	w.rule(w.request("bravo", "charlie"), tenantsync.RuleOptions{})
	f := w.follower()
	w.set("bravo", guard.State{Exists: true, Suspended: true})
	w.put(w.acme, "1", `{}`)
	w.look(f)
	if w.get(w.bravo, "1") != nil || w.get(w.charlie, "1") == nil {
		t.Error("bravo, which is suspended, was written to, or charlie was not")
	}
	rule := w.rules()[0]
	if len(rule.Behind) != 1 || rule.Behind[0].TenantCode != "bravo" || rule.Behind[0].Code != fault.TenantSuspended {
		t.Errorf("behind is %+v", rule.Behind)
	}
	w.set("bravo", guard.State{Exists: true})
	f.Wait(time.Minute)
	w.look(f)
	w.run()
	if w.get(w.bravo, "1") == nil || len(w.rules()[0].Behind) != 0 {
		t.Errorf("bravo was not mended: %+v", w.rules())
	}
	w.Publish(w.bravo, command.Input{Key: w.Key(w.bravo, "PRODUCT", "mine"), Code: "2", Name: "holds the code"})
	w.put(w.acme, "2", `{}`)
	w.put(w.acme, "3", `{}`)
	w.look(f)
	if errs := w.rules()[0].Errors; len(errs) != 1 || errs[0].ID != "PRODUCT#bravo#2" || errs[0].Code != fault.AlreadyExists || w.get(w.bravo, "3") == nil {
		t.Errorf("errors %+v", errs)
	}
}

// A rule for every tenant has those too that are created later, and those that were suspended meanwhile; one of another life is a new one.
func TestTargetsThatComeLater(t *testing.T) {
	w := newWorld(t)
	w.set("delta", guard.State{Exists: true, Suspended: true})
	w.put(w.acme, "1", `{}`)
	w.rule(tenantsync.Request{Source: w.acme.Tenant(), All: true, EntityType: product}, tenantsync.RuleOptions{})
	f := w.follower()
	w.look(f)
	w.set("charlie", guard.State{Exists: true, Suspended: true})
	w.put(w.acme, "2", `{}`)
	w.look(f)
	if behind := w.rules()[0].Behind; len(behind) != 1 || behind[0].TenantCode != "charlie" || behind[0].Code != fault.TenantSuspended {
		t.Errorf("behind are %+v", behind)
	}
	w.set("charlie", guard.State{Exists: true})
	w.set("delta", guard.State{Exists: true})
	w.set("echo", guard.State{Exists: true, Born: time.Unix(2_000_000_000, 0)})
	f.Wait(time.Minute)
	w.look(f)
	w.run()
	for _, code := range []string{"bravo", "charlie", "delta", "echo"} {
		if got := w.content(code); len(got) != 2 {
			t.Errorf("%s has %v", code, got)
		}
	}
	if rule := w.rules()[0]; len(rule.Behind) != 0 {
		t.Errorf("behind are %+v", rule.Behind)
	}
	w.put(w.acme, "3", `{}`)
	w.look(f)
	w.set("echo", guard.State{})
	f.Wait(time.Minute)
	w.look(f)
	w.set("echo", guard.State{Exists: true, Born: time.Unix(2_000_000_100, 0)})
	f.Wait(time.Minute)
	syncs := w.syncs()
	w.look(f)
	w.run()
	if got := w.syncs() - syncs; got != 1 || len(w.content("delta")) != 3 {
		t.Errorf("%d syncs more; delta has %v", got, w.content("delta"))
	}
	w.set("echo", guard.State{Exists: true, Born: time.Unix(2_000_000_200, 0)})
	f.Wait(time.Minute)
	w.look(f)
	w.run()
	if got := w.syncs() - syncs; got != 2 || len(w.rules()[0].Behind) != 0 {
		t.Errorf("%d syncs more for another life", got)
	}
}

// syncs returns how many syncs there are.
func (w *world) syncs() int {
	w.Helper()
	page, err := w.List(w.Context(), w.sys(), 100, "")
	w.must(err)
	return len(page.Items)
}

// A rule that names a tenant is for the tenant that there was, and one of which the source is gone, or another, stands still; other rules do not.
func TestRulesOfAnotherLife(t *testing.T) {
	born := time.Unix(2_000_000_000, 0)
	w := newWorld(t)
	w.set("bravo", guard.State{Exists: true, Born: born})
	w.set("delta", guard.State{Exists: true, Born: born})
	w.rule(w.request("bravo", "charlie"), tenantsync.RuleOptions{})
	r := w.request("charlie")
	r.Source = worldtest.Code("delta")
	of := w.rule(r, tenantsync.RuleOptions{})
	f := w.follower()
	w.look(f)
	w.set("bravo", guard.State{Exists: true, Born: born.Add(time.Hour)})
	w.set("charlie", guard.State{Exists: true, Suspended: true})
	for _, life := range []guard.State{{}, {Exists: true, Born: born.Add(time.Hour)}} {
		w.set("delta", life)
		w.put(worldtest.Scope("delta"), "d", `{"of":"another"}`)
		w.put(w.acme, "1", `{}`)
		w.look(f)
		f.Wait(time.Minute)
	}
	w.set("charlie", guard.State{Exists: true})
	for range 2 {
		f.Wait(time.Minute)
		w.look(f)
		w.run()
	}
	if got := w.content("bravo"); len(got) != 0 {
		t.Errorf("bravo has %v", got)
	}
	if got := w.content("charlie"); len(got) != 1 || got["PRODUCT#charlie#1"] == "" {
		t.Errorf("charlie has %v", got)
	}
	rule, err := w.Rule(w.Context(), w.sys(), of)
	if err != nil || rule.Code != fault.NotFound {
		t.Errorf("%+v, %v", rule, err)
	}
}

// While a process copies to many targets it says that it follows, and no entry of the audit log grows with their number.
func TestRuleForManyTargets(t *testing.T) {
	var f tenantsync.Follower
	var said atomic.Int64
	store := worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return slow{e, &f, &said} })
	w := worldOn(t, store, worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)))
	w.many(150)
	w.rule(tenantsync.Request{Source: w.acme.Tenant(), All: true, EntityType: product}, tenantsync.RuleOptions{})
	f = w.follower()
	w.look(f)
	w.put(w.acme, "1", `{}`)
	said.Store(0)
	w.must(f.Look(w.Context()))
	if got := said.Load(); got < 152 || len(w.content("many-0149")) != 1 {
		t.Errorf("it said %d times that it follows", got)
	}
	for _, e := range w.crossed.named("acme") {
		if len(e.Tenants) > 102 {
			t.Errorf("an entry names %d tenants", len(e.Tenants))
		}
	}
	w.must(w.RemoveRule(w.Context(), w.sys(), w.rules()[0].ID))
	for _, row := range w.Rows(driver.System) {
		if row.PK == "SYNC_TARGET#common" && row.TTL == 0 {
			t.Fatalf("the rule left %s", row.SK)
		}
	}
}

// slow is an engine on which a copy takes two seconds by a follower's clock. It counts how often somebody says that he follows.
type slow struct {
	driver.Engine
	f    *tenantsync.Follower
	said *atomic.Int64
}

func (s slow) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	switch first := b.Writes[0]; {
	case first.Record.PK == "SYNC_FEED#common":
		s.said.Add(1)
	case first.Collection == driver.Command && first.Record.Source != "test":
		s.f.Wait(2 * time.Second)
	}
	return s.Engine.Commit(ctx, b)
}

// Of two processes one follows, until it gives no sign of life; what it left undone is done by the other.
func TestOneProcessFollows(t *testing.T) {
	w := newWorld(t)
	w.rule(w.request("bravo"), tenantsync.RuleOptions{})
	one, other := w.follower(), w.follower()
	w.look(one)
	w.look(other)
	w.put(w.acme, "1", `{}`)
	w.look(other)
	if w.get(w.bravo, "1") != nil {
		t.Error("both follow")
	}
	other.Wait(time.Hour)
	w.look(other)
	w.look(one)
	got := w.get(w.bravo, "1")
	if got == nil || got.Version != 1 {
		t.Errorf("nobody follows, or both do: %+v", got)
	}
	one.Release(w.Context()) // it does not follow, and ends nothing
	other.Release(w.Context())
	w.put(w.acme, "2", `{}`)
	w.look(w.follower())
	if w.get(w.bravo, "2") == nil {
		t.Error("nobody follows where a process ended that did")
	}
}

// Rules that come with a copy of a store begin with a sync, at the end of its feed.
func TestRulesInACopiedStore(t *testing.T) {
	w := newWorld(t)
	w.rule(w.request("bravo"), tenantsync.RuleOptions{})
	w.put(w.acme, "1", `{}`)
	feed := w.Rows(driver.System)
	for _, row := range feed {
		if row.PK == "SYNC_FEED#common" {
			_, err := w.Engine.Commit(w.Context(), driver.Batch{Writes: []driver.Write{{Collection: driver.System, Record: row, Delete: true}}})
			w.must(err)
		}
	}
	f := w.follower()
	w.must(f.Look(w.Context()))
	w.run()
	w.put(w.acme, "2", `{}`)
	w.look(f)
	if w.get(w.bravo, "1") == nil || w.get(w.bravo, "2") == nil {
		t.Error("the rule does not go on")
	}
}

// While both sides change, what the source says wins in the end, and Follow ends with its context.
func TestFollow(t *testing.T) { eachEngine(t, testFollow) }

func testFollow(t *testing.T, src driver.Source) {
	w := worldOn(t, src, worldtest.NewClock(time.Date(2090, 3, 4, 5, 6, 7, 0, time.UTC)))
	w.rule(w.request("bravo"), tenantsync.RuleOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	var following, writing sync.WaitGroup
	following.Go(func() { w.Service.Follow(ctx) })
	defer following.Wait()
	defer cancel()
	for n := range 50 {
		writing.Go(func() { w.put(w.acme, string(rune('a'+n%5)), w.text(n)) })
		writing.Go(func() { w.put(w.bravo, string(rune('a'+n%5)), `{"local":true}`) })
	}
	writing.Wait()
	for n := range 5 {
		w.put(w.acme, string(rune('a'+n)), `{"last":true}`)
	}
	deadline := time.After(time.Minute)
	for {
		same := 0
		for n := range 5 {
			if rec := w.get(w.bravo, string(rune('a'+n))); rec != nil && string(rec.Attributes) == `{"last":true}` {
				same++
			}
		}
		if same == 5 {
			return
		}
		select {
		case <-deadline:
			t.Fatal("the target is not in step")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *world) text(n int) string {
	a, err := record.EncodeAttributes(map[string]int{"n": n})
	w.must(err)
	return string(a)
}

func TestRulesRefused(t *testing.T) {
	w := newWorld(t)
	r := w.request("bravo")
	r.EntityType = record.MustEntityType("SECRET_THING")
	if _, _, err := w.AddRule(w.Context(), w.sys(), r, tenantsync.RuleOptions{}); !errors.Is(err, fault.NotFound) {
		t.Errorf("a module's type: %v", err)
	}
	if diff := cmp.Diff([]tenantsync.Rule{}, w.rules()); diff != "" {
		t.Error(diff)
	}
}

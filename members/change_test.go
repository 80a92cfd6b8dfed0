package members_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// TestMembership is the life of memberships, with what is refused.
func TestMembership(t *testing.T) {
	w := newWorld(t, "alpha", "bravo")
	ctx, s, alpha := t.Context(), w.Members(), w.Scope("alpha")
	m, res, err := s.Add(ctx, alpha, members.Add{UserCode: "ann", Role: "ADMIN", IsDefault: true, UserID: "sub-1"})
	if err != nil || !res.Changed || !res.Created || m.Role != "admin" || !m.IsDefault || m.UserID != "sub-1" || m.Version != 1 || m.TenantCode != "alpha" || m.UserCode != "ann" {
		t.Fatalf("add: %+v %v %v", m, res, err)
	}
	rec := w.rows(driver.Data, "USER_TENANT#common")
	if len(rec) != 1 || rec[0].SK != "alpha#ann" || rec[0].Code != rec[0].SK {
		t.Errorf("the record is %+v", rec)
	}
	_, _, err = s.Add(ctx, alpha, members.Add{UserCode: "ann", Role: "user"})
	refused(t, "a second time", err, fault.AlreadyExists)
	for _, role := range []string{"", "no such", "system_admin", "SYSTEM_ADMIN", "1st"} {
		_, _, err = s.Add(ctx, alpha, members.Add{UserCode: "ben", Role: role})
		refused(t, "the role "+role, err, fault.ValidationFailed)
		_, _, err = s.Update(ctx, alpha, "ann", members.Update{Role: &role})
		refused(t, "the role "+role, err, fault.ValidationFailed)
	}
	for _, id := range []string{"a#b", "é", "a\x00", " \t"} {
		_, _, err = s.Add(ctx, alpha, members.Add{UserCode: "ben", Role: "user", UserID: id})
		refused(t, "the user ID "+id, err, fault.ValidationFailed)
	}
	_, _, err = s.Add(ctx, w.Scope("common"), members.Add{UserCode: "ben", Role: "user"})
	refused(t, "the common tenant", err, fault.NotFound)
	_, _, err = s.Add(ctx, worldtest.Scope("nowhere"), members.Add{UserCode: "ben", Role: "user"})
	refused(t, "a tenant that doesn't exist", err, fault.NotFound)

	m, res, err = s.Update(ctx, alpha, "ann", members.Update{Role: pointer("admin"), IsDefault: pointer(true)})
	if err != nil || res.Changed || m.Version != 1 {
		t.Errorf("a change of nothing: %+v %v %v", m, res, err)
	}
	for _, role := range []string{"user", "clerk"} {
		_, _, err = s.Update(ctx, alpha, "ann", members.Update{Role: &role})
		refused(t, "the last admin becomes "+role, err, fault.LastAdmin)
	}
	_, _, err = s.Remove(ctx, alpha, "ann")
	refused(t, "the last admin leaves", err, fault.LastAdmin)
	w.add("alpha", "ben", "admin")
	m, res, err = s.Update(ctx, alpha, "ann", members.Update{Role: pointer("user"), IsDefault: pointer(false)})
	if err != nil || !res.Changed || m.Role != "user" || m.IsDefault || m.UserID != "sub-1" || m.Version != 2 {
		t.Errorf("a change: %+v %v %v", m, res, err)
	}
	_, _, err = s.Update(ctx, alpha, "ann", members.Update{Role: pointer("clerk")}, command.AtVersion(1))
	refused(t, "a former version", err, fault.VersionConflict)
	_, _, err = s.Update(ctx, alpha, "ann", members.Update{}, command.AtVersion(1))
	refused(t, "a former version, to which nothing would change", err, fault.VersionConflict)
	_, _, err = s.Remove(ctx, alpha, "ann", command.AtVersion(3))
	refused(t, "a version that is still to come", err, fault.VersionConflict)
	if m, _, err = s.Update(ctx, alpha, "ann", members.Update{Role: pointer("user")}, command.AtVersion(2)); err != nil || m.Version != 2 {
		t.Errorf("the current version: %+v %v", m, err)
	}
	_, _, err = s.Update(ctx, w.Scope("bravo"), "ann", members.Update{Role: pointer("user")})
	refused(t, "another tenant's member", err, fault.NotFound)
	_, _, err = s.Remove(ctx, w.Scope("bravo"), "ann")
	refused(t, "another tenant's member", err, fault.NotFound)
	w.remove("alpha", "ann")
	_, _, err = s.Remove(ctx, alpha, "ann")
	refused(t, "a former member", err, fault.NotFound)
	_, _, err = s.Update(ctx, alpha, "ann", members.Update{})
	refused(t, "a former member", err, fault.NotFound)
	if m = w.add("alpha", "ann", "user"); m.UserID != "" || m.IsDefault || m.Version != 4 {
		t.Errorf("a second life has something of the first: %+v", m)
	}
	all, cursor, err := s.List(ctx, alpha, 1, "")
	if err != nil || len(all) != 1 || all[0].UserCode != "ann" || cursor == "" {
		t.Errorf("the first page: %+v %q %v", all, cursor, err)
	}
	all, cursor, err = s.List(ctx, alpha, 1, cursor)
	if err != nil || len(all) != 1 || all[0].UserCode != "ben" || cursor != "" {
		t.Errorf("the second page: %+v %q %v", all, cursor, err)
	}
	w.check()
}

// TestReceipts changes memberships once for one receipt.
func TestReceipts(t *testing.T) {
	w := newWorld(t, "alpha")
	ctx, s, alpha := t.Context(), w.Members(), w.Scope("alpha")
	once := func(id string) command.Option {
		return command.WithReceipt(command.Receipt{Owner: code("alpha"), ID: id, Digest: "d"})
	}
	for i := range 3 {
		m, res, err := s.Add(ctx, alpha, members.Add{UserCode: "ann", Role: "admin", IsDefault: true}, once("add"))
		if err != nil || res.Replayed != (i > 0) || m.Version != 1 {
			t.Errorf("add: %+v %v %v", m, res, err)
		}
	}
	w.add("alpha", "ben", "admin")
	for i := range 3 {
		m, res, err := s.Remove(ctx, alpha, "ann", once("remove"))
		if err != nil || res.Replayed != (i > 0) || m.Version != 2 {
			t.Errorf("remove: %+v %v %v", m, res, err)
		}
	}
	w.check()
}

// odd are user codes that look like something else.
var odd = []string{"x#um", "#um", "um#", "um", "#", "9999#admin", "bob@example.com", "a b", "👩‍💻", "é", "e\u0301", "alpha#um", "%2e", "a/b", `"`, "'--"}

// TestOddCodes gives each odd user code a tenant list of its own, and finds it there again.
func TestOddCodes(t *testing.T) {
	w := newWorld(t, "alpha", "bravo")
	ctx, s := t.Context(), w.Members()
	for i, user := range odd {
		w.add("alpha", user, "user")
		if i%2 == 0 {
			w.add("bravo", user, "clerk")
		}
	}
	w.check()
	for i, user := range odd {
		all, err := s.TenantsOf(ctx, user)
		want := []string{"alpha"}
		if i%2 == 0 {
			want = append(want, "bravo")
		}
		var got []string
		for _, m := range all {
			got = append(got, m.TenantCode)
			if m.UserCode != user {
				t.Errorf("%q is listed for %q", m.UserCode, user)
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the tenants of %q are %v, %v; want %v", user, got, err, want)
		}
		session, err := s.Switch(ctx, w.principal(user), code("alpha"))
		if err != nil {
			t.Errorf("%q switches: %v", user, err)
		}
		w.must(user, session.Token, "user")
	}
	all, _, err := s.List(ctx, w.Scope("alpha"), 100, "")
	if err != nil || len(all) != len(odd) {
		t.Errorf("%d members, %v; want %d", len(all), err, len(odd))
	}
	for _, user := range odd {
		w.remove("alpha", user)
		session, err := s.Switch(ctx, w.principal(user), code("alpha"))
		refused(t, user+" switches to "+session.TenantCode, err, fault.NotAMember)
	}
	for _, user := range []string{"", "a@1", "a\x00b", "\xff", string(make([]byte, 256))} {
		_, _, err := s.Add(ctx, w.Scope("alpha"), members.Add{UserCode: user, Role: "user"})
		refused(t, fmt.Sprintf("the code %q", user), err, fault.ValidationFailed)
	}
	w.check()
}

// TestGuideEndsWith is the mistake of the guide's own getUserTenants, which looked for sort keys that end with #userCode: who is
// called um saw the tenants of x#um, and #um those of both.
func TestGuideEndsWith(t *testing.T) {
	w := newWorld(t, "alpha", "bravo", "charlie")
	w.add("alpha", "um", "user")
	w.add("bravo", "x#um", "user")
	w.add("charlie", "#um", "user")
	for user, want := range map[string]string{"um": "alpha", "x#um": "bravo", "#um": "charlie"} {
		all, err := w.Members().TenantsOf(t.Context(), user)
		if err != nil || len(all) != 1 || all[0].TenantCode != want || all[0].UserCode != user {
			t.Errorf("the tenants of %s are %+v, %v; want %s", user, all, err, want)
		}
		for _, other := range []string{"alpha", "bravo", "charlie"} {
			_, err := w.Members().Switch(t.Context(), w.principal(user), code(other))
			if want := map[bool]fault.Code{true: "", false: fault.NotAMember}[other == want]; fault.CodeOf(err) != want {
				t.Errorf("%s switches to %s: %v; want %q", user, other, err, want)
			}
		}
	}
}

// TestAnyInterleaving changes memberships at random, from everywhere at once: then what stands beside them agrees with them.
func TestAnyInterleaving(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := newWorldOver(t, src, tenantry.Config{}, "alpha", "bravo", "charlie", "delta")
		users, codes := []string{"ann", "ben", "x#ann"}, []string{"alpha", "bravo", "charlie", "delta"}
		scopes := map[string]guard.Scope{}
		for _, c := range codes {
			scopes[c] = w.Scope(c)
		}
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		w.engine.begin(yield)
		var all sync.WaitGroup
		for g := range 32 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(g)))
				for range 30 {
					user, sc := users[r.IntN(len(users))], scopes[codes[r.IntN(len(codes))]]
					role, is := []string{"admin", "user"}[r.IntN(2)], r.IntN(2) == 0
					var err error
					switch r.IntN(4) {
					case 0:
						_, _, err = w.Members().Add(t.Context(), sc, members.Add{UserCode: user, Role: role, IsDefault: is})
					case 1:
						_, _, err = w.Members().Update(t.Context(), sc, user, members.Update{IsDefault: &is})
					case 2:
						_, _, err = w.Members().Update(t.Context(), sc, user, members.Update{Role: &role})
					case 3:
						_, _, err = w.Members().Remove(t.Context(), sc, user)
					}
					if c := fault.CodeOf(err); c != "" && c != fault.AlreadyExists && c != fault.NotFound && c != fault.LastAdmin {
						t.Errorf("%v", err)
					}
				}
			})
		}
		all.Wait()
		w.check()
	})
}

// yield lets others run between any two calls of the store.
func yield(int) error {
	runtime.Gosched()
	return nil
}

// TestDefaultsAtOnce makes several memberships of a user, who has no default, the default at once: one is it.
func TestDefaultsAtOnce(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		codes := []string{"alpha", "bravo", "charlie", "delta"}
		w := newWorldOver(t, src, tenantry.Config{}, codes...)
		w.engine.begin(yield)
		for round := range 25 {
			user, begin := fmt.Sprint("ann", round), make(chan struct{})
			var all sync.WaitGroup
			for i, text := range codes {
				sc := w.Scope(text)
				if i < 2 {
					w.add(text, user, "user")
				}
				all.Go(func() {
					<-begin
					var err error
					if i < 2 {
						_, _, err = w.Members().Update(t.Context(), sc, user, members.Update{IsDefault: pointer(true)})
					} else {
						_, _, err = w.Members().Add(t.Context(), sc, members.Add{UserCode: user, Role: "user", IsDefault: true})
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			close(begin)
			all.Wait()
			if w.check(); t.Failed() {
				t.FailNow()
			}
		}
	})
}

// TestAdminsRemoveEachOther has two admins remove, or demote, each other at once: one of them stays.
func TestAdminsRemoveEachOther(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := newWorldOver(t, src, tenantry.Config{}, "alpha")
		w.engine.begin(yield)
		for round := range 40 {
			users := []string{fmt.Sprint("ann", round), fmt.Sprint("ben", round)}
			for _, user := range users {
				w.add("alpha", user, "admin")
			}
			if round > 0 {
				left, _, err := w.Members().List(t.Context(), w.Scope("alpha"), 100, "")
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range left {
					if !slices.Contains(users, m.UserCode) {
						w.remove("alpha", m.UserCode)
					}
				}
			}
			sc, begin := w.Scope("alpha"), make(chan struct{})
			errs := make([]error, 2)
			var both sync.WaitGroup
			for i, user := range users {
				both.Go(func() {
					<-begin
					if round%2 == 0 {
						_, _, errs[i] = w.Members().Remove(t.Context(), sc, user)
					} else {
						_, _, errs[i] = w.Members().Update(t.Context(), sc, user, members.Update{Role: pointer("user")})
					}
				})
			}
			close(begin)
			both.Wait()
			if (errs[0] == nil) == (errs[1] == nil) {
				t.Fatalf("round %d: %v", round, errs)
			}
			for _, err := range errs {
				if err != nil {
					refused(t, "the last admin", err, fault.LastAdmin)
				}
			}
			w.check()
		}
	})
}

// TestOthersRecords reads, and goes on from, memberships that another framework wrote: no epoch, no inverse, no counts.
func TestOthersRecords(t *testing.T) {
	w := newWorld(t, "alpha", "bravo")
	ctx, s := t.Context(), w.Members()
	put := func(sk, attributes string) {
		t.Helper()
		a, err := record.ParseAttributes([]byte(attributes))
		if err != nil {
			t.Fatal(err)
		}
		r := &record.Record{PK: "USER_TENANT#common", SK: sk, Code: sk, Name: "another's", TenantCode: "common", Type: "USER_TENANT", Version: 1, Attributes: a,
			CreatedAt: record.At(w.Clock.Now()), UpdatedAt: record.At(w.Clock.Now())}
		code, user, _ := strings.Cut(sk, "#")
		if _, err := w.engine.Engine.Commit(ctx, driver.Batch{Writes: []driver.Write{{Collection: driver.Data, Record: r},
			{Collection: driver.System, Record: &record.Record{PK: "MEMBER_OF#common#" + hash(user), SK: code, Version: 1}}}}); err != nil {
			t.Fatal(err)
		}
	}
	put("alpha#ann", `{"role":"ADMIN","isDefault":true,"department":{"floor":3}}`)
	put("alpha#ben", `{"role":"system_admin"}`)
	put("alpha#cid", `{"userCode":"dan","tenantCode":"bravo","role":"user"}`)
	put("alpha#eve", `{}`)
	for user, role := range map[string]string{"ann": "admin", "ben": "", "cid": "user", "eve": ""} {
		session, err := s.Switch(ctx, w.principal(user), code("alpha"))
		if err != nil || session.Role != role || session.TenantCode != "alpha" {
			t.Errorf("%s: %+v %v; want the role %q", user, session, err, role)
		}
		w.must(user, session.Token, role)
	}
	_, err := s.Switch(ctx, w.principal("dan"), code("bravo"))
	refused(t, "the attributes are not the key", err, fault.NotAMember)

	_, _, err = s.Remove(ctx, w.Scope("alpha"), "ann")
	refused(t, "the last admin, in capitals", err, fault.LastAdmin)
	w.add("alpha", "fay", "admin")
	if _, _, err := s.Add(ctx, w.Scope("bravo"), members.Add{UserCode: "ann", Role: "user", IsDefault: true}); err != nil {
		t.Fatal(err)
	}
	all, err := s.TenantsOf(ctx, "ann")
	if err != nil || len(all) != 2 || all[0].IsDefault || !all[1].IsDefault {
		t.Errorf("the former default stays one: %+v %v", all, err)
	}
	w.remove("alpha", "ann")
	_, _, err = s.Remove(ctx, w.Scope("alpha"), "fay")
	refused(t, "the last admin, after one in capitals went", err, fault.LastAdmin)
	if _, _, err := s.Update(ctx, w.Scope("alpha"), "eve", members.Update{Role: pointer("clerk")}); err != nil {
		t.Error(err)
	}
}

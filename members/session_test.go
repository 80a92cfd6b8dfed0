package members_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenants"
)

// switched returns a session of a user in a tenant.
func (w *world) switched(user, to string) members.Session {
	w.Helper()
	session, err := w.Members().Switch(w.Context(), w.principal(user), code(to))
	if err != nil {
		w.Fatalf("%s switches to %s: %v", user, to, err)
	}
	return session
}

func (w *world) refresh(token string) (members.Session, error) {
	w.Helper()
	return w.Members().Refresh(count(w.Context()), token)
}

// next returns the session after one, which must be good.
func (w *world) next(session members.Session) members.Session {
	w.Helper()
	next, err := w.refresh(session.RefreshToken)
	if err != nil {
		w.Fatalf("refresh: %v", err)
	}
	return next
}

// ended fails the test unless a refresh token is refused.
func (w *world) ended(what, token string) {
	w.Helper()
	_, err := w.refresh(token)
	refused(w, what, err, fault.Unauthenticated)
}

func TestSwitch(t *testing.T) {
	w := newWorld(t, "alpha", "bravo")
	w.add("alpha", "ann", "clerk")
	w.add("bravo", "ann", "user")
	outside := w.outside(auth.Claims{Subject: "s1", UserCode: "ann", Email: "ann@example.com", EmailVerified: true, TTL: 2 * time.Hour, Role: "system_admin",
		Groups: []auth.GroupGrant{{Tenant: code("alpha"), Groups: []string{"sales"}}, {Tenant: code("bravo"), Groups: []string{"others"}}}})
	first, err := w.Members().Switch(t.Context(), w.verified(outside), code("alpha"))
	if err != nil || first.TokenType != "Bearer" || first.ExpiresIn != 900 || first.TenantCode != "alpha" || first.Role != "clerk" {
		t.Fatalf("%+v %v", first, err)
	}
	w.must("the token", first.Token, "clerk")
	p := w.verified(first.Token)
	if _, cross := p.CrossTenantRole(); cross || p.Tenant() != code("alpha") || p.RoleIn(code("bravo")) != "" || p.RoleIn(code("alpha")) != "clerk" {
		t.Errorf("the token gives more than one role in one tenant")
	}
	if p.Issuer() != external || p.TokenIssuer() != w.Keyring().Issuer() || p.Subject() != "s1" || p.UserCode() != "ann" || p.Email() != "ann@example.com" || !p.EmailVerified() {
		t.Errorf("the token is somebody else's: %s %s %s %s", p.Issuer(), p.TokenIssuer(), p.Subject(), p.UserCode())
	}
	if !p.HasGroup(code("alpha"), "sales") || p.HasGroup(code("bravo"), "others") || p.HasGroup(code("alpha"), "others") {
		t.Error("the groups are not those of the tenant")
	}
	if life := p.ExpiresAt().Sub(w.Clock.Now()); life != members.TokenLife || p.Epoch() == "" || p.TokenID() == "" {
		t.Errorf("it lives %v, epoch %q, jti %q", life, p.Epoch(), p.TokenID())
	}
	second := w.next(first)
	again, err := w.Members().Switch(t.Context(), w.verified(outside), code("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{p.TokenID(): true, w.verified(second.Token).TokenID(): true, w.verified(again.Token).TokenID(): true}
	if len(ids) != 3 {
		t.Errorf("tokens have one jti: %v", ids)
	}
	if q := w.verified(second.Token); q.Issuer() != external || q.Subject() != "s1" || q.Epoch() != p.Epoch() || q.Tenant() != p.Tenant() || !q.HasGroup(code("alpha"), "sales") {
		t.Error("refreshing made the token somebody else's")
	}
}

func TestSwitchRefused(t *testing.T) {
	w := newWorld(t, "alpha", "bravo", "halted")
	ctx, s := t.Context(), w.Members()
	w.add("alpha", "ann", "user")
	w.add("halted", "ann", "user")
	w.add("alpha", "ben", "user")
	w.remove("alpha", "ben")
	if _, _, err := s.Add(ctx, w.Scope("alpha"), members.Add{UserCode: "cid", Role: "user", UserID: "another"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tenants().Suspend(ctx, w.System("test"), code("halted"), "unpaid", w.Clock.Now()); err != nil {
		t.Fatal(err)
	}
	_, want := s.Switch(ctx, w.principal("ann"), code("bravo"))
	for _, c := range [][2]string{{"ann", "nowhere"}, {"ann", "common"}, {"ben", "alpha"}, {"cid", "alpha"}, {"dan", "alpha"}, {"ann", "bravo"}} {
		_, err := s.Switch(ctx, w.principal(c[0]), code(c[1]))
		if refused(t, c[0]+" to "+c[1], err, fault.NotAMember); err == nil || err.Error() != want.Error() {
			t.Errorf("%v is told from what doesn't exist: %v", c, err)
		}
	}
	_, err := s.Switch(ctx, w.principal("ann"), code("halted"))
	refused(t, "a suspended tenant", err, fault.TenantSuspended)
	if rows := w.rows(driver.System, "REFRESH#"); len(rows) != 0 {
		t.Errorf("%d families are kept of what was refused", len(rows))
	}
}

// TestRotation uses refresh tokens once; a used one, and using one twice at once, ends the family. Others stay.
func TestRotation(t *testing.T) {
	w := newWorld(t, "alpha")
	w.add("alpha", "ann", "user")
	first, other := w.switched("ann", "alpha"), w.switched("ann", "alpha")
	second := w.next(first)
	third := w.next(second)
	w.ended("a used one", first.RefreshToken)
	w.ended("the one that was good", third.RefreshToken)
	other = w.next(other)

	w.next(other)
}

// TestUsedAtOnce uses a refresh token while the same one is being used: one of them at most is answered, and the family ends.
func TestUsedAtOnce(t *testing.T) {
	w := newWorld(t, "alpha")
	w.add("alpha", "ann", "user")
	w.engine.apart.Store(true)
	for at := 1; ; at++ { // at each call of the engine: some refreshes make more than others
		session, reached := w.switched("ann", "alpha"), false
		var inner members.Session
		w.engine.begin(func(n int) error {
			if n == at {
				reached = true
				w.engine.begin(nil)
				inner = w.next(session)
			}
			return nil
		})
		_, err := w.refresh(session.RefreshToken)
		if !reached {
			if err != nil || at < 3 { // the family is read and written
				t.Errorf("a refresh has fewer than %d calls, and ends with %v", at, err)
			}
			break
		}
		refused(t, "the second", err, fault.Unauthenticated)
		w.ended("what the first was given", inner.RefreshToken)
	}

	session := w.switched("ann", "alpha")
	w.engine.begin(yield)
	var good atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := w.Members().Refresh(t.Context(), session.RefreshToken); err == nil {
				good.Add(1)
			} else {
				refused(t, "at once", err, fault.Unauthenticated)
			}
		})
	}
	if all.Wait(); good.Load() > 1 {
		t.Errorf("a refresh token was good %d times", good.Load())
	}
	if rows := w.rows(driver.System, "REFRESH#"); len(rows) != 1 {
		t.Errorf("%d families are kept, want that of the last refresh that was alone", len(rows))
	}
}

// TestForgedRefreshTokens end nobody's family.
func TestForgedRefreshTokens(t *testing.T) {
	w := newWorld(t, "alpha")
	w.add("alpha", "ann", "user")
	session := w.switched("ann", "alpha")
	second := w.next(session)
	parts := strings.Split(second.RefreshToken, ".")
	for _, token := range []string{"", ".", "..", parts[0], parts[0] + ".1." + parts[2], parts[0] + ".3." + parts[2], parts[0] + ".02." + parts[2], parts[0] + ".+2." + parts[2],
		parts[0] + ".2.", second.RefreshToken + ".", second.RefreshToken + "=", strings.ToLower(second.RefreshToken), "x." + parts[1] + "." + parts[2], parts[0] + ".99999999999999999999." + parts[2]} {
		w.ended("forged: "+token, token)
	}
	w.next(second)
	if token := second.RefreshToken; w.holds(token) || w.holds(parts[2]) || w.holds(session.Token) || w.holds(strings.Split(session.Token, ".")[2]) {
		t.Error("the store holds a token")
	}
	other := newWorld(t, "alpha") // another system, whose secret differs
	other.add("alpha", "ann", "user")
	_, err := other.refresh(w.switched("ann", "alpha").RefreshToken)
	refused(t, "another system's", err, fault.Unauthenticated)
}

// TestFamilyLife has a session end after 12 hours, however it was gone on with.
func TestFamilyLife(t *testing.T) {
	w := newWorld(t, "alpha", "bravo")
	w.add("alpha", "ann", "user")
	w.add("bravo", "ann", "user")
	session := w.switched("ann", "alpha")
	w.Clock.Advance(6 * time.Hour)
	session = w.next(session)
	elsewhere, err := w.Members().Switch(t.Context(), w.verified(session.Token), code("bravo"))
	if err != nil {
		t.Fatal(err)
	}
	w.Clock.Advance(6*time.Hour - 5*time.Minute)
	session, elsewhere = w.next(session), w.next(elsewhere)
	for _, s := range []members.Session{session, elsewhere} {
		if p := w.verified(s.Token); s.ExpiresIn != 300 || p.ExpiresAt().Sub(w.Clock.Now()) != 5*time.Minute {
			t.Errorf("the last token lives %d seconds, past its family", s.ExpiresIn)
		}
	}
	w.Clock.Advance(5 * time.Minute)
	w.ended("after 12 hours", session.RefreshToken)
	w.ended("after 12 hours, elsewhere", elsewhere.RefreshToken)
	w.switched("ann", "alpha") // the control: with a token of their own
}

// TestEndedSessionsDontSwitch has whoever stole a token not go on with it after the theft was noticed.
func TestEndedSessionsDontSwitch(t *testing.T) {
	w := newWorld(t, "alpha")
	w.add("alpha", "ann", "user")
	session := w.switched("ann", "alpha")
	p := w.verified(session.Token)
	if _, err := w.Members().Switch(t.Context(), p, code("alpha")); err != nil {
		t.Fatalf("the control: %v", err)
	}
	w.next(session)
	w.ended("a used one", session.RefreshToken)
	_, err := w.Members().Switch(t.Context(), p, code("alpha"))
	refused(t, "with a token of the family that ended", err, fault.Unauthenticated)
}

// TestSessionsFollow has sessions follow what their membership, tenant and user become.
func TestSessionsFollow(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, w *world)
		token  fault.Code // of the token that was issued; "" for good
		role   string
		goesOn bool
	}{
		"nothing":  {func(*testing.T, *world) {}, "", "user", true},
		"the role": {func(t *testing.T, w *world) { w.update("ann", "clerk") }, "", "clerk", true},
		"removal":  {func(t *testing.T, w *world) { w.remove("alpha", "ann") }, fault.NotAMember, "", false},
		"a second life": {func(t *testing.T, w *world) {
			w.remove("alpha", "ann")
			w.add("alpha", "ann", "user")
		}, fault.NotAMember, "", false},
		"suspension": {func(t *testing.T, w *world) {
			if _, err := w.Tenants().Suspend(t.Context(), w.System("test"), code("alpha"), "unpaid", w.Clock.Now()); err != nil {
				t.Fatal(err)
			}
		}, fault.TenantSuspended, "", false},
		"deletion": {func(t *testing.T, w *world) {
			if _, err := w.Tenants().DeleteTenant(t.Context(), w.System("test"), tenants.Ref{Tenant: code("alpha")}); err != nil {
				t.Fatal(err)
			}
		}, fault.TenantForbidden, "", false},
		"revocation": {func(t *testing.T, w *world) {
			w.revoke(members.Revoke{Issuer: w.Keyring().Issuer(), Subject: "sub-" + hash("ann")[:8]})
		}, fault.Unauthenticated, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "alpha", "bravo")
			w.add("alpha", "ann", "user")
			session := w.switched("ann", "alpha")
			w.must("before", session.Token, "user")
			c.change(t, w)
			if c.token != "" {
				w.mustNot("the token", session.Token, c.token)
			} else {
				w.must("the token", session.Token, c.role)
			}
			next, err := w.refresh(session.RefreshToken)
			if c.goesOn {
				if err != nil || next.Role != c.role {
					t.Errorf("refresh: %+v %v", next, err)
				}
				return
			}
			refused(t, "refresh", err, fault.Unauthenticated)
			if rows := w.rows(driver.System, "REFRESH#"); len(rows) != 0 {
				t.Errorf("the family is kept")
			}
		})
	}
}

func (w *world) update(user, role string) {
	w.Helper()
	if _, _, err := w.Members().Update(w.Context(), w.Scope("alpha"), user, members.Update{Role: &role}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) revoke(in members.Revoke) {
	w.Helper()
	in.Reason = "lost"
	if _, err := w.Members().Revoke(w.Context(), w.System("test"), in); err != nil {
		w.Fatal(err)
	}
}

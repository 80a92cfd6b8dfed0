package members_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/storage/driver"
)

// sysadmin returns a system admin's token of the external issuer, and who it speaks for.
func (w *world) sysadmin(ttl time.Duration) (*auth.Principal, string) {
	w.Helper()
	token := w.outside(auth.Claims{Subject: "root", Role: "system_admin", TTL: ttl})
	return w.verified(token), token
}

// impersonate returns support access as a member of alpha.
func (w *world) impersonate(p *auth.Principal, user string, life time.Duration) (members.Session, error) {
	w.Helper()
	sys, err := w.Guard().System(p, guard.Actor{RequestID: "r1"}, "support access as "+user+": ticket 7")
	if err != nil {
		w.Fatal(err)
	}
	return w.Members().Impersonate(w.Context(), sys, p, members.Impersonate{Tenant: code("alpha"), UserCode: user, Life: life})
}

func TestSupport(t *testing.T) {
	w := newWorld(t, "alpha", "bravo")
	w.add("alpha", "ann", "clerk")
	w.add("bravo", "ann", "admin")
	if _, _, err := w.Members().Add(t.Context(), w.Scope("alpha"), members.Add{UserCode: "ben", Role: "user", UserID: "sub-ben"}); err != nil {
		t.Fatal(err)
	}
	root, _ := w.sysadmin(24 * time.Hour)
	session, err := w.impersonate(root, "ann", 0)
	if err != nil || session.ExpiresIn != 900 || session.RefreshToken != "" || session.Role != "clerk" || session.TenantCode != "alpha" {
		t.Fatalf("%+v %v", session, err)
	}
	p := w.verified(session.Token)
	act, acted := p.Act()
	if _, cross := p.CrossTenantRole(); cross || !acted || act != (auth.Act{Issuer: external, Subject: "root", TokenID: root.TokenID()}) || p.Tenant() != code("alpha") ||
		p.RoleIn(code("alpha")) != "clerk" || p.RoleIn(code("bravo")) != "" || p.UserCode() != "ann" || p.Subject() == "root" {
		t.Errorf("the token says %+v, %q, %q", act, p.Subject(), p.UserCode())
	}
	w.must("the token", session.Token, "clerk")
	if other, err := w.impersonate(root, "ben", time.Minute); err != nil || w.verified(other.Token).Subject() != "sub-ben" || other.ExpiresIn != 60 {
		t.Errorf("as ben: %+v %v", other, err)
	}
	entries := 0
	for _, r := range w.rows(driver.Command, "AUDIT#alpha") {
		if strings.Contains(string(mustText(t, r.Attributes)), "support access as ann: ticket 7") {
			entries++
		}
	}
	if entries == 0 {
		t.Error("the tenant's audit log says nothing of the access")
	}
	for _, life := range []time.Duration{-1, time.Millisecond, time.Hour + time.Second} {
		_, err := w.impersonate(root, "ann", life)
		refused(t, life.String(), err, fault.ValidationFailed)
	}
	for _, user := range []string{"cid", "", "a@1"} {
		_, err := w.impersonate(root, user, 0)
		refused(t, "nobody: "+user, err, fault.NotFound)
	}
	w.remove("alpha", "ben")
	_, err = w.impersonate(root, "ben", 0)
	refused(t, "a former member", err, fault.NotFound)

	// What is the user's own to do is refused, and nothing is chained.
	for _, policy := range []guard.Policy{{Reach: guard.Self, Personal: true}, {Reach: guard.Admin, Roles: []string{"clerk"}, Personal: true}, {Reach: guard.AllTenants, Personal: true}, {Reach: guard.AllTenants}} {
		_, err := w.Guard().Admit(t.Context(), &guard.Request{Principal: p, Policy: policy})
		refused(t, "with support access", err, fault.RoleRequired)
	}
	_, err = w.Guard().System(p, guard.Actor{}, "more")
	refused(t, "crossing tenants with support access", err, fault.RoleRequired)
	for _, op := range w.Operations() {
		if op.Tag == "members" && op.Method != "GET" && op.ID != "refreshSession" && !op.Policy.Personal {
			t.Errorf("%s is open to support access", op.ID)
		}
	}

	w.update("ann", "user")
	w.must("after a change of the role", session.Token, "user")
	w.remove("alpha", "ann")
	w.mustNot("after removal", session.Token, fault.NotAMember)
	w.add("alpha", "ann", "admin")
	w.mustNot("in a second life", session.Token, fault.NotAMember)
}

// TestSupportEnds has support access end with the admin's own.
func TestSupportEnds(t *testing.T) {
	for name, end := range map[string]func(w *world, root *auth.Principal, session members.Session){
		"its time": func(w *world, _ *auth.Principal, _ members.Session) { w.Clock.Advance(5*time.Minute + 61*time.Second) },
		"the admin's user": func(w *world, _ *auth.Principal, _ members.Session) {
			w.revoke(members.Revoke{Issuer: external, Subject: "root"})
		},
		"the admin's token": func(w *world, root *auth.Principal, _ members.Session) {
			w.revoke(members.Revoke{Issuer: external, TokenID: root.TokenID()})
		},
		"the token of these": func(w *world, _ *auth.Principal, s members.Session) {
			w.revoke(members.Revoke{Issuer: w.Keyring().Issuer(), TokenID: w.verified(s.Token).TokenID()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "alpha")
			w.add("alpha", "ann", "user")
			root, _ := w.sysadmin(5 * time.Minute)
			session, err := w.impersonate(root, "ann", time.Hour)
			if err != nil || session.ExpiresIn != 300 {
				t.Fatalf("it lives %d seconds, longer than the admin's token: %v", session.ExpiresIn, err)
			}
			w.must("before", session.Token, "user")
			end(w, root, session)
			if role, refused := w.admitted(session.Token); refused != fault.Unauthenticated && refused != fault.TokenExpired {
				t.Errorf("after: %q %q", role, refused)
			}
		})
	}
}

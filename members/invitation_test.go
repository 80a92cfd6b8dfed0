package members_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenants"
)

func (w *world) invite(in members.Invite) members.Invitation {
	w.Helper()
	made, err := w.Members().Invite(w.Context(), w.Scope("alpha"), in)
	if err != nil {
		w.Fatalf("invite: %v", err)
	}
	return made
}

func (w *world) accept(p *auth.Principal, id, secret string) (members.Membership, error) {
	w.Helper()
	return w.Members().Accept(w.Context(), p, guard.Actor{Issuer: p.Issuer(), UserID: p.Subject()}, id, secret)
}

func TestInvitation(t *testing.T) {
	w := newWorld(t, "alpha", "bravo")
	ctx, s, alpha := t.Context(), w.Members(), w.Scope("alpha")
	made := w.invite(members.Invite{Email: "ann@example.com", Role: "Clerk"})
	if made.Role != "clerk" || made.TenantCode != "alpha" || len(made.Secret) < 43 || !made.ExpiresAt.Time().Equal(w.Clock.Now().Add(7*24*time.Hour)) {
		t.Errorf("%+v", made)
	}
	if w.holds(made.Secret) {
		t.Error("the store holds the secret")
	}
	p := w.verified(w.outside(auth.Claims{Subject: "s1", UserCode: "ann#1", Email: "ann@example.com", EmailVerified: true}))
	m, err := w.accept(p, made.ID, made.Secret)
	if err != nil || m.TenantCode != "alpha" || m.UserCode != "ann#1" || m.Role != "clerk" || m.UserID != "s1" || m.IsDefault {
		t.Fatalf("accept: %+v %v", m, err)
	}
	if all, _, err := s.List(ctx, alpha, 10, ""); err != nil || len(all) != 1 || all[0].UserCode != "ann#1" {
		t.Errorf("members: %+v %v", all, err)
	}
	got, err := s.Invitation(ctx, alpha, made.ID)
	if err != nil || got.Secret != "" || got.AcceptedAt.IsZero() {
		t.Errorf("the invitation: %+v %v", got, err)
	}
	_, err = w.accept(p, made.ID, made.Secret)
	refused(t, "a second time", err, fault.NotFound)

	// The membership is that user's, not that of who has the user code at another issuer.
	_, err = s.Switch(ctx, w.verified(w.Token(auth.Claims{Subject: "s1", UserCode: "ann#1"})), code("alpha"))
	refused(t, "the same sub and code of another issuer", err, fault.NotAMember)
	_, err = s.Switch(ctx, w.verified(w.outside(auth.Claims{Subject: "s2", UserCode: "ann#1"})), code("alpha"))
	refused(t, "another sub", err, fault.NotAMember)
	if _, err = s.Switch(ctx, p, code("alpha")); err != nil {
		t.Errorf("the invitee: %v", err)
	}

	for _, in := range []members.Invite{{Role: "user"}, {Email: "a@b", UserCode: "ann", Role: "user"}, {Email: "ann", Role: "user"}, {Email: "@b", Role: "user"}, {Email: "a@", Role: "user"},
		{Email: "a b@c", Role: "user"}, {UserCode: "a@1", Role: "user"}, {UserCode: "ann", Role: "system_admin"}, {UserCode: "ann", Role: ""}, {UserCode: "ann", Role: "user", Life: 91 * 24 * time.Hour},
		{UserCode: "ann", Role: "user", Life: time.Millisecond}, {UserCode: "ann", Role: "user", Life: -time.Hour}} {
		_, err := s.Invite(ctx, alpha, in)
		refused(t, fmt.Sprintf("%+v", in), err, fault.ValidationFailed)
	}
	_, err = s.Invite(ctx, w.Scope("common"), members.Invite{UserCode: "ann", Role: "user"})
	refused(t, "into the common tenant", err, fault.NotFound)
	for _, id := range []string{made.ID, "alpha", "", "alpha.", "bravo." + strings.Split(made.ID, ".")[1], "ALPHA." + strings.Split(made.ID, ".")[1]} {
		_, err := s.Invitation(ctx, w.Scope("bravo"), id)
		refused(t, "another tenant's "+id, err, fault.NotFound)
		_, err = s.Withdraw(ctx, w.Scope("bravo"), id)
		refused(t, "another tenant's "+id, err, fault.NotFound)
	}
	open := w.invite(members.Invite{UserCode: "ben", Role: "user"})
	if _, err := s.Withdraw(ctx, alpha, open.ID); err != nil {
		t.Error(err)
	}
	_, err = s.Withdraw(ctx, alpha, open.ID)
	refused(t, "withdrawn", err, fault.NotFound)
	if all, _, err := s.Invitations(ctx, alpha, 10, ""); err != nil || len(all) != 1 {
		t.Errorf("invitations: %+v %v", all, err)
	}
	if all, _, err := s.Invitations(ctx, w.Scope("bravo"), 10, ""); err != nil || len(all) != 0 {
		t.Errorf("another tenant's: %+v %v", all, err)
	}
	w.check()
}

// TestAcceptRefused answers every failure alike, and each beside it, without what is wrong, is accepted.
func TestAcceptRefused(t *testing.T) {
	alike := ""
	ann := auth.Claims{Subject: "s1", UserCode: "ann", Email: "ann@example.com", EmailVerified: true}
	for name, c := range map[string]struct {
		claims func(*auth.Claims)
		before func(t *testing.T, w *world, id, secret *string)
		good   bool
	}{
		"nothing":             {good: true},
		"unverified":          {claims: func(c *auth.Claims) { c.EmailVerified = false }},
		"another address":     {claims: func(c *auth.Claims) { c.Email = "ben@example.com" }},
		"capitals":            {claims: func(c *auth.Claims) { c.Email = "Ann@example.com" }},
		"no address":          {claims: func(c *auth.Claims) { c.Email, c.EmailVerified = "", false }},
		"a long user code":    {claims: func(c *auth.Claims) { c.UserCode = "ann@12" }}, // no membership can have it
		"another secret":      {before: func(_ *testing.T, _ *world, _, secret *string) { *secret = strings.Repeat("A", 43) }},
		"no secret":           {before: func(_ *testing.T, _ *world, _, secret *string) { *secret = "" }},
		"another ID":          {before: func(_ *testing.T, _ *world, id, _ *string) { *id = "alpha.01ARZ3NDEKTSV4RRFFQ69G5FAV" }},
		"another tenant's ID": {before: func(_ *testing.T, _ *world, id, _ *string) { *id = strings.Replace(*id, "alpha", "bravo", 1) }},
		"a tenant that isn't": {before: func(_ *testing.T, _ *world, id, _ *string) { *id = strings.Replace(*id, "alpha", "nowhere", 1) }},
		"a malformed ID":      {before: func(_ *testing.T, _ *world, id, _ *string) { *id = "x#y" }},
		"no ID":               {before: func(_ *testing.T, _ *world, id, _ *string) { *id = "" }},
		"too late":            {before: func(_ *testing.T, w *world, _, _ *string) { w.Clock.Advance(7 * 24 * time.Hour) }},
		"just in time":        {before: func(_ *testing.T, w *world, _, _ *string) { w.Clock.Advance(7*24*time.Hour - time.Second) }, good: true},
		"withdrawn": {before: func(t *testing.T, w *world, id, _ *string) {
			if _, err := w.Members().Withdraw(t.Context(), w.Scope("alpha"), *id); err != nil {
				t.Fatal(err)
			}
		}},
		"a member already": {before: func(_ *testing.T, w *world, _, _ *string) { w.add("alpha", "ann", "user") }},
		"a former member": {before: func(_ *testing.T, w *world, _, _ *string) {
			w.add("alpha", "ann", "user")
			w.remove("alpha", "ann")
		}, good: true},
		"a suspended tenant": {before: func(t *testing.T, w *world, _, _ *string) {
			if _, err := w.Tenants().Suspend(t.Context(), w.System("test"), code("alpha"), "unpaid", w.Clock.Now()); err != nil {
				t.Fatal(err)
			}
		}},
		"a deleted tenant": {before: func(t *testing.T, w *world, _, _ *string) {
			if _, err := w.Tenants().DeleteTenant(t.Context(), w.System("test"), tenants.Ref{Tenant: code("alpha")}); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		w := newWorld(t, "alpha", "bravo")
		claims := ann
		if c.claims != nil {
			c.claims(&claims)
		}
		made := w.invite(members.Invite{Email: "ann@example.com", Role: "clerk"})
		id, secret := made.ID, made.Secret
		if c.before != nil {
			c.before(t, w, &id, &secret)
		}
		m, err := w.accept(w.verified(w.outside(claims)), id, secret)
		if c.good {
			if err != nil || m.Role != "clerk" {
				t.Errorf("%s: %+v %v", name, m, err)
			}
			continue
		}
		refused(t, name, err, fault.NotFound)
		if err == nil {
			continue
		}
		if said := fmt.Sprintf("%+v", *fault.As(err)); alike == "" {
			alike = said
		} else if said != alike {
			t.Errorf("%s is told from the others: %s; %s", name, said, alike)
		}
	}
}

// TestAcceptOnce accepts an invitation from everywhere at once, by whoever has the address: one becomes a member.
func TestAcceptOnce(t *testing.T) {
	worldtest.EachEngine(t, func(t *testing.T, src driver.Source) {
		w := newWorldOver(t, src, tenantry.Config{}, "alpha")
		for range 5 {
			made := w.invite(members.Invite{Email: "us@example.com", Role: "admin"})
			w.engine.begin(yield)
			var good atomic.Int32
			var all sync.WaitGroup
			for i := range 16 {
				p := w.verified(w.outside(auth.Claims{Subject: fmt.Sprint("s", i), UserCode: made.ID[6:] + fmt.Sprint(i), Email: "us@example.com", EmailVerified: true}))
				all.Go(func() {
					if _, err := w.accept(p, made.ID, made.Secret); err == nil {
						good.Add(1)
					} else {
						refused(t, "at once", err, fault.NotFound)
					}
				})
			}
			if all.Wait(); good.Load() != 1 {
				t.Errorf("the invitation was good %d times", good.Load())
			}
		}
		if n := len(w.rows(driver.Data, "USER_TENANT#common")); n != 5 {
			t.Errorf("%d members of 5 invitations", n)
		}
		w.check()
	})
}

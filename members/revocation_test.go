package members_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/memory"
)

func mustText(t testing.TB, a record.Attributes) []byte {
	t.Helper()
	text, err := a.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRevocation(t *testing.T) {
	w := newWorld(t, "alpha")
	w.add("alpha", "ann", "user")
	claims := auth.Claims{Subject: "s1", UserCode: "ann", Tenant: code("alpha"), Role: "user", TTL: time.Hour}
	here, outside, twin := w.Token(claims), w.outside(claims), w.outside(claims)
	session, err := w.Members().Switch(t.Context(), w.verified(outside), code("alpha"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"the built-in issuer's": here, "the external issuer's": outside, "its twin": twin, "the switched one": session.Token}
	state := func(what string, ended ...string) {
		t.Helper()
		for name, token := range all {
			want := fault.Code("")
			for _, e := range ended {
				if e == name {
					want = fault.Unauthenticated
				}
			}
			if _, code := w.admitted(token); code != want {
				t.Errorf("%s: %s is answered %q; want %q", what, name, code, want)
			}
		}
	}
	state("before") // all are known now
	w.revoke(members.Revoke{Issuer: external, TokenID: "another"})
	w.revoke(members.Revoke{Issuer: external, Subject: "another"})
	w.revoke(members.Revoke{Issuer: w.Keyring().Issuer(), TokenID: w.verified(outside).TokenID()})
	w.revoke(members.Revoke{Issuer: "https://idp.example/another", Subject: "s1"})
	state("others' revocations")
	w.revoke(members.Revoke{Issuer: external, TokenID: w.verified(outside).TokenID()})
	state("one token", "the external issuer's")
	w.revoke(members.Revoke{Issuer: external, Subject: "s1"})
	state("a subject", "the external issuer's", "its twin", "the switched one")
	w.ended("the session", session.RefreshToken)
	w.revoke(members.Revoke{Issuer: w.Keyring().Issuer(), TokenID: w.verified(here).TokenID()})
	state("all", "the external issuer's", "its twin", "the switched one", "the built-in issuer's")
	w.mustNot("a token of the same second", w.outside(claims), fault.Unauthenticated)
	w.Clock.Advance(time.Second)
	w.must("a token that the subject gets later", w.outside(claims), "user")
	w.revoke(members.Revoke{Issuer: external, Subject: "s1"})
	w.mustNot("a second revocation of the subject", w.outside(claims), fault.Unauthenticated)

	for _, in := range []members.Revoke{{}, {Issuer: external, Reason: "x"}, {Subject: "s1", Reason: "x"}, {Issuer: external, Subject: "s1"}, {Issuer: external, Subject: "s1", TokenID: "j", Reason: "x"},
		{Issuer: external, Subject: "s1", Reason: strings.Repeat("x", 1001)}, {Issuer: "a\x00b", Subject: "s1", Reason: "x"}} {
		_, err := w.Members().Revoke(t.Context(), w.System("test"), in)
		refused(t, "a revocation of nothing", err, fault.ValidationFailed)
	}
}

// TestRevocationIsKept has what was revoked before a process began be revoked in it.
func TestRevocationIsKept(t *testing.T) {
	src := memory.New()
	first := newWorldOver(t, src, tenantry.Config{}, "alpha")
	first.add("alpha", "ann", "user")
	session := first.switched("ann", "alpha")
	first.revoke(members.Revoke{Issuer: first.Keyring().Issuer(), Subject: "sub-" + hash("ann")[:8]})
	second := newWorldOver(t, src, tenantry.Config{Keyring: first.Keyring()})
	second.mustNot("a token that was revoked before", session.Token, fault.Unauthenticated)
}

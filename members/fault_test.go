package members_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/members"
	"github.com/tenantry/tenantry/storage/memory"
)

// TestEveryCallFails has each call of the store fail once, in every operation of this package: the failure is the store's, never
// an answer about the member, and what is left is as before, or as after where the operation was made nevertheless. Then it is done again.
func TestEveryCallFails(t *testing.T) {
	lost := fault.New(fault.Unavailable, "test", "the store doesn't answer")
	for name, op := range operations() {
		for _, late := range []bool{false, true} {
			calls := eachCall(t, op, func(what string, w *world, do func(context.Context) error, fires trap) bool {
				what = fmt.Sprintf("%s, %s, late %v", name, what, late)
				w.engine.late = late
				fired := fires(func() error { return lost })
				err := do(count(t.Context()))
				w.engine.end()
				if !fired() {
					return done(t, what, err)
				}
				refused(t, what, err, fault.Unavailable)
				w.check()
				if err := do(t.Context()); err != nil && !late {
					t.Errorf("%s, then again: %v", what, err)
				}
				w.check()
				return true
			})
			if calls < 1 {
				t.Errorf("%s makes no call of the store", name)
			}
		}
	}
}

// TestCancelled gives up at each call of the store: there is no half membership.
func TestCancelled(t *testing.T) {
	for name, op := range operations() {
		eachCall(t, op, func(what string, w *world, do func(context.Context) error, fires trap) bool {
			what = fmt.Sprintf("%s, %s is cancelled", name, what)
			ctx, cancel := context.WithCancel(count(t.Context()))
			defer cancel()
			fired := fires(func() error {
				cancel()
				return ctx.Err()
			})
			err := do(ctx)
			w.engine.end()
			if !fired() {
				return done(t, what, err)
			}
			refused(t, what, err, context.Canceled)
			w.check()
			if err := do(t.Context()); err != nil {
				t.Errorf("%s, then again: %v", what, err)
			}
			w.check()
			return true
		})
	}
}

// trap makes one call of the store fail as it is told, and returns whether it came to that.
type trap = func(fail func() error) (fired func() bool)

// eachCall plays an operation with its first call of the store failing, in a world of its own, then with its second, until play returns
// false. It returns how often that was true. How many calls there are depends on what is remembered.
func eachCall(t *testing.T, op operation, play func(what string, w *world, do func(context.Context) error, fires trap) bool) int {
	t.Helper()
	for at := 1; ; at++ {
		w, do := fallible(t, op)
		fires := func(fail func() error) (fired func() bool) {
			var yes atomic.Bool
			w.engine.begin(func(n int) error {
				if n != at {
					return nil
				}
				yes.Store(true)
				return fail()
			})
			return yes.Load
		}
		if !play(fmt.Sprint("call ", at), w, do, fires) {
			return at - 1
		}
		w.App.Close()
	}
}

func done(t *testing.T, what string, err error) bool {
	t.Helper()
	if err != nil {
		t.Errorf("%s, though there is none: %v", what, err)
	}
	return false
}

// fallible returns a world in which an operation can be done. Nothing is remembered there, so that everything is read.
func fallible(t *testing.T, op operation) (*world, func(context.Context) error) {
	t.Helper()
	w := newWorldOver(t, memory.New(), tenantry.Config{}, "alpha", "bravo")
	w.add("alpha", "ann", "admin")
	w.add("alpha", "ben", "admin")
	w.add("bravo", "ann", "admin")
	if _, _, err := w.Members().Update(t.Context(), w.Scope("bravo"), "ann", members.Update{IsDefault: pointer(true)}); err != nil {
		t.Fatal(err)
	}
	do := op(t, w)
	return w, do
}

// operation prepares something to be done.
type operation func(t *testing.T, w *world) func(context.Context) error

func operations() map[string]operation {
	return map[string]operation{
		"add": func(t *testing.T, w *world) func(context.Context) error {
			sc := w.Scope("alpha")
			return func(ctx context.Context) error {
				_, _, err := w.Members().Add(ctx, sc, members.Add{UserCode: "cid", Role: "admin", IsDefault: true})
				return err
			}
		},
		"change": func(t *testing.T, w *world) func(context.Context) error {
			sc := w.Scope("alpha")
			return func(ctx context.Context) error {
				_, _, err := w.Members().Update(ctx, sc, "ann", members.Update{Role: pointer("user"), IsDefault: pointer(true)})
				return err
			}
		},
		"remove": func(t *testing.T, w *world) func(context.Context) error {
			sc := w.Scope("alpha")
			return func(ctx context.Context) error {
				_, _, err := w.Members().Remove(ctx, sc, "ann")
				return err
			}
		},
		"switch": func(t *testing.T, w *world) func(context.Context) error {
			p := w.principal("ann")
			w.forget("ann")
			return func(ctx context.Context) error {
				_, err := w.Members().Switch(ctx, p, code("alpha"))
				return err
			}
		},
		"refresh": func(t *testing.T, w *world) func(context.Context) error {
			session := w.switched("ann", "alpha")
			w.forget("ann")
			return func(ctx context.Context) error {
				_, err := w.Members().Refresh(ctx, session.RefreshToken)
				return err
			}
		},
		"accept": func(t *testing.T, w *world) func(context.Context) error {
			made := w.invite(members.Invite{UserCode: "dan", Role: "admin"})
			p := w.principal("dan")
			return func(ctx context.Context) error {
				_, err := w.Members().Accept(ctx, p, guard.Actor{Issuer: p.Issuer(), UserID: p.Subject()}, made.ID, made.Secret)
				return err
			}
		},
		"tenants of a user": func(t *testing.T, w *world) func(context.Context) error {
			return func(ctx context.Context) error {
				all, err := w.Members().TenantsOf(ctx, "ann")
				if err == nil && len(all) != 2 {
					err = fmt.Errorf("%d tenants", len(all))
				}
				return err
			}
		},
		"admit": func(t *testing.T, w *world) func(context.Context) error {
			token := w.Token(auth.Claims{Subject: "s1", UserCode: "ann", Tenant: code("alpha"), Role: "user"})
			w.forget("ann")
			return func(ctx context.Context) error {
				p, err := w.Verifier().Verify(ctx, token)
				if err != nil {
					return err
				}
				_, err = w.Guard().Admit(ctx, &guard.Request{Principal: p, Policy: guard.Policy{Reach: guard.Tenant}})
				return err
			}
		},
	}
}

// forget makes what is remembered of a user in alpha, and of revocations, be read again.
func (w *world) forget(user string) {
	w.Helper()
	w.add("alpha", "another", "user")
	if _, _, err := w.Members().Update(w.Context(), w.Scope("alpha"), user, members.Update{IsDefault: pointer(true)}); err != nil {
		w.Fatal(err)
	}
	w.revoke(members.Revoke{Issuer: external, Subject: "another"})
}

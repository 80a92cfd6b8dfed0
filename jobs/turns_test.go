package jobs

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/tenant"
)

func code(t *testing.T, text string) tenant.Code {
	t.Helper()
	c, err := tenant.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (t *turns) take(test *testing.T) tenant.Code {
	test.Helper()
	c, _, ok := t.next(test.Context(), &t.quick)
	if !ok {
		test.Fatal("there is no turn")
	}
	return c
}

func TestWhatComesDuringATurnIsNotPassedOver(t *testing.T) {
	acme, bravo := code(t, "acme"), code(t, "bravo")
	for name, comes := range map[string]func(*turns){
		"an order":     func(ts *turns) { ts.wake(acme) },
		"another row":  func(ts *turns) { ts.read(map[tenant.Code]int64{acme: 2, bravo: 1}, time.Now(), false) },
		"an end, once": func(ts *turns) { ts.wake(acme); ts.wake(acme) },
	} {
		t.Run(name, func(t *testing.T) {
			ts := newTurns()
			ts.read(map[tenant.Code]int64{acme: 1}, time.Now(), false)
			ts.take(t)
			comes(ts)
			ts.done(acme, found{gone: true})
			turns := 0
			for len(ts.quick.codes) > 0 {
				c := ts.take(t)
				if c == acme {
					turns++
				}
				ts.done(c, found{gone: true})
			}
			if turns != 1 {
				t.Errorf("acme had %d turns more", turns)
			}
		})
	}
}

func TestTenantsAreLookedAtWhenTheirTimeHasCome(t *testing.T) {
	acme, now := code(t, "acme"), time.Now()
	rows := map[tenant.Code]int64{acme: 1}
	ts := newTurns()
	ts.read(rows, now, false)
	ts.take(t)
	ts.done(acme, found{at: now.Add(time.Hour)})
	if next := ts.read(rows, now, true); !next.Equal(now.Add(time.Hour)) || len(ts.quick.codes) > 0 {
		t.Errorf("an hour before: due at %v, %d turns", next, len(ts.quick.codes))
	}
	ts.read(rows, now.Add(time.Hour), false)
	ts.take(t)
	ts.done(acme, found{poll: true})
	if ts.read(rows, now, false); len(ts.quick.codes) > 0 {
		t.Error("a tenant that is polled has a turn each time that the directory is read")
	}
	if ts.read(rows, now, true); len(ts.quick.codes) != 1 {
		t.Errorf("a tenant that is polled has %d turns", len(ts.quick.codes))
	}
	ts.take(t)
	ts.done(acme, found{})
	if ts.read(nil, now, true); len(ts.places) > 0 {
		t.Error("a tenant without jobs is remembered")
	}
}

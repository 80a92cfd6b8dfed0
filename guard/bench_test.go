package guard_test

import (
	"testing"

	"github.com/tenantry/tenantry/guard"
)

// ordinary returns what an ordinary request costs in the guard: a user of alpha who writes one of alpha's records.
func ordinary(t testing.TB) (once func()) {
	w := newWorld(t)
	g, p := w.guards[false], w.principal(who("user@alpha"))
	mentions := guard.Mentions{Codes: []string{"alpha"}, PKs: []string{"PRODUCT#alpha"}, IDs: []string{"PRODUCT#alpha#1"}}
	body := guard.Mentions{Codes: []string{"alpha"}, PKs: []string{"PRODUCT#alpha"}}
	ctx := t.Context()
	r := &guard.Request{}
	return func() {
		*r = guard.Request{Principal: p, Header: "alpha", HasHeader: true, Mentions: mentions, Policy: records}
		grant, err := g.Admit(ctx, r)
		if err == nil {
			err = grant.Body(ctx, body)
		}
		if err == nil {
			err = grant.Scope.Check()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(100, ordinary(t)); n != 0 {
		t.Errorf("an ordinary request allocates %v times in the guard", n)
	}
}

func BenchmarkOrdinary(b *testing.B) {
	once := ordinary(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}

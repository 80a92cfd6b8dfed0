package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
)

// randomBatch returns a publish of one record, or of two, that may come too late.
func randomBatch(r *rand.Rand, names int) driver.Batch {
	var b driver.Batch
	taken := map[string]bool{}
	for range 1 + r.IntN(4)/3 {
		sk := fmt.Sprint(r.IntN(names))
		if taken[sk] {
			continue
		}
		taken[sk] = true
		version := int64(1 + r.IntN(4)/3)
		absent := driver.Condition{Kind: driver.IfAbsent}
		b.Writes = append(b.Writes, driver.Write{Collection: driver.Command, Record: row1(sk, version), If: absent})
		if version == 1 {
			b.Writes = append(b.Writes, driver.Write{Collection: driver.Data, Record: row1(sk, 1), If: absent})
			continue
		}
		b.Writes = append(b.Writes,
			driver.Write{Collection: driver.Data, Record: row1(sk, version), If: driver.Condition{Kind: driver.IfVersion, Version: version - 1}},
			driver.Write{Collection: driver.History, Record: row1(sk, version-1), If: absent})
	}
	return b
}

func outcome(err error) string {
	var conflict *driver.Conflict
	if errors.As(err, &conflict) {
		return fmt.Sprintf("%+v", *conflict)
	}
	return fmt.Sprint(err)
}

// However many publishes share a statement, and a transaction, each has the result that it has alone, in its turn.
func TestGroupsAreLikeTurns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, names := range []int{5, 100, 2_000, 10_000} { // from nearly all to hardly any come too late
		e := opened(t, t.TempDir(), tuning{})
		oracle, err := memory.New().Open(t.Context(), scope.NewRoot())
		if err != nil {
			t.Fatal(err)
		}
		defer oracle.Close()
		type made struct {
			commands []driver.Ref
			position driver.Position
		}
		var all []made
		for round := range 40 {
			batches := make([]driver.Batch, 1+r.IntN(60))
			for i := range batches {
				if batches[i] = randomBatch(r, names); round%4 == 0 { // none comes too late, so that all share statements
					created := fmt.Sprint("round ", round, " batch ", i)
					absent := driver.Condition{Kind: driver.IfAbsent}
					batches[i].Writes = []driver.Write{{Collection: driver.Command, Record: row1(created, 1), If: absent}, {Collection: driver.Data, Record: row1(created, 1), If: absent}}
				}
			}
			for i, request := range grouped(e, batches...) {
				_, want := oracle.Commit(t.Context(), batches[i])
				if got := outcome(request.err); got != outcome(want) {
					t.Fatalf("batch %d of %d: got %s, want %s", i, len(batches), got, outcome(want))
				}
				if request.err != nil {
					continue
				}
				m := made{position: driver.PositionAt(request.position)}
				for _, w := range batches[i].Writes {
					if w.Collection == driver.Command {
						m.commands = append(m.commands, driver.RefOf(driver.Command, w.Record))
					}
				}
				all = append(all, m)
			}
		}
		const limit = 1 << 20
		changes, err := e.Changes(t.Context(), "", limit)
		if err != nil {
			t.Fatal(err)
		}
		places, versions := map[driver.Ref]driver.Position{}, map[string]int64{}
		for _, c := range changes {
			places[driver.RefOf(driver.Command, c.Command)] = c.Position
			if versions[c.Command.SK]++; versions[c.Command.SK] != c.Command.Version {
				t.Fatalf("version %d of %s comes out of its order", c.Command.Version, c.Command.SK)
			}
		}
		for _, m := range all {
			var last driver.Position
			for _, ref := range m.commands {
				if places[ref].Compare(last) > 0 {
					last = places[ref]
				}
				delete(places, ref)
			}
			if last != m.position {
				t.Fatalf("the commands %v stand at %s in the feed, their batch was answered %s", m.commands, last, m.position)
			}
		}
		if len(places) > 0 {
			t.Errorf("%d commands that nobody made are in the feed", len(places))
		}
		for _, col := range []driver.Collection{driver.Data, driver.History} {
			got, err := e.Scan(t.Context(), col, driver.Ref{}, limit)
			want, wantErr := oracle.Scan(t.Context(), col, driver.Ref{}, limit)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(record.Time{})); diff != "" || err != nil || wantErr != nil {
				t.Fatalf("%v: %v %v (-memory +sqlite):\n%s", col, err, wantErr, diff)
			}
		}
	}
}

// A publish of two records comes first in its group: that one behind it has inserted its command by the same statement takes nothing from it.
func TestFirstOfAGroup(t *testing.T) {
	e := opened(t, t.TempDir(), tuning{})
	two := creates("x")
	two.Writes = append(two.Writes, creates("y").Writes...)
	var got []string
	for _, r := range grouped(e, two, creates("y"), creates("p"), creates("q")) {
		got = append(got, outcome(r.err))
	}
	want := []string{"<nil>", outcome(&driver.Conflict{Write: 0, Found: true, Actual: 1}), "<nil>", "<nil>"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

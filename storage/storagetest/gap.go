package storagetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/storage/driver"
)

// Capability is a part of the contract that an engine may lack.
type Capability string

// ImmediateFeed is that Commit returns the position of its last command and that the change is in the feed then. An engine
// without it returns "", has the change in the feed within seconds, orders the changes of different records as it likes, and
// shows the commands of those records only whose data row was put with them. Everything else holds: per record in the order
// of versions, each once, nothing missed, the same whenever it is read again.
const ImmediateFeed Capability = "immediate feed"

// Gap declares that an engine lacks a Capability, and why. The properties that need it are run in their weaker form. A Gap
// that the engine doesn't need fails the test.
type Gap struct {
	Capability Capability
	Reason     string
}

// lacks returns whether gaps declare that the feed is not immediate.
func lacks(t testing.TB, gaps []Gap) (late bool) {
	for _, g := range gaps {
		if g.Capability != ImmediateFeed || g.Reason == "" || late {
			t.Fatalf("the gap %q (%q) is not one that an engine may declare, once, with a reason", g.Capability, g.Reason)
		}
		late = true
	}
	return late
}

// feedIsLate fails where an engine that declares so returns positions.
func feedIsLate(s *store) {
	if at := s.commit(publish("A#acme", "1", 1)...); at != "" {
		s.Errorf("a commit returned the position %q: the gap %q is not needed, remove it", at, ImmediateFeed)
	}
}

// feedLimit is how long a late feed may take on a machine that is busy with other tests.
const feedLimit = 30 * time.Second

// settled returns the changes after a position, once there are n of them; one more where there are more.
func (s *store) settled(after driver.Position, n int) []driver.Change {
	s.Helper()
	return s.settledOn(s.Engine, after, n)
}

func (s *store) settledOn(e driver.Engine, after driver.Position, n int) []driver.Change {
	s.Helper()
	signal, stop := e.Committed()
	defer stop()
	for deadline := time.After(feedLimit); ; {
		changes, err := e.Changes(s.Context(), after, n+1)
		if err != nil {
			s.Fatalf("changes after %q: %v", after, err)
		}
		if len(changes) >= n || !s.late {
			s.eachOnce(changes)
			return changes
		}
		select {
		case <-signal:
		case <-deadline:
			s.Fatalf("the feed has %d changes after %q, and not %d within %v", len(changes), after, n, feedLimit)
		}
	}
}

// eachOnce fails the test where a command is among changes twice.
func (s *store) eachOnce(changes []driver.Change) {
	s.Helper()
	seen := make(map[driver.Ref]bool)
	for _, c := range changes {
		ref := driver.RefOf(driver.Command, c.Command)
		if seen[ref] {
			s.Errorf("the command %+v is in the feed twice", ref)
		}
		seen[ref] = true
	}
}

// sameChanges fails the test where changes differ: for a late feed, in the commands of any one record.
func (s *store) sameChanges(what string, got, want []driver.Change) {
	s.Helper()
	if !s.late {
		s.same(what, got, want)
		return
	}
	s.same(what, byRecord(got), byRecord(want))
}

// byRecord returns changes without their positions, those of one record together and in their order.
func byRecord(changes []driver.Change) []driver.Change {
	out := slices.Clone(changes)
	slices.SortStableFunc(out, func(a, b driver.Change) int {
		return cmp.Or(strings.Compare(a.Command.PK, b.Command.PK), strings.Compare(a.Command.SK, b.Command.SK))
	})
	for i := range out {
		out[i].Position = ""
	}
	return out
}

// rest checks that the feed after each of its changes is what follows it.
func (s *store) rest(all []driver.Change) {
	s.Helper()
	for i := range all {
		s.same(fmt.Sprint("changes after ", i), s.changes(all[i].Position, 5), append([]driver.Change(nil), all[i+1:min(i+6, len(all))]...))
	}
}

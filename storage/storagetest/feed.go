package storagetest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

var nilRecord *record.Record

var feedProperties = []property{
	{"the feed begins empty", feedBeginsEmpty},
	{"a commit returns the position of its last command", positions},
	{"changes come oldest first, after a position", changesInOrder},
	{"a command that is replaced keeps its place", replacedKeepsPlace},
	{"a command that is deleted leaves the feed", deletedLeaves},
	{"a position is never given again", positionsAreNew},
	{"positions are numbers that grow along the feed", positionsGrow},
	{"a position that the store did not make is refused", foreignPosition},
	{"one who follows the feed misses nothing", followed},
	{"the keys of changes are those of the changes", changedKeys},
}

var signalProperties = []property{
	{"a commit is signalled", signalled},
	{"a commit of another process is signalled", signalledAcross},
	{"signals wait for nobody", signalsMerge},
}

// changedKeys holds for engines that implement driver.KeyFeed.
func changedKeys(s *store) {
	keys, ok := s.Engine.(driver.KeyFeed)
	if !ok {
		return
	}
	types := map[string]bool{"A": true, "C": true}
	look := func(after driver.Position, limit int) ([]string, int, driver.Position) {
		got, looked, last, err := keys.ChangedKeys(s.Context(), after, limit, types)
		if err != nil {
			s.Fatal(err)
		}
		var names []string
		for _, k := range got {
			names = append(names, k.PK+"/"+k.SK)
		}
		return names, looked, last
	}
	if got, looked, last := look("", 10); got != nil || looked != 0 || last != "" {
		s.Errorf("an empty feed has the keys %v, %d looked at, position %q", got, looked, last)
	}
	var ends []driver.Position
	for _, pk := range []string{"A#acme", "B#acme", "AB#acme", "C#acme#2026", "A#common"} {
		ends = append(ends, s.commit(add(driver.Command, rec(pk, "1", 1)), add(driver.Data, rec(pk, "1", 1))))
	}
	if s.late {
		s.lateKeys(look)
		return
	}
	got, looked, last := look("", 10)
	s.same("the keys", got, []string{"A#acme/1", "C#acme#2026/1", "A#common/1"})
	s.same("how many were looked at, and where", []any{looked, last}, []any{5, ends[4]})
	got, looked, last = look(ends[0], 2)
	s.same("the keys of two of other types", len(got), 0)
	s.same("how many were looked at, and where, of two", []any{looked, last}, []any{2, ends[2]})
	got, looked, last = look(ends[4], 10)
	s.same("behind the end", []any{len(got), looked, last}, []any{0, 0, ends[4]})
	if _, _, _, err := keys.ChangedKeys(s.Context(), "nowhere", 10, types); fault.CodeOf(err) != fault.InvalidCursor {
		s.Errorf("a position of another kind: %v", err)
	}
}

// lateKeys compares the keys with the changes that the feed has, whatever their order.
func (s *store) lateKeys(look func(driver.Position, int) ([]string, int, driver.Position)) {
	s.Helper()
	all := s.settled("", 5)
	names := func(changes []driver.Change) (names []string) {
		for _, c := range changes {
			if !strings.HasPrefix(c.Command.PK, "B#") && !strings.HasPrefix(c.Command.PK, "AB#") {
				names = append(names, c.Command.PK+"/"+c.Command.SK)
			}
		}
		return names
	}
	got, looked, last := look("", 10)
	s.same("the keys", got, names(all))
	s.same("how many were looked at, and where", []any{looked, last}, []any{5, all[4].Position})
	got, looked, last = look(all[0].Position, 2)
	s.same("the keys of two", got, names(all[1:3]))
	s.same("how many were looked at, and where, of two", []any{looked, last}, []any{2, all[2].Position})
	got, looked, last = look(all[4].Position, 10)
	s.same("behind the end", []any{len(got), looked, last}, []any{0, 0, all[4].Position})
}

func feedBeginsEmpty(s *store) {
	if end := s.end(); end != "" {
		s.Errorf("the end of an empty feed is %q", end)
	}
	if got := s.changes("", 10); len(got) > 0 {
		s.Errorf("an empty feed has %d changes", len(got))
	}
	if at := s.commit(put(driver.Data, rec("A#acme", "1", 1)), put(driver.History, rec("A#acme", "1", 1)), put(driver.System, rec("A#acme", "1", 1)),
		drop(driver.Command, rec("A#acme", "1", 1))); at != "" {
		s.Errorf("a commit that put no command has position %q", at)
	}
	if end := s.end(); end != "" && !s.late {
		s.Errorf("the end of a feed without a command is %q", end)
	}
	if got := s.changes("", 10); len(got) > 0 {
		s.Errorf("a feed without a command has %d changes", len(got))
	}
}

func positions(s *store) {
	at := s.commit(put(driver.Data, rec("A#acme", "1", 1)), add(driver.Command, rec("A#acme", "1", 1)),
		put(driver.Command, rec("A#acme", "2", 1)), put(driver.Data, rec("A#acme", "2", 1)))
	got := s.settled("", 2)
	if len(got) != 2 {
		s.Fatalf("got %d changes, want 2", len(got))
	}
	if got[0].Position == got[1].Position {
		s.Error("two changes have one position")
	}
	if s.late {
		s.same("the position of a commit", at, driver.Position(""))
		s.same("the changes", byRecord(got), []driver.Change{{Command: rec("A#acme", "1", 1)}, {Command: rec("A#acme", "2", 1)}})
		at = got[1].Position
	}
	s.same("the last change", got[1], driver.Change{Position: at, Command: got[1].Command})
	s.same("the end", s.end(), at)
	s.same("changes after the end", len(s.changes(at, 10)), 0)
	s.same("the position of a commit without a command", s.commit(put(driver.Data, rec("A#acme", "3", 1))), driver.Position(""))
	if !s.late {
		s.same("the last command", got[1].Command, rec("A#acme", "2", 1))
		s.same("the end after a commit without a command", s.end(), at)
	}
}

func changesInOrder(s *store) {
	var want []driver.Change
	for version := int64(1); version <= 12; version++ { // @10 sorts before @9 as text
		for _, sk := range []string{"b", "a"} {
			want = append(want, driver.Change{Position: s.commit(publish("A#acme", sk, version)...), Command: rec("A#acme", sk, version)})
		}
	}
	all := s.settled("", len(want))
	s.sameChanges("all changes", all, want)
	s.rest(all)
	s.restart()
	s.same("all changes, in another process", s.changes("", 100), all)
	s.same("the end, in another process", s.end(), all[len(all)-1].Position)
}

// placed commits the first versions of records, one after another, and returns their changes.
func (s *store) placed(after driver.Position, sks ...string) []driver.Change {
	s.Helper()
	var want []driver.Change
	for _, sk := range sks {
		want = append(want, driver.Change{Position: s.commit(publish("A#acme", sk, 1)...), Command: rec("A#acme", sk, 1)})
	}
	got := s.settled(after, len(sks))
	s.sameChanges("changes", got, want)
	return got
}

func replacedKeepsPlace(s *store) {
	before := s.placed("", "1", "2")
	for i, cond := range []driver.Condition{{}, {Kind: driver.IfVersion, Version: 1}} {
		replaced := rec("A#acme", before[0].Command.SK, 1)
		replaced.Name = fmt.Sprint("replaced ", i)
		at := s.commit(driver.Write{Collection: driver.Command, Record: replaced, If: cond})
		if !s.late {
			s.same("the position of a command that is replaced", at, before[0].Position)
		}
		s.same("changes", s.changes("", 10), []driver.Change{{Position: before[0].Position, Command: replaced}, before[1]})
	}
}

func deletedLeaves(s *store) {
	before := s.placed("", "1", "2")
	s.commit(drop(driver.Command, before[0].Command))
	s.same("changes", s.changes("", 10), before[1:])
	s.commit(drop(driver.Command, before[1].Command))
	s.same("the number of changes", len(s.changes("", 10)), 0)
}

func positionsAreNew(s *store) {
	after := driver.Position("")
	for round := range 3 {
		one, two := "1", "2"
		if s.late { // it may take a record that begins again at a version for the one that it had
			one, two = fmt.Sprint(round, "-1"), fmt.Sprint(round, "-2")
		}
		first := s.placed(after, one)[0]
		s.commit(drop(driver.Command, first.Command), drop(driver.Data, first.Command))
		if round == 1 {
			s.restart()
		}
		next := s.placed(first.Position, two)[0]
		s.commit(drop(driver.Command, next.Command), drop(driver.Data, next.Command))
		after = next.Position
	}
	s.same("the number of changes", len(s.changes("", 10)), 0)
}

func foreignPosition(s *store) {
	s.commit(add(driver.Command, rec("A#acme", "1", 1)))
	for _, at := range []driver.Position{"x", " ", "1 or 1", "'", "01", "+1", "-1", "0"} {
		if _, err := s.Changes(s.Context(), at, 1); fault.CodeOf(err) != fault.InvalidCursor {
			s.Errorf("changes after %q: got %v, want an error with code invalid_cursor", at, err)
		}
	}
}

// followed reads the feed while many commit, as a projection does: from the position of the last change that it saw.
func followed(s *store) {
	const writers, each = 16, 25
	var committed atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		parallel(writers, func(n int) {
			for version := int64(1); version <= each; version++ {
				if _, err := s.Commit(s.Context(), driver.Batch{Writes: publish("A#acme", fmt.Sprint(n%(writers/2), "-", n), version)}); err != nil {
					s.Errorf("a commit: %v", err)
					return
				}
				committed.Add(1)
			}
		})
	}()
	var seen []driver.Change
	versions := make(map[string]int64)
	for after, last := driver.Position(""), false; ; {
		select {
		case <-done:
			last = true
		default:
		}
		acknowledged := int(committed.Load())
		page, err := s.Changes(s.Context(), after, 7)
		if err != nil {
			s.Errorf("changes: %v", err)
			break
		}
		for _, change := range page {
			if got, want := change.Command.Version, versions[change.Command.SK]+1; got != want {
				s.Errorf("command %s came with version %d, want %d", change.Command.SK, got, want)
			}
			versions[change.Command.SK] = change.Command.Version
			after = change.Position
		}
		seen = append(seen, page...)
		if len(page) < 7 && len(seen) < acknowledged && !s.late {
			s.Errorf("the feed ended after %d changes when %d were acknowledged", len(seen), acknowledged)
		}
		if s.late && !s.Failed() && last && len(page) == 0 && len(seen) < int(committed.Load()) {
			s.settled(after, 1)
			continue
		}
		if s.Failed() || last && len(page) == 0 {
			break
		}
	}
	<-done
	s.same("the number of changes", len(seen), writers*each)
	s.same("the feed, read again", s.changes("", writers*each+1), seen)
}

// A signal from another process may take 250 ms; a machine that is busy with other tests gets more.
const signalLimit = 2 * time.Second

func signalled(s *store) {
	signal, stop := s.Committed()
	defer stop()
	for version := int64(1); version <= 3; version++ {
		drain(signal)
		s.commit(publish("A#acme", "1", version)...)
		within(s, "the signal of a commit", signalLimit, signal)
	}
	stop()
	stop() // does no harm
}

func signalledAcross(s *store) {
	signal, stop := s.Committed()
	defer stop()
	other := s.another()
	for version := int64(1); version <= 3; version++ {
		drain(signal)
		if _, err := other.Commit(s.Context(), driver.Batch{Writes: publish("A#acme", "1", version)}); err != nil {
			s.Fatal(err)
		}
		if len(s.changes("", 10)) < int(version) && !s.late {
			s.Fatal("a commit that another process has acknowledged can't be read")
		}
		limit := signalLimit
		if s.late {
			limit = feedLimit
		}
		for begun := true; begun || len(s.changes("", 10)) < int(version); begun = false {
			within(s, "the signal of another process's commit", limit, signal)
		}
	}
}

func signalsMerge(s *store) {
	slow, stopSlow := s.Committed()
	gone, stopGone := s.Committed()
	defer stopSlow()
	stopGone()
	drain(gone)
	for version := int64(1); version <= 40; version++ {
		s.commit(publish("A#acme", "1", version)...)
	}
	within(s, "the signal of 40 commits", signalLimit, slow)
	select {
	case <-gone:
		s.Error("a signal came after stop")
	default:
	}
}

func drain(signal <-chan struct{}) {
	select {
	case <-signal:
	default:
	}
}

package storagetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/tenantry/tenantry/storage/driver"
)

var conditionProperties = []property{
	{"a write is made when its condition holds", conditions},
	{"what a row has not in common with the one that was read is written", differences},
	{"a conflict names the first write that fails", firstConflict},
	{"a batch with a conflict writes nothing", conflictWritesNothing},
	{"the largest batch is taken", largestBatch},
	{"an empty batch does nothing", emptyBatch},
	{"a conflict leaves other commits alone", conflictsAmongOthers},
}

// differences takes each field away from a row and puts it back, with the row that is replaced in the write.
func differences(s *store) {
	was := full("A#acme", "1", 1)
	s.commit(add(driver.Data, was))
	whole := reflect.ValueOf(was.Clone()).Elem()
	for i := range whole.NumField() {
		name := whole.Type().Field(i).Name
		if slices.Contains([]string{"PK", "SK", "Version", "StoredPK"}, name) {
			continue
		}
		for _, value := range []reflect.Value{reflect.Zero(whole.Field(i).Type()), whole.Field(i)} {
			next := was.Clone()
			next.Version++
			reflect.ValueOf(next).Elem().Field(i).Set(value)
			w := swap(driver.Data, next, was.Version)
			w.Was = was
			s.commit(w)
			s.same("a row whose "+name+" changed", s.get(driver.RefOf(driver.Data, next)), next)
			was = next
		}
	}
}

func conditions(s *store) {
	ifAbsent, ifThree := driver.Condition{Kind: driver.IfAbsent}, driver.Condition{Kind: driver.IfVersion, Version: 3}
	ifTwo, ifNone := driver.Condition{Kind: driver.IfVersion, Version: 2}, driver.Condition{Kind: driver.IfVersion}
	for _, c := range driver.Collections() {
		for _, remove := range []bool{false, true} {
			for _, tc := range []struct {
				exists bool // at version 3
				cond   driver.Condition
				holds  bool
			}{
				{false, driver.Condition{}, true}, {true, driver.Condition{}, true},
				{false, ifAbsent, true}, {true, ifAbsent, false},
				{false, ifThree, false}, {true, ifThree, true},
				{false, ifTwo, false}, {true, ifTwo, false},
				{false, ifNone, false}, {true, ifNone, false},
			} {
				name := fmt.Sprintf("%v, delete %v, row exists %v, condition %+v", c, remove, tc.exists, tc.cond)
				old, next := rec("A#acme", "1", 3), rec("A#acme", "1", 4)
				if c == driver.Command || c == driver.History {
					next.Version = 3 // it is part of the row's name
				}
				next.Name = "next"
				s.commit(drop(c, old))
				if tc.exists {
					s.commit(put(c, old))
				} else {
					old = nil
				}
				want := old
				if tc.holds && remove {
					want = nil
				} else if tc.holds {
					want = next
				}
				_, err := s.Commit(s.Context(), driver.Batch{Writes: []driver.Write{{Collection: c, Record: next, Delete: remove, If: tc.cond}}})
				if tc.holds && err != nil {
					s.Errorf("%s: %v", name, err)
				}
				if !tc.holds {
					conflict := &driver.Conflict{Found: tc.exists}
					if tc.exists {
						conflict.Actual = 3
					}
					s.conflict(name, err, conflict)
				}
				s.same("the row after "+name, s.get(driver.RefOf(c, next)), want)
			}
		}
	}
}

// conflict fails the test unless err is want.
func (s *store) conflict(what string, err error, want *driver.Conflict) {
	s.Helper()
	var got *driver.Conflict
	if !errors.As(err, &got) {
		s.Errorf("%s: got error %v, want a conflict", what, err)
		return
	}
	s.same("the conflict of "+what, got, want)
}

func firstConflict(s *store) {
	s.commit(put(driver.Data, rec("A#acme", "1", 3)), put(driver.System, rec("A#acme", "1", 9)))
	_, err := s.Commit(s.Context(), driver.Batch{Writes: []driver.Write{
		add(driver.Command, rec("A#acme", "1", 4)),
		swap(driver.Data, rec("A#acme", "1", 4), 3),
		add(driver.History, rec("A#acme", "1", 3)),
		swap(driver.Data, rec("A#acme", "none", 2), 1),
		add(driver.System, rec("A#acme", "1", 1)),
	}})
	s.conflict("a batch of five", err, &driver.Conflict{Write: 3})
	_, err = s.Commit(s.Context(), driver.Batch{Writes: []driver.Write{
		drop(driver.Data, rec("A#acme", "never there", 1)),
		add(driver.System, rec("A#acme", "1", 1)),
		swap(driver.Data, rec("A#acme", "none", 2), 1),
	}})
	s.conflict("a batch of three", err, &driver.Conflict{Write: 1, Found: true, Actual: 9})
}

func conflictWritesNothing(s *store) {
	kept, taken := rec("A#acme", "kept", 1), rec("A#acme", "taken", 1)
	s.commit(put(driver.Data, kept), put(driver.System, taken))
	end := s.end()
	for at := range 4 {
		writes := []driver.Write{
			put(driver.Data, rec("A#acme", "new", 1)),
			drop(driver.Data, kept),
			put(driver.Command, rec("A#acme", "new", 1)),
		}
		writes = append(writes[:at:at], append([]driver.Write{add(driver.System, taken)}, writes[at:]...)...)
		_, err := s.Commit(s.Context(), driver.Batch{Writes: writes})
		s.conflict(fmt.Sprint("a batch that fails at ", at), err, &driver.Conflict{Write: at, Found: true, Actual: 1})
		s.same("the row that would be put", s.get(driver.RefOf(driver.Data, rec("A#acme", "new", 1))), nilRecord)
		s.same("the row that would be deleted", s.get(driver.RefOf(driver.Data, kept)), kept)
		s.same("the command that would be put", s.get(driver.RefOf(driver.Command, rec("A#acme", "new", 1))), nilRecord)
		s.same("the number of changes", len(s.changes("", 10)), 0)
		if !s.late {
			s.same("the end of the feed", s.end(), end)
		}
	}
}

func largestBatch(s *store) {
	var writes []driver.Write
	for i := range driver.MaxBatch {
		writes = append(writes, add(driver.Collections()[i%4], rec("A#acme", fmt.Sprintf("%03d", i), 1)))
	}
	s.commit(writes...)
	for _, w := range writes {
		s.same("a row of the largest batch", s.get(driver.RefOf(w.Collection, w.Record)), w.Record)
	}
}

func emptyBatch(s *store) {
	if at := s.commit(); at != "" {
		s.Errorf("an empty batch has position %q", at)
	}
}

// conflictsAmongOthers commits batches that fail at different writes beside batches that don't: an engine that puts
// several into one transaction must take back the right ones.
func conflictsAmongOthers(s *store) {
	const rounds, writers = 20, 24
	s.commit(put(driver.System, rec("TAKEN#acme", "taken", 7)))
	taken := add(driver.System, rec("TAKEN#acme", "taken", 1))
	for round := range rounds {
		errs := make([]error, writers)
		parallel(writers, func(n int) {
			writes := publish("A#acme", fmt.Sprintf("%d-%d", round, n), 1)
			switch n % 4 {
			case 1:
				writes = append([]driver.Write{taken}, writes...)
			case 2:
				writes = append(writes, taken)
			}
			_, errs[n] = s.Commit(s.Context(), driver.Batch{Writes: writes})
		})
		for n, err := range errs {
			want := rec("A#acme", fmt.Sprintf("%d-%d", round, n), 1)
			switch n % 4 {
			case 1, 2:
				s.conflict("a batch that must fail", err, &driver.Conflict{Write: (n%4 - 1) * 2, Found: true, Actual: 7})
				s.same("a row of a batch that failed", s.get(driver.RefOf(driver.Data, want)), nilRecord)
			default:
				if err != nil {
					s.Errorf("a batch that must be made: %v", err)
				}
				s.same("a row of a batch that was made", s.get(driver.RefOf(driver.Data, want)), want)
			}
		}
	}
	s.same("the number of commands", len(s.settled("", rounds*writers/2)), rounds*writers/2)
}

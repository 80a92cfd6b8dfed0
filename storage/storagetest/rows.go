package storagetest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

var rowProperties = []property{
	{"a row that was never put is nil", absentIsNil},
	{"every field of a row comes back", everyField},
	{"a put replaces all of a row", putReplaces},
	{"a row is named by its collection, pk, sk and version", namesApart},
	{"keys are compared byte by byte", byteExactKeys},
	{"batch get keeps the order of its refs", batchGet},
	{"large documents come back", largeDocuments},
	{"a batch is neither changed nor kept", batchIsNotKept},
	{"a row that was read may be changed", readIsACopy},
}

func absentIsNil(s *store) {
	for _, c := range driver.Collections() {
		if got := s.get(driver.Ref{Collection: c, PK: "A#acme", SK: "1"}); got != nil {
			s.Errorf("%v: got %v from an empty store", c, got)
		}
	}
}

func everyField(s *store) {
	for _, c := range driver.Collections() {
		want := full("A#acme", "1", 7)
		s.commit(put(c, want))
		s.same("the row of "+c.String(), s.get(driver.RefOf(c, want)), want)

		bare := &record.Record{PK: "A#acme", SK: "bare", Version: 1}
		s.commit(put(c, bare))
		s.same("a row without fields of "+c.String(), s.get(driver.RefOf(c, bare)), bare)
	}
	whole := full("A#acme", "seconds", 1)
	var err error
	if whole.CreatedAt, err = record.ParseTime("2026-11-23T10:00:01+00:00"); err != nil {
		s.Fatal(err)
	}
	s.commit(put(driver.Data, whole))
	s.same("a time with whole seconds", s.get(driver.RefOf(driver.Data, whole)), whole)
}

func putReplaces(s *store) {
	for _, c := range driver.Collections() {
		s.commit(put(c, full("A#acme", "1", 7)))
		want := &record.Record{PK: "A#acme", SK: "1", Version: 7, Name: "new"}
		s.commit(put(c, want))
		s.same("the row of "+c.String(), s.get(driver.RefOf(c, want)), want)
	}
}

func namesApart(s *store) {
	want := make(map[driver.Ref]*record.Record)
	for _, c := range driver.Collections() {
		for _, pk := range []string{"A#acme", "B#acme"} {
			for _, sk := range []string{"1", "2"} {
				for version := int64(1); version <= 2; version++ {
					r := rec(pk, sk, version)
					r.Name = fmt.Sprint(c, pk, sk, version)
					s.commit(put(c, r))
					want[driver.RefOf(c, r)] = r
				}
			}
		}
	}
	for ref, r := range want {
		s.same(fmt.Sprintf("the row at %+v", ref), s.get(ref), r)
	}
	s.commit(drop(driver.History, rec("A#acme", "1", 1)))
	for ref, r := range want {
		if ref == driver.RefOf(driver.History, rec("A#acme", "1", 1)) {
			r = nil
		}
		s.same(fmt.Sprintf("the row at %+v, after another was deleted", ref), s.get(ref), r)
	}
}

// neighbours are keys that an engine might take for one another: by case, by normalisation, by a pattern's wildcards,
// by numbers, by padding, by what divides keys, or by the order of UTF-16.
var neighbours = []string{
	"a", "A", "aa", "aA", "Aa", "a ", " a", "a\u00a0", "á", "a\u0301", "Á", "ａ", "ä", "ae", "æ", "ß", "ss", "SS",
	"ı", "i", "I", "İ", "i\u0307", "K", "\u212a", "k", "Ω", "\u2126", "ﬁ", "fi", "ﬀ",
	"a@1", "a@10", "a@2", "a@", "@", "a@example.com", "a@example.org", "a#", "a#b", "a#b#c", "#", "a#@1",
	"%", "_", "a%", "a_", "*", "?", "a*", "[a]", "a'b", `a"b`, `a\b`, "a;b", "--", "/*", "NULL", "null", "0", "00", "1", "01", "1.0", "1e0", "10", "2", "-1", "0x1",
	"~", "\u007e\u007e", "\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "\U0001f600", "\U0010ffff", "zzz", "z\U0001f600", "z\uffff",
	strings.Repeat("k", 511), strings.Repeat("k", 512), strings.Repeat("é", 256),
}

func byteExactKeys(s *store) {
	for _, c := range []driver.Collection{driver.Data, driver.System, driver.Command, driver.History} {
		var recs []*record.Record
		for i, key := range neighbours {
			for _, r := range []*record.Record{rec("A#acme", key, 1), rec("A#"+key, "1", 1)} {
				r.Name = fmt.Sprint(i)
				s.commit(add(c, r)) // fails where a key is taken for another
				recs = append(recs, r)
			}
		}
		for _, r := range recs {
			s.same(fmt.Sprintf("the row at %q %q", r.PK, r.SK), s.get(driver.RefOf(c, r)), r)
		}
		slices.SortFunc(recs, func(a, b *record.Record) int {
			return cmp.Or(strings.Compare(a.PK, b.PK), strings.Compare(a.SK, b.SK))
		})
		s.same("a scan", s.scan(c, driver.Ref{}, len(recs)+1), recs)
		if c == driver.Command || c == driver.History {
			continue
		}
		partition := slices.DeleteFunc(slices.Clone(recs), func(r *record.Record) bool { return r.PK != "A#acme" })
		s.same("a range", s.list(driver.Range{Collection: c, PK: "A#acme", Limit: len(recs)}), partition)
		for _, key := range neighbours {
			begins := slices.DeleteFunc(slices.Clone(partition), func(r *record.Record) bool { return !strings.HasPrefix(r.SK, key) })
			s.same(fmt.Sprintf("a range with prefix %q", key), s.list(driver.Range{Collection: c, PK: "A#acme", Prefix: key, Limit: len(recs)}), begins)
		}
	}
}

func batchGet(s *store) {
	one, two, three := rec("A#acme", "1", 1), rec("A#acme", "2", 5), rec("B#other", "1", 1)
	s.commit(put(driver.Data, one), put(driver.Command, two), put(driver.System, three))
	get := func(refs ...driver.Ref) []*record.Record {
		s.Helper()
		recs, err := s.BatchGet(s.Context(), refs)
		if err != nil {
			s.Fatalf("batch get: %v", err)
		}
		return recs
	}
	missing := driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "none"}
	dataRef, commandRef, systemRef := driver.RefOf(driver.Data, one), driver.RefOf(driver.Command, two), driver.RefOf(driver.System, three)
	s.same("a batch get", get(commandRef, missing, dataRef, systemRef, missing), []*record.Record{two, nil, one, three, nil})
	if got := get(); len(got) != 0 {
		s.Errorf("a batch get of nothing: got %d rows", len(got))
	}

	var refs []driver.Ref
	var want []*record.Record
	for i := range driver.MaxBatch {
		r := rec("C#acme", fmt.Sprintf("%03d", driver.MaxBatch-i), 1)
		s.commit(put(driver.Data, r))
		refs, want = append(refs, driver.RefOf(driver.Data, r)), append(want, r)
	}
	s.same("the largest batch get", get(refs...), want)
}

func largeDocuments(s *store) {
	want := rec("A#acme", "large", 1)
	want.Attributes = record.Attributes(`{"text":"` + strings.Repeat("0123456789abcdef", 1<<16) + `"}`)
	s.commit(put(driver.Command, want), put(driver.Data, want))
	if got := s.get(driver.RefOf(driver.Data, want)); got == nil || !bytes.Equal(got.Attributes, want.Attributes) {
		s.Error("a document of 1 MiB did not come back from data")
	}
	if got := s.settled("", 1); len(got) != 1 || !bytes.Equal(got[0].Command.Attributes, want.Attributes) {
		s.Error("a document of 1 MiB did not come back from the change feed")
	}
}

func batchIsNotKept(s *store) {
	r, want := full("A#acme", "1", 3), full("A#acme", "1", 3)
	want.TTL = r.TTL
	writes := []driver.Write{put(driver.Command, r), put(driver.Data, r), put(driver.System, r), put(driver.History, r)}
	s.commit(writes...)
	s.same("the batch's record", r, want)
	spoil(r)
	clear(writes)
	for _, c := range driver.Collections() {
		s.same("the row of "+c.String(), s.get(driver.RefOf(c, want)), want)
	}
}

func readIsACopy(s *store) {
	want := full("A#acme", "1", 3)
	want.IsDeleted = false
	s.commit(put(driver.Data, want), put(driver.Command, want))
	ref := driver.RefOf(driver.Data, want)
	spoil(s.get(ref))
	recs, err := s.BatchGet(s.Context(), []driver.Ref{ref, ref})
	if err != nil {
		s.Fatal(err)
	}
	spoil(recs[0])
	spoil(s.list(driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 1})[0])
	spoil(s.scan(driver.Data, driver.Ref{}, 1)[0])
	spoil(s.settled("", 1)[0].Command)
	s.same("another row of the same batch get", recs[1], want)
	s.same("the row", s.get(ref), want)
	s.same("the change", s.changes("", 1)[0].Command, want)
}

// spoil changes all that r's holder may change: Attributes and Metadata are replaced, never written to.
func spoil(r *record.Record) {
	*r = record.Record{PK: "SPOILT", SK: "spoilt", Version: -1, Attributes: record.Attributes(`{"spoilt":true}`)}
}

// FuzzKeys puts two rows under keys that differ in any way and finds each again, in the order of their bytes.
func FuzzKeys(f *testing.F, open Open) {
	for i, key := range neighbours {
		f.Add(key, neighbours[(i+1)%len(neighbours)])
	}
	s := start(f, open)
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == b || record.CheckSortKey(a) != nil || record.CheckSortKey(b) != nil {
			return
		}
		s := &store{TB: t, Engine: s.Engine}
		first, second := rec("A#acme", min(a, b), 1), rec("A#acme", max(a, b), 1)
		s.commit(add(driver.Data, first), add(driver.Data, second))
		defer s.commit(drop(driver.Data, first), drop(driver.Data, second))
		s.same("the first row", s.get(driver.RefOf(driver.Data, first)), first)
		s.same("the second row", s.get(driver.RefOf(driver.Data, second)), second)
		for _, r := range []driver.Range{
			{PK: "A#acme", Limit: 3}, {PK: "A#acme", Limit: 3, After: first.SK}, {PK: "A#acme", Limit: 3, Before: second.SK, Descending: true},
			{PK: "A#acme", Limit: 3, Prefix: a}, {PK: "A#acme", Limit: 3, From: b}, {PK: "A#acme", Limit: 3, To: b},
		} {
			r.Collection = driver.Data
			s.same(fmt.Sprintf("range %+v", r), s.list(r), reference([]*record.Record{first, second}, r))
		}
	})
}

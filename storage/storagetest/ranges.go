package storagetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

var rangeProperties = []property{
	{"a range returns what it asks for, in order", ranges},
	{"pages make up the range", pages},
	{"a range stays in its partition", partitionsApart},
}

var scanProperties = []property{
	{"a scan walks a whole collection in order", scans},
}

var expiryProperties = []property{
	{"an expired system row is absent", expiredIsAbsent},
	{"rows of other collections do not expire", otherRowsStay},
}

// reference is Range over the rows of one partition, written for the reader.
func reference(recs []*record.Record, r driver.Range) []*record.Record {
	var out []*record.Record
	for _, rec := range recs {
		if rec.PK == r.PK && strings.HasPrefix(rec.SK, r.Prefix) && rec.SK >= r.From && (r.To == "" || rec.SK < r.To) &&
			(r.After == "" || rec.SK > r.After) && (r.Before == "" || rec.SK < r.Before) && (r.IncludeDeleted || !rec.IsDeleted) {
			out = append(out, rec)
		}
	}
	slices.SortFunc(out, func(a, b *record.Record) int { return strings.Compare(a.SK, b.SK) })
	if r.Descending {
		slices.Reverse(out)
	}
	if len(out) > r.Limit {
		out = out[:r.Limit]
	}
	return out
}

func ranges(s *store) {
	for _, c := range []driver.Collection{driver.Data, driver.System} {
		var recs []*record.Record
		for i, sk := range []string{"a", "a#1", "a#2", "a#20", "a#3", "aa", "b", "b#1", "z", "é", "\U0001f600"} {
			r := rec("A#acme", sk, int64(i+1))
			r.IsDeleted = i%3 == 1
			s.commit(put(c, r))
			recs = append(recs, r)
		}
		sides := []string{"", "a", "a#2", "a#25", "b", "\U0001f600"}
		for _, prefix := range []string{"", "a", "a#", "a#2", "none", "é"} {
			for _, from := range sides {
				for _, to := range sides {
					for _, page := range sides {
						for flags := range 4 {
							r := driver.Range{Collection: c, PK: "A#acme", Prefix: prefix, From: from, To: to,
								Descending: flags&1 > 0, IncludeDeleted: flags&2 > 0, Limit: 3}
							if r.Descending {
								r.Before = page
							} else {
								r.After = page
							}
							s.same(fmt.Sprintf("%+v", r), s.list(r), reference(recs, r))
						}
					}
				}
			}
			if s.Failed() {
				return
			}
		}
	}
}

func pages(s *store) {
	const total = 230
	var recs []*record.Record
	var writes []driver.Write
	for i := range total {
		r := rec("A#acme", fmt.Sprintf("%03d", i*7%total), 1)
		r.IsDeleted = i%5 == 0
		recs = append(recs, r)
		if writes = append(writes, put(driver.Data, r)); len(writes) == driver.MaxBatch || i == total-1 {
			s.commit(writes...)
			writes = nil
		}
	}
	for flags := range 4 {
		r := driver.Range{Collection: driver.Data, PK: "A#acme", Descending: flags&1 > 0, IncludeDeleted: flags&2 > 0}
		for _, r.Limit = range []int{1, 7, 100, total + 1} {
			var got []*record.Record
			r.After, r.Before = "", ""
			for {
				page := s.list(r)
				got = append(got, page...)
				if len(page) < r.Limit {
					break
				}
				if last := page[len(page)-1].SK; r.Descending {
					r.Before = last
				} else {
					r.After = last
				}
			}
			whole := r
			whole.After, whole.Before, whole.Limit = "", "", total
			s.same(fmt.Sprintf("the pages of %+v", r), got, reference(recs, whole))
		}
	}
}

func partitionsApart(s *store) {
	pks := []string{"A#acme", "A#acm", "A#acme2", "A#acme#2026", "a#acme", "A#ACME", "A#acme-b", "AA#acme", "A", "A#acme%", "A_acme"}
	for _, c := range []driver.Collection{driver.Data, driver.System} {
		for _, pk := range pks {
			for _, sk := range []string{"1", "2"} {
				s.commit(put(c, rec(pk, sk, 1)))
			}
		}
		for _, pk := range pks {
			s.same("the rows of "+pk, s.list(driver.Range{Collection: c, PK: pk, Limit: 100}), []*record.Record{rec(pk, "1", 1), rec(pk, "2", 1)})
		}
		s.same("the rows of a partition without rows", len(s.list(driver.Range{Collection: c, PK: "A#ac", Limit: 100})), 0)
	}
}

func scans(s *store) {
	for _, c := range driver.Collections() {
		var recs []*record.Record
		for _, pk := range []string{"B#acme", "A#acme", "A#acme2", "a#acme"} {
			for _, sk := range []string{"2", "10", "1", "1@a"} {
				for version := int64(1); version <= 12; version += 5 {
					if version > 1 && (c == driver.Data || c == driver.System) {
						continue
					}
					r := rec(pk, sk, version)
					r.IsDeleted = version == 6 || sk == "10"
					s.commit(put(c, r))
					recs = append(recs, r)
				}
			}
		}
		slices.SortFunc(recs, func(a, b *record.Record) int {
			return cmp.Or(strings.Compare(a.PK, b.PK), strings.Compare(a.SK, b.SK), cmp.Compare(a.Version, b.Version))
		})
		for _, limit := range []int{1, 5, len(recs), len(recs) + 1} {
			var got []*record.Record
			for after := (driver.Ref{}); ; {
				page := s.scan(c, after, limit)
				got = append(got, page...)
				if len(page) < limit {
					break
				}
				after = driver.RefOf(c, page[len(page)-1])
			}
			s.same(fmt.Sprintf("a scan of %v by %d", c, limit), got, recs)
		}
		s.same("a scan that begins behind a row that isn't there",
			s.scan(c, driver.Ref{Collection: c, PK: "A#acme2", SK: "zzz"}, 1), reference(recs, driver.Range{PK: "B#acme", IncludeDeleted: true, Limit: 1}))
	}
}

func expiredIsAbsent(s *store) {
	expiring := func(sk string, version int64, in time.Duration) *record.Record {
		r := rec("A#acme", sk, version)
		r.TTL = time.Now().Add(in).Unix()
		return r
	}
	gone, stays, never := expiring("1", 5, -time.Hour), expiring("2", 5, time.Hour), rec("A#acme", "3", 5)
	s.commit(put(driver.System, gone), put(driver.System, stays), put(driver.System, never))

	ref := driver.RefOf(driver.System, gone)
	s.same("an expired row", s.get(ref), nilRecord)
	s.same("a row that expires later", s.get(driver.RefOf(driver.System, stays)), stays)
	s.same("a row that never expires", s.get(driver.RefOf(driver.System, never)), never)
	recs, err := s.BatchGet(s.Context(), []driver.Ref{ref, driver.RefOf(driver.System, stays)})
	if err != nil {
		s.Fatal(err)
	}
	s.same("a batch get", recs, []*record.Record{nil, stays})
	s.same("a range", s.list(driver.Range{Collection: driver.System, PK: "A#acme", Limit: 2}), []*record.Record{stays, never})
	s.same("a descending range", s.list(driver.Range{Collection: driver.System, PK: "A#acme", Limit: 3, Descending: true}), []*record.Record{never, stays})
	s.same("a scan", s.scan(driver.System, driver.Ref{}, 2), []*record.Record{stays, never})

	_, err = s.Commit(s.Context(), driver.Batch{Writes: []driver.Write{swap(driver.System, rec("A#acme", "1", 6), 5)}})
	s.conflict("IfVersion on an expired row", err, &driver.Conflict{})
	_, err = s.Commit(s.Context(), driver.Batch{Writes: []driver.Write{
		{Collection: driver.System, Record: gone, Delete: true, If: driver.Condition{Kind: driver.IfVersion, Version: 5}}}})
	s.conflict("a delete with IfVersion of an expired row", err, &driver.Conflict{})
	s.commit(driver.Write{Collection: driver.System, Record: gone, Delete: true, If: driver.Condition{Kind: driver.IfAbsent}})
	again := expiring("1", 1, time.Hour)
	s.commit(add(driver.System, again))
	s.same("a row put where one had expired", s.get(ref), again)
}

func otherRowsStay(s *store) {
	for _, c := range []driver.Collection{driver.Data, driver.Command, driver.History} {
		r := rec("A#acme", "1", 1)
		r.TTL = time.Now().Add(-time.Hour).Unix()
		s.commit(put(c, r))
		s.same("the row of "+c.String(), s.get(driver.RefOf(c, r)), r)
		s.same("a scan of "+c.String(), s.scan(c, driver.Ref{}, 1), []*record.Record{r})
	}
	s.same("the number of changes", len(s.settled("", 1)), 1)
	s.same("the number of data rows", len(s.list(driver.Range{Collection: driver.Data, PK: "A#acme", Limit: 2})), 1)
}

package transfer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// TestADigestTellsRowsApart changes one thing of a row at a time.
func TestADigestTellsRowsApart(t *testing.T) {
	row := record.Record{PK: "A#acme", SK: "1", Version: 1, Name: "x"}
	seen := map[string]string{}
	for name, change := range map[string]func(*record.Record){
		"nothing":    func(*record.Record) {},
		"version":    func(r *record.Record) { r.Version = 2 },
		"pk":         func(r *record.Record) { r.PK = "A#acme#1" },
		"sk":         func(r *record.Record) { r.SK = "2" },
		"name":       func(r *record.Record) { r.Name = "y" },
		"ttl":        func(r *record.Record) { r.TTL = 1 },
		"attributes": func(r *record.Record) { r.Attributes = record.Attributes(`{"n":1}`) },
	} {
		for _, c := range driver.Collections() {
			r := row
			change(&r)
			text := string(appendRow(nil, c, &r))
			if other, ok := seen[text]; ok {
				t.Errorf("a row with another %s in %s is taken for one with another %s", name, c, other)
			}
			seen[text] = name
		}
	}
}

// TestABookForgetsOrder counts rows in any order, takes some out, and knows a row that is counted twice from one that is not there.
func TestABookForgetsOrder(t *testing.T) {
	var marks []mark
	for n := range 50 {
		marks = append(marks, markOf(driver.Data, &record.Record{PK: "A#acme", SK: fmt.Sprint(n), Version: 1}))
	}
	whole, changed := book{}, book{}
	for _, m := range marks {
		whole.count("acme", driver.Data, m)
	}
	for _, n := range rand.Perm(len(marks)) {
		changed.count("acme", driver.Data, marks[n])
		changed.count("acme", driver.Data, marks[0])
		changed.remove("acme", driver.Data, marks[0])
	}
	if differ := differing(whole.digests(), changed.digests()); len(differ) != 0 {
		t.Error("the same rows in another order have another digest")
	}
	for name, more := range map[string][]mark{"a row more": marks[:1], "a row twice more": {marks[0], marks[0]}, "another row": marks[1:2]} {
		twice := book{}
		for _, m := range slices.Concat(more, marks) {
			twice.count("acme", driver.Command, m) // the collection's name is in the mark
		}
		if twice.digests()["acme"].Digest == whole.digests()["acme"].Digest {
			t.Errorf("%s is not told", name)
		}
	}
	for _, m := range marks {
		changed.remove("acme", driver.Data, m)
	}
	if left := changed.digests(); len(left) != 0 {
		t.Errorf("all rows were taken out, and there is %v", left)
	}
}

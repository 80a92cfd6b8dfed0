package transfer

import (
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

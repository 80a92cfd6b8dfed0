package record_test

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry/record"
)

func TestSameState(t *testing.T) {
	base := full(t)
	for name, change := range map[string]func(*record.Record){
		"version":       func(r *record.Record) { r.Version++ },
		"provenance":    func(r *record.Record) { r.UpdatedAt, r.UpdatedBy, r.UpdatedIP = record.Time{}, "x", "y" },
		"creation":      func(r *record.Record) { r.CreatedAt, r.CreatedBy, r.CreatedIP = record.Time{}, "x", "y" },
		"request":       func(r *record.Record) { r.RequestID, r.Source = "x", "y" },
		"status":        func(r *record.Record) { r.Status, r.SyncMode = "", "" },
		"where it is":   func(r *record.Record) { r.StoredPK = "PRODUCT#COMMON" },
		"nothing":       func(*record.Record) {},
		"equal objects": func(r *record.Record) { r.Attributes = append(record.Attributes{}, r.Attributes...) },
	} {
		other := base.Clone()
		change(other)
		if !base.SameState(other) || !other.SameState(base) {
			t.Errorf("%s counts as a change", name)
		}
	}
	for name, change := range map[string]func(*record.Record){
		"pk":         func(r *record.Record) { r.PK += "x" },
		"sk":         func(r *record.Record) { r.SK += "x" },
		"code":       func(r *record.Record) { r.Code = "" },
		"name":       func(r *record.Record) { r.Name = "" },
		"tenant":     func(r *record.Record) { r.TenantCode = "bravo" },
		"type":       func(r *record.Record) { r.Type = "X" },
		"deleted":    func(r *record.Record) { r.IsDeleted = false },
		"seq":        func(r *record.Record) { r.Seq = "13" },
		"ttl":        func(r *record.Record) { r.TTL = 0 },
		"attributes": func(r *record.Record) { r.Attributes = parse(t, `{"a":1}`) },
		"metadata":   func(r *record.Record) { r.Metadata = nil },
	} {
		other := base.Clone()
		change(other)
		if base.SameState(other) || other.SameState(base) {
			t.Errorf("%s doesn't count as a change", name)
		}
	}
	none, empty := &record.Record{}, &record.Record{Attributes: parse(t, "{}"), Metadata: parse(t, "{}")}
	if !none.SameState(empty) {
		t.Error("no attributes and an empty object differ")
	}
}

func TestCloneIsACopy(t *testing.T) {
	r := full(t)
	c := r.Clone()
	c.Name, c.Version = "other", 99
	if r.Name == "other" || r.Version == 99 {
		t.Error("a change of the copy changed the record")
	}
	if r.ID() != `PRODUCT#acme#2026#bob"@example.com` {
		t.Errorf("ID %q", r.ID())
	}
}

func TestNewIDs(t *testing.T) {
	last := ""
	for range 1000 {
		id := record.NewID()
		if len(id) != 26 || strings.Compare(id, last) <= 0 {
			t.Fatalf("%s follows %s", id, last)
		}
		if err := record.CheckSortKey(id); err != nil {
			t.Fatal(err)
		}
		last = id
	}
}

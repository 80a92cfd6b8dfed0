package record_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/record"
)

func delta(field, from, to string) record.Delta {
	d := record.Delta{Field: field}
	if from != "" {
		d.From = jsontext.Value(from)
	}
	if to != "" {
		d.To = jsontext.Value(to)
	}
	return d
}

func TestDiff(t *testing.T) {
	base := &record.Record{Code: "c", Name: "n", Type: "T", Version: 1, Attributes: parse(t, `{"a":1,"list":[1],"o":{"x":1,"y":{"z":"q"}}}`)}
	change := func(f func(r *record.Record)) *record.Record {
		r := base.Clone()
		f(r)
		return r
	}
	tests := []struct {
		name          string
		before, after *record.Record
		want          []record.Delta
	}{
		{"nothing", base, base.Clone(), []record.Delta{}},
		{"provenance and version are no change", base, change(func(r *record.Record) {
			r.Version, r.UpdatedBy, r.Source, r.RequestID, r.Status = 2, "u", "s", "r", "x"
		}), []record.Delta{}},
		{"before the first version", nil, &record.Record{Code: "c", Name: "n", Attributes: parse(t, `{"a":1}`)},
			[]record.Delta{delta("code", "", `"c"`), delta("name", "", `"n"`), delta("attributes", "", `{"a":1}`)}},
		{"fields in their order", base, change(func(r *record.Record) {
			r.Name, r.Code, r.Type, r.IsDeleted, r.Seq, r.TTL = "m\"", "", "U", true, "1.5", 10
		}), []record.Delta{delta("code", `"c"`, ""), delta("name", `"n"`, `"m\""`), delta("type", `"T"`, `"U"`), delta("isDeleted", "false", "true"),
			delta("seq", "", "1.5"), delta("ttl", "", "10")}},
		{"members", base, change(func(r *record.Record) { r.Attributes = parse(t, `{"b":2,"list":[1,2],"o":{"x":null,"y":{"z":"q"}}}`) }),
			[]record.Delta{delta("attributes.a", "1", ""), delta("attributes.b", "", "2"), delta("attributes.list", "[1]", "[1,2]"), delta("attributes.o.x", "1", "null")}},
		{"deep", base, change(func(r *record.Record) { r.Attributes = parse(t, `{"a":1,"list":[1],"o":{"x":1,"y":{"w":0}}}`) }),
			[]record.Delta{delta("attributes.o.y.w", "", "0"), delta("attributes.o.y.z", `"q"`, "")}},
		{"an object becomes a value", base, change(func(r *record.Record) { r.Attributes = parse(t, `{"a":1,"list":[1],"o":3}`) }),
			[]record.Delta{delta("attributes.o", `{"x":1,"y":{"z":"q"}}`, "3")}},
		{"none", base, change(func(r *record.Record) { r.Attributes = nil }), []record.Delta{delta("attributes", string(base.Attributes), "")}},
		{"names that are no words", &record.Record{Attributes: parse(t, `{}`)}, &record.Record{Attributes: parse(t, `{"":1,"a.b":2,"é":{"x":3},"k":{"q\"":4}}`)},
			[]record.Delta{delta(`attributes[""]`, "", "1"), delta(`attributes["a.b"]`, "", "2"), delta(`attributes.k`, "", `{"q\"":4}`), delta(`attributes["é"]`, "", `{"x":3}`)}},
		{"metadata", base, change(func(r *record.Record) { r.Metadata = parse(t, `{"syncedFrom":"x"}`) }),
			[]record.Delta{delta("metadata", "", `{"syncedFrom":"x"}`)}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, record.Diff(tt.before, tt.after)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	text, err := json.Marshal(record.Diff(nil, &record.Record{Name: "n"}))
	if err != nil || string(text) != `[{"field":"name","to":"n"}]` {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}

// A list of differences is empty exactly where the states are the same, and turned around it is the way back.
func TestDiffIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &record.Record{Attributes: parseIn(t, mustJSON(object(3).Draw(t, "a")))}
		b := &record.Record{Attributes: parseIn(t, mustJSON(object(3).Draw(t, "b")))}
		there, back := record.Diff(a, b), record.Diff(b, a)
		if (len(there) == 0) != a.SameState(b) {
			t.Fatalf("%s to %s: %v", a.Attributes, b.Attributes, there)
		}
		for i := range there {
			there[i].From, there[i].To = there[i].To, there[i].From
		}
		if diff := cmp.Diff(back, there); diff != "" {
			t.Fatal(diff)
		}
	})
}

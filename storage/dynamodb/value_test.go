package dynamodb

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

// TestForeignValuesSurvive rewrites an item whose attributes JSON can't say, and which has attributes that the data model lacks.
func TestForeignValuesSurvive(t *testing.T) {
	cfg := empty(t)
	e := opened(t, cfg)
	foreign := item{"texts": &types.AttributeValueMemberSS{Value: []string{"b", "a", "é"}}, "numbers": &types.AttributeValueMemberNS{Value: []string{"10", "2.5", "9"}},
		"bytes": &types.AttributeValueMemberB{Value: []byte{0, 1, 255}}, "chunks": &types.AttributeValueMemberBS{Value: [][]byte{{2}, {1, 0}}},
		"list": &types.AttributeValueMemberL{Value: []types.AttributeValue{null(), &types.AttributeValueMemberM{Value: item{"deep": &types.AttributeValueMemberSS{Value: []string{"x"}}}}}}}
	table := cfg.Prefix + "-a-data"
	it := item{"pk": text("A#acme"), "sk": text("1"), "version": number("3"), "name": text("before"), "attributes": &types.AttributeValueMemberM{Value: foreign},
		"taskToken": text("token"), "extra": &types.AttributeValueMemberM{Value: foreign}}
	if _, err := e.db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: it}); err != nil {
		t.Fatal(err)
	}
	rec, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: "1"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"bytes":{"$dynamodb":{"B":"AAH/"}},"chunks":{"$dynamodb":{"BS":["AQA=","Ag=="]}},"list":[null,{"deep":{"$dynamodb":{"SS":["x"]}}}],` +
		`"numbers":{"$dynamodb":{"NS":["10","2.5","9"]}},"texts":{"$dynamodb":{"SS":["a","b","é"]}}}`
	if string(rec.Attributes) != want {
		t.Errorf("attributes are %s, want %s", rec.Attributes, want)
	}
	if again, err := rec.Attributes.Canonical(); err != nil || string(again) != want {
		t.Errorf("the text is not canonical: %s, %v", again, err)
	}
	rec.Name, rec.Version = "after", 4
	if _, err := e.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: driver.Data, Record: rec, If: driver.Condition{Kind: driver.IfVersion, Version: 3}}}}); err != nil {
		t.Fatal(err)
	}
	out, err := e.items(t.Context(), []row{{table, "A#acme", "1"}})
	if err != nil {
		t.Fatal(err)
	}
	after := out[row{table, "A#acme", "1"}]
	sameItem(t, "what was not changed", without(after, "name", "version", "id", "cpk", "csk", "isDeleted", "ttl"), without(it, "name", "version"))
	sameItem(t, "what was changed", item{"name": after["name"], "version": after["version"]}, item{"name": text("after"), "version": number("4")})
}

// jsons are attributes of every form, those that look like a tagged value and are none included.
var jsons = []string{
	`{}`, `{"":null,"a.b":[],"n":-0.5,"o":{"o":{}}}`, `{"n":1.2345678901234567890123456789012345678e+37}`, `{"n":1e-130,"z":9.9e+125}`,
	`{"$dynamodb":{"SS":["a"]}}`, `{"x":{"$dynamodb":{"SS":["a","b"]}}}`, `{"x":{"$dynamodb":{"SS":["b","a"]}}}`, `{"x":{"$dynamodb":{"SS":["a","a"]}}}`,
	`{"x":{"$dynamodb":{"SS":[]}}}`, `{"x":{"$dynamodb":{"SS":[1]}}}`, `{"x":{"$dynamodb":{"SS":["a"]},"y":1}}`, `{"x":{"$dynamodb":{"SS":["a"],"y":1}}}`,
	`{"x":{"$dynamodb":{"NS":["1","2"]}}}`, `{"x":{"$dynamodb":{"NS":["1.0"]}}}`, `{"x":{"$dynamodb":{"NS":["a"]}}}`, `{"x":{"$dynamodb":{"B":"AQID"}}}`,
	`{"x":{"$dynamodb":{"B":"AQI"}}}`, `{"x":{"$dynamodb":{"B":["AQID"]}}}`, `{"x":{"$dynamodb":{"BS":["AQID"]}}}`, `{"x":{"$dynamodb":{"BS":["a"]}}}`,
	`{"x":{"$dynamodb":{"M":{}}}}`, `{"x":{"$dynamodb":null}}`, `{"x":[{"$dynamodb":{"SS":["a"]}}]}`, `{"x":{"$dynamodb":{"$dynamodb":{"SS":["a"]}}}}`,
}

func TestEveryJSONComesBack(t *testing.T) {
	e := opened(t, empty(t))
	for i, text := range jsons {
		rec := &record.Record{PK: "A#acme", SK: fmt.Sprint(i), Version: 1, Attributes: record.Attributes(text)}
		if _, err := e.Commit(t.Context(), driver.Batch{Writes: []driver.Write{{Collection: driver.Data, Record: rec}}}); err != nil {
			t.Fatal(text, err)
		}
		got, err := e.Get(t.Context(), driver.Ref{Collection: driver.Data, PK: "A#acme", SK: rec.SK})
		if err != nil || string(got.Attributes) != text {
			t.Errorf("%s became %s, %v", text, got.Attributes, err)
		}
	}
}

func FuzzAttributes(f *testing.F) {
	for _, text := range jsons {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := record.ParseAttributes(text)
		if err != nil || a == nil {
			return
		}
		v, err := encodeObject(a)
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		back, err := appendValue(nil, v)
		if err != nil || string(back) != string(a) {
			t.Errorf("%s became %s, %v", a, back, err)
		}
	})
}

// TestWrittenItems compares what is written with what mbc-cqrs-serverless writes, attribute by attribute.
func TestWrittenItems(t *testing.T) {
	r := load(t)
	kinds := make(map[driver.Collection]map[string][]string) // the types that an attribute was seen with
	for c, items := range r.items {
		kinds[c] = make(map[string][]string)
		for _, it := range items {
			for name, v := range it {
				kinds[c][name] = append(kinds[c][name], fmt.Sprintf("%T", v))
			}
		}
	}
	moment, err := record.ParseTime("2026-11-23T10:00:00.123Z")
	if err != nil {
		t.Fatal(err)
	}
	rec := &record.Record{PK: "PRODUCT#acme", SK: "1", Version: 2, Code: "1", Name: "one", TenantCode: "acme", Type: "PRODUCT", IsDeleted: true, Seq: "7",
		TTL: 1795888583, Attributes: record.Attributes(`{"a":1}`), RequestID: "r", CreatedAt: moment, CreatedBy: "u", CreatedIP: "192.0.2.1",
		UpdatedAt: moment, UpdatedBy: "u", UpdatedIP: "192.0.2.1", Status: record.StatusFinished, SyncMode: record.SyncModeSync}
	for _, c := range []driver.Collection{driver.Data, driver.Command, driver.History} {
		state := rec.Clone()
		if c != driver.Command {
			state.Status, state.SyncMode = "", ""
		}
		lasting := state.Clone()
		lasting.TTL = 0
		for _, state := range []*record.Record{state, lasting} {
			it := mustEncode(c, state)
			for name, v := range it {
				if !slices.Contains(kinds[c][name], fmt.Sprintf("%T", v)) {
					t.Errorf("%v: %s is %T; recorded are %v", c, name, v, kinds[c][name])
				}
			}
			for name := range kinds[c] {
				if _, ok := it[name]; !ok && name != "taskToken" && (c != driver.Command || name != "cpk" && name != "csk") {
					t.Errorf("%v: %s is not written", c, name)
				}
			}
			if got := plain(it["createdAt"]); got != "S 2026-11-23T10:00:00.123+00:00" {
				t.Errorf("a time is %v", got)
			}
		}
	}
}

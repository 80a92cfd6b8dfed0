package record_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

var equalTimes = cmp.Comparer(func(a, b record.Time) bool { return a == b })

func moment(t testing.TB, text string) record.Time {
	t.Helper()
	m, err := record.ParseTime(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// full is a record with every field set.
func full(t testing.TB) *record.Record {
	return &record.Record{PK: "PRODUCT#acme#2026", SK: `bob"@example.com`, Code: `c\1`, Name: "Stuhl „Bär“ <b>&</b>\n", TenantCode: "acme", Type: "PRODUCT",
		Version: 7, IsDeleted: true, Seq: "12", TTL: 1800000000,
		Attributes: parse(t, `{"a":{"b":["x\"}]{[",1.5,9007199254740993,null,true]},"é\n":{}}`), Metadata: parse(t, `{"syncedFrom":"PRODUCT#common#1"}`),
		Source: "POST /api/data/{entityType}", RequestID: "01HX7MBJK3V9WQBZ7XNDK5ZT2M",
		CreatedAt: moment(t, "2026-01-15T09:00:01+00:00"), CreatedBy: "user-1", CreatedIP: "10.0.0.1",
		UpdatedAt: moment(t, "2026-01-15T09:00:02.345+00:00"), UpdatedBy: "user-2", UpdatedIP: "2001:db8::1",
		Status: record.StatusFinished, SyncMode: record.SyncModeSync}
}

// reread returns r as it comes back from a document, its key beside it.
func reread(t testing.TB, r *record.Record) *record.Record {
	t.Helper()
	doc := string(record.AppendDoc(nil, r))
	if !json.Valid([]byte(doc)) {
		t.Fatalf("not JSON: %s", doc)
	}
	got := &record.Record{PK: r.PK, SK: r.SK, Version: r.Version}
	if err := record.ParseDoc(doc, got); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return got
}

func TestDocRoundTrip(t *testing.T) {
	empty := &record.Record{PK: "PRODUCT#acme", SK: "1", Version: 1}
	if doc := string(record.AppendDoc([]byte("before "), empty)); doc != "before {}" {
		t.Errorf("an empty record is %s", doc)
	}
	for name, r := range map[string]*record.Record{
		"empty": empty, "full": full(t),
		"no attributes": {PK: "A#b", SK: "c", Version: 1, Name: "n", Metadata: record.Attributes("{}")},
		"one field":     {PK: "A#b", SK: "c", Version: 1, SyncMode: "SYNC"},
	} {
		if diff := cmp.Diff(r, reread(t, r), equalTimes); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Attributes of no bytes are none.
	if got := reread(t, &record.Record{Attributes: record.Attributes{}, Metadata: record.Attributes{}}); got.Attributes != nil || got.Metadata != nil {
		t.Errorf("no bytes come back as %q and %q", got.Attributes, got.Metadata)
	}
}

func TestParseDocTakesMembersInAnyOrder(t *testing.T) {
	want := full(t)
	a, err := record.ParseAttributes(record.AppendDoc(nil, want)) // sorted
	if err != nil {
		t.Fatal(err)
	}
	got := &record.Record{PK: want.PK, SK: want.SK, Version: want.Version}
	if err := record.ParseDoc(string(a), got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, equalTimes); diff != "" {
		t.Error(diff)
	}
}

func TestParseDocRefuses(t *testing.T) {
	doc := string(record.AppendDoc(nil, full(t)))
	for n := range len(doc) {
		if err := record.ParseDoc(doc[:n], &record.Record{}); !errors.Is(err, fault.Internal) {
			t.Fatalf("truncated to %s: %v", doc[:n], err)
		}
	}
	for _, bad := range []string{
		doc + "}", doc + " ", " " + doc, `[]`, `{,}`, `{"name"}`, `{"name":}`, `{"name":"a",}`, `{"name":"a" "code":"b"}`, `{"name":"a"}{}`,
		`{"name":1}`, `{"name":"\x"}`, `{"unknown":1}`, `{"Name":"a"}`, `{"ttl":1.5}`, `{"ttl":"1"}`, `{"ttl":}`, `{"isDeleted":false}`, `{"isDeleted":tru}`,
		`{"seq":}`, `{"attributes":}`, `{"attributes":{]`, `{"createdAt":"yesterday"}`, `{"createdAt":1}`, `{"updatedAt":"2026-13-01T00:00:00.000+00:00"}`,
	} {
		err := record.ParseDoc(bad, &record.Record{})
		if !errors.Is(err, fault.Internal) {
			t.Errorf("%s: %v", bad, err)
		} else if strings.Contains(err.Error(), "yesterday") {
			t.Errorf("the error shows content: %v", err)
		}
	}
}

// FuzzParseDoc holds that any text is either refused or is one that reads back the same; it never panics or loops.
func FuzzParseDoc(f *testing.F) {
	f.Add(string(record.AppendDoc(nil, full(f))))
	f.Add(`{"name":"\\\"","attributes":{"a":"}\\"},"seq":[{}]}`)
	f.Add(`{"name":"a\`)
	f.Add(`{"attributes":]}[`)
	f.Fuzz(func(t *testing.T, doc string) {
		var first, second record.Record
		if err := record.ParseDoc(doc, &first); err != nil {
			if !errors.Is(err, fault.Internal) {
				t.Fatal(err)
			}
			return
		}
		again := string(record.AppendDoc(nil, &first))
		if err := record.ParseDoc(again, &second); err != nil {
			t.Fatalf("%s is accepted, and written as %s: %v", doc, again, err)
		}
		if !utf8.ValidString(doc) {
			return // what is not text is replaced when it is written
		}
		if diff := cmp.Diff(first, second, equalTimes); diff != "" {
			t.Fatalf("%s: %s", doc, diff)
		}
	})
}

// FuzzDoc holds that every record comes back from its document, and that the wire forms are JSON.
func FuzzDoc(f *testing.F) {
	f.Add("c-1", "Chair", "acme", "PRODUCT", `{"a":1}`, `{}`, "POST /api", "req-1", "user-1", "10.0.0.1", "finish:FINISHED", "12", int64(1800000000), int64(1768467601123), true)
	f.Add("", "\x00\"\\", "\u2028", "\xff", `null`, `{"b":[]}`, "", "", "é", "", "", "0", int64(-1), int64(0), false)
	f.Fuzz(func(t *testing.T, code, name, tenantCode, typ, attributes, metadata, source, requestID, user, ip, status, seq string, ttl, at int64, deleted bool) {
		valid := func(s string) string { return strings.ToValidUTF8(s, "?") }
		r := &record.Record{PK: "A#b", SK: "c", Version: 3, Code: valid(code), Name: valid(name), TenantCode: valid(tenantCode), Type: valid(typ), IsDeleted: deleted,
			TTL: ttl, Source: valid(source), RequestID: valid(requestID), CreatedBy: valid(user), CreatedIP: valid(ip), UpdatedBy: valid(ip), UpdatedIP: valid(user),
			Status: valid(status), SyncMode: valid(source)}
		if isNumber(seq) {
			r.Seq, _ = record.CanonicalNumber(seq)
		}
		r.Attributes, _ = record.ParseAttributes([]byte(attributes))
		r.Metadata, _ = record.ParseAttributes([]byte(metadata))
		const years = 9999 * 365 * 24 * 3600 * 1000 // milliseconds
		r.CreatedAt = record.At(time.UnixMilli(at % (years / 2)))
		r.UpdatedAt, _ = record.ParseTime(r.CreatedAt.Time().Format(time.RFC3339))
		if diff := cmp.Diff(r, reread(t, r), equalTimes); diff != "" {
			t.Fatal(diff)
		}
		for _, form := range []record.Form{record.Data, record.Command} {
			if text := record.AppendJSON(nil, r, form, `"changed":true`); !json.Valid(text) {
				t.Fatalf("not JSON: %s", text)
			}
		}
	})
}

func TestAppendJSON(t *testing.T) {
	r := full(t)
	common := map[string]any{"pk": "PRODUCT#acme#2026", "sk": `bob"@example.com`, "id": `PRODUCT#acme#2026#bob"@example.com`, "code": `c\1`,
		"name": "Stuhl „Bär“ <b>&</b>\n", "tenantCode": "acme", "type": "PRODUCT", "version": json.Number("7"), "isDeleted": true, "seq": json.Number("12"),
		"ttl": json.Number("1800000000"), "attributes": model(t, r.Attributes), "metadata": map[string]any{"syncedFrom": "PRODUCT#common#1"},
		"source": "POST /api/data/{entityType}", "requestId": "01HX7MBJK3V9WQBZ7XNDK5ZT2M", "createdAt": "2026-01-15T09:00:01.000Z", "createdBy": "user-1",
		"createdIp": "10.0.0.1", "updatedAt": "2026-01-15T09:00:02.345Z", "updatedBy": "user-2", "updatedIp": "2001:db8::1",
		"status": "finish:FINISHED", "syncMode": "SYNC"}
	with := func(more map[string]any) map[string]any {
		all := map[string]any{}
		for _, m := range []map[string]any{common, more} {
			for name, value := range m {
				all[name] = value
			}
		}
		return all
	}
	tests := []struct {
		name  string
		r     *record.Record
		form  record.Form
		extra []string
		want  map[string]any
	}{
		{"data", r, record.Data, nil, with(map[string]any{"cpk": "PRODUCT#acme#2026", "csk": `bob"@example.com@7`})},
		{"command", r, record.Command, nil, with(map[string]any{"sk": `bob"@example.com@7`})},
		{"extra", r, record.Command, []string{`"changed":false`, `"n":[1]`}, with(map[string]any{"sk": `bob"@example.com@7`, "changed": false, "n": []any{json.Number("1")}})},
		{"empty", &record.Record{}, record.Data, nil, map[string]any{"pk": "", "sk": "", "id": "#", "code": "", "name": "", "tenantCode": "", "type": "",
			"version": json.Number("0"), "isDeleted": false, "ttl": nil, "cpk": "", "csk": "@0"}},
		{"no bytes of attributes", &record.Record{Attributes: record.Attributes{}, Metadata: record.Attributes{}}, record.Command, nil, map[string]any{"pk": "", "sk": "@0",
			"id": "#", "code": "", "name": "", "tenantCode": "", "type": "", "version": json.Number("0"), "isDeleted": false, "ttl": nil}},
	}
	for _, tt := range tests {
		got := record.AppendJSON([]byte("before "), tt.r, tt.form, tt.extra...)
		text, found := strings.CutPrefix(string(got), "before ")
		if !found {
			t.Errorf("%s: what stood before is gone: %s", tt.name, got)
		}
		if diff := cmp.Diff(any(tt.want), model(t, []byte(text))); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	bad := record.AppendJSON(nil, &record.Record{Name: "a\xffb"}, record.Data)
	if !json.Valid(bad) || !utf8.Valid(bad) {
		t.Errorf("a name that is not UTF-8: %q", bad)
	}
}

// item is a record of 640 bytes.
func item(t testing.TB) *record.Record {
	return &record.Record{PK: "PRODUCT#acme", SK: "01HX7MBJK3V9WQBZ7XNDK5ZT2M", Code: "chair-1", Name: "Chair", TenantCode: "acme", Type: "PRODUCT", Version: 3,
		Attributes: parse(t, `{"category":"office","currency":"EUR","description":"`+strings.Repeat("a chair that is comfortable. ", 6)+`","price":1990,"stock":12,"tags":["a","b"]}`),
		Source:     "POST /api/data/{entityType}", RequestID: "01HX7MBJK3V9WQBZ7XNDK5ZT2M",
		CreatedAt: moment(t, "2026-01-15T09:00:01.123+00:00"), CreatedBy: "user-1", CreatedIP: "10.0.0.1",
		UpdatedAt: moment(t, "2026-01-15T09:00:02.345+00:00"), UpdatedBy: "user-1", UpdatedIP: "10.0.0.1",
		Status: record.StatusFinished, SyncMode: record.SyncModeSync}
}

func BenchmarkAppendDoc(b *testing.B) {
	r, buf := item(b), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = record.AppendDoc(buf[:0], r)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkParseDoc(b *testing.B) {
	doc := string(record.AppendDoc(nil, item(b)))
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		var r record.Record
		if err := record.ParseDoc(doc, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAttributes(b *testing.B) {
	canonical := []byte(item(b).Attributes)
	sent := []byte(strings.Replace(`{"tags": ["a", "b"], `+string(canonical[1:]), `,"tags":["a","b"]`, "", 1))
	for name, text := range map[string][]byte{"canonical": canonical, "sent": sent} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.ParseAttributes(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

func parse(t testing.TB, text string) record.Attributes {
	t.Helper()
	a, err := record.ParseAttributes([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

func nested(depth int, inner string) string {
	return strings.Repeat(`{"a":`, depth-1) + "{" + inner + "}" + strings.Repeat("}", depth-1)
}

func TestParseAttributes(t *testing.T) {
	tests := []struct{ text, want string }{
		{"null", ""}, {" null ", ""},
		{"{}", "{}"}, {" { } ", "{}"},
		{`{"b":1,"a":2}`, `{"a":2,"b":1}`},
		{`{"a":{"z":1,"b":[{"y":1,"x":2}]},"":0}`, `{"":0,"a":{"b":[{"x":2,"y":1}],"z":1}}`},
		{"{\"a\" :\t[ 1 , 2.50 , -0 , 1E3 ]\r\n}", `{"a":[1,2.5,0,1000]}`},
		{`{"n":9007199254740993,"f":0.1,"long":0.1234567890123456789012345678901234567}`, `{"f":0.1,"long":0.1234567890123456789012345678901234567,"n":9007199254740993}`},
		{`{"\u0061\/":"\u00e9\ud83d\ude00\u000a"}`, `{"a/":"é😀\n"}`},
		{`{"A":1,"a":2}`, `{"A":1,"a":2}`}, // members that differ in case are two members here
		{`{"ключ":true,"é":false,"z":null}`, `{"z":null,"é":false,"ключ":true}`},
		{"{\"\u2028\":\"\\u007f\"}", "{\"\u2028\":\"\u007f\"}"},
		{nested(30, ""), nested(30, "")},
		{`{"a":` + strings.Repeat("[", 29) + strings.Repeat("]", 29) + `}`, `{"a":` + strings.Repeat("[", 29) + strings.Repeat("]", 29) + `}`},
	}
	for _, tt := range tests {
		got, err := record.ParseAttributes([]byte(tt.text))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.text, got, err, tt.want)
		}
		again, err := record.ParseAttributes(got)
		if tt.want != "" && (err != nil || !bytes.Equal(again, got)) {
			t.Errorf("%s becomes %s and that %s, %v", tt.text, got, again, err)
		}
	}
	if none := parse(t, "null"); none != nil {
		t.Errorf("null is %q, not none", none)
	}
}

func TestParseAttributesRefuses(t *testing.T) {
	tests := []struct {
		name, text string
		want       fault.Code
	}{
		{"empty", "", fault.InvalidRequest},
		{"blank", " \n", fault.InvalidRequest},
		{"garbage", "x", fault.InvalidRequest},
		{"truncated", `{"a":1`, fault.InvalidRequest},
		{"comma at the end", `{"a":1,}`, fault.InvalidRequest},
		{"single quotes", `{'a':1}`, fault.InvalidRequest},
		{"not a number", `{"a":NaN}`, fault.InvalidRequest},
		{"leading zero", `{"a":01}`, fault.InvalidRequest},
		{"plus", `{"a":+1}`, fault.InvalidRequest},
		{"byte order mark", "\ufeff{}", fault.InvalidRequest},
		{"two objects", `{}{}`, fault.InvalidRequest},
		{"text after", `{} x`, fault.InvalidRequest},
		{"null and text", `null null`, fault.InvalidRequest},
		{"duplicate", `{"a":1,"a":1}`, fault.InvalidRequest},
		{"duplicate, not neighbours", `{"a":1,"b":2,"a":3}`, fault.InvalidRequest},
		{"duplicate, escaped", `{"a":1,"\u0061":2}`, fault.InvalidRequest},
		{"duplicate, deep", `{"x":[{"y":{"a":1,"a":2}}]}`, fault.InvalidRequest},
		{"duplicate, deep and not sorted", `{"x":[{"y":{"b":1,"a":2,"b":3}}]}`, fault.InvalidRequest},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", fault.InvalidRequest},
		{"invalid UTF-8 in a name", "{\"\xc0\xae\":1}", fault.InvalidRequest},
		{"lone surrogate", `{"a":"\ud800"}`, fault.InvalidRequest},
		{"surrogates the wrong way", `{"a":"\udc00\ud800"}`, fault.InvalidRequest},
		{"lone surrogate in a name", `{"\udfff":1}`, fault.InvalidRequest},
		{"encoded surrogate", "{\"a\":\"\xed\xa0\x80\"}", fault.InvalidRequest},
		{"control character", "{\"a\":\"\x01\"}", fault.InvalidRequest},
		{"31 deep", nested(31, ""), fault.InvalidRequest},
		{"31 deep, lists", `{"a":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`, fault.InvalidRequest},
		{"10,001 deep", strings.Repeat(`{"a":`, 10_001), fault.InvalidRequest},
		{"list", `[]`, fault.ValidationFailed},
		{"string", `"a"`, fault.ValidationFailed},
		{"number", `1`, fault.ValidationFailed},
		{"truth", `true`, fault.ValidationFailed},
		{"huge number", `{"a":1E400}`, fault.ValidationFailed},
		{"tiny number", `{"a":[1e-131]}`, fault.ValidationFailed},
		{"39 digits", `{"a":` + strings.Repeat("1", 39) + `}`, fault.ValidationFailed},
	}
	for _, tt := range tests {
		got, err := record.ParseAttributes([]byte(tt.text))
		if !errors.Is(err, tt.want) || got != nil {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestEqualValuesHaveEqualBytes(t *testing.T) {
	same := []string{
		`{"price":1990,"tags":["a","b"],"size":{"h":1.5,"w":2}}`,
		`{ "size":{"w":2.0,"h":15e-1}, "tags":["\u0061","b"],"price":1.99e3 }`,
		`{"tags":["a","b"],"price":1990.000,"size":{"h":1.50,"w":2e0}}`,
	}
	for _, text := range same {
		if got := parse(t, text); !bytes.Equal(got, parse(t, same[0])) {
			t.Errorf("%s becomes %s", text, got)
		}
	}
}

// FuzzParseAttributes holds ParseAttributes against the standard library's decoder and a walk over its tokens.
func FuzzParseAttributes(f *testing.F) {
	for _, text := range []string{`null`, `{}`, `{"b":1.50,"a":[{"c":"é\n"}]}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, `{"a":1e400}`, nested(31, "")} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := record.ParseAttributes(text)
		if err != nil {
			if !errors.Is(err, fault.InvalidRequest) && !errors.Is(err, fault.ValidationFailed) {
				t.Fatalf("%q: %v", text, err)
			}
			if acceptable(text) {
				t.Fatalf("%q is refused: %v", text, err)
			}
			return
		}
		if !acceptable(text) {
			t.Fatalf("%q is accepted as %s", text, got)
		}
		if got == nil {
			return
		}
		if diff := cmp.Diff(model(t, text), model(t, got)); diff != "" {
			t.Fatalf("%q becomes %s: %s", text, got, diff)
		}
		// The check that a text is canonical and the writing of canonical text agree.
		for _, other := range []string{" " + string(got), string(text)} {
			again, err := record.ParseAttributes([]byte(other))
			if err != nil || !bytes.Equal(again, got) {
				t.Fatalf("%q becomes %s, and %q %s, %v", text, got, other, again, err)
			}
		}
	})
}

// acceptable reports whether text is an object, or null, that ParseAttributes must take.
func acceptable(text []byte) bool {
	if !json.Valid(text) || !utf8.Valid(text) || loneSurrogate(text) {
		return false
	}
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	if trimmed[0] != '{' && trimmed[0] != 'n' {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	type level struct {
		object, value bool
		names         map[string]bool
	}
	var levels []*level
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return true
		}
		var top *level
		if len(levels) > 0 {
			top = levels[len(levels)-1]
		}
		switch x := token.(type) {
		case json.Delim:
			if x == '}' || x == ']' {
				levels = levels[:len(levels)-1]
				continue
			}
			if levels = append(levels, &level{object: x == '{', names: map[string]bool{}}); len(levels) > record.MaxDepth {
				return false
			}
		case json.Number:
			if _, err := record.CanonicalNumber(x.String()); err != nil {
				return false
			}
		case string:
			if top.object && !top.value {
				if top.names[x] {
					return false
				}
				top.names[x], top.value = true, true
				continue
			}
		}
		if top != nil {
			top.value = false
		}
	}
}

// loneSurrogate reports whether an escape of a JSON text is half of a surrogate pair without the other half.
func loneSurrogate(text []byte) bool {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		if text[i] != 'u' {
			continue
		}
		unit := func(at int) rune {
			n, _ := strconv.ParseUint(string(text[at:at+4]), 16, 16)
			return rune(n)
		}
		first := unit(i + 1)
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		if !bytes.HasPrefix(text[i+1:], []byte(`\u`)) || utf16.DecodeRune(first, unit(i+3)) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// model returns the value of a JSON text with its numbers as canonical text.
func model(t testing.TB, text []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return canonicalNumbers(t, v)
}

func canonicalNumbers(t testing.TB, v any) any {
	switch x := v.(type) {
	case json.Number:
		text, err := record.CanonicalNumber(x.String())
		if err != nil {
			t.Fatal(err)
		}
		return json.Number(text)
	case []any:
		for i := range x {
			x[i] = canonicalNumbers(t, x[i])
		}
	case map[string]any:
		for name := range x {
			x[name] = canonicalNumbers(t, x[name])
		}
	}
	return v
}

func TestCanonical(t *testing.T) {
	for text, want := range map[string]string{"": "", "{}": "{}", `{"b":1, "a":2.0}`: `{"a":2,"b":1}`, `{"a":"\u0061"}`: `{"a":"a"}`} {
		if got, err := record.Attributes(text).Canonical(); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	ours := parse(t, `{"a":{"b":[1,2.5,"x\n"]}}`)
	if got, err := ours.Canonical(); err != nil || &got[0] != &ours[0] {
		t.Errorf("canonical text is copied: %v", err)
	}
	if _, err := record.Attributes(`{"a":1,"a":2}`).Canonical(); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("a duplicate: %v", err)
	}
}

func TestEncodeAndDecodeAttributes(t *testing.T) {
	type product struct {
		Price json.Number       `json:"price"`
		Tags  []string          `json:"tags"`
		Size  map[string]string `json:"size"`
	}
	want := product{Price: "0.10", Tags: []string{"a"}, Size: map[string]string{"w": "2"}}
	a, err := record.EncodeAttributes(want)
	if err != nil || string(a) != `{"price":"0.10","size":{"w":"2"},"tags":["a"]}` {
		t.Fatalf("%s, %v", a, err)
	}
	var got product
	if err := a.Decode(&got); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if none, err := record.EncodeAttributes(nil); none != nil || err != nil {
		t.Errorf("nil: %s, %v", none, err)
	}
	if _, err := record.EncodeAttributes([]int{1}); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("a list: %v", err)
	}
	if _, err := record.EncodeAttributes(map[string]any{"f": func() {}}); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("a function: %v", err)
	}
	if err := parse(t, `{"price":true}`).Decode(&got); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("another form: %v", err)
	}
	kept := product{Price: "1"}
	if err := record.Attributes(nil).Decode(&kept); err != nil || kept.Price != "1" {
		t.Errorf("none: %+v, %v", kept, err)
	}
}

func TestAttributesAsJSON(t *testing.T) {
	for _, tt := range []struct {
		a    record.Attributes
		want string
	}{{nil, `{"a":null}`}, {record.Attributes{}, `{"a":null}`}, {parse(t, `{"b":1}`), `{"a":{"b":1}}`}} {
		got, err := json.Marshal(map[string]record.Attributes{"a": tt.a})
		if err != nil || string(got) != tt.want {
			t.Errorf("%s, %v; want %s", got, err, tt.want)
		}
	}
}

func TestMemberAndWith(t *testing.T) {
	a := parse(t, `{"b":{"x":1},"d":null,"é\n":2}`)
	for name, want := range map[string]string{"b": `{"x":1}`, "d": "null", "é\n": "2", "x": "", "": ""} {
		if got := a.Member(name); string(got) != want || want == "" && got != nil {
			t.Errorf("Member(%q) = %s; want %s", name, got, want)
		}
	}
	if got := record.Attributes(nil).Member("a"); got != nil {
		t.Errorf("a member of none: %s", got)
	}
	for _, tt := range []struct {
		a           record.Attributes
		name, value string
		want        string
	}{
		{a, "a", "1", `{"a":1,"b":{"x":1},"d":null,"é\n":2}`},
		{a, "b", `[]`, `{"b":[],"d":null,"é\n":2}`},
		{a, "c", `"\n"`, `{"b":{"x":1},"c":"\n","d":null,"é\n":2}`},
		{a, "ü", `0`, `{"b":{"x":1},"d":null,"é\n":2,"ü":0}`},
		{a, "b", "", `{"d":null,"é\n":2}`},
		{a, "nothing", "", string(a)},
		{nil, "a", "1", `{"a":1}`},
		{nil, "a", "", `{}`},
	} {
		var value []byte
		if tt.value != "" {
			value = []byte(tt.value)
		}
		got, err := tt.a.With(tt.name, value)
		if err != nil || string(got) != tt.want {
			t.Errorf("With(%q, %s) = %s, %v; want %s", tt.name, tt.value, got, err, tt.want)
		}
	}
	if string(a) != `{"b":{"x":1},"d":null,"é\n":2}` {
		t.Errorf("With changed its receiver to %s", a)
	}
}

package record_test

import (
	"encoding/json"
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

func TestMerge(t *testing.T) {
	tests := []struct{ name, base, patch, deep, shallow string }{
		{"none into none", "", "", "", ""},
		{"none changes nothing", `{"a":1}`, "", `{"a":1}`, `{"a":1}`},
		{"into none", "", `{"a":1}`, `{"a":1}`, `{"a":1}`},
		{"empty changes nothing", `{"a":1}`, `{}`, `{"a":1}`, `{"a":1}`},
		{"absent stays", `{"a":1,"b":2}`, `{"b":3,"c":4}`, `{"a":1,"b":3,"c":4}`, `{"a":1,"b":3,"c":4}`},
		{"null replaces", `{"a":{"b":1}}`, `{"a":null}`, `{"a":null}`, `{"a":null}`},
		{"list replaces", `{"a":[1,2]}`, `{"a":[3]}`, `{"a":[3]}`, `{"a":[3]}`},
		{"object over a value", `{"a":1}`, `{"a":{"b":2}}`, `{"a":{"b":2}}`, `{"a":{"b":2}}`},
		{"value over an object", `{"a":{"b":2}}`, `{"a":"x"}`, `{"a":"x"}`, `{"a":"x"}`},
		{"objects", `{"a":{"b":{"c":1},"d":2}}`, `{"a":{"b":{"e":3}}}`, `{"a":{"b":{"c":1,"e":3},"d":2}}`, `{"a":{"b":{"e":3}}}`},
		{"objects in lists do not merge", `{"a":[{"b":1}]}`, `{"a":[{"c":2}]}`, `{"a":[{"c":2}]}`, `{"a":[{"c":2}]}`},
		{"empty object inside", `{"a":{"b":1}}`, `{"a":{}}`, `{"a":{"b":1}}`, `{"a":{}}`},
		{"not canonical", `{"b":1, "a":2}`, `{"c":1.0, "a":{"y":1,"x":2}}`, `{"a":{"x":2,"y":1},"b":1,"c":1}`, `{"a":{"x":2,"y":1},"b":1,"c":1}`},
		{"30 deep", nested(30, `"x":1`), nested(30, `"y":2`), nested(30, `"x":1,"y":2`), nested(30, `"y":2`)},
	}
	for _, tt := range tests {
		base, patch := record.Attributes(tt.base), record.Attributes(tt.patch)
		if got, err := base.MergeDeep(patch); err != nil || string(got) != tt.deep {
			t.Errorf("%s: deep %s, %v; want %s", tt.name, got, err, tt.deep)
		}
		if got, err := base.MergeShallow(patch); err != nil || string(got) != tt.shallow {
			t.Errorf("%s: shallow %s, %v; want %s", tt.name, got, err, tt.shallow)
		}
		if string(base) != tt.base || string(patch) != tt.patch {
			t.Errorf("%s: merging changed %s and %s", tt.name, base, patch)
		}
	}
	for _, bad := range []string{`{"a":1,"a":2}`, `[]`, `{`, nested(31, "")} {
		if _, err := record.Attributes(`{}`).MergeDeep(record.Attributes(bad)); err == nil {
			t.Errorf("%s merges", bad)
		}
		if _, err := record.Attributes(bad).MergeDeep(record.Attributes(`{}`)); err == nil {
			t.Errorf("%s is merged into", bad)
		}
	}
}

// mergeModel is deep merging in its simplest form.
func mergeModel(base, patch map[string]any) map[string]any {
	out := maps.Clone(base)
	for name, value := range patch {
		inner, object := value.(map[string]any)
		if old, both := out[name].(map[string]any); object && both {
			value = mergeModel(old, inner)
		}
		out[name] = value
	}
	return out
}

// object draws a JSON object; few names, so that two of them have some in common.
func object(depth int) *rapid.Generator[map[string]any] {
	name := rapid.SampledFrom([]string{"", "a", "b", "c", "A", "é", "\n", "\"", "aa"})
	value := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.StringN(0, 4, 8).AsAny(),
		rapid.Map(rapid.Int64(), func(n int64) any { return json.Number(mustJSON(n)) }),
		rapid.Map(rapid.SliceOfN(rapid.Int8(), 0, 3), func(ns []int8) any {
			list := []any{}
			for _, n := range ns {
				list = append(list, json.Number(mustJSON(n)))
			}
			return list
		}),
	}
	if depth > 1 {
		value = append(value, object(depth-1).AsAny(), object(depth-1).AsAny())
	}
	return rapid.MapOfN(name, rapid.OneOf(value...), 0, 6)
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestMergeDeepIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, patch := object(4).Draw(t, "base"), object(4).Draw(t, "patch")
		got, err := parseIn(t, mustJSON(base)).MergeDeep(parseIn(t, mustJSON(patch)))
		if err != nil {
			t.Fatal(err)
		}
		if want := parseIn(t, mustJSON(mergeModel(base, patch))); string(got) != string(want) {
			t.Fatalf("got %s; want %s", got, want)
		}
	})
}

func parseIn(t *rapid.T, text string) record.Attributes {
	a, err := record.ParseAttributes([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

// FuzzMergeDeep holds MergeDeep against the model for any two texts.
func FuzzMergeDeep(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1},"c":[1]}`), []byte(`{"a":{"d":null},"c":{}}`))
	f.Add([]byte(`{}`), []byte(`null`))
	f.Fuzz(func(t *testing.T, baseText, patchText []byte) {
		base, baseErr := record.ParseAttributes(baseText)
		patch, patchErr := record.ParseAttributes(patchText)
		got, err := record.Attributes(baseText).MergeDeep(record.Attributes(patchText))
		if baseErr != nil || patchErr != nil {
			if bad := len(baseText) > 0 && baseErr != nil || len(patchText) > 0 && patchErr != nil; bad && err == nil {
				t.Fatalf("%q and %q merge to %s", baseText, patchText, got)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s and %s: %v", base, patch, err)
		}
		if base == nil || patch == nil {
			if string(got) != string(base)+string(patch) {
				t.Fatalf("%s and %s merge to %s", base, patch, got)
			}
			return
		}
		want := mergeModel(model(t, base).(map[string]any), model(t, patch).(map[string]any))
		if diff := cmp.Diff(want, model(t, got)); diff != "" {
			t.Fatalf("%s and %s merge to %s: %s", base, patch, got, diff)
		}
		if again, err := record.ParseAttributes(append([]byte(" "), got...)); err != nil || string(again) != string(got) {
			t.Fatalf("%s and %s merge to %s, which isn't canonical: %v", base, patch, got, err)
		}
	})
}

func TestMergeKeepsErrors(t *testing.T) {
	if _, err := (record.Attributes(`{}`)).MergeShallow(record.Attributes(`{"a":1e999}`)); !errors.Is(err, fault.ValidationFailed) {
		t.Errorf("a number out of range: %v", err)
	}
}

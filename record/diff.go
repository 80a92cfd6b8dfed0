package record

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Delta is one difference between two states: the field's dotted path and its values as JSON, absent where the field was absent.
// A member name that isn't letters, digits and _ is written as ["name"].
type Delta struct {
	Field string         `json:"field"`
	From  jsontext.Value `json:"from,omitzero"`
	To    jsontext.Value `json:"to,omitzero"`
}

// Diff returns what differs between two states, ordered by field as they stand in a record; objects are compared member by
// member, lists as wholes. Before nil is the state before the first version.
func Diff(before, after *Record) []Delta {
	if before == nil {
		before = &Record{}
	}
	out := []Delta{}
	text := func(field, a, b string) {
		if a != b {
			out = append(out, Delta{field, quoted(a), quoted(b)})
		}
	}
	text("code", before.Code, after.Code)
	text("name", before.Name, after.Name)
	text("type", before.Type, after.Type)
	if before.IsDeleted != after.IsDeleted {
		out = append(out, Delta{"isDeleted", boolean(before.IsDeleted), boolean(after.IsDeleted)})
	}
	if before.Seq != after.Seq {
		out = append(out, Delta{"seq", number(before.Seq), number(after.Seq)})
	}
	if before.TTL != after.TTL {
		out = append(out, Delta{"ttl", integer(before.TTL), integer(after.TTL)})
	}
	out = appendDeltas(out, "attributes", jsontext.Value(before.Attributes), jsontext.Value(after.Attributes))
	return appendDeltas(out, "metadata", jsontext.Value(before.Metadata), jsontext.Value(after.Metadata))
}

func appendDeltas(out []Delta, path string, a, b jsontext.Value) []Delta {
	if string(a) == string(b) {
		return out
	}
	if len(a) == 0 || len(b) == 0 || a[0] != '{' || b[0] != '{' {
		return append(out, Delta{path, a, b})
	}
	left, _ := Attributes(a).members() // canonical text: it parses
	right, _ := Attributes(b).members()
	for len(left) > 0 || len(right) > 0 {
		switch {
		case len(right) == 0 || len(left) > 0 && left[0].name < right[0].name:
			out = append(out, Delta{join(path, left[0].name), left[0].value, nil})
			left = left[1:]
		case len(left) == 0 || right[0].name < left[0].name:
			out = append(out, Delta{join(path, right[0].name), nil, right[0].value})
			right = right[1:]
		default:
			out = appendDeltas(out, join(path, left[0].name), left[0].value, right[0].value)
			left, right = left[1:], right[1:]
		}
	}
	return out
}

func join(path, name string) string {
	plain := name != ""
	for i := range len(name) {
		c := name[i]
		plain = plain && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_')
	}
	if plain {
		return path + "." + name
	}
	return path + "[" + string(quote(name)) + "]"
}

// quoted, number and integer return nil for what is absent.
func quoted(s string) jsontext.Value {
	if s == "" {
		return nil
	}
	return quote(s)
}

func quote(s string) jsontext.Value {
	v, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return jsontext.Value(strconv.QuoteToASCII(s))
	}
	return v
}

func boolean(b bool) jsontext.Value { return jsontext.Value(strconv.FormatBool(b)) }

func number(text string) jsontext.Value {
	if text == "" {
		return nil
	}
	return jsontext.Value(text)
}

func integer(n int64) jsontext.Value {
	if n == 0 {
		return nil
	}
	return jsontext.Value(strconv.FormatInt(n, 10))
}

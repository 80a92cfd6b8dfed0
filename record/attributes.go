package record

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
)

// MaxDepth is how deep attributes nest at most, the outermost object counted.
const MaxDepth = 30

// Attributes is a JSON object in canonical text: members sorted by the bytes of their names, numbers as
// CanonicalNumber writes them, no white space. Two Attributes are equal exactly when their bytes are.
// The zero Attributes is none, which differs from the empty object. Treat the bytes as immutable.
type Attributes []byte

// ParseAttributes returns the canonical form of a JSON object. JSON null gives none. It fails with
// fault.InvalidRequest for what is not one well-formed JSON text (duplicate members, invalid UTF-8 and lone surrogates
// included) or nests over 30 deep, and with fault.ValidationFailed for another kind of value and a number out of range.
func ParseAttributes(text []byte) (Attributes, error) {
	if isCanonical(text) {
		return bytes.Clone(text), nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true)) // found below, when members are sorted
	kind := dec.PeekKind()
	if kind != '{' && kind != 'n' {
		if kind == 0 {
			_, err := dec.ReadToken()
			return nil, malformed(err)
		}
		return nil, fault.Invalid("record.ParseAttributes", fault.Field{Field: "attributes", Problem: "is a JSON object"})
	}
	out, err := appendCanonical(make([]byte, 0, len(text)), dec, 1)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, fault.New(fault.InvalidRequest, "record.ParseAttributes", "there is more text after the JSON object")
	}
	if kind == 'n' {
		return nil, nil
	}
	return out, nil
}

func malformed(err error) error {
	return fault.Wrap(err, fault.InvalidRequest, "record.ParseAttributes", "the text is not well-formed JSON")
}

func tooDeep() error {
	return fault.New(fault.InvalidRequest, "record.ParseAttributes", "attributes nest more than 30 deep")
}

type member struct {
	name  string
	value []byte
}

func appendCanonical(dst []byte, dec *jsontext.Decoder, depth int) ([]byte, error) {
	switch dec.PeekKind() {
	case '{':
		return appendCanonicalObject(dst, dec, depth)
	case '[':
		if depth > MaxDepth {
			return nil, tooDeep()
		}
		if _, err := dec.ReadToken(); err != nil {
			return nil, malformed(err)
		}
		dst = append(dst, '[')
		for first := true; dec.PeekKind() != ']'; first = false {
			if !first {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendCanonical(dst, dec, depth+1); err != nil {
				return nil, err
			}
		}
		if _, err := dec.ReadToken(); err != nil {
			return nil, malformed(err)
		}
		return append(dst, ']'), nil
	}
	token, err := dec.ReadToken()
	if err != nil {
		return nil, malformed(err)
	}
	switch token.Kind() {
	case '0':
		text, err := CanonicalNumber(token.String())
		return append(dst, text...), err
	case '"':
		return jsontext.AppendQuote(dst, token.String())
	default:
		return append(dst, token.String()...), nil
	}
}

// span is where a member stands in the text that is being written.
type span struct {
	name     string
	from, to int
}

// appendCanonicalObject writes members as they come, and puts them in order at the end where they came in another.
func appendCanonicalObject(dst []byte, dec *jsontext.Decoder, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, tooDeep()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, malformed(err)
	}
	dst = append(dst, '{')
	start, sorted := len(dst), true
	spans := make([]span, 0, 8)
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, malformed(err)
		}
		if len(spans) > 0 {
			dst = append(dst, ',')
		}
		member := span{name: token.String(), from: len(dst)}
		if dst, err = jsontext.AppendQuote(dst, member.name); err != nil {
			return nil, malformed(err)
		}
		if dst, err = appendCanonical(append(dst, ':'), dec, depth+1); err != nil {
			return nil, err
		}
		member.to = len(dst)
		sorted = sorted && (len(spans) == 0 || spans[len(spans)-1].name < member.name)
		spans = append(spans, member)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, malformed(err)
	}
	if sorted {
		return append(dst, '}'), nil
	}
	slices.SortFunc(spans, func(a, b span) int { return strings.Compare(a.name, b.name) })
	written := bytes.Clone(dst[start:])
	dst = dst[:start]
	for i, member := range spans {
		if i > 0 {
			if member.name == spans[i-1].name {
				return nil, fault.New(fault.InvalidRequest, "record.ParseAttributes", "a member is there twice")
			}
			dst = append(dst, ',')
		}
		dst = append(dst, written[member.from-start:member.to-start]...)
	}
	return append(dst, '}'), nil
}

func appendObject(dst []byte, members []member) ([]byte, error) {
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = jsontext.AppendQuote(dst, m.name); err != nil {
			return nil, malformed(err)
		}
		dst = append(append(dst, ':'), m.value...)
	}
	return append(dst, '}'), nil
}

// members returns the members of a canonical object in their order.
func (a Attributes) members() ([]member, error) {
	if len(a) == 0 {
		return nil, nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(a), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, malformed(errors.Join(err, errors.New("not an object")))
	}
	var ms []member
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, malformed(err)
		}
		m := member{name: name.String()}
		v, err := dec.ReadValue()
		if err != nil {
			return nil, malformed(err)
		}
		m.value = bytes.Clone(v)
		ms = append(ms, m)
	}
	return ms, nil
}

// EncodeAttributes returns v, a struct or map that marshals to a JSON object, as Attributes.
// It fails as ParseAttributes does, and with fault.ValidationFailed where v can't be marshalled.
func EncodeAttributes(v any) (Attributes, error) {
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fault.Wrap(err, fault.ValidationFailed, "record.EncodeAttributes", "the attributes can't be written as JSON")
	}
	return ParseAttributes(text)
}

// Decode unmarshals a into v. None leaves v as it is. It fails with fault.ValidationFailed where a member does
// not fit v, numbers that a Go type cannot hold included.
func (a Attributes) Decode(v any) error {
	if len(a) == 0 {
		return nil
	}
	if err := json.Unmarshal(a, v); err != nil {
		return fault.Wrap(err, fault.ValidationFailed, "record.Decode", "the attributes do not have the form that the application declares")
	}
	return nil
}

// MarshalJSON returns a's text, null for none.
func (a Attributes) MarshalJSON() ([]byte, error) {
	if len(a) == 0 {
		return []byte("null"), nil
	}
	return a, nil
}

// Member returns the canonical text of one member, nil where there is none.
func (a Attributes) Member(name string) []byte {
	ms, err := a.members()
	if err != nil {
		return nil
	}
	for _, m := range ms {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// With returns a with one member set to the canonical text value, or without it where value is nil.
func (a Attributes) With(name string, value []byte) (Attributes, error) {
	ms, err := a.members()
	if err != nil {
		return nil, err
	}
	ms = slices.DeleteFunc(ms, func(m member) bool { return m.name == name })
	if value != nil {
		at, _ := slices.BinarySearchFunc(ms, name, func(m member, n string) int { return strings.Compare(m.name, n) })
		ms = slices.Insert(ms, at, member{name, value})
	}
	return appendObject(nil, ms)
}

// MergeDeep returns a with patch merged into it: objects merge member by member at any depth, every other value
// (lists and null included) replaces, an absent member stays. A patch of none changes nothing. It fails as
// ParseAttributes does.
func (a Attributes) MergeDeep(patch Attributes) (Attributes, error) {
	return a.mergeCanonical(patch, MaxDepth)
}

// MergeShallow merges the members of the outermost object only. It fails as ParseAttributes does.
func (a Attributes) MergeShallow(patch Attributes) (Attributes, error) {
	return a.mergeCanonical(patch, 1)
}

func (a Attributes) mergeCanonical(patch Attributes, depth int) (Attributes, error) {
	a, err := a.Canonical()
	if err != nil {
		return nil, err
	}
	if patch, err = patch.Canonical(); err != nil {
		return nil, err
	}
	return a.merge(patch, depth)
}

func (a Attributes) merge(patch Attributes, depth int) (Attributes, error) {
	if len(patch) == 0 {
		return a, nil
	}
	if len(a) == 0 {
		return patch, nil
	}
	left, err := a.members()
	if err != nil {
		return nil, err
	}
	right, err := patch.members()
	if err != nil {
		return nil, err
	}
	out := make([]member, 0, len(left)+len(right))
	for len(left) > 0 || len(right) > 0 {
		switch {
		case len(right) == 0 || len(left) > 0 && left[0].name < right[0].name:
			out, left = append(out, left[0]), left[1:]
		case len(left) == 0 || right[0].name < left[0].name:
			out, right = append(out, right[0]), right[1:]
		default:
			m := right[0]
			if depth > 1 && left[0].value[0] == '{' && m.value[0] == '{' {
				if m.value, err = Attributes(left[0].value).merge(m.value, depth-1); err != nil {
					return nil, err
				}
			}
			out, left, right = append(out, m), left[1:], right[1:]
		}
	}
	return appendObject(nil, out)
}

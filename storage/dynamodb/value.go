package dynamodb

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

// JSON has no sets and no bytes, which other services may have put into attributes. In JSON such a value is an object
// with the one member $dynamodb, which holds it as DynamoDB's own JSON does:
//
//	{"$dynamodb":{"SS":["a","b"]}}    {"$dynamodb":{"NS":["1","2.5"]}}    {"$dynamodb":{"B":"AQID"}}    {"$dynamodb":{"BS":["AQID"]}}
//
// A set's elements are sorted by their bytes. An object of exactly this form becomes the set or the bytes again when it
// is written; one of any other form stays an object. So all of JSON comes back as it was.
const tag = "$dynamodb"

// encodeObject returns a canonical JSON object as a map of DynamoDB. The object itself is never a set.
func encodeObject(text []byte) (types.AttributeValue, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true)) // a Buffer is read in place
	if dec.PeekKind() == '{' {
		if m, err := readMap(dec); err == nil {
			return &types.AttributeValueMemberM{Value: m}, nil
		}
	}
	return nil, fault.New(fault.Internal, "dynamodb", "attributes are not the canonical JSON that every engine is given")
}

func readMap(dec *jsontext.Decoder) (item, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	m := make(item)
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		member := name.String()
		if m[member], err = readValue(dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return m, err
}

func readValue(dec *jsontext.Decoder) (types.AttributeValue, error) {
	if dec.PeekKind() == '{' {
		m, err := readMap(dec)
		if err != nil {
			return nil, err
		}
		return untagged(m), nil
	}
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '[':
		l := []types.AttributeValue{}
		for dec.PeekKind() != ']' {
			v, err := readValue(dec)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		_, err := dec.ReadToken()
		return &types.AttributeValueMemberL{Value: l}, err
	case '"':
		return text(token.String()), nil
	case '0':
		return number(token.String()), nil
	case 'n':
		return null(), nil
	default:
		return boolean(token.Bool()), nil
	}
}

func text(s string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: s} }
func number(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
func boolean(b bool) types.AttributeValue  { return &types.AttributeValueMemberBOOL{Value: b} }
func null() types.AttributeValue           { return &types.AttributeValueMemberNULL{Value: true} }

// untagged returns the set or the bytes that m stands for, or m as a map.
func untagged(m map[string]types.AttributeValue) types.AttributeValue {
	asMap := &types.AttributeValueMemberM{Value: m}
	inner, ok := m[tag].(*types.AttributeValueMemberM)
	if !ok || len(m) != 1 || len(inner.Value) != 1 {
		return asMap
	}
	for kind, v := range inner.Value {
		if b, ok := v.(*types.AttributeValueMemberS); ok && kind == "B" {
			if raw, ok := decodeBytes(b.Value); ok {
				return &types.AttributeValueMemberB{Value: raw}
			}
		}
		texts, ok := sortedTexts(v)
		if !ok {
			return asMap
		}
		switch kind {
		case "SS":
			return &types.AttributeValueMemberSS{Value: texts}
		case "NS":
			if !slices.ContainsFunc(texts, notCanonical) {
				return &types.AttributeValueMemberNS{Value: texts}
			}
		case "BS":
			raws := make([][]byte, len(texts))
			for i, t := range texts {
				if raws[i], ok = decodeBytes(t); !ok {
					return asMap
				}
			}
			return &types.AttributeValueMemberBS{Value: raws}
		}
	}
	return asMap
}

// sortedTexts returns the texts of a list that holds nothing else, in order and each once.
func sortedTexts(v types.AttributeValue) ([]string, bool) {
	l, ok := v.(*types.AttributeValueMemberL)
	if !ok || len(l.Value) == 0 {
		return nil, false
	}
	texts := make([]string, len(l.Value))
	for i, v := range l.Value {
		s, ok := v.(*types.AttributeValueMemberS)
		if !ok || i > 0 && s.Value <= texts[i-1] {
			return nil, false
		}
		texts[i] = s.Value
	}
	return texts, true
}

func notCanonical(number string) bool {
	canonical, err := record.ParseNumber(number)
	return err != nil || canonical != number
}

func decodeBytes(s string) ([]byte, bool) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	return raw, err == nil && base64.StdEncoding.EncodeToString(raw) == s
}

// appendValue appends v as canonical JSON.
func appendValue(dst []byte, v types.AttributeValue) ([]byte, error) {
	switch v := v.(type) {
	case *types.AttributeValueMemberM:
		return appendMap(dst, v.Value)
	case *types.AttributeValueMemberL:
		dst = append(dst, '[')
		for i, element := range v.Value {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendValue(dst, element); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case *types.AttributeValueMemberS:
		return jsontext.AppendQuote(dst, v.Value)
	case *types.AttributeValueMemberN:
		canonical, err := record.ParseNumber(v.Value)
		return append(dst, canonical...), err
	case *types.AttributeValueMemberBOOL:
		if v.Value {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case *types.AttributeValueMemberNULL:
		return append(dst, "null"...), nil
	case *types.AttributeValueMemberB:
		return appendTagged(dst, "B", text(base64.StdEncoding.EncodeToString(v.Value)))
	case *types.AttributeValueMemberSS:
		return appendTagged(dst, "SS", list(slices.Clone(v.Value)))
	case *types.AttributeValueMemberNS:
		numbers := make([]string, len(v.Value))
		for i, n := range v.Value {
			var err error
			if numbers[i], err = record.ParseNumber(n); err != nil {
				return nil, err
			}
		}
		return appendTagged(dst, "NS", list(numbers))
	case *types.AttributeValueMemberBS:
		encoded := make([]string, len(v.Value))
		for i, raw := range v.Value {
			encoded[i] = base64.StdEncoding.EncodeToString(raw)
		}
		return appendTagged(dst, "BS", list(encoded))
	default:
		return nil, fault.New(fault.Internal, "dynamodb", "an item holds a value of a type that DynamoDB had not when this was written; update Tenantry")
	}
}

func appendMap(dst []byte, m map[string]types.AttributeValue) ([]byte, error) {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = jsontext.AppendQuote(dst, name); err != nil {
			return nil, err
		}
		if dst, err = appendValue(append(dst, ':'), m[name]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendTagged(dst []byte, kind string, v types.AttributeValue) ([]byte, error) {
	dst, err := appendValue(append(dst, `{"`+tag+`":{"`+kind+`":`...), v)
	return append(dst, "}}"...), err
}

// list returns texts, sorted, as a list.
func list(texts []string) types.AttributeValue {
	slices.SortFunc(texts, strings.Compare)
	l := make([]types.AttributeValue, len(texts))
	for i, t := range texts {
		l[i] = text(t)
	}
	return &types.AttributeValueMemberL{Value: l}
}

// size returns how many bytes DynamoDB counts for v, or a few more.
func size(v types.AttributeValue) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberM:
		return sizeOf(v.Value) + 3
	case *types.AttributeValueMemberL:
		n := 3
		for _, element := range v.Value {
			n += 1 + size(element)
		}
		return n
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return len(v.Value)/2 + 2
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberSS:
		n := 0
		for _, s := range v.Value {
			n += len(s)
		}
		return n
	case *types.AttributeValueMemberNS:
		n := 0
		for _, s := range v.Value {
			n += len(s)/2 + 2
		}
		return n
	case *types.AttributeValueMemberBS:
		n := 0
		for _, raw := range v.Value {
			n += len(raw)
		}
		return n
	default:
		return 1
	}
}

func sizeOf(m map[string]types.AttributeValue) int {
	n := 0
	for name, v := range m {
		n += len(name) + 1 + size(v)
	}
	return n
}

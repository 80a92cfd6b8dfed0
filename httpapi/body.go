package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
)

// readBody reads a body whole. It fails with fault.TooLarge, fault.UnsupportedMediaType, fault.Timeout and fault.InvalidRequest.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	tooLarge := fault.New(fault.TooLarge, "httpapi", "the body is longer than %d bytes", limit)
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	if r.ContentLength == 0 {
		return nil, nil
	}
	if err := checkType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, fault.New(fault.UnsupportedMediaType, "httpapi", "a body is sent without a Content-Encoding")
	}
	if deadline, ok := r.Context().Deadline(); ok {
		http.NewResponseController(w).SetReadDeadline(deadline) // where the connection has one
	}
	var body bytes.Buffer
	if r.ContentLength > 0 {
		body.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			if r.ProtoMajor == 1 {
				w.Header().Set("Connection", "close") // else net/http waits for more of the body before it answers
			}
			return nil, tooLarge
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || r.Context().Err() != nil {
			return nil, fault.Wrap(err, fault.Timeout, "httpapi", "the body did not arrive in time")
		}
		return nil, fault.Wrap(err, fault.InvalidRequest, "httpapi", "the body did not arrive whole")
	}
	return body.Bytes(), nil
}

func checkType(header string) error {
	if header == "application/json" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(header)
	charset := params["charset"]
	delete(params, "charset")
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") || len(params) > 0 {
		return fault.New(fault.UnsupportedMediaType, "httpapi", "the body is sent as Content-Type: application/json, in UTF-8")
	}
	return nil
}

// parse reads a body strictly, once: one JSON value, valid UTF-8, no duplicate members, nothing after it, nesting as
// deep as attributes may. Numbers become float64 for the schema; whoever needs them exactly reads the text. What the schema leaves
// free, the attributes of records, is read over here and checked by whoever reads it.
func (s *schema) parse(body []byte) (any, error) {
	p := parser{dec: jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true)), free: s.free}
	v, err := p.value(0)
	if err == nil {
		if _, end := p.dec.ReadToken(); end == io.EOF {
			return v, nil
		}
		return nil, fault.New(fault.InvalidRequest, "httpapi", "there is more text after the JSON of the body")
	}
	if fault.CodeOf(err) == fault.InvalidRequest {
		return nil, err
	}
	return nil, fault.Wrap(err, fault.InvalidRequest, "httpapi", "the body is not well-formed JSON")
}

type parser struct {
	dec  *jsontext.Decoder
	free map[string]bool // members of records that the schema leaves free
}

// deepest is how deep a body nests: attributes stand in a record, which may stand in a list.
const deepest = record.MaxDepth + 2

func (p *parser) value(depth int) (any, error) {
	if depth > deepest {
		return nil, fault.New(fault.InvalidRequest, "httpapi", "the body nests too deep")
	}
	token, err := p.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		return p.object(depth)
	case '[':
		list := []any{}
		for p.dec.PeekKind() != ']' {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = p.dec.ReadToken()
		return list, err
	case '"':
		return token.String(), nil
	case '0':
		f, _ := strconv.ParseFloat(token.String(), 64) // ±Inf where it is out of range: the text decides
		return f, nil
	case 'n':
		return nil, nil
	default:
		return token.Bool(), nil
	}
}

// object reads the members of an object whose brace was read.
func (p *parser) object(depth int) (any, error) {
	object := map[string]any{}
	for p.dec.PeekKind() != '}' {
		token, err := p.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		if _, twice := object[name]; twice {
			return nil, fault.New(fault.InvalidRequest, "httpapi", "a member of the body is sent twice")
		}
		if p.free[name] && depth <= 1 && p.dec.PeekKind() == '{' {
			err = p.dec.SkipValue()
			object[name] = map[string]any(nil)
		} else {
			object[name], err = p.value(depth + 1)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err := p.dec.ReadToken()
	return object, err
}

// mentions returns the tenants that a body names: in the object, or in every element of the list. Members of another
// type name none here and are refused by the schema.
func mentions(v any) guard.Mentions {
	var m guard.Mentions
	switch v := v.(type) {
	case map[string]any:
		mention(&m, v)
	case []any:
		for _, element := range v {
			if object, ok := element.(map[string]any); ok {
				mention(&m, object)
			}
		}
	}
	return m
}

func mention(m *guard.Mentions, object map[string]any) {
	for _, place := range []struct {
		member string
		list   *[]string
	}{{"tenantCode", &m.Codes}, {"pk", &m.PKs}, {"id", &m.IDs}} {
		if text, ok := object[place.member].(string); ok {
			*place.list = append(*place.list, text)
		}
	}
}

package apitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Doc is the OpenAPI document that a server serves, as far as tests read it.
type Doc struct {
	Operations []*Operation
	schemas    map[string]*Schema
}

// Operation is one operation of the document.
type Operation struct {
	ID, Method, Path string

	Policy struct {
		Reach   string   `json:"reach"`
		Roles   []string `json:"roles"`
		Members bool     `json:"members"`
	}
	Secured    bool
	Parameters []Parameter
	Body       *Schema         // nil for none
	BodyNeeded bool            // a body must be sent
	Answers    map[int]*Schema // by status; nil for an answer without a form

	pattern *regexp.Regexp
}

// Parameter is one parameter of an operation.
type Parameter struct {
	Name   string  `json:"name"`
	In     string  `json:"in"`
	Schema *Schema `json:"schema"`
}

// Schema is a JSON Schema, as far as the document uses it.
type Schema struct {
	Ref        string             `json:"$ref"`
	Types      types              `json:"type"`
	Properties map[string]*Schema `json:"properties"`
	Required   []string           `json:"required"`
	Additional json.RawMessage    `json:"additionalProperties"`
	Items      *Schema            `json:"items"`
	Enum       []any              `json:"enum"`
	Minimum    *float64           `json:"minimum"`
	Maximum    *float64           `json:"maximum"`
	MinLength  *int               `json:"minLength"`
	MaxLength  *int               `json:"maxLength"`
	MaxItems   *int               `json:"maxItems"`
	Format     string             `json:"format"`
}

// types is a type, or a list of them.
type types []string

// UnmarshalJSON implements json.Unmarshaler.
func (ts *types) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*ts = types{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(ts))
}

// docs keeps what was read, by the operations that it describes: a server takes a while to write the document.
var docs sync.Map

func (s *Server) readDoc(t testing.TB) *Doc {
	t.Helper()
	var ids strings.Builder
	for _, op := range s.App.Operations() {
		ids.WriteString(op.ID + " " + op.Method + " " + op.Path + "\n")
	}
	if d, ok := docs.Load(ids.String()); ok {
		return d.(*Doc)
	}
	d := s.fetchDoc(t)
	docs.Store(ids.String(), d)
	return d
}

func (s *Server) fetchDoc(t testing.TB) *Doc {
	t.Helper()
	var text struct {
		Paths map[string]map[string]struct {
			ID          string             `json:"operationId"`
			Security    []map[string][]any `json:"security"`
			Policy      json.RawMessage    `json:"x-tenantry-policy"`
			Parameters  []Parameter        `json:"parameters"`
			RequestBody *struct {
				Required bool `json:"required"`
				Content  map[string]struct {
					Schema *Schema `json:"schema"`
				} `json:"content"`
			} `json:"requestBody"`
			Responses map[string]struct {
				Content map[string]struct {
					Schema *Schema `json:"schema"`
				} `json:"content"`
			} `json:"responses"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]*Schema `json:"schemas"`
		} `json:"components"`
	}
	a, err := s.Send(Request{Method: "GET", Path: "/openapi.json"})
	if err != nil || a.Status != http.StatusOK {
		t.Fatalf("the description: %v %v", a, err)
	}
	a.Decode(t, &text)
	d := &Doc{schemas: text.Components.Schemas}
	for path, methods := range text.Paths {
		for method, op := range methods {
			o := &Operation{ID: op.ID, Method: strings.ToUpper(method), Path: path, Secured: len(op.Security) > 0, Parameters: op.Parameters,
				Answers: map[int]*Schema{}, pattern: patternOf(path)}
			if err := json.Unmarshal(op.Policy, &o.Policy); err != nil {
				t.Fatalf("%s has no policy: %v", op.ID, err)
			}
			if op.RequestBody != nil {
				o.Body, o.BodyNeeded = op.RequestBody.Content["application/json"].Schema, op.RequestBody.Required
			}
			for status, response := range op.Responses {
				var n int
				if _, err := fmt.Sscan(status, &n); err != nil {
					t.Fatalf("%s answers with the status %s", op.ID, status)
				}
				o.Answers[n] = nil
				for kind, content := range response.Content {
					if kind == "application/json" || kind == "application/problem+json" {
						o.Answers[n] = content.Schema
					}
				}
			}
			d.Operations = append(d.Operations, o)
		}
	}
	slices.SortFunc(d.Operations, func(a, b *Operation) int { return strings.Compare(a.ID, b.ID) })
	return d
}

var parameter = regexp.MustCompile(`\\\{[^/]+\\\}`)

func patternOf(path string) *regexp.Regexp {
	return regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$")
}

// Match returns the operation that a request is for, nil for none. Of several the one with the fewest parameters is meant.
func (d *Doc) Match(method, target string) *Operation {
	path, _, _ := strings.Cut(target, "?")
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var found *Operation
	for _, op := range d.Operations {
		if op.Method == method && op.pattern.MatchString(path) && (found == nil || strings.Count(op.Path, "{") < strings.Count(found.Path, "{")) {
			found = op
		}
	}
	return found
}

// check checks that an answer is one that the document states.
func (d *Doc) check(t testing.TB, r Request, a *Answer) {
	t.Helper()
	op := d.Match(r.Method, r.Path)
	if op == nil {
		return
	}
	schema, listed := op.Answers[a.Status]
	if !listed {
		t.Errorf("%v: %s does not list the status %d: %s", r, op.ID, a.Status, clip(string(a.Body)))
		return
	}
	if schema == nil || r.Method == http.MethodHead || len(a.Header["Content-Encoding"]) > 0 || strings.HasPrefix(a.Header.Get("Content-Type"), "text/csv") {
		return
	}
	if problem := d.Problem(schema, a.JSON(t)); problem != "" {
		t.Errorf("%v: the answer of %s has not the form that the document states: %s: %s", r, op.ID, problem, clip(string(a.Body)))
	}
}

// Resolve returns the schema that s refers to.
func (d *Doc) Resolve(s *Schema) *Schema {
	for s.Ref != "" {
		s = d.schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	return s
}

// Problem returns what keeps a value, read with json.Number, from having the form of a schema; "" for nothing.
func (d *Doc) Problem(s *Schema, v any) string { return d.problem(s, "$", v) }

func (d *Doc) problem(s *Schema, at string, v any) string {
	s = d.Resolve(s)
	kind := kindOf(v)
	if len(s.Types) > 0 && !slices.Contains(s.Types, kind) && !(kind == "integer" && slices.Contains(s.Types, "number")) {
		return fmt.Sprintf("%s is %s, not %v", at, kind, s.Types)
	}
	if text, ok := v.(string); ok && len(s.Enum) > 0 && !slices.Contains(s.Enum, any(text)) {
		return fmt.Sprintf("%s is %q, not one of %v", at, text, s.Enum)
	}
	switch v := v.(type) {
	case []any:
		for i, element := range v {
			if s.Items == nil {
				break
			}
			if p := d.problem(s.Items, fmt.Sprintf("%s[%d]", at, i), element); p != "" {
				return p
			}
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return at + " lacks " + name
			}
		}
		for name, member := range v {
			known, ok := s.Properties[name]
			if !ok && string(s.Additional) == "false" {
				return at + " has the member " + name
			}
			if ok {
				if p := d.problem(known, at+"."+name, member); p != "" {
					return p
				}
			}
		}
	}
	return ""
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "number"
		}
		return "integer"
	default:
		return "object"
	}
}

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

package httpapi

import (
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/tenantry/tenantry/fault"
)

// schema checks bodies.
type schema struct {
	registry huma.Registry
	schema   *huma.Schema
	optional bool
	free     map[string]bool // members that may be any object
}

// maxProblems is how many problems with a body are looked for: a problem names fewer.
const maxProblems = 16

// check returns what is wrong with a body, ordered by field. A version that is no version in plain digits, which the text
// decides, is left to the handler.
func (s *schema) check(tree any) ([]fault.Field, error) {
	f := finder{registry: s.registry}
	f.find(s.schema, "", tree)
	if !f.enough() {
		path := huma.NewPathBuffer(make([]byte, 0, 128), 0)
		res := &huma.ValidateResult{}
		huma.Validate(s.registry, s.schema, path, huma.ModeWriteToServer, tree, res)
		for _, err := range res.Errors {
			detail, ok := err.(*huma.ErrorDetail)
			switch {
			case !ok:
				f.add("", err.Error())
			case detail.Message == validation.MsgUnexpectedProperty: // found before, with those that huma lets pass
			case detail.Message == validation.MsgExpectedMatchExactlyOneSchema && s.schemaOf(detail.Location) != nil:
				f.add(detail.Location, "is not of a form that it may have: "+s.schemaOf(detail.Location).Description)
			case detail.Location == "version" || strings.HasSuffix(detail.Location, "].version"):
				return nil, fault.New(fault.InvalidRequest, "httpapi", "version is -1 or 0 to 9007199254740991 in plain digits")
			default:
				f.found = append(f.found, problemOf(detail))
			}
		}
	}
	slices.SortFunc(f.found, func(a, b fault.Field) int { return strings.Compare(a.Field, b.Field) })
	return f.found, nil
}

// schemaOf returns the schema of a member of the body, nil where there is none of the name.
func (s *schema) schemaOf(member string) *huma.Schema {
	of := s.schema
	for of.Ref != "" {
		of = s.registry.SchemaFromRef(of.Ref)
	}
	return of.Properties[member]
}

// finder finds what huma lets pass, members that differ from the schema's in case, and what makes it slow, lists that are too
// long and members without end.
type finder struct {
	registry huma.Registry
	found    []fault.Field
	tooLong  bool
}

func (f *finder) add(field, problem string) {
	f.found = append(f.found, fault.Field{Field: field, Problem: problem})
}

func (f *finder) enough() bool { return f.tooLong || len(f.found) >= maxProblems }

// find looks through a value of a schema. Names are compared byte for byte.
func (f *finder) find(of *huma.Schema, at string, value any) {
	for of.Ref != "" {
		of = f.registry.SchemaFromRef(of.Ref)
	}
	switch v := value.(type) {
	case []any:
		if of.MaxItems != nil && len(v) > *of.MaxItems {
			f.tooLong = true
			f.add(at, "has more than "+strconv.Itoa(*of.MaxItems)+" elements")
		}
		for i, element := range v {
			if of.Items == nil || f.enough() {
				return
			}
			f.find(of.Items, at+"["+strconv.Itoa(i)+"]", element)
		}
	case map[string]any:
		if of.AdditionalProperties != false {
			return
		}
		if at != "" {
			at += "."
		}
		for name, member := range v {
			if f.enough() {
				return
			}
			if known, ok := of.Properties[name]; ok {
				f.find(known, at+name, member)
			} else {
				f.add(at+name, "is not a member that the operation knows; names are compared letter by letter")
			}
		}
	}
}

// problemOf says what the schema found; a missing member is named itself, not the object that lacks it.
func problemOf(detail *huma.ErrorDetail) fault.Field {
	missing, ok := strings.CutPrefix(detail.Message, "expected required property ")
	missing, whole := strings.CutSuffix(missing, " to be present")
	if !ok || !whole {
		return fault.Field{Field: detail.Location, Problem: detail.Message}
	}
	if detail.Location != "" {
		missing = detail.Location + "." + missing
	}
	return fault.Field{Field: missing, Problem: "is required"}
}

// requireLists takes null out of the forms of a list, which huma has in for the nil slices of Go.
func requireLists(s *huma.Schema) {
	if s.Type == huma.TypeArray {
		s.Nullable = false
	}
	for _, member := range s.Properties {
		requireLists(member)
	}
}

// freeMembers returns the members of a body, or of the elements of a list, that may be any object.
func freeMembers(registry huma.Registry, s *huma.Schema) map[string]bool {
	for s.Ref != "" || s.Type == huma.TypeArray {
		if s.Ref != "" {
			s = registry.SchemaFromRef(s.Ref)
		} else {
			s = s.Items
		}
	}
	free := map[string]bool{}
	for name, member := range s.Properties {
		if any, ok := member.AdditionalProperties.(*huma.Schema); ok && member.Type == huma.TypeObject && len(member.Properties) == 0 && any.Type == "" && any.Ref == "" {
			free[name] = true
		}
	}
	return free
}

package settings

import (
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

// Validator is implemented by settings that check more than the forms of their members.
type Validator interface {
	// Validate returns what is wrong, with the names of members as they are in JSON; none for good settings.
	Validate() []fault.Field
}

// Declaration is the form of a tenant's settings. Its zero value is that of Tenant, with Defaults.
type Declaration struct{ *declared }

type declared struct {
	defaults jsontext.Value
	registry huma.Registry
	schema   *huma.Schema
	decode   func(text jsontext.Value) (any, error) // a *T
	answer   any                                    // a T, for descriptions
	body     any                                    // a Patch[T], for descriptions
	err      error
}

// Declare returns the declaration of settings of type T, a struct that marshals to a JSON object; it may embed Tenant, whose
// members are validated then. The validation tags of T's fields (minimum, maxLength, pattern, enum …) are those of package huma, and T
// may be a Validator. New fails for defaults that are not valid, and for members named tenantCode, pk and id, which name records.
func Declare[T any](defaults T) Declaration {
	d := &declared{answer: defaults, body: Patch[T]{}, registry: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)}
	if t := reflect.TypeFor[T](); t.Kind() != reflect.Struct {
		d.err = fault.New(fault.InvalidRequest, "settings.Declare", "settings are a struct, not %s", t)
		return Declaration{d}
	}
	d.schema = d.registry.Schema(reflect.TypeFor[T](), false, "Settings")
	d.schema.PrecomputeMessages()
	for _, s := range d.registry.Map() {
		s.PrecomputeMessages()
	}
	d.decode = func(text jsontext.Value) (any, error) {
		v := new(T)
		return v, json.Unmarshal(text, v)
	}
	if d.defaults, d.err = json.Marshal(defaults); d.err != nil {
		return Declaration{d}
	}
	for _, name := range mentions {
		if d.schema.Properties[name] != nil {
			d.err = fault.New(fault.InvalidRequest, "settings.Declare", "settings have no member %s: it names a record in every body", name)
		}
	}
	if _, problems := d.valid(d.defaults); problems != nil && d.err == nil {
		d.err = fault.Invalid("settings.Declare", problems...)
	}
	return Declaration{d}
}

// valid returns settings as a *T, or what is wrong with them.
func (d *declared) valid(text jsontext.Value) (any, []fault.Field) {
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, []fault.Field{{Problem: "can't be read"}}
	}
	var problems []fault.Field
	res := &huma.ValidateResult{}
	huma.Validate(d.registry, d.schema, huma.NewPathBuffer(make([]byte, 0, 64), 0), huma.ModeWriteToServer, tree, res)
	for _, err := range res.Errors {
		if detail, ok := err.(*huma.ErrorDetail); ok {
			problems = append(problems, fault.Field{Field: detail.Location, Problem: detail.Message})
		} else {
			problems = append(problems, fault.Field{Problem: err.Error()})
		}
	}
	if problems != nil {
		return nil, problems
	}
	v, err := d.decode(text)
	if err != nil {
		return nil, []fault.Field{{Problem: "do not have the form that the application declares"}}
	}
	for _, part := range []any{v, embedded(v)} {
		if validator, ok := part.(Validator); ok {
			for _, p := range validator.Validate() {
				if !slices.Contains(problems, p) {
					problems = append(problems, p)
				}
			}
		}
	}
	return v, problems
}

// embedded returns the Tenant that v, a pointer to a struct, embeds; nil for none. A Validate of the struct's own hides
// that of what it embeds.
func embedded(v any) any {
	of := reflect.ValueOf(v).Elem()
	if f, ok := of.Type().FieldByName("Tenant"); ok && f.Anonymous && f.Type == reflect.TypeFor[Tenant]() {
		return of.FieldByIndex(f.Index).Interface()
	}
	return nil
}

// over returns what is stored merged over the defaults. Members that the application doesn't declare, which other services keep
// there, are left out; null is the default.
func (d *declared) over(stored record.Attributes) (jsontext.Value, error) {
	if len(stored) == 0 {
		return d.defaults, nil
	}
	return d.overlay(d.schema, d.defaults, jsontext.Value(stored))
}

func (d *declared) overlay(of *huma.Schema, base, stored jsontext.Value) (jsontext.Value, error) {
	if stored.Kind() == 'n' {
		return base, nil
	}
	if stored.Kind() != '{' || base.Kind() != '{' {
		return stored, nil
	}
	out, err := members(base)
	if err != nil {
		return nil, err
	}
	given, err := members(stored)
	if err != nil {
		return nil, err
	}
	for name, value := range given {
		member, known := d.member(of, name)
		if !known {
			continue
		}
		if out[name] == nil {
			if value.Kind() != 'n' {
				out[name] = value
			}
			continue
		}
		if out[name], err = d.overlay(member, out[name], value); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}

// member returns the schema of a member, nil for any value. Known is false for one that the schema doesn't have.
func (d *declared) member(of *huma.Schema, name string) (s *huma.Schema, known bool) {
	if of = d.deref(of); of == nil || of.Type == "" {
		return nil, true
	}
	if s = of.Properties[name]; s != nil {
		return s, true
	}
	if s, ok := of.AdditionalProperties.(*huma.Schema); ok {
		return s, true
	}
	return nil, of.AdditionalProperties == true
}

func (d *declared) deref(s *huma.Schema) *huma.Schema {
	for s != nil && s.Ref != "" {
		s = d.registry.SchemaFromRef(s.Ref)
	}
	return s
}

// unknown returns a problem for each member of a patch that the application doesn't declare.
func (d *declared) unknown(of *huma.Schema, patch jsontext.Value, at string) (problems []fault.Field, err error) {
	if patch.Kind() != '{' {
		return nil, nil
	}
	given, err := members(patch)
	if err != nil {
		return nil, err
	}
	for name, value := range given {
		member, known := d.member(of, name)
		if !known {
			problems = append(problems, fault.Field{Field: at + name, Problem: "is not a setting; names are compared letter by letter"})
			continue
		}
		inside, err := d.unknown(member, value, at+name+".")
		if err != nil {
			return nil, err
		}
		problems = append(problems, inside...)
	}
	return problems, nil
}

// apply merges a patch into what is stored, as RFC 7396 has it: null removes a member, objects merge at any depth, other values replace.
// A declared object of which nothing is left is removed too.
func (d *declared) apply(of *huma.Schema, stored, patch jsontext.Value) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		return patch, nil
	}
	out := map[string]jsontext.Value{}
	if stored.Kind() == '{' {
		var err error
		if out, err = members(stored); err != nil {
			return nil, err
		}
	}
	given, err := members(patch)
	if err != nil {
		return nil, err
	}
	for name, value := range given {
		if value.Kind() == 'n' {
			delete(out, name)
			continue
		}
		member, _ := d.member(of, name)
		merged, err := d.apply(member, out[name], value)
		if err != nil {
			return nil, err
		}
		if out[name] = merged; string(merged) == "{}" {
			if s := d.deref(member); s != nil && len(s.Properties) > 0 {
				delete(out, name)
			}
		}
	}
	return json.Marshal(out)
}

// members returns the members of an object. Names that are there twice were refused before.
func members(object jsontext.Value) (map[string]jsontext.Value, error) {
	out := map[string]jsontext.Value{}
	if err := json.Unmarshal(object, &out); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "settings", "stored settings can't be read")
	}
	return out, nil
}

// mentions are the members of every body that name a tenant or a record.
var mentions = []string{"tenantCode", "pk", "id"}

// Patch is the form of the body that changes settings of type T: every member may be left out, and be null for its default.
type Patch[T any] struct{}

// Schema implements huma.SchemaProvider.
func (Patch[T]) Schema(r huma.Registry) *huma.Schema {
	s := patchOf(r, r.Schema(reflect.TypeFor[T](), false, "Settings"))
	s.Nullable = false
	for _, name := range mentions {
		s.Properties[name] = &huma.Schema{Type: huma.TypeString, Description: "must agree with the route"}
	}
	return s
}

func patchOf(r huma.Registry, of *huma.Schema) *huma.Schema {
	for of.Ref != "" {
		of = r.SchemaFromRef(of.Ref)
	}
	switch {
	case of.Type == huma.TypeArray:
		return &huma.Schema{Description: of.Description, AnyOf: []*huma.Schema{of, {Enum: []any{nil}}}}
	case len(of.Properties) == 0:
		s := *of
		s.Nullable = s.Type != ""
		if values, ok := of.AdditionalProperties.(*huma.Schema); ok {
			s.AdditionalProperties = patchOf(r, values)
		}
		return &s
	}
	s := &huma.Schema{Type: huma.TypeObject, Description: of.Description, Nullable: true, Properties: map[string]*huma.Schema{}, AdditionalProperties: of.AdditionalProperties}
	for name, member := range of.Properties {
		s.Properties[name] = patchOf(r, member)
	}
	return s
}

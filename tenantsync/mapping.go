package tenantsync

import (
	"maps"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

const (
	maxMapped  = 100      // members that one rule of a mapping names
	maxMapping = 64 << 10 // bytes of a mapping as JSON
)

// Mapping says how the attributes of the source become those of a copy, by the members of the outermost object: Omit, then Rename, then
// Set, then Keep. The zero Mapping copies them as they are.
type Mapping struct {
	Omit   []string          `json:"omit,omitempty" maxItems:"100" doc:"members that are not copied"`
	Rename map[string]string `json:"rename,omitempty" doc:"the name that a member has in the copy, by its name in the source"`
	Set    Values            `json:"set,omitempty" doc:"members that have a value of their own in every copy"`
	Keep   []string          `json:"keep,omitempty" maxItems:"100" doc:"members that are the target's own: a new copy begins with the source's, and they stay from then on"`
}

// Values are members and their values; nil for none.
type Values record.Attributes

// MarshalJSON returns the object.
func (v Values) MarshalJSON() ([]byte, error) { return record.Attributes(v).MarshalJSON() }

// UnmarshalJSON takes an object, whose numbers keep their exact value.
func (v *Values) UnmarshalJSON(text []byte) error {
	parsed, err := record.ParseAttributes(text)
	*v = Values(parsed)
	return err
}

// Schema implements huma.SchemaProvider.
func (Values) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// IsZero reports whether m changes nothing.
func (m Mapping) IsZero() bool {
	return len(m.Omit) == 0 && len(m.Rename) == 0 && len(m.Set) == 0 && len(m.Keep) == 0
}

func (m Mapping) check() (problems []fault.Field) {
	if len(m.Omit) > maxMapped || len(m.Rename) > maxMapped || len(m.Keep) > maxMapped {
		problems = append(problems, fault.Field{Field: "mapping", Problem: "names more than 100 members in one rule"})
	}
	to := map[string]bool{}
	for _, name := range m.Rename {
		if to[name] || name == "" {
			problems = append(problems, fault.Field{Field: "mapping.rename", Problem: "gives a member an empty name, or two members one name"})
			break
		}
		to[name] = true
	}
	if _, err := record.Attributes(m.Set).Canonical(); err != nil {
		problems = append(problems, fault.Field{Field: "mapping.set", Problem: "is not a JSON object that attributes can hold"})
	} else if text, err := json.Marshal(m); err != nil || len(text) > maxMapping {
		problems = append(problems, fault.Field{Field: "mapping", Problem: "is JSON of 65536 bytes at most"})
	}
	return problems
}

// apply returns what from becomes in a copy over into, the attributes that the target has; nil for none.
func (m Mapping) apply(from, into record.Attributes, exists bool) (out record.Attributes, err error) {
	if m.IsZero() {
		return from, nil
	}
	out = from
	with := func(name string, value []byte) {
		if err == nil {
			out, err = out.With(name, value)
		}
	}
	for _, name := range m.Omit {
		with(name, nil)
	}
	names := slices.Sorted(maps.Keys(m.Rename))
	values := make([][]byte, len(names))
	for i, name := range names {
		values[i] = out.Member(name)
		with(name, nil)
	}
	for i, name := range names {
		if values[i] != nil {
			with(m.Rename[name], values[i])
		}
	}
	if err == nil {
		out, err = out.MergeShallow(record.Attributes(m.Set))
	}
	if exists {
		for _, name := range m.Keep {
			with(name, into.Member(name))
		}
	}
	return out, err
}

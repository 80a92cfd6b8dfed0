package tenantsync

import (
	"context"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// MaxTargets is how many targets a Request names at most; All is not bounded by it.
const MaxTargets = 1000

// Policy says what becomes of a record that a target has already and that differs from the source's. The zero Policy is Overwrite.
type Policy string

// The policies.
const (
	Overwrite Policy = "overwrite"          // it becomes what the source's is
	Skip      Policy = "skip"               // it stays as it is
	KeepLocal Policy = "keep-local-changes" // it stays where the target made, changed or deleted it itself, and is overwritten where a sync wrote it last
)

// Request says what is copied from whom to whom.
type Request struct {
	Source     tenant.Code
	Targets    []tenant.Code // 1 to MaxTargets, the source not among them; none with All
	All        bool          // every active tenant, without the source and common
	EntityType record.EntityType
	Prefix     string // of the sort keys. Defaults to all
	OnConflict Policy // Defaults to Overwrite

	// Deletes deletes copies in the targets whose record in the source is gone. A record that the target made itself, or
	// replaced whole, is no copy and stays. Defaults to false.
	Deletes bool

	// WithoutCopies leaves out what a sync wrote in the source. Defaults to false.
	WithoutCopies bool

	Mapping Mapping // Defaults to attributes as they are
}

// Body is a Request as it stands on the wire and in rows.
type Body struct {
	SourceTenantCode  string  `json:"sourceTenantCode"`
	TargetTenantCodes Targets `json:"targetTenantCodes"`
	EntityType        string  `json:"entityType"`
	Prefix            string  `json:"prefix,omitzero" maxLength:"512" doc:"of the sort keys; all by default"`
	OnConflict        Policy  `json:"onConflict,omitzero" enum:"overwrite,skip,keep-local-changes" doc:"overwrite by default"`
	Deletes           bool    `json:"deletes,omitzero" doc:"delete copies whose record in the source is gone; false by default"`
	WithoutCopies     bool    `json:"withoutCopies,omitzero" doc:"leave out what a sync wrote in the source; false by default"`
	Mapping           Mapping `json:"mapping,omitzero"`
}

// Targets are the codes of the targets on the wire: a list, or "*" for every active tenant without the source and common.
type Targets []string

// MarshalJSON returns the list, or "*" for a list of it alone.
func (t Targets) MarshalJSON() ([]byte, error) {
	if slices.Equal(t, Targets{every}) {
		return json.Marshal(every)
	}
	return json.Marshal([]string(t))
}

// UnmarshalJSON takes a list, or "*".
func (t *Targets) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*t = Targets{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(t))
}

// Schema implements huma.SchemaProvider.
func (Targets) Schema(huma.Registry) *huma.Schema {
	codes, most := 1, MaxTargets
	list := &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}, MinItems: &codes, MaxItems: &most}
	return &huma.Schema{OneOf: []*huma.Schema{list, {Type: huma.TypeString, Enum: []any{every}}},
		Description: "tenant codes, or * for every active tenant without the source and common"}
}

const every = "*"

func (r Request) body() Body {
	b := Body{SourceTenantCode: r.Source.String(), TargetTenantCodes: Targets{every}, EntityType: r.EntityType.String(), Prefix: r.Prefix,
		OnConflict: r.OnConflict, Deletes: r.Deletes, WithoutCopies: r.WithoutCopies, Mapping: r.Mapping}
	if b.OnConflict == "" {
		b.OnConflict = Overwrite
	}
	if !r.All {
		b.TargetTenantCodes = make(Targets, len(r.Targets))
		for i, code := range r.Targets {
			b.TargetTenantCodes[i] = code.String()
		}
	}
	return b
}

// request returns the Request that b spells. It fails with fault.ValidationFailed for a code that is none, and with fault.NotFound for an
// entity type that is none.
func (b Body) request() (r Request, err error) {
	r = Request{Prefix: b.Prefix, OnConflict: b.OnConflict, Deletes: b.Deletes, WithoutCopies: b.WithoutCopies, Mapping: b.Mapping, All: slices.Equal(b.TargetTenantCodes, Targets{every})}
	var problems []fault.Field
	parse := func(field, text string) tenant.Code {
		code, err := tenant.Parse(text)
		if err != nil {
			problems = append(problems, fault.Field{Field: field, Problem: "is not a tenant code"})
		}
		return code
	}
	r.Source = parse("sourceTenantCode", b.SourceTenantCode)
	if !r.All {
		for i, text := range b.TargetTenantCodes {
			r.Targets = append(r.Targets, parse("targetTenantCodes["+strconv.Itoa(i)+"]", text))
		}
	}
	if problems != nil {
		return r, fault.Invalid("tenantsync", problems...)
	}
	if r.EntityType, err = record.ParseEntityType(b.EntityType); err != nil {
		return r, noType()
	}
	return r, nil
}

func noType() error {
	return fault.New(fault.NotFound, "tenantsync", "there is no such entity type")
}

// check returns the state of the source of a Request that makes sense.
func (s *Service) check(ctx context.Context, r Request) (guard.State, error) {
	if t, ok := s.cfg.Entities.Lookup(r.EntityType); !ok || t.Owned {
		return guard.State{}, noType()
	}
	problems := r.Mapping.check()
	if r.OnConflict != "" && r.OnConflict != Overwrite && r.OnConflict != Skip && r.OnConflict != KeepLocal {
		problems = append(problems, fault.Field{Field: "onConflict", Problem: "is overwrite, skip or keep-local-changes"})
	}
	if n := len(r.Targets); r.All && n > 0 || !r.All && (n < 1 || n > MaxTargets) {
		problems = append(problems, fault.Field{Field: "targetTenantCodes", Problem: "are 1 to 1000 tenant codes, or * for every active tenant"})
	}
	if r.Prefix != "" {
		if err := record.CheckText(r.Prefix, record.MaxSortKey); err != nil {
			problems = append(problems, fault.Field{Field: "prefix", Problem: err.Error()})
		}
	}
	seen := map[tenant.Code]bool{r.Source: true}
	for i, code := range r.Targets {
		if seen[code] || code.IsZero() {
			problems = append(problems, fault.Field{Field: "targetTenantCodes[" + strconv.Itoa(i) + "]", Problem: "is the source, or there twice"})
		}
		seen[code] = true
	}
	source, err := s.cfg.State(ctx, r.Source)
	if err != nil {
		return guard.State{}, err
	}
	if !source.Exists {
		problems = append(problems, fault.Field{Field: "sourceTenantCode", Problem: "is no tenant that exists"})
	}
	if problems != nil {
		return guard.State{}, fault.Invalid("tenantsync", problems...)
	}
	return source, nil
}

// without returns targets without the source.
func (r Request) without(targets []tenant.Code) []tenant.Code {
	return slices.DeleteFunc(slices.Clone(targets), func(code tenant.Code) bool { return code == r.Source })
}

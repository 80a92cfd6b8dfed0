package readmodel

import (
	"regexp"
	"slices"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

// Model is a set of tables and the projections that write them. It is immutable and may be used concurrently.
type Model struct {
	tables      []*table
	projections []Projection
}

var projectionName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// New returns the Model of tables, with the projections that their entity types give them, and of further projections. It fails with
// fault.InvalidRequest for a declaration that is wrong in itself, for names that are there twice, for a projection of a table that is not
// declared, and for a table that two projections write.
func New(tables []Declared, projections ...Projection) (*Model, error) {
	m := &Model{}
	for _, d := range tables {
		t := d.declaration()
		if t.err != nil {
			return nil, t.err
		}
		if m.table(t.name) != nil {
			return nil, fault.New(fault.InvalidRequest, "readmodel.New", "the table %s is declared twice", t.name)
		}
		m.tables = append(m.tables, t)
		if !t.opts.EntityType.IsZero() {
			m.projections = append(m.projections, t.projection())
		}
	}
	m.projections = append(m.projections, projections...)
	return m, m.validate()
}

func (m *Model) validate() error {
	names, writers := map[string]bool{}, map[string]string{}
	for _, p := range m.projections {
		switch {
		case !projectionName.MatchString(p.Name) || names[p.Name]:
			return fault.New(fault.InvalidRequest, "readmodel.New", "projection %q: a projection has a name of its own, a letter and up to 62 of a-z, 0-9 and -", p.Name)
		case p.Type.IsZero() || p.Apply == nil || len(p.Tables) == 0:
			return fault.New(fault.InvalidRequest, "readmodel.New", "projection %s has no entity type, no Apply or no table", p.Name)
		}
		names[p.Name] = true
		for _, name := range p.Tables {
			if m.table(name) == nil {
				return fault.New(fault.InvalidRequest, "readmodel.New", "projection %s writes the table %s, which is not declared", p.Name, name)
			}
			if other, written := writers[name]; written {
				return fault.New(fault.InvalidRequest, "readmodel.New", "the projections %s and %s both write the table %s, which would not be rebuilt right", other, p.Name, name)
			}
			writers[name] = p.Name
		}
	}
	return nil
}

// Projections returns the projections, in the order of their declaration.
func (m *Model) Projections() []Projection { return slices.Clone(m.projections) }

// UniqueCodes returns the entity types whose live records have codes of their own in each tenant, because their tables do.
func (m *Model) UniqueCodes() []record.EntityType {
	var types []record.EntityType
	for _, t := range m.tables {
		if !t.opts.EntityType.IsZero() && !t.opts.DuplicateCodes {
			types = append(types, t.opts.EntityType)
		}
	}
	return types
}

func (m *Model) table(name string) *table {
	if i := slices.IndexFunc(m.tables, func(t *table) bool { return t.name == name }); i >= 0 {
		return m.tables[i]
	}
	return nil
}

// Form is a table as it stands in the database, for what copies and compares rows. All names are quoted.
type Form struct {
	Name, Shadow string
	Columns      []string // that are written; the first is the tenant's
}

// Form returns the form of a declared table. Ok is false where there is none of the name.
func (m *Model) Form(name string) (f Form, ok bool) {
	t := m.table(name)
	if t == nil {
		return Form{}, false
	}
	f = Form{Name: quote(t.name), Shadow: quote(t.name + shadowSuffix)}
	for _, c := range t.columns {
		f.Columns = append(f.Columns, quote(c.Name))
	}
	return f, true
}

// TableOf returns the quoted name of the table that has a row for each record of an entity type. Ok is false where there is none.
func (m *Model) TableOf(of record.EntityType) (name string, ok bool) {
	i := slices.IndexFunc(m.tables, func(t *table) bool { return t.opts.EntityType == of })
	if i < 0 || of.IsZero() {
		return "", false
	}
	return quote(m.tables[i].name), true
}

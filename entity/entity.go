// Package entity holds what an application declares of its entity types: who reads and writes them, which are shared,
// which have unique codes, what their attributes look like, and which belong to a module.
package entity

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

// Type is the declaration of one entity type. Only Name is required.
type Type struct {
	Name record.EntityType

	// Module groups types whose handlers run together and whose tables stand together. Defaults to the name in lower case.
	Module string

	// Owned means that only its module's own routes reach the type: the general record routes answer 404 for it.
	Owned bool

	// Shared lets every tenant read the common tenant's records of the type. Defaults to false.
	Shared bool

	// UniqueCode keeps the code unique among a tenant's live records. Defaults to false.
	UniqueCode bool

	// ReadRoles and WriteRoles are the roles in the tenant that may read and write. Empty means any role;
	// system_admin always may.
	ReadRoles, WriteRoles []string

	// Check validates attributes, of a whole record after a merge. It returns the problems found, none for good ones.
	// It must be safe for concurrent use. Nil accepts any JSON object.
	Check func(record.Attributes) []fault.Field

	// Schema is the JSON Schema of the attributes, for the API description. Nil for any object.
	Schema any
}

// Registry holds the declared types of an application. It is built once, by NewRegistry, and read concurrently.
type Registry struct {
	types  map[record.EntityType]Type
	closed bool
}

// NewRegistry returns a registry of types. Closed means that undeclared types are refused; an open registry takes
// any name with the defaults of Type. It fails with fault.InvalidRequest for a type declared twice or without a name.
func NewRegistry(closed bool, types ...Type) (*Registry, error) {
	r := &Registry{types: make(map[record.EntityType]Type, len(types)), closed: closed}
	for _, t := range types {
		if t.Name.IsZero() {
			return nil, fault.New(fault.InvalidRequest, "entity.NewRegistry", "an entity type is declared without a name")
		}
		if _, twice := r.types[t.Name]; twice {
			return nil, fault.New(fault.InvalidRequest, "entity.NewRegistry", "%s", fmt.Sprintf("entity type %s is declared twice", t.Name))
		}
		r.types[t.Name] = t
	}
	return r, nil
}

// Lookup returns the declaration of a type: the default one for an undeclared type in an open registry. Ok is false
// where the registry is closed and doesn't hold it.
func (r *Registry) Lookup(name record.EntityType) (t Type, ok bool) {
	if t, ok := r.types[name]; ok {
		return t, true
	}
	return Type{Name: name}, !r.closed && !name.IsZero()
}

// In returns the module that t belongs to.
func (t Type) In() string {
	if t.Module != "" {
		return t.Module
	}
	return strings.ToLower(t.Name.String())
}

// Shared reports whether a type is declared shared.
func (r *Registry) Shared(name record.EntityType) bool {
	t, ok := r.types[name]
	return ok && t.Shared
}

// Types returns the declared types, ordered by name.
func (r *Registry) Types() []Type {
	all := make([]Type, 0, len(r.types))
	for _, t := range r.types {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Type) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	return all
}

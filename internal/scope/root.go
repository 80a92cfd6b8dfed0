package scope

import "github.com/tenantry/tenantry/fault"

// Root is the right to open an engine, which reaches everything. Package storage holds one, and the engines' own tests.
type Root struct{ granted bool }

// NewRoot returns a Root.
func NewRoot() Root { return Root{granted: true} }

// Check returns nil for a Root that NewRoot made, else fault.RoleRequired.
func (r Root) Check() error {
	if !r.granted {
		return fault.New(fault.RoleRequired, "scope", "an engine is opened by package storage only")
	}
	return nil
}

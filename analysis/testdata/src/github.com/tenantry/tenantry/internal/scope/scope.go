// Package scope is a stub of the real one.
package scope

type Scope struct{ tenant string }

func New(tenant string) Scope { return Scope{tenant: tenant} } // its declaration is no use of it

func (s Scope) Check() error   { return nil }
func (s Scope) Tenant() string { return s.tenant }

type System struct{ *system }

type system struct{}

func NewSystem(reason string) System { return System{&system{}} }

type Root struct{ granted bool }

func NewRoot() Root { return Root{granted: true} }

// Package scope holds the two capabilities that reach data: a [Scope] is the right to touch one tenant's
// records, a [System] the right to cross tenants. Both can be named and passed on by anyone (package guard
// exports them) and made only here, which code outside this module cannot import. The analyzer of package
// analysis lists the packages inside it that may.
package scope

import (
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// Actor says who acts, from where and in which request. Every command, audit entry and log line carries it.
// An Actor is immutable once a Scope holds it.
type Actor struct {
	Issuer    string // who vouches for the user, "" for the process itself
	UserID    string // the token's sub; "system" for the process itself
	UserCode  string
	Email     string
	Role      string // the role in the acting tenant
	RequestID string
	SourceIP  string
	Source    string // the operation, "POST /api/data/{entityType}"

	// ActIssuer and ActUserID are who acts for the user by support access, "" for the user themselves.
	ActIssuer, ActUserID string
}

// Access says what a Scope may do.
type Access uint8

// The kinds of access. The zero Access is none.
const (
	none       Access = iota
	Full              // read and write every entity type of the tenant
	SharedRead        // read the entity types that are declared shared
)

// Scope is the right to touch the records of one tenant. Its zero value is refused everywhere with
// fault.TenantRequired. A Scope is a small value: pass it by value; it may be used concurrently.
type Scope struct {
	tenant tenant.Code
	access Access
	born   int64
	actor  *Actor
}

// New returns a Scope. Born is when the tenant was created, zero for the built-in tenants: what was handed
// out to an earlier tenant of the same code (a cursor) doesn't work in a later one.
func New(code tenant.Code, access Access, born time.Time, actor *Actor) Scope {
	sc := Scope{tenant: code, access: access, actor: actor}
	if !born.IsZero() {
		sc.born = born.Unix()
	}
	return sc
}

// Check returns nil for a Scope that names a tenant and an actor, else fault.TenantRequired.
func (s Scope) Check() error {
	if s.tenant.IsZero() || s.actor == nil || s.access == none {
		return fault.New(fault.TenantRequired, "scope", "no tenant is in scope; obtain a Scope from the guard")
	}
	return nil
}

// Tenant returns the tenant whose records the Scope covers.
func (s Scope) Tenant() tenant.Code { return s.tenant }

// Born returns the second in which the tenant was created, as Unix time; 0 for the built-in tenants.
func (s Scope) Born() int64 { return s.born }

// Writable reports whether the Scope may write, and may read entity types that are not shared.
func (s Scope) Writable() bool { return s.access == Full }

// Actor returns who acts. It is the zero Actor for the zero Scope.
func (s Scope) Actor() Actor {
	if s.actor == nil {
		return Actor{}
	}
	return *s.actor
}

// UserID returns the acting user's ID without copying the Actor.
func (s Scope) UserID() string {
	if s.actor == nil {
		return ""
	}
	return s.actor.UserID
}

// Shared returns the right of the same actor to read what the common tenant shares with every tenant. The zero Scope stays one
// that is refused.
func (s Scope) Shared() Scope {
	if s.Check() == nil {
		s.tenant, s.access, s.born = tenant.Common(), SharedRead, 0
	}
	return s
}

// WithSource returns s with the actor's operation replaced, for work that a request sets off.
func (s Scope) WithSource(source string) Scope {
	a := s.Actor()
	a.Source = source
	s.actor = &a
	return s
}

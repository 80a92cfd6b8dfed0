package scope

import (
	"context"
	"sync"
	"time"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// Crossing is what an audit entry says of one use of a System capability.
type Crossing struct {
	ID      string // of the audit entry
	Actor   Actor
	Reason  string
	Tenants []tenant.Code // touched so far, in the order of their first touch
}

// Auditor keeps the audit entries of System capabilities.
type Auditor interface {
	// Crossed makes c durable, replacing what was kept under its ID. It is called before the last of
	// c.Tenants is touched for the first time; when it fails, nothing is touched.
	Crossed(ctx context.Context, c Crossing) error
}

// System is the right to cross tenants: issued to an actor for a reason, it leaves one audit entry that names
// every tenant it touched. Its zero value is refused everywhere with fault.RoleRequired. It may be used concurrently.
type System struct{ *system }

type system struct {
	auditor Auditor

	mu       sync.Mutex // guards crossing.Tenants and noted; the rest of crossing does not change
	crossing Crossing
	noted    bool
}

// NewSystem returns a System. Auditor nil is for the process's own upkeep, which acts for no user (feeds, verification).
func NewSystem(id string, actor Actor, reason string, auditor Auditor) System {
	return System{&system{auditor: auditor, crossing: Crossing{ID: id, Actor: actor, Reason: reason}}}
}

// Check returns nil for a System that was issued, else fault.RoleRequired.
func (s System) Check() error {
	if s.system == nil || s.crossing.Reason == "" {
		return fault.New(fault.RoleRequired, "scope", "this crosses tenants and needs the System capability, with an actor and a reason")
	}
	return nil
}

// Note makes the audit entry durable without touching a tenant: for reads that list or count across all of them.
func (s System) Note(ctx context.Context) error {
	if err := s.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noted || s.auditor == nil {
		return nil
	}
	if err := s.auditor.Crossed(ctx, s.crossing); err != nil {
		return err
	}
	s.noted = true
	return nil
}

// Enter returns a Scope for one tenant, after the audit entry that names it is durable.
// Born is when the tenant was created, zero for the built-in tenants and one that does not exist yet.
func (s System) Enter(ctx context.Context, code tenant.Code, born time.Time) (Scope, error) {
	if err := s.Check(); err != nil {
		return Scope{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := false
	for _, t := range s.crossing.Tenants {
		known = known || t == code
	}
	if !known {
		next := s.crossing
		next.Tenants = append(next.Tenants[:len(next.Tenants):len(next.Tenants)], code)
		if s.auditor != nil {
			if err := s.auditor.Crossed(ctx, next); err != nil {
				return Scope{}, err
			}
		}
		s.crossing.Tenants, s.noted = next.Tenants, true
	}
	actor := s.crossing.Actor
	return New(code, Full, born, &actor), nil
}

// Because returns the right of the same actor for a reason of their own, which the audit entry has behind the one that s was issued for. Each
// leaves an entry of its own. The zero System stays one that is refused.
func (s System) Because(id, reason string) System {
	if s.system == nil {
		return s
	}
	return NewSystem(id, s.crossing.Actor, s.crossing.Reason+": "+reason, s.auditor)
}

// Actor returns who crosses.
func (s System) Actor() Actor {
	if s.system == nil {
		return Actor{}
	}
	return s.crossing.Actor
}

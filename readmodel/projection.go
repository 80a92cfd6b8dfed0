package readmodel

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
)

// Projection makes rows of the commands of one entity type. What it does depends on its commands only, in the order of their versions
// for one record, and on rows that it wrote itself: applied anew from the first command, it makes the same rows.
type Projection struct {
	Name   string            // [a-z][a-z0-9-]{0,62}; its checkpoint is kept under it, so it must not change
	Type   record.EntityType // whose commands it follows
	Tables []string          // that it writes, and nobody else does

	// Of returns whose rows a command makes. Nil is the tenant of its PK.
	Of func(cmd *record.Record) (tenant.Code, error)

	// Apply makes the rows. It runs in the transaction that moves the checkpoint: what it writes with tx takes effect once. It may
	// be called again for a transaction that was undone, so it does nothing else.
	Apply func(ctx context.Context, tx *Tx, cmd *record.Record) error
}

// Tenant returns whose rows a command makes. It fails where that is nobody a Scope can name.
func (p Projection) Tenant(cmd *record.Record) (tenant.Code, error) {
	if p.Of != nil {
		return p.Of(cmd)
	}
	_, code, _, err := record.SplitPK(cmd.PK)
	return code, err
}

// Place is where rows stand: in the tables that are read, or in their shadows, which a rebuild fills.
type Place bool

// The places.
const (
	Live   Place = false
	Shadow Place = true
)

// shadowSuffix makes a table's name its shadow's.
const shadowSuffix = "_shadow"

// Tx is what a projection writes with: the rows of one tenant, in the tables of one projection, in somebody's transaction. It is for one
// goroutine, until End or the transaction's. Its zero value is refused everywhere with fault.TenantRequired, and so is one that has ended.
type Tx struct {
	tx     driver.Tx
	sc     scope.Scope
	tables []string
	place  Place
}

// Begin returns the Tx of p for a Scope's tenant, in a transaction that it makes that tenant's: until another begins, or As says
// otherwise. It fails with fault.TenantRequired for the zero Scope, and with fault.TenantForbidden for one that only reads.
func (p Projection) Begin(ctx context.Context, tx driver.Tx, sc scope.Scope, place Place) (*Tx, error) {
	if err := sc.Check(); err != nil {
		return nil, err
	}
	if !sc.Writable() {
		return nil, fault.New(fault.TenantForbidden, "readmodel.Begin", "this scope reads shared records only")
	}
	if err := tx.As(ctx, sc.Tenant().String()); err != nil {
		return nil, err
	}
	return &Tx{tx: tx, sc: sc, tables: p.Tables, place: place}, nil
}

// End has t refused from now on: whoever kept it writes nothing in another's turn.
func (t *Tx) End() { *t = Tx{} }

// Tenant returns the tenant whose rows t writes.
func (t *Tx) Tenant() tenant.Code { return t.sc.Tenant() }

// table returns the quoted name that a table has in t's place.
func (t *Tx) table(name string) (string, error) {
	if err := t.sc.Check(); err != nil {
		return "", err
	}
	if !slices.Contains(t.tables, name) {
		return "", fault.New(fault.Internal, "readmodel.Tx", "the projection does not name the table %s among those that it writes", name)
	}
	if t.place == Shadow {
		name += shadowSuffix
	}
	return quote(name), nil
}

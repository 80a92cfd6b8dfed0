package storage

import (
	"context"
	"errors"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage/driver"
)

// Relational returns the store's database for tables that are declared, whose rows can change in the database that holds the records. Ok is
// false where its engine has none: a read model needs a database of its own then. It needs a Root, which applications can't make.
func (s *Store) Relational(root scope.Root) (db driver.Relational, ok bool) {
	if root.Check() != nil {
		return nil, false
	}
	db, ok = s.engine.(driver.Relational)
	return db, ok
}

// OpenRelational opens a database for tables that are declared, beside the store. The caller closes it. It fails with
// fault.InvalidRequest where the source's engine holds no such tables, and as Open does.
func OpenRelational(ctx context.Context, root scope.Root, src driver.Source) (db driver.Relational, closing func() error, err error) {
	engine, err := src.Open(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	db, ok := engine.(driver.Relational)
	if !ok {
		return nil, nil, errors.Join(fault.New(fault.InvalidRequest, "storage.OpenRelational",
			"the %s store holds no tables that are declared; name a SQLite or PostgreSQL database for the read model", src.Name()), engine.Close())
	}
	return db, engine.Close, nil
}

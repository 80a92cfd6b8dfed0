package tenantry

import (
	"context"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/upkeep"
)

// readModel is the database of the read model. Its zero value is none.
type readModel struct {
	driver.Relational
	closing func() error // nil where the store closes it
}

func (m readModel) close() error {
	if m.closing == nil {
		return nil
	}
	return m.closing()
}

// openReadModel opens the database of the read model, where there is to be one.
func (a *App) openReadModel(ctx context.Context) (err error) {
	switch src := a.cfg.ReadModel; {
	case src.Name() != "":
		a.database.Relational, a.database.closing, err = storage.OpenRelational(ctx, scope.NewRoot(), src)
		return err
	case a.cfg.Model == nil:
		return nil
	}
	db, ok := a.store.Relational(scope.NewRoot())
	if !ok {
		return fault.New(fault.InvalidRequest, "tenantry.Open", "the %s store holds no read model; name a SQLite or PostgreSQL database for it in Config.ReadModel", a.store.Engine())
	}
	a.database.Relational = db
	return nil
}

// ReadModel returns what keeps the read model. It fails with fault.Unavailable where there is none: the Config has neither a Model
// nor a ReadModel.
func (a *App) ReadModel() (*upkeep.Runner, error) {
	if a.upkeep == nil {
		return nil, fault.New(fault.Unavailable, "tenantry", "this installation keeps no read model; set tenantry.Config.Model")
	}
	return a.upkeep, nil
}

// Reach returns when the read model has everything of a tenant, of all tenants for the zero Code, up to a position that a command returned. It
// fails as upkeep.Runner.Wait does, and as ReadModel.
func (a *App) Reach(ctx context.Context, code tenant.Code, at driver.Position) error {
	keeper, err := a.ReadModel()
	if err != nil {
		return err
	}
	return keeper.Wait(ctx, code, at)
}

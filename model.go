package tenantry

import (
	"context"
	"errors"
	"slices"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/internal/scope"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/report"
	"github.com/tenantry/tenantry/storage"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/upkeep"
)

// model is the read model of an App. The zero model is none.
type model struct {
	declared   *readmodel.Model
	relational driver.Relational
	database   *readmodel.Database
	closing    func() error // of a database of its own
}

// openModel opens the read model's database: that of the Config, else the store's own.
func (a *App) openModel(ctx context.Context, cursors *storage.Cursors) (m model, err error) {
	m.declared = a.cfg.Model
	if m.declared == nil {
		return m, nil
	}
	if a.cfg.ReadModel.Name() != "" {
		m.relational, m.closing, err = storage.OpenRelational(ctx, scope.NewRoot(), a.cfg.ReadModel)
	} else if db, ok := a.store.Relational(scope.NewRoot()); ok {
		m.relational = db
	} else {
		err = fault.New(fault.InvalidRequest, "tenantry.Open", "the %s store holds no read model; set Config.ReadModel to a SQLite or PostgreSQL database for it", a.store.Engine())
	}
	if err == nil && a.cfg.ModelAsFound {
		if agrees, err := m.declared.Agrees(ctx, m.relational); err != nil || !agrees {
			return model{}, errors.Join(err, m.close())
		}
	}
	m.database = readmodel.NewDatabase(readmodel.Config{Model: m.declared, Relational: m.relational, Cursors: cursors, Shared: a.entities.Shared})
	return m, err
}

func (m model) close() error {
	if m.closing == nil {
		return nil
	}
	return m.closing()
}

// ReadModel returns the read model, nil where the Config has none.
func (a *App) ReadModel() *readmodel.Database { return a.model.database }

// Upkeep returns what keeps the read model, nil where the Config has none.
func (a *App) Upkeep() *upkeep.Runner { return a.upkeep }

// Reach returns when the read model has everything of a tenant, of all tenants for the zero Code, up to a position that a command
// returned. It fails as upkeep.Runner.Wait does, and with fault.Unavailable where there is no read model.
func (a *App) Reach(ctx context.Context, code tenant.Code, at driver.Position) error {
	if a.upkeep == nil {
		return fault.New(fault.Unavailable, "tenantry.Reach", "this installation keeps no read model; leave X-Tenantry-Position out")
	}
	return a.upkeep.Wait(ctx, code, at)
}

// CatchUp returns when the read model has everything that was committed before the call, also where the feed follows commits. It fails as
// Reach does.
func (a *App) CatchUp(ctx context.Context) error {
	across, err := a.store.Across(ctx, scope.NewSystem("", scope.Actor{UserID: "system"}, "catch up", nil))
	if err != nil {
		return err
	}
	end, err := across.Advance(ctx)
	if err != nil || end == "" {
		return err
	}
	return a.Reach(ctx, tenant.Code{}, end)
}

// counted returns where reports are counted, nil without a read model.
func (a *App) counted() report.ReadModel {
	if a.upkeep == nil {
		return nil
	}
	return a.upkeep
}

// declared returns the entity types of the App: the Config's and the modules', with unique codes where the read model's tables have
// them.
func (c Config) declared() []entity.Type {
	types := slices.Concat(c.Entities, Declarations())
	if c.Model == nil {
		return types
	}
	for _, name := range c.Model.UniqueCodes() {
		i := slices.IndexFunc(types, func(t entity.Type) bool { return t.Name == name })
		if i < 0 && c.ClosedEntities {
			continue // its table stays empty
		}
		if i < 0 {
			types = append(types, entity.Type{Name: name})
			i = len(types) - 1
		}
		types[i].UniqueCode = true
	}
	return types
}

package tenantry_test

import (
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/command"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/storage/sqlite"
	"github.com/tenantry/tenantry/tenantrytest"
)

func guideModel(t *testing.T) *readmodel.Model {
	t.Helper()
	m, err := readmodel.New(readmodel.Guide())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReadModelHasADatabase(t *testing.T) {
	_, err := tenantry.Open(t.Context(), tenantry.Config{Store: memory.New(), Model: guideModel(t)})
	if fault.CodeOf(err) != fault.InvalidRequest {
		t.Errorf("a read model in memory: %v", err)
	}
	for name, cfg := range map[string]tenantry.Config{
		"the store's own":       {Store: sqlite.At(t.TempDir())},
		"a database of its own": {Store: memory.New(), ReadModel: sqlite.At(t.TempDir())},
	} {
		cfg.Model = guideModel(t)
		cfg.Entities = []entity.Type{{Name: record.MustEntityType("ORDER"), Shared: true}}
		app := tenantrytest.New(t, cfg)
		sc := app.Scope("acme")
		var failed []fault.Code
		for _, sk := range []string{"1", "2"} {
			key, err := record.NewKey(sc, record.MustEntityType("ORDER"), sk)
			if err != nil {
				t.Fatal(err)
			}
			_, err = app.Commands().PublishSync(t.Context(), sc, command.Input{Key: key, Version: record.VersionFirst, Code: "same"})
			failed = append(failed, fault.CodeOf(err))
		}
		if failed[0] != "" || failed[1] != fault.AlreadyExists {
			t.Errorf("%s: two orders with one code: %q", name, failed)
		}
		orders, err := readmodel.Orders.In(app.ReadModel(), sc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := orders.List(t.Context(), readmodel.Query{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if typ, _ := app.Entities().Lookup(record.MustEntityType("ORDER")); !typ.Shared || !typ.UniqueCode {
			t.Errorf("%s: the type is declared as %+v", name, typ)
		}
	}
}

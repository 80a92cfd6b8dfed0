package entity_test

import (
	"errors"
	"testing"

	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
)

var (
	product  = record.MustEntityType("PRODUCT")
	template = record.MustEntityType("TEMPLATE")
	unknown  = record.MustEntityType("ORDER_ITEM")
)

func TestRegistry(t *testing.T) {
	declared := []entity.Type{{Name: template, Shared: true, Module: "master"}, {Name: product, UniqueCode: true}}
	for _, closed := range []bool{false, true} {
		r, err := entity.NewRegistry(closed, declared...)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := r.Lookup(product); !ok || p.In() != "product" || !p.UniqueCode || p.Shared {
			t.Errorf("product: %+v, %v", p, ok)
		}
		if tpl, ok := r.Lookup(template); !ok || tpl.In() != "master" || !r.Shared(template) || r.Shared(product) {
			t.Errorf("template: %+v, %v", tpl, ok)
		}
		other, ok := r.Lookup(unknown)
		if ok == closed || ok && (other.In() != "order_item" || other.Shared || other.Owned || other.UniqueCode) || r.Shared(unknown) {
			t.Errorf("closed %v, not declared: %+v, %v", closed, other, ok)
		}
		if _, ok := r.Lookup(record.EntityType{}); ok {
			t.Error("the zero type is declared")
		}
		if all := r.Types(); len(all) != 2 || all[0].Name != product || all[1].Name != template {
			t.Errorf("types %v", all)
		}
	}
}

func TestRegistryRefuses(t *testing.T) {
	if _, err := entity.NewRegistry(false, entity.Type{}); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("no name: %v", err)
	}
	if _, err := entity.NewRegistry(false, entity.Type{Name: product}, entity.Type{Name: template}, entity.Type{Name: product, Shared: true}); !errors.Is(err, fault.InvalidRequest) {
		t.Errorf("declared twice: %v", err)
	}
}

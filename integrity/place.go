package integrity

import (
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// place is what a PK names.
type place struct {
	entity record.EntityType
	tenant tenant.Code
	plain  bool // no segments follow the tenant
	older  bool // X#COMMON, which older services wrote and which is read as X#common; they keep nothing beside records
}

// locate returns the place that a PK names; ok is false for one that no Scope can name.
func locate(pk string) (at place, ok bool) {
	entity, code, rest, err := record.SplitPK(pk)
	if err != nil {
		return place{}, false
	}
	at = place{entity: entity, tenant: code, plain: rest == ""}
	spelt := strings.TrimPrefix(pk, entity.String()+record.Separator)
	if !at.plain {
		spelt = strings.TrimSuffix(spelt, record.Separator+rest)
	}
	at.older = code.IsCommon() && spelt == "COMMON"
	return at, at.older || spelt == code.String()
}

// older returns the PK under which older services wrote what is read under pk; ok is false where they didn't.
func older(pk string) (_ string, ok bool) {
	at, ok := locate(pk)
	if !ok || !at.tenant.IsCommon() || at.older {
		return "", false
	}
	return strings.Replace(pk, "#common", "#COMMON", 1), true
}

// names reports whether a row of the place may carry tenantCode.
func (p place) names(tenantCode string) bool {
	return tenantCode == p.tenant.String() || p.older && tenantCode == "COMMON"
}

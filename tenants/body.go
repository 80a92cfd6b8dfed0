package tenants

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/tenant"
)

// body is how the bodies of all operations are read.
type body struct {
	TenantCode    string         `json:"tenantCode"`
	PK            string         `json:"pk"`
	ID            string         `json:"id"`
	Code          string         `json:"code"`
	Name          *string        `json:"name"`
	Description   *string        `json:"description"`
	Attributes    jsontext.Value `json:"attributes"`
	GroupID       string         `json:"groupId"`
	SettingGroups []string       `json:"settingGroups"`
	Role          string         `json:"role"`
	Reason        string         `json:"reason"`

	attributes record.Attributes // Attributes in canonical form
}

func read(c *route.Call) (b body, err error) {
	if err = c.Decode(&b); err == nil && len(b.Attributes) > 0 {
		b.attributes, err = record.ParseAttributes(b.Attributes)
	}
	return b, err
}

// reached reads the body of a call that reaches a tenant's own record.
func reached(c *route.Call) (body, error) {
	b, err := read(c)
	if err == nil {
		err = b.agree(c.Scope().Tenant(), Master)
	}
	return b, err
}

// create returns the tenant that the body creates under a code, where what the body names is that tenant. The guard
// can't have compared it: the route names none.
func (b body) create(code tenant.Code) (Create, error) {
	if named, err := tenant.Parse(b.TenantCode); b.TenantCode != "" && (err != nil || named != code) {
		return Create{}, namesAnotherTenant()
	}
	return Create{Code: code, Name: b.name(), Description: b.Description, Attributes: b.attributes}, b.agree(code, Master)
}

func (b body) name() string {
	if b.Name == nil {
		return ""
	}
	return *b.Name
}

// agree checks that pk and id, where the body has them, name the record sk of a tenant.
func (b body) agree(code tenant.Code, sk string) error {
	pks := make([]string, 0, 2)
	if b.PK != "" {
		pks = append(pks, b.PK)
	}
	if b.ID != "" {
		pk, ok := strings.CutSuffix(b.ID, record.Separator+sk)
		if !ok {
			return namesAnotherRecord()
		}
		pks = append(pks, pk)
	}
	for _, pk := range pks {
		switch t, named, rest, err := record.SplitPK(pk); {
		case err != nil, t != EntityType(), rest != "":
			return namesAnotherRecord()
		case named != code:
			return namesAnotherTenant()
		}
	}
	return nil
}

func namesAnotherRecord() error {
	return fault.New(fault.InvalidKey, "tenants", "the body's pk or id names another record than the route; leave it out")
}

func namesAnotherTenant() error {
	return fault.New(fault.TenantConflict, "tenants", "the body names another tenant than the one that it creates or changes; leave tenantCode, pk and id out")
}

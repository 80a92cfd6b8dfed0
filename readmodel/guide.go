package readmodel

import (
	"encoding/json"
	"strings"

	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
)

// Plain is the columns of a table that has none but those of its records.
type Plain struct{}

// UserTenant is the columns of the table of memberships.
type UserTenant struct {
	UserCode  string `json:"userCode" db:"user_code,unique"`
	Role      string `json:"role" db:"role"`
	IsDefault bool   `json:"isDefault" db:"is_default"`
}

// The tables of the relational schema of mbc-cqrs-serverless's guide. Orders and users have the columns of products; the settings of a
// tenant are its row's attributes.
var (
	Products       = Declare[Plain]("product", Options{EntityType: record.MustEntityType("PRODUCT")})
	Orders         = Declare[Plain]("order", Options{EntityType: record.MustEntityType("ORDER"), Across: [][]string{{"created_at", "is_deleted"}}})
	Users          = Declare[Plain]("user", Options{EntityType: record.MustEntityType("USER")})
	UserTenants    = Declare[UserTenant]("user_tenant", Options{EntityType: record.MustEntityType("USER_TENANT"), Of: MemberOf, From: membership, DuplicateCodes: true, Across: [][]string{{"user_code"}}})
	TenantSettings = Declare[Plain]("tenant_settings", Options{EntityType: record.MustEntityType("SETTINGS"), From: config, DuplicateCodes: true})
)

// Guide returns the tables of the guide's schema.
func Guide() []Declared {
	return []Declared{Products, Orders, Users, UserTenants, TenantSettings}
}

// MemberOf returns the tenant of a membership, USER_TENANT#common / tenant#user: not the one in which it stands.
func MemberOf(cmd *record.Record) (tenant.Code, error) {
	code, _, _ := strings.Cut(cmd.SK, record.Separator)
	return tenant.Parse(code)
}

// membership returns a membership whose attributes say whose it is as its key does: another framework may have written them.
func membership(cmd *record.Record) (*record.Record, error) {
	_, user, _ := strings.Cut(cmd.SK, record.Separator)
	text, err := json.Marshal(user)
	if err != nil {
		return nil, err
	}
	cmd = cmd.Clone()
	cmd.Attributes, err = cmd.Attributes.With("userCode", text)
	return cmd, err
}

// config returns the settings of a tenant, nil for other records of their entity type.
func config(cmd *record.Record) (*record.Record, error) {
	if cmd.SK != "config" {
		return nil, nil
	}
	return cmd, nil
}

package readmodel

import (
	"testing"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
)

func TestGuide(t *testing.T) {
	onEach(t, func(t *testing.T, another func() driver.Relational) {
		db := another()
		m := model(t, db, Guide()...)
		d := database(t, m, db)
		attributes := func(text string) record.Attributes {
			a, err := record.ParseAttributes([]byte(text))
			must(t, err)
			return a
		}
		member := func(code, user, text string) *record.Record {
			return &record.Record{PK: "USER_TENANT#common", SK: code + "#" + user, TenantCode: "common", Code: user, Version: 1, CreatedAt: record.At(noon), Attributes: attributes(text)}
		}
		must(t, project(t.Context(), m, db, Live,
			command(t, "acme", "p1", 1, map[string]any{"price": 1}),
			&record.Record{PK: "ORDER#acme#2026-11", SK: "o1", Code: "o1", Version: 1},
			&record.Record{PK: "USER#acme", SK: "u1", Code: "u1", Name: "Ann", Version: 1},
			member("acme", "ann#1", `{"role":"admin","isDefault":true,"userCode":"somebody else"}`),
			member("bravo", "ann#1", `{"role":"user"}`),
			&record.Record{PK: "SETTINGS#acme", SK: "config", Code: "config", Version: 1, Attributes: attributes(`{"locale":"ja"}`)},
			&record.Record{PK: "SETTINGS#acme", SK: "other", Code: "config", Version: 1}))
		for _, table := range []*Table[Plain]{Products, Orders, Users, TenantSettings} {
			for code, want := range map[string]int64{"acme": 1, "bravo": 0, "common": 0} {
				v, err := table.In(d, scopeOf(code))
				must(t, err)
				n, err := v.Count(t.Context(), Query{})
				must(t, err)
				same(t, table.name+" of "+code, n, want)
			}
		}
		for code, want := range map[string]UserTenant{"acme": {UserCode: "ann#1", Role: "admin", IsDefault: true}, "bravo": {UserCode: "ann#1", Role: "user"}} {
			v, err := UserTenants.In(d, scopeOf(code))
			must(t, err)
			page, err := v.List(t.Context(), Query{Where: []Condition{UserTenants.Column("user_code").Equal("ann#1")}})
			must(t, err)
			if len(page.Rows) != 1 || page.Rows[0].Values != want || page.Rows[0].TenantCode != code || page.Rows[0].PK != "USER_TENANT#common" {
				t.Errorf("the members of %s: %+v", code, page.Rows)
			}
		}
		v, err := UserTenants.In(d, scopeOf("common"))
		must(t, err)
		n, err := v.Count(t.Context(), Query{Deleted: true})
		must(t, err)
		same(t, "memberships that the common tenant sees", n, int64(0))
		if err := project(t.Context(), m, db, Live, member("no tenant", "ann", `{}`)); err == nil {
			t.Error("a membership of what is no tenant was projected")
		}
		same(t, "types whose codes are unique", m.UniqueCodes(), []record.EntityType{record.MustEntityType("PRODUCT"), record.MustEntityType("ORDER"), record.MustEntityType("USER")})
		fails(t, "a second order with a code", project(t.Context(), m, db, Live, &record.Record{PK: "ORDER#acme#2026-12", SK: "o2", Code: "o1", Version: 1}), fault.AlreadyExists)
		must(t, project(t.Context(), m, db, Live, &record.Record{PK: "ORDER#bravo", SK: "o2", Code: "o1", Version: 1}, &record.Record{PK: "ORDER#acme", SK: "o3", Version: 1}, &record.Record{PK: "ORDER#acme", SK: "o4", Version: 1}))
	})
}

package tenants_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/storage/driver"
	"github.com/tenantry/tenantry/storage/memory"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
	"github.com/tenantry/tenantry/tenants"
)

// foreign is a tenant's own record as another service writes it.
func foreign(pk string, version int64, name string) *record.Record {
	return &record.Record{PK: pk, SK: tenants.Master, Version: version, TenantCode: pk[len("TENANT#"):], Code: tenants.Master, Name: name}
}

// adopted adopts, and says what of.
func (n *node) adopted() []string {
	n.Helper()
	codes, err := n.service.Adopt(n.Context(), worldtest.System("test", nil))
	if err != nil {
		n.Fatal(err)
	}
	var out []string
	for _, c := range codes {
		out = append(out, c.String())
	}
	return out
}

// listed returns what a list shows: codes, names and versions.
func (n *node) listed() (out []string) {
	n.Helper()
	page, err := n.service.List(n.Context(), worldtest.System("test", nil), 0, "", false)
	if err != nil {
		n.Fatal(err)
	}
	for _, rec := range page.Items {
		out = append(out, rec.TenantCode+" "+rec.Name+" "+string(rune('0'+rec.Version)))
	}
	return out
}

func TestAdopt(t *testing.T) {
	n := newNode(t, memory.New(), false)
	n.create("bravo")
	inside, parted := foreign("TENANT#acme", 1, "A department"), foreign("TENANT#acme#2026", 1, "None")
	inside.SK = "department"
	n.Plant(driver.Data, foreign("TENANT#acme", 3, "Acme"), inside, parted, foreign("TENANT#MixedCase", 1, "Nobody reaches it"), foreign("TENANT#COMMON", 2, "Shared"),
		&record.Record{PK: "TENANTS#acme", SK: tenants.Master, Version: 1}, &record.Record{PK: "PRODUCT#acme", SK: tenants.Master, Version: 1})
	for _, c := range []struct {
		what            string
		plant           []*record.Record
		adopted, listed []string
	}{
		{"the first time", nil, []string{"common", "acme"}, []string{"acme Acme 3", "bravo bravo 1", "common Shared 2"}},
		{"again", nil, nil, []string{"acme Acme 3", "bravo bravo 1", "common Shared 2"}},
		{"after changes elsewhere", []*record.Record{foreign("TENANT#acme", 4, "Acme Ltd"), {PK: "TENANT#bravo", SK: tenants.Master, Version: 2, TenantCode: "bravo", IsDeleted: true}},
			[]string{"acme", "bravo"}, []string{"acme Acme Ltd 4", "common Shared 2"}},
		{"with a row that is ahead of its record", []*record.Record{foreign("TENANT#acme", 2, "Acme restored")}, []string{"acme"}, []string{"acme Acme restored 2", "common Shared 2"}},
		{"where the common tenant has two records", []*record.Record{foreign("TENANT#common", 1, "Common")}, []string{"common"}, []string{"acme Acme restored 2", "common Common 1"}},
	} {
		n.Plant(driver.Data, c.plant...)
		if diff := cmp.Diff(c.adopted, n.adopted()); diff != "" {
			t.Errorf("adopted %s: %s", c.what, diff)
		}
		if diff := cmp.Diff(c.listed, n.listed()); diff != "" {
			t.Errorf("listed %s: %s", c.what, diff)
		}
	}
	if _, err := n.service.Adopt(t.Context(), guard.System{}); fault.CodeOf(err) != fault.RoleRequired {
		t.Errorf("without a right: %v", err)
	}
}

// overtaken is an engine that has something happen right before a commit that writes to the directory alone.
type overtaken struct {
	driver.Engine
	first *func()
}

func (o overtaken) Commit(ctx context.Context, b driver.Batch) (driver.Position, error) {
	if f := *o.first; f != nil && b.Writes[0].Record.PK == "TENANTS#common" {
		*o.first = nil
		f()
	}
	return o.Engine.Commit(ctx, b)
}

// TestAdoptIsOvertaken has a tenant change between the look at its record and the row of the directory.
func TestAdoptIsOvertaken(t *testing.T) {
	src := memory.New()
	there := newNode(t, src, false)
	var first func()
	here := newNode(t, worldtest.Wrapped(src, func(e driver.Engine) driver.Engine { return overtaken{e, &first} }), false)
	here.Plant(driver.Data, foreign("TENANT#acme", 1, "Acme"))
	first = func() { there.suspend("acme") }
	if got := here.adopted(); got != nil || first != nil {
		t.Errorf("adopted %q of a tenant that changed", got)
	}
	if diff := cmp.Diff([]string{"acme Acme 2"}, here.listed()); diff != "" {
		t.Error(diff)
	}
}

// surveyed is an engine to whose store other programs write: they made a partition of every tenant that is not noted.
type surveyed struct {
	driver.Engine
	err *error
}

func (s surveyed) Partitions(_ context.Context, of tenant.Code) ([]string, error) {
	return []string{"TENANT#" + of.String(), "PRODUCT#" + of.String()}, *s.err
}

func TestWhatOthersWroteKeepsACode(t *testing.T) {
	var failing error
	src := worldtest.Wrapped(memory.New(), func(e driver.Engine) driver.Engine { return surveyed{e, &failing} })
	o := &office{t: t, App: tenantrytest.New(t, tenantry.Config{Store: src})}
	o.Scope("acme")
	if _, err := o.delete(own("acme")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		survey error
		want   fault.Code
	}{{nil, fault.TenantNotPurged}, {fault.New(fault.Unavailable, "test", "a table can't be read"), fault.Unavailable}} {
		failing = c.survey
		_, err := o.create("acme", "")
		o.is("create again", err, c.want)
	}
}

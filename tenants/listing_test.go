package tenants_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/data"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/worldtest"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenants"
)

func (o *office) page(limit int, cursor string, deleted bool) data.Page {
	o.t.Helper()
	page, err := o.Tenants().List(o.t.Context(), o.System("list"), limit, cursor, deleted)
	if err != nil {
		o.t.Fatal(err)
	}
	return page
}

// pages returns the codes on each page of a list.
func (o *office) pages(limit int, deleted bool) (pages [][]string) {
	o.t.Helper()
	for cursor := ""; ; {
		page := o.page(limit, cursor, deleted)
		codes := []string{}
		for _, rec := range page.Items {
			codes = append(codes, rec.TenantCode)
		}
		pages = append(pages, codes)
		if cursor = page.Cursor; cursor == "" {
			return pages
		}
	}
}

func TestList(t *testing.T) {
	o := newOffice(t)
	if got := o.pages(0, true); len(got) != 1 || len(got[0]) != 0 || o.page(0, "", true).Items == nil {
		t.Errorf("of nothing: %q", got)
	}
	for _, code := range []string{"delta", "alpha", "echo", "charlie", "bravo", "foxtrot"} {
		res, err := o.create(code, `{"n":1}`)
		must(t, res, err)
	}
	for _, code := range []string{"alpha", "charlie", "delta", "foxtrot"} {
		res, err := o.delete(own(code))
		must(t, res, err)
	}
	res, err := o.create("alpha", "")
	must(t, res, err)
	res, err = o.Tenants().CreateCommonTenant(t.Context(), o.System("test"), tenants.Create{Name: "Common"})
	must(t, res, err)
	res, err = o.Tenants().CreateTenantGroup(t.Context(), o.Scope("bravo"), tenants.Create{Code: worldtest.Code("dept"), Name: "Dept"})
	must(t, res, err)
	for _, c := range []struct {
		limit   int
		deleted bool
		want    [][]string
	}{
		{0, false, [][]string{{"alpha", "bravo", "common", "echo"}}},
		{1000, true, [][]string{{"alpha", "bravo", "charlie", "common", "delta", "echo", "foxtrot"}}},
		{1, false, [][]string{{"alpha"}, {"bravo"}, {"common"}, {"echo"}}},
		{2, false, [][]string{{"alpha", "bravo"}, {"common", "echo"}}},
		{3, false, [][]string{{"alpha", "bravo", "common"}, {"echo"}}},
		{4, false, [][]string{{"alpha", "bravo", "common", "echo"}}},
		{3, true, [][]string{{"alpha", "bravo", "charlie"}, {"common", "delta", "echo"}, {"foxtrot"}}},
	} {
		if diff := cmp.Diff(c.want, o.pages(c.limit, c.deleted)); diff != "" {
			t.Errorf("limit %d, deleted %v: %s", c.limit, c.deleted, diff)
		}
	}
	for _, rec := range o.page(0, "", true).Items {
		if diff := cmp.Diff(o.get(own(rec.TenantCode)), rec, cmp.Comparer(func(a, b record.Time) bool { return a == b })); diff != "" {
			t.Errorf("the list and the record of %s: %s", rec.TenantCode, diff)
		}
	}
}

// TestListGoesOn checks that pages go on where they ended, whatever happens meanwhile.
func TestListGoesOn(t *testing.T) {
	o := newOffice(t)
	o.Tenant("b", "d", "f")
	first := o.page(2, "", false)
	o.Tenant("a", "c", "e")
	res, err := o.delete(own("d"))
	must(t, res, err)
	rest := o.page(2, first.Cursor, false)
	if got := codesOf(rest); !slices.Equal(got, []string{"e", "f"}) || rest.Cursor != "" {
		t.Errorf("the second page is %q", got)
	}
}

func codesOf(page data.Page) (codes []string) {
	for _, rec := range page.Items {
		codes = append(codes, rec.TenantCode)
	}
	return codes
}

func TestListIsRefused(t *testing.T) {
	o := newOffice(t)
	o.Tenant("a", "b", "c")
	cursor := o.page(1, "", false).Cursor
	list := func(sys guard.System, limit int, cursor string, deleted bool) error {
		_, err := o.Tenants().List(t.Context(), sys, limit, cursor, deleted)
		return err
	}
	sys := o.System("list")
	o.is("control", list(sys, 2, cursor, false), "")
	o.is("another query", list(sys, 1, cursor, true), fault.InvalidCursor)
	o.is("a cursor that was changed", list(sys, 1, cursor[:len(cursor)-1], false), fault.InvalidCursor)
	records, err := o.Data().List(t.Context(), worldtest.Scope("common"), data.Query{Partition: o.partition("AUDIT"), Limit: 1})
	if err != nil || records.Cursor == "" {
		t.Fatalf("%v, cursor %q", err, records.Cursor)
	}
	o.is("a cursor of another list", list(sys, 1, records.Cursor, false), fault.InvalidCursor)
	o.is("limit -1", list(sys, -1, "", false), fault.ValidationFailed)
	o.is("limit 1001", list(sys, 1001, "", false), fault.ValidationFailed)
	o.is("without the right", list(guard.System{}, 1, "", false), fault.RoleRequired)
}

func (o *office) partition(entityType string) record.Partition {
	o.t.Helper()
	p, err := record.NewPartition(worldtest.Scope("common"), record.MustEntityType(entityType))
	if err != nil {
		o.t.Fatal(err)
	}
	return p
}

// TestListOfDeepAttributes checks tenants whose attributes nest as deep as they may, deeper than a copy of the record holds.
func TestListOfDeepAttributes(t *testing.T) {
	o := newOffice(t)
	for i, depth := range []int{record.MaxDepth - 1, record.MaxDepth} {
		code := fmt.Sprintf("deep%d", i)
		res, err := o.create(code, strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth))
		must(t, res, err)
		if listed := o.page(0, "", false).Items[i]; listed.TenantCode != code || string(listed.Attributes) != string(o.get(own(code)).Attributes) || listed.Version != 1 {
			t.Errorf("depth %d: %+v", depth, listed)
		}
	}
	res, err := o.delete(own("deep1"))
	must(t, res, err)
	if got := o.pages(0, false); !slices.Equal(got[0], []string{"deep0"}) {
		t.Errorf("after deleting: %q", got)
	}
	if got := o.pages(0, true); !slices.Equal(got[0], []string{"deep0", "deep1"}) {
		t.Errorf("with deleted ones: %q", got)
	}
}

// TestListIsAudited checks that listing leaves an entry, which names no tenant.
func TestListIsAudited(t *testing.T) {
	o := newOffice(t)
	o.page(0, "", false)
	page, err := o.Audit().List(t.Context(), worldtest.Scope("common"), 0, "")
	if err != nil || len(page.Items) != 1 || page.Items[0].Reason != "list" || len(page.Items[0].Tenants) != 0 {
		t.Errorf("%+v, %v", page.Items, err)
	}
}

package tenantsync_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/tenantsync"
)

func TestList(t *testing.T) {
	w := newWorld(t)
	w.put(w.acme, "1", `{}`)
	var ids []string
	for range 5 {
		ids = append([]string{w.plan(w.request("bravo"), tenantsync.Order{Apply: true})}, ids...)
	}
	var got []string
	for cursor, first := "", true; first || cursor != ""; first = false {
		page, err := w.List(w.Context(), w.sys(), 2, cursor)
		w.must(err)
		for _, st := range page.Items {
			if got = append(got, st.ID); st.Status != tenantsync.Applied || st.Total != 1 || st.PerTenant != nil {
				t.Errorf("%+v", st)
			}
		}
		cursor = page.Cursor
	}
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Error(diff)
	}
	waits, err := w.Plan(w.Context(), w.sys(), w.request("charlie"), tenantsync.Order{Apply: true})
	w.must(err)
	w.next()
	w.set("charlie", guard.State{Exists: true, Suspended: true})
	page, err := w.List(w.Context(), w.sys(), 1, "")
	if st := w.status(waits); err != nil || st.Status != tenantsync.Failed || page.Items[0].Status != st.Status {
		t.Errorf("a sync that waits for a tenant is %s, and %s in the list, %v", st.Status, page.Items[0].Status, err)
	}
	if _, err := w.List(w.Context(), w.sys(), 2, "nonsense"); !errors.Is(err, fault.InvalidCursor) {
		t.Errorf("a cursor that is none: %v", err)
	}
}

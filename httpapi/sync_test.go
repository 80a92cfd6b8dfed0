package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/tenantry/tenantry/internal/apitest"
)

// TestSyncEvents follows a sync to its end, after which the stream ends, and looks at one that is over.
func TestSyncEvents(t *testing.T) {
	s := apitest.Start(t, world())
	sa := s.Token("system_admin")
	send := func(method, path, body string, status int) *apitest.Answer {
		t.Helper()
		a := s.Do(t, apitest.Request{Token: sa, Method: method, Path: path, Body: body})
		if a.Status != status {
			t.Fatalf("%s %s: %v", method, path, a)
		}
		return a
	}
	for _, sk := range []string{"1", "2", "3"} {
		send("POST", "/api/tenants/alpha/data/PRODUCT", `{"sk":"`+sk+`","name":"N"}`, 201)
	}
	var ordered struct{ ID string }
	a := send("POST", "/api/admin/sync", `{"sourceTenantCode":"Alpha","targetTenantCodes":["bravo"],"entityType":"PRODUCT"}`, 202)
	a.Decode(t, &ordered)
	if location := a.Header.Get("Location"); location != "/api/admin/sync/"+ordered.ID {
		t.Errorf("Location %q", location)
	}
	for range 2 {
		stream := apitest.FollowAt(t, s.URL+"/api/admin/sync/"+ordered.ID+"/events", sa)
		for {
			name, _, data := stream.Next()
			var st struct {
				Status                string
				Total, Synced, Failed int64
				PerTenant             []struct{ TenantCode string }
			}
			if err := json.Unmarshal([]byte(data), &st); err != nil {
				t.Fatalf("event %q: %s", name, data)
			}
			if name == "progress" && len(st.PerTenant) == 0 { // its targets are still to come
				continue
			}
			if len(st.PerTenant) != 1 || st.PerTenant[0].TenantCode != "bravo" {
				t.Fatalf("event %q: %s", name, data)
			}
			if name == "progress" {
				continue
			}
			if name != "done" || st.Status != "applied" || st.Synced != 3 || st.Total != 3 || st.Failed != 0 {
				t.Errorf("the last event is %q: %s", name, data)
			}
			break
		}
		if name, _, data := stream.Next(); name != "" {
			t.Errorf("after the last event comes %q: %s", name, data)
		}
	}
	send("GET", "/api/admin/sync/"+ordered.ID+"/items?target=bravo", "", http.StatusOK)
}

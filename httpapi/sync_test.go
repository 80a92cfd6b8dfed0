package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
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
			if !strings.Contains(data, `"errors":[]`) || !strings.Contains(data, `"perTenant":[`) { // also before it has any
				t.Errorf("event %q lacks what the contract names: %s", name, data)
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
	if a := send("GET", "/api/admin/sync", "", http.StatusOK); !strings.Contains(string(a.Body), `"errors":[],"perTenant":[]`) {
		t.Errorf("the list: %s", a.Body)
	}
}

// TestTargetsOfNoForm has targets that are neither a list nor *; the refusal says what they are to be.
func TestTargetsOfNoForm(t *testing.T) {
	s := apitest.Start(t, world())
	plan := func(targets string) *apitest.Answer {
		return s.Do(t, apitest.Request{Token: s.Token("system_admin"), Method: "POST", Path: "/api/admin/sync/plan",
			Body: `{"sourceTenantCode":"alpha","entityType":"PRODUCT","targetTenantCodes":` + targets + `}`})
	}
	for _, targets := range []string{`[]`, `[1]`, `"bravo"`, `{}`, `7`} {
		var problem struct {
			Errors []struct{ Field, Problem string }
		}
		a := plan(targets)
		if a.Decode(t, &problem); a.Status != 422 || len(problem.Errors) != 1 || problem.Errors[0].Field != "targetTenantCodes" ||
			!strings.HasSuffix(problem.Errors[0].Problem, ": tenant codes, or * for every active tenant without the source and common") {
			t.Errorf("%s: %v", targets, a)
		}
	}
	for _, targets := range []string{`["bravo"]`, `"*"`} {
		if a := plan(targets); a.Status != 202 {
			t.Errorf("%s: %v", targets, a)
		}
	}
}

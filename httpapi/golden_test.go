package httpapi_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/record"
)

// difference is how an answer is not the recorded one, on purpose: testdata/golden/README.md says why.
type difference struct {
	status  int
	code    string
	members map[string]any // by name; nil for those that must not be there
}

// differences are those of single requests, by their number.
var differences = map[int]difference{
	3:  {400, "already_exists", map[string]any{"message": "tenant h1 already exists"}},
	5:  {422, "validation_failed", nil},
	6:  {422, "validation_failed", nil},
	17: {400, "already_exists", nil},
	25: {200, "", map[string]any{"name": "Http One v2"}},
	28: {404, "not_found", nil},
	31: {201, "", map[string]any{"name": "Http One v2"}},
	32: {200, "", map[string]any{"changed": false, "sk": "MASTER", "version": json.Number("6")}},
	35: {200, "", map[string]any{"name": "Http One v2"}},
	37: {404, "not_found", nil},
}

// unrecorded are the changes that brought a tenant to the version that the next recorded request finds, by the number of that request.
var unrecorded = map[int][]apitest.Request{
	1: {
		{Method: "POST", Path: "/api/tenant/common", Body: `{"name":"Common"}`},
		{Method: "POST", Path: "/api/tenant", Body: `{"code":"h2","name":"Two","attributes":{}}`},
		{Method: "PATCH", Path: "/api/tenant/TENANT%23h2/MASTER", Body: `{"name":"Http Two"}`},
	},
	31: {
		{Method: "PATCH", Path: "/api/tenant/TENANT%23h1/MASTER", Body: `{"name":"x"}`},
		{Method: "PATCH", Path: "/api/tenant/TENANT%23h1/MASTER", Body: `{"name":"Http One v2"}`},
	},
}

// more are the members that ours have beside the recorded ones.
var more = []string{"source", "syncMode", "status", "requestId", "ttl", "isDeleted"}

func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/golden/http.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []struct {
		N           int
		Name        string
		Method      string
		Path        string
		RequestBody json.RawMessage
		Status      int
		Body        json.RawMessage `json:"responseBody"`
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	s := apitest.Start(t, apitest.Options{})
	token := s.IdP.Token("user-1", apitest.Claims{"custom:role": "SYSTEM_ADMIN"})
	created := map[any]string{} // when, by ID
	for _, each := range recorded {
		for _, r := range unrecorded[each.N] {
			r.Token = token
			if a := s.Do(t, r); !a.OK() {
				t.Fatalf("%v: %v", r, a)
			}
		}
		s.App.Clock.Advance(time.Second)
		t.Run(fmt.Sprint(each.N, " ", each.Name), func(t *testing.T) {
			r := apitest.Request{Token: token, Method: each.Method, Path: each.Path, Header: []string{"X-Request-Id", fmt.Sprint("http-", each.N)}}
			if string(each.RequestBody) != "null" {
				r.Body = string(each.RequestBody)
			}
			a := s.Do(t, r)
			d, differs := differences[each.N]
			if !differs {
				d.status = each.Status
			}
			want(t, a, d.status, d.code)
			got := a.JSON(t).(map[string]any)
			now := record.At(s.App.Clock.Now()).String()
			if a.Status == 201 && each.Method == "POST" && each.Path == "/api/tenant" {
				created[got["id"]] = now
			}
			if changed := a.OK() && each.Method != "GET" && got["changed"] != false; changed && got["updatedAt"] != now {
				t.Errorf("updatedAt is %v; the change was made at %s", got["updatedAt"], now)
			}
			if at, known := created[got["id"]]; known && got["createdAt"] != at {
				t.Errorf("createdAt is %v; the tenant was created at %s", got["createdAt"], at)
			}
			for name, value := range d.members {
				if !reflect.DeepEqual(got[name], value) {
					t.Errorf("%s is %v; want %v", name, got[name], value)
				}
			}
			if a.Status < 400 && len(each.Body) > 2 && string(each.Body) != `""` {
				compareRecorded(t, parseJSON(t, each.Name, string(each.Body)).(map[string]any), got, d.members)
			}
		})
	}
}

// compareRecorded compares an answer with the recorded one, but for members that differ on purpose.
func compareRecorded(t *testing.T, recorded, got, differing map[string]any) {
	t.Helper()
	for name, value := range recorded {
		_, differs := differing[name]
		switch {
		case differs:
		case name == "createdAt" || name == "updatedAt": // the caller compares them with the test's clock
		case name == "createdIp" || name == "updatedIp":
			if got[name] != "127.0.0.1" {
				t.Errorf("%s is %v", name, got[name])
			}
		case !reflect.DeepEqual(got[name], value):
			t.Errorf("%s is %v; recorded is %v", name, got[name], value)
		}
	}
	for name := range got {
		_, known := recorded[name]
		if _, differs := differing[name]; !known && !differs && !slices.Contains(more, name) {
			t.Errorf("the member %s was not recorded", name)
		}
	}
}

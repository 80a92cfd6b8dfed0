package tenants_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/tenantrytest"
)

// exchange is a request to another framework's tenant controller and its answer.
type exchange struct {
	N            int
	Name         string
	Method, Path string
	RequestBody  json.RawMessage
	Status       int
	ResponseBody any
}

// answerHere is what a request is answered with here where another answer was recorded.
type answerHere struct {
	status  int
	code    string // of a problem
	changed bool   // false: the current record
}

var answersHere = map[int]answerHere{
	3:  {status: 400, code: "already_exists"},
	5:  {status: 422, code: "validation_failed"},
	6:  {status: 422, code: "validation_failed"},
	17: {status: 400, code: "already_exists"},
	28: {status: 404, code: "not_found"},
	32: {status: 200},
	37: {status: 404, code: "not_found"},
}

// TestGoldenHTTP sends the recorded requests and compares the answers. What depends on requests that the recording leaves out, or on
// the time, is compared for its form only: versions, request IDs, times.
func TestGoldenHTTP(t *testing.T) {
	app := tenantrytest.New(t, tenantry.Config{})
	handler := app.Handler(httpapi.Config{Log: slog.New(slog.DiscardHandler)})
	token := app.Token(auth.Claims{Subject: "user-1", Role: "system_admin"})
	send := func(t *testing.T, method, path, body string) (int, map[string]any) {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr = "10.0.0.7:40000"
		r.Header.Set("Authorization", "Bearer "+token)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, decode(t, w.Body.String())
	}
	// What the recording takes for granted: common and a tenant h2 that was changed once.
	for _, setup := range [][3]string{{"POST", "/api/tenant/common", `{"name":"Common"}`}, {"POST", "/api/tenant", `{"code":"h2","name":"Http Two"}`},
		{"PATCH", "/api/tenant/TENANT%23h2/MASTER", `{"attributes":{"gone":1}}`}} {
		if status, body := send(t, setup[0], setup[1], setup[2]); status/100 != 2 {
			t.Fatalf("%s: %d %v", setup[1], status, body)
		}
	}
	exchanges := golden[exchange](t, "http.json")
	if len(exchanges) != 15 {
		t.Fatalf("%d exchanges", len(exchanges))
	}
	for _, x := range exchanges {
		t.Run(fmt.Sprintf("%d %s", x.N, x.Name), func(t *testing.T) {
			body := string(x.RequestBody)
			if body == "null" {
				body = ""
			}
			status, got := send(t, x.Method, x.Path, body)
			here, differs := answersHere[x.N]
			switch {
			case !differs:
				compareAnswers(t, x, status, got)
			case status != here.status || here.code != "" && (got["code"] != here.code || got["statusCode"] != json.Number(fmt.Sprint(status)) || got["error"] != http.StatusText(status)):
				t.Errorf("%d %v; want %+v", status, got, here)
			case here.code == "" && got["changed"] != here.changed:
				t.Errorf("changed %v", got["changed"])
			case x.N == 3 && !strings.Contains(fmt.Sprint(got["message"]), "h1"):
				t.Errorf("the message doesn't name the tenant: %v", got["message"])
			}
		})
	}
}

func compareAnswers(t *testing.T, x exchange, status int, got map[string]any) {
	t.Helper()
	recorded, ok := x.ResponseBody.(map[string]any)
	if !ok || status != x.Status {
		t.Fatalf("%d %v; recorded %d %v", status, got, x.Status, x.ResponseBody)
	}
	want := maps.Clone(recorded)
	version := fmt.Sprint(got["version"])
	for _, field := range []string{"createdAt", "updatedAt", "requestId"} {
		if text, _ := got[field].(string); text == "" {
			t.Errorf("%s is %v", field, got[field])
		}
		want[field] = got[field]
	}
	want["version"], want["isDeleted"] = got["version"], recorded["isDeleted"] == true
	want["source"] = x.Method + " " + strings.NewReplacer("TENANT%23h1/MASTER", "{pk}/{sk}", "TENANT%23h2/MASTER", "{pk}/{sk}").Replace(x.Path)
	if x.Method == http.MethodGet {
		want["csk"] = "MASTER@" + version
		want["source"] = got["source"] // of the command that made the record
	} else {
		want["sk"], want["status"], want["syncMode"] = "MASTER@"+version, "finish:FINISHED", "SYNC"
	}
	if attributes, _ := recorded["attributes"].(map[string]any); len(attributes) == 0 {
		delete(want, "attributes")
	}
	if x.N == 40 {
		want["attributes"] = decode(t, `{"gone":1}`)
	}
	if x.N == 25 || x.N == 31 || x.N == 35 { // attributes alone erase the name there
		want["name"] = "Http One v2"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want, got: %s", diff)
	}
}

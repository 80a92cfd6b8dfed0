package lambda_test

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/lambda"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorded returns a recorded event with words replaced.
func recorded(t *testing.T, name string, words ...string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.NewReplacer(words...).Replace(string(text)))
}

// world is an application behind a Function.
type world struct {
	*tenantrytest.App
	t *testing.T
	f *lambda.Function
}

func newWorld(t *testing.T, cfg tenantry.Config, authorizer *lambda.Authorizer) *world {
	t.Helper()
	app := tenantrytest.New(t, cfg)
	app.Tenant("acme", "bravo")
	return &world{App: app, t: t, f: lambda.New(lambda.Config{API: app.Handler(httpapi.Config{MaxBody: 2000}), Authorizer: authorizer})}
}

func (w *world) token(code string) string {
	w.t.Helper()
	c, err := tenant.Parse(code)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.Token(auth.Claims{Subject: "ann", Tenant: c, Roles: []auth.RoleGrant{{Tenant: c, Role: "admin"}}})
}

// request is the recorded request after change.
func (w *world) request(token string, change func(*events.APIGatewayV2HTTPRequest)) *events.APIGatewayV2HTTPRequest {
	w.t.Helper()
	event := &events.APIGatewayV2HTTPRequest{}
	if err := json.Unmarshal(recorded(w.t, "request.json", "TOKEN", token), event); err != nil {
		w.t.Fatal(err)
	}
	change(event)
	return event
}

// send returns the answer to an event.
func (w *world) send(event any) *events.APIGatewayV2HTTPResponse {
	w.t.Helper()
	payload, err := json.Marshal(event)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := w.f.Invoke(w.t.Context(), payload)
	if err != nil {
		w.t.Fatal(err)
	}
	out := &events.APIGatewayV2HTTPResponse{}
	if err := json.Unmarshal(text, out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// code returns the code of a problem, "" for another answer.
func code(t *testing.T, out *events.APIGatewayV2HTTPResponse) string {
	t.Helper()
	if out.StatusCode < 400 {
		return ""
	}
	if got := out.Headers["Content-Type"]; got != "application/problem+json" {
		t.Errorf("a problem's type is %q", got)
	}
	var problem struct{ Code string }
	if err := json.Unmarshal([]byte(out.Body), &problem); err != nil {
		t.Fatalf("%v: %s", err, out.Body)
	}
	return problem.Code
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

package httpapi_test

import (
	"context"
	"testing"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/settings"
)

// An application's own settings have the same routes; null returns a member of any type to its default.
func TestDeclaredSettings(t *testing.T) {
	type hours struct {
		From int `json:"from" minimum:"0" maximum:"23"`
	}
	type shop struct {
		settings.Tenant
		Days   []string          `json:"days"`
		Labels map[string]string `json:"labels"`
		Hours  hours             `json:"hours"`
		Limit  *int              `json:"limit,omitempty"`
	}
	// An operation of its own keeps the description apart from those of servers with other settings.
	open := route.Operation{ID: "isOpen", Method: "GET", Path: "/api/open", Summary: "Whether the shop is open", Policy: guard.Policy{Reach: guard.Tenant}, Answers: map[int]any{200: []string{}},
		Handle: func(context.Context, *route.Call) (route.Answer, error) { return route.JSON(200, []string{}) }}
	s := apitest.Start(t, apitest.Options{Tenants: []string{"alpha"}, App: tenantry.Config{Routes: []route.Operation{open},
		Settings: settings.Declare(shop{Tenant: settings.Defaults(), Days: []string{"mon"}, Labels: map[string]string{"a": "A"}, Hours: hours{From: 9}})}})
	for _, step := range []struct{ body, want string }{
		{`{"days":["tue","wed"],"labels":{"b":"B"},"hours":{"from":7},"limit":5}`, `{"days":["tue","wed"],"labels":{"a":"A","b":"B"},"hours":{"from":7},"limit":5}`},
		{`{"days":null,"labels":{"b":null}}`, `{"days":["mon"],"labels":{"a":"A","b":"!"},"hours":{"from":7}}`},
		{`{"hours":{"from":null},"limit":null}`, `{"hours":{"from":9},"limit":"!"}`},
		{`{"hours":null,"labels":null}`, `{"hours":{"from":9},"labels":{"a":"A"}}`},
		{`{"days":"tue"}`, ""}, {`{"days":[5]}`, ""}, {`{"labels":{"a":5}}`, ""}, {`{"hours":{"from":24}}`, ""}, {`{"hours":{"to":5}}`, ""}, {`{"hours":7}`, ""}, {`{"timezone":"Mars"}`, ""},
	} {
		a := s.Do(t, apitest.Request{Token: s.Token("admin@alpha"), Method: "PATCH", Path: "/api/settings", Body: step.body})
		switch {
		case step.want == "" && a.Code() != "validation_failed":
			t.Errorf("%s: %v", step.body, a)
		case step.want != "" && a.Status != 200:
			t.Errorf("%s: %v", step.body, a)
		case step.want != "":
			if problem := subset("$", parseJSON(t, step.body, step.want), a.JSON(t)); problem != "" {
				t.Errorf("%s: %s: %v", step.body, problem, a)
			}
		}
	}
}

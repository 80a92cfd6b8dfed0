package client_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/auth"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/entity"
	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/tenant"
	"github.com/tenantry/tenantry/tenantrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an application with the tenants acme and bravo, and clients of it.
type world struct {
	operator, ann *client.Client // a system admin, and an admin of acme
	acme, bravo   tenant.Code
}

// eachTransport runs test over the network and against the handler.
func eachTransport(t *testing.T, test func(t *testing.T, w world)) {
	for _, network := range []bool{true, false} {
		name := map[bool]string{true: "network", false: "in process"}[network]
		t.Run(name, func(t *testing.T) {
			app := tenantrytest.New(t, tenantry.Config{Log: quiet(), Entities: []entity.Type{{Name: record.MustEntityType("TEMPLATE"), Shared: true}}})
			app.Tenant("acme", "bravo")
			handler := app.Handler(httpapi.Config{Log: quiet()})
			cfg := client.Config{Transport: client.Handler(handler)}
			if network {
				server := httptest.NewServer(handler)
				t.Cleanup(server.Close)
				cfg = client.Config{Server: server.URL + "/", Transport: server.Client().Transport}
			}
			w := world{acme: code(t, "acme"), bravo: code(t, "bravo")}
			w.operator = newClient(t, cfg, app.Token(auth.Claims{Subject: "operator", Role: auth.SystemAdmin}))
			w.ann = newClient(t, cfg, app.Token(auth.Claims{Subject: "ann", Tenant: w.acme, Role: "admin"}))
			test(t, w)
		})
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func code(t *testing.T, text string) tenant.Code {
	t.Helper()
	c, err := tenant.Parse(text)
	check(t, err)
	return c
}

func newClient(t *testing.T, cfg client.Config, token string) *client.Client {
	t.Helper()
	cfg.Token = token
	c, err := client.New(cfg)
	check(t, err)
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecords(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		products := w.ann.Records("PRODUCT")
		attributes := jsontext.Value(`{"price":0.10000000000000000001}`)

		made, err := products.Create(ctx, "p1", client.Input{Name: "Chair", Attributes: attributes}, client.IdempotencyKey("k1"))
		check(t, err)
		if made.Version != 1 || made.Status != "" || made.Answer.Status != 201 || made.Position == "" || made.UpdatedBy != "ann" || *made.Changed != true {
			t.Errorf("created %+v", made)
		}
		if got := string(made.Attributes); got != `{"price":0.10000000000000000001}` {
			t.Errorf("a number lost digits: %s", got)
		}
		again, err := products.Create(ctx, "p1", client.Input{Name: "Chair", Attributes: attributes}, client.IdempotencyKey("k1"))
		check(t, err)
		if diff := cmp.Diff(string(made.JSON), string(again.JSON)); diff != "" {
			t.Errorf("the replay differs: %s", diff)
		}

		put, err := products.Put(ctx, "p1", 1, client.Input{Name: "Armchair"})
		check(t, err)
		same, err := products.Put(ctx, "p1", client.Latest, client.Input{Name: "Armchair"})
		check(t, err)
		if put.Version != 2 || *same.Changed {
			t.Errorf("put %+v, then %+v", put, same)
		}
		name := "Seat"
		patched, err := products.Patch(ctx, "p1", 2, client.Patch{Name: &name, Attributes: map[string]any{"legs": 4}})
		check(t, err)
		if patched.Name != "Seat" || string(patched.Attributes) != `{"legs":4}` {
			t.Errorf("patched %s", patched.JSON)
		}
		past, err := products.Get(ctx, "p1", client.AtVersion(1))
		check(t, err)
		if past.Name != "Chair" {
			t.Errorf("version 1 is %s", past.JSON)
		}
		if _, err := products.Get(ctx, "p1", client.At(time.Unix(1, 0))); !errors.Is(err, fault.NotFound) {
			t.Errorf("before it was made: %v", err)
		}
		history, err := products.History(ctx, "p1", client.Paging{})
		check(t, err)
		if len(history.Items) != 3 || history.Items[0].Changes[0].Field != "name" || string(history.Items[0].Changes[0].To) != `"Seat"` {
			t.Errorf("history %s", history.JSON)
		}
		cmd, err := products.Command(ctx, "p1", 3)
		check(t, err)
		if cmd.SK != "p1@3" || !strings.HasPrefix(cmd.Status, "finish") {
			t.Errorf("command %s", cmd.JSON)
		}
		_, err = products.Delete(ctx, "p1", 3)
		check(t, err)
		if _, err := products.Get(ctx, "p1"); !errors.Is(err, fault.NotFound) {
			t.Errorf("deleted, and %v", err)
		}
		gone, err := products.Get(ctx, "p1", client.IncludeDeleted())
		check(t, err)
		if !gone.IsDeleted {
			t.Errorf("deleted, and %s", gone.JSON)
		}
	})
}

func TestLists(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		products := w.operator.RecordsOf(w.acme, "PRODUCT")
		outcomes, err := products.Bulk(ctx, []client.BulkItem{
			{SK: "a", Input: client.Input{Name: "A"}}, {SK: "b", Input: client.Input{Name: "B"}}, {SK: "c", Input: client.Input{Name: "C"}},
			{SK: "d", Version: 7, Input: client.Input{Name: "D"}}})
		check(t, err)
		if outcomes[0].Status != 201 || outcomes[0].Record.SK != "a" || !errors.Is(outcomes[3].Err, fault.VersionConflict) {
			t.Errorf("bulk %+v", outcomes)
		}
		var sks []string
		for rec, err := range w.ann.Records("PRODUCT").Each(ctx, client.Query{From: "b", Descending: true, Paging: client.Paging{Limit: 1}}) {
			check(t, err)
			sks = append(sks, rec.SK)
			if !strings.Contains(string(rec.JSON), `"sk":"`+rec.SK+`"`) {
				t.Errorf("the item's JSON is %s", rec.JSON)
			}
		}
		if want := []string{"c", "b"}; !slices.Equal(sks, want) {
			t.Errorf("listed %q, want %q", sks, want)
		}
		some, err := products.BatchGet(ctx, []string{"c", "nope", "a"})
		check(t, err)
		if len(some) != 2 || some[0].SK != "c" {
			t.Errorf("batch %+v", some)
		}
		for _, err := range w.ann.Records("PRODUCT").Each(ctx, client.Query{Paging: client.Paging{Cursor: "x"}}) {
			if !errors.Is(err, fault.InvalidCursor) {
				t.Errorf("a bad cursor: %v", err)
			}
		}
	})
}

func TestSegmentsAndShared(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		lines := w.ann.Records("LOG")
		rec, err := lines.Create(ctx, "l1", client.Input{Name: "line"}, client.Within("2026", "11"), client.Async())
		check(t, err)
		if rec.PK != "LOG#acme#2026#11" || rec.Answer.Status != http.StatusAccepted || rec.Location == "" {
			t.Errorf("created %s, %+v", rec.JSON, rec.Answer)
		}
		if _, err := lines.Get(ctx, "l1"); !errors.Is(err, fault.NotFound) {
			t.Errorf("without its segments: %v", err)
		}
		_, err = w.operator.In(tenant.Common()).Records("TEMPLATE").Create(ctx, "t1", client.Input{Name: "Invoice"})
		check(t, err)
		shared, err := w.ann.Shared("TEMPLATE").Get(ctx, "t1")
		check(t, err)
		if shared.TenantCode != "common" {
			t.Errorf("shared %s", shared.JSON)
		}
	})
}

// TestHostileKeys sends sort keys that would name another route if they were not escaped.
func TestHostileKeys(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		products := w.ann.Records("PRODUCT")
		for _, sk := range []string{"a/b", "a#b?c=d&e", "50%", "a b", "bob@example.com", "ü/history", "a%2Fb"} {
			_, err := products.Put(ctx, sk, 0, client.Input{Name: sk})
			check(t, err)
			rec, err := products.Get(ctx, sk)
			check(t, err)
			if rec.SK != sk {
				t.Errorf("put %q, got %q", sk, rec.SK)
			}
		}
		for _, sk := range []string{"..", "."} {
			if _, err := products.Get(ctx, sk); !errors.Is(err, fault.InvalidRequest) {
				t.Errorf("sort key %q: %v", sk, err)
			}
		}
		if _, err := w.ann.Records("../tenant").List(ctx, client.Query{}); !errors.Is(err, fault.NotFound) {
			t.Errorf("an entity type with a slash: %v", err)
		}
	})
}

func TestTenants(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		delta := code(t, "delta")
		ref := client.Ref{Tenant: delta}
		description := "new"
		cmd, err := w.operator.CreateTenant(ctx, delta, client.NewTenant{Name: "Delta", Description: &description})
		check(t, err)
		if cmd.SK != "MASTER@1" || cmd.Answer.Status != 201 {
			t.Errorf("created %s", cmd.JSON)
		}
		if _, err := w.operator.CreateTenant(ctx, delta, client.NewTenant{Name: "Delta"}); !errors.Is(err, fault.AlreadyExists) {
			t.Errorf("created twice: %v", err)
		}
		name := "Delta Ltd"
		_, err = w.operator.UpdateTenant(ctx, ref, client.TenantUpdate{Name: &name, Attributes: map[string]any{"plan": "s"}})
		check(t, err)
		_, err = w.operator.AddTenantGroup(ctx, delta, client.Group{ID: "19", Role: "company"})
		check(t, err)
		_, err = w.operator.CustomizeSettingGroups(ctx, delta, "company", []string{"20", "19"})
		check(t, err)
		_, err = w.operator.CreateTenantInside(ctx, delta, code(t, "dep"), client.NewTenant{Name: "Department"})
		check(t, err)
		inside, err := w.operator.Tenant(ctx, client.Ref{Tenant: delta, Inside: "dep"})
		check(t, err)
		own, err := w.operator.Tenant(ctx, ref)
		check(t, err)
		if inside.Name != "Department" || own.Name != name || !strings.Contains(string(own.Attributes), `"setting_groups":["20","19"]`) {
			t.Errorf("inside %s, own %s", inside.JSON, own.JSON)
		}
		_, err = w.operator.CreateCommonTenant(ctx, client.NewTenant{Name: "Shared"})
		check(t, err)

		_, err = w.operator.SuspendTenant(ctx, w.acme, "unpaid")
		check(t, err)
		if _, err := w.ann.Records("PRODUCT").List(ctx, client.Query{}); !errors.Is(err, fault.TenantSuspended) {
			t.Errorf("suspended, and %v", err)
		}
		_, err = w.operator.ResumeTenant(ctx, w.acme, "paid")
		check(t, err)
		_, err = w.ann.Records("PRODUCT").List(ctx, client.Query{})
		check(t, err)

		_, err = w.operator.DeleteTenant(ctx, ref)
		check(t, err)
		list := func(opts ...client.Option) (codes []string) {
			for rec, err := range w.operator.EachTenant(ctx, client.Paging{Limit: 1}, opts...) {
				check(t, err)
				codes = append(codes, rec.TenantCode)
			}
			return codes
		}
		if got, want := list(), []string{"acme", "bravo", "common"}; !slices.Equal(got, want) {
			t.Errorf("tenants %q, want %q", got, want)
		}
		if got, want := list(client.IncludeDeleted()), []string{"acme", "bravo", "common", "delta"}; !slices.Equal(got, want) {
			t.Errorf("tenants with deleted ones %q, want %q", got, want)
		}
	})
}

func TestIdentityAndAudit(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		check(t, w.ann.Ready(ctx))
		me, err := w.ann.Me(ctx)
		check(t, err)
		if me.UserID != "ann" || me.TenantCode != "acme" || me.Role != "admin" || me.CrossTenant {
			t.Errorf("me %s", me.JSON)
		}
		_, err = w.operator.In(w.acme).Records("PRODUCT").List(ctx, client.Query{})
		check(t, err)
		own, err := w.ann.Audit(ctx, client.Paging{Limit: 1})
		check(t, err)
		if len(own.Items) != 1 || own.Items[0].UserID != "operator" || own.Items[0].SourceIP != "127.0.0.1" || !slices.Equal(own.Items[0].Tenants, []string{"acme"}) {
			t.Errorf("audit %s", own.JSON)
		}
		found := false
		for entry, err := range w.operator.EachCrossing(ctx, client.Paging{Limit: 2}) {
			check(t, err)
			found = found || entry.ID == own.Items[0].ID
		}
		if !found {
			t.Error("the system's log lacks the entry")
		}
	})
}

func TestRefusals(t *testing.T) {
	eachTransport(t, func(t *testing.T, w world) {
		ctx := t.Context()
		products := w.ann.Records("PRODUCT")
		_, err := products.Create(ctx, "p1", client.Input{Name: "A"})
		check(t, err)

		_, err = products.Put(ctx, "p1", 5, client.Input{Name: "B"})
		if e := fault.As(err); e.Code != fault.VersionConflict || *e.Versions != (fault.Versions{Expected: 5, Actual: 1}) || client.RequestID(err) == "" || e.Status != 0 {
			t.Errorf("a conflict is %+v", e)
		}
		_, err = products.Create(ctx, "p2", client.Input{Name: "B", Attributes: 5})
		if e := fault.As(err); e.Code != fault.ValidationFailed || len(e.Fields) != 1 || e.Fields[0].Field != "attributes" {
			t.Errorf("a bad attribute is %+v", e)
		}
		_, err = w.ann.RecordsOf(w.bravo, "PRODUCT").Get(ctx, "p1")
		if !errors.Is(err, fault.TenantForbidden) {
			t.Errorf("a foreign tenant is %v", err)
		}
		_, err = newClient(t, client.Config{Transport: client.Handler(http.NotFoundHandler())}, "").Me(ctx)
		if e := fault.As(err); e.Code != fault.Internal || e.Status != 404 {
			t.Errorf("another program's answer is %+v", e)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := w.ann.Me(ended); !errors.Is(err, fault.Timeout) || !errors.Is(err, context.Canceled) {
			t.Errorf("an ended call is %v", err)
		}
	})
}

func TestWhatIsNoAnswer(t *testing.T) {
	answer := func(status int, header, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", header)
			w.Header().Set("Location", "http://elsewhere.example/")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    fault.Code
		status  int
	}{
		{"a proxy without a server", answer(502, "text/html", "<h1>Bad Gateway</h1>"), fault.Unavailable, 502},
		{"a redirect", answer(307, "text/html", ""), fault.Internal, 307},
		{"another program", answer(200, "text/html", "<h1>Hello</h1>"), fault.Internal, 500},
		{"a problem of another API", answer(409, "application/problem+json", `{"title":"no"}`), fault.Internal, 409},
		{"a code of a newer server", answer(418, "application/problem+json", `{"code":"teapot","detail":"short and stout"}`), "teapot", 418},
		{"a panic", func(http.ResponseWriter, *http.Request) { panic("x") }, fault.Unavailable, 503},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := newClient(t, client.Config{Transport: client.Handler(test.handler)}, "secret").Me(t.Context())
			e := fault.As(err)
			if e == nil || e.Code != test.want || e.HTTPStatus() != test.status || e.Msg == "" {
				t.Errorf("got %+v, want %s with status %d", e, test.want, test.status)
			}
		})
	}
	limited := newClient(t, client.Config{Transport: client.Handler(answer(429, "application/problem+json", `{"code":"rate_limited","limit":"tenant"}`))}, "")
	_, err := limited.Me(t.Context())
	if e := fault.As(err); e.RetryAfter != 7*time.Second || e.Limit != "tenant" {
		t.Errorf("a rate limit is %+v", e)
	}
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := newClient(t, client.Config{Server: server.URL}, "secret").Me(t.Context())
	if !errors.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a server that is away: %v", err)
	}
}

func TestBadAddresses(t *testing.T) {
	for _, server := range []string{"localhost:8080", "ftp://x", "http://", "http://user:pw@x", "http://x?y", "http://x#y", ":"} {
		if _, err := client.New(client.Config{Server: server}); !errors.Is(err, fault.InvalidRequest) {
			t.Errorf("New took %q: %v", server, err)
		}
	}
}

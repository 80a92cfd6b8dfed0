package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/readmodel"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
	"github.com/tenantry/tenantry/upkeep"
)

var productTable = readmodel.Declare[readmodel.Plain]("product", readmodel.Options{EntityType: record.MustEntityType("PRODUCT"), DuplicateCodes: true})

// modelOfProducts returns a read model with a row for each product.
func modelOfProducts(t testing.TB) *readmodel.Model {
	t.Helper()
	m, err := readmodel.New([]readmodel.Declared{productTable})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// counting is a route that reads the read model.
func counting(s **apitest.Server) route.Operation {
	return route.Operation{ID: "countProducts", Method: "GET", Path: "/api/count", Tag: "test", Summary: "Count", Policy: guard.Policy{Reach: guard.Tenant}, Follows: true, Answers: map[int]any{200: nil},
		Handle: func(ctx context.Context, c *route.Call) (route.Answer, error) {
			view, err := productTable.In((*s).App.ReadModel(), c.Scope())
			if err != nil {
				return route.Answer{}, err
			}
			n, err := view.Count(ctx, readmodel.Query{})
			if err != nil {
				return route.Answer{}, err
			}
			return route.JSON(http.StatusOK, map[string]int64{"n": n})
		}}
}

// TestPosition reads the read model up to what a command returned.
func TestPosition(t *testing.T) {
	opts := world()
	opts.App.Model = modelOfProducts(t)
	var s *apitest.Server
	opts.App.Routes = []route.Operation{counting(&s)}
	s = apitest.Start(t, opts)
	for n := range 20 {
		made := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/data/PRODUCT", Body: fmt.Sprintf(`{"sk":"p%d","name":"a product"}`, n)})
		at := made.Header.Get(placeHeader)
		if s.LateFeed() {
			if at != "" {
				t.Fatal("a store that knows a command's place only later says one")
			}
			return
		}
		read := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/count", Header: []string{placeHeader, at}})
		if want := fmt.Sprintf(`{"n":%d}`, n+1); read.Status != 200 || string(read.Body) != want {
			t.Fatalf("after %s: %v; want %s", at, read, want)
		}
	}
	for _, bad := range []string{"x", "0", "00", "-1", "1", "99999999", ""} {
		if a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/count", Header: []string{placeHeader, bad}}); a.Status != 400 || a.Code() != "invalid_cursor" {
			t.Errorf("position %q: %v", bad, a)
		}
	}
	if a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "GET", Path: "/api/data/PRODUCT/p1", Header: []string{placeHeader, "5"}}); a.Status != 200 {
		t.Errorf("a record, which no read is behind of: %v", a)
	}
	for _, op := range s.Doc.Operations {
		takes := slices.ContainsFunc(op.Parameters, func(p apitest.Parameter) bool { return p.Name == placeHeader })
		if takes != slices.Contains([]string{"countProducts", "reportSystem", "reportTenant"}, op.ID) {
			t.Errorf("%s is described to take a position: %v", op.ID, takes)
		}
	}
}

// TestBehind reads while the read model stands still before what a command returned: who names that place waits and is told that it is behind, nobody else is.
func TestBehind(t *testing.T) {
	opts := world()
	open := make(chan struct{})
	model, err := readmodel.New([]readmodel.Declared{productTable, productTable2}, readmodel.Project("gated", record.MustEntityType("PRODUCT"),
		func(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, _ map[string]any) error {
			if cmd.SK == "second" {
				<-open // for longer than it may take, so that it is tried again
			}
			return productTable2.Put(ctx, tx, cmd, readmodel.Plain{})
		}, productTable2))
	if err != nil {
		t.Fatal(err)
	}
	opts.App.Model = model
	var s *apitest.Server
	opts.App.Routes = []route.Operation{counting(&s)}
	s = apitest.Start(t, opts)
	publish := func(sk string) (at string) {
		a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/data/PRODUCT", Body: fmt.Sprintf(`{"sk":%q,"name":"a product"}`, sk)})
		return a.Header.Get(placeHeader)
	}
	read := func(at string, r apitest.Request) *apitest.Answer {
		r.Token, r.Method, r.Path = s.Token("user@alpha"), "GET", "/api/count"
		if at != "" {
			r.Header = []string{placeHeader, at}
		}
		return s.Do(t, r)
	}
	first := publish("first")
	if s.LateFeed() {
		return // commands say no place
	}
	if a := read(first, apitest.Request{}); a.Status != 200 || string(a.Body) != `{"n":1}` {
		t.Fatalf("the first: %v", a)
	}
	second := publish("second")
	a := read(second, apitest.Request{Slow: true, Fails: true})
	want(t, a, 503, "behind")
	if after := a.Header.Get("Retry-After"); after != "1" {
		t.Errorf("Retry-After: %q", after)
	}
	for _, at := range []string{"", first} {
		if a := read(at, apitest.Request{}); a.Status != 200 || string(a.Body) != `{"n":1}` {
			t.Errorf("what is there, at %q: %v", at, a)
		}
	}
	close(open)
	apitest.Eventually(t, func() bool {
		a := read(second, apitest.Request{Slow: true})
		return a.Status == 200 && string(a.Body) == `{"n":2}`
	})
}

// TestOperators parks a record of a tenant, and has an operator look, skip and rebuild.
func TestOperators(t *testing.T) {
	opts := world()
	var healed atomic.Bool
	model, err := readmodel.New([]readmodel.Declared{productTable2}, readmodel.Project("picky", record.MustEntityType("PRODUCT"),
		func(ctx context.Context, tx *readmodel.Tx, cmd *record.Record, _ map[string]any) error {
			if cmd.Name == "poison" && !healed.Load() {
				return errors.New("it is poison")
			}
			return productTable2.Put(ctx, tx, cmd, readmodel.Plain{})
		}, productTable2))
	if err != nil {
		t.Fatal(err)
	}
	opts.App.Model = model
	s := apitest.Start(t, opts)
	admin := func(method, path, body string, out any) {
		t.Helper()
		a := s.Do(t, apitest.Request{Token: s.Token("system_admin"), Method: method, Path: "/api/admin/" + path, Body: body})
		if !a.OK() {
			t.Fatalf("%s %s: %v", method, path, a)
		}
		a.Decode(t, out)
	}
	until := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.After(time.Minute); !is(); {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-deadline:
				t.Fatalf("%s: not within a minute", what)
			}
		}
	}
	s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/data/PRODUCT", Body: `{"sk":"good","name":"good"}`})
	s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/data/PRODUCT", Body: `{"sk":"bad","name":"poison"}`})
	var waiting upkeep.WaitingList
	until("it waits", func() bool {
		admin("GET", "projections/parked", "", &waiting)
		return len(waiting.Items) == 1
	})
	w := waiting.Items[0]
	if w.Name != "picky" || w.TenantCode != "alpha" || w.PK != "PRODUCT#alpha" || w.SK != "bad" || w.Version != 1 || !strings.Contains(w.Reason, "poison") {
		t.Errorf("waiting: %+v", w)
	}
	var changed upkeep.Changed
	for body, want := range map[string]int{
		`{"tenantCode":"bravo","name":"picky","sk":"bad","version":1,"reason":"known"}`:   0,
		`{"tenantCode":"alpha","name":"picky","sk":"bad","version":2,"reason":"known"}`:   0,
		`{"tenantCode":"alpha","name":"another","sk":"bad","version":1,"reason":"known"}`: 0,
	} {
		if admin("POST", "projections/skip", body, &changed); changed.Changed != want {
			t.Errorf("%s: %d", body, changed.Changed)
		}
	}
	healed.Store(true)
	admin("POST", "projections/retry", `{"tenantCode":"alpha","reason":"mended"}`, &changed)
	until("nothing waits", func() bool {
		admin("GET", "projections/parked", "", &waiting)
		return len(waiting.Items) == 0
	})
	if changed.Changed != 1 {
		t.Errorf("%d were retried", changed.Changed)
	}
	admin("POST", "projections/rebuild", `{"tenantCode":"alpha","reason":"to be sure","audit":true}`, &changed)
	var rebuilds upkeep.RebuildList
	until("the audit", func() bool {
		admin("GET", "tenants/alpha/projections", "", &rebuilds)
		return !slices.ContainsFunc(rebuilds.Items, func(b upkeep.Rebuild) bool { return b.State != "done" })
	})
	for _, b := range rebuilds.Items {
		if b.Different != 0 || b.Compared == 0 && b.Projection != "picky" || !b.Audit || b.Reason != "to be sure" {
			t.Errorf("rebuild: %+v", b)
		}
	}
	var tenants upkeep.TenantList
	admin("GET", "projections/tenants?limit=1", "", &tenants)
	if len(tenants.Items) != 1 || tenants.Items[0].TenantCode != "alpha" || tenants.Cursor != "alpha" {
		t.Errorf("tenants: %+v", tenants)
	}
	var overview upkeep.Overview
	admin("GET", "projections", "", &overview)
	if overview.ReadModel == nil || len(overview.ReadModel.Projections) != 1 || overview.ReadModel.Position == "" {
		t.Errorf("overview: %+v", overview)
	}
	a := s.Do(t, apitest.Request{Token: s.Token("admin@alpha"), Method: "GET", Path: "/api/audit"})
	for _, reason := range []string{"mended", "to be sure"} {
		if !strings.Contains(string(a.Body), reason) {
			t.Errorf("the tenant's audit log does not say why: %s is not in %s", reason, a.Body)
		}
	}
	scraped := httptest.NewRecorder()
	s.Handler.AdminHandler().ServeHTTP(scraped, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`tenantry_projection_waiting{for="operator",projection="picky"} 0`, `tenantry_tenant_projection_errors_total{tenant="alpha"} `, `tenantry_tenant_projection_lag_seconds{tenant="alpha"} `, "tenantry_read_model_behind "} {
		if !strings.Contains(scraped.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

var productTable2 = readmodel.Declare[readmodel.Plain]("picky", readmodel.Options{DuplicateCodes: true})

package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tenantry/tenantry"
	"github.com/tenantry/tenantry/guard"
	"github.com/tenantry/tenantry/httpapi"
	"github.com/tenantry/tenantry/internal/apitest"
	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/record"
	"github.com/tenantry/tenantry/route"
)

// operator returns what the operator's address serves.
func operator(s *apitest.Server, method, path string) (status int, body string) {
	answer := httptest.NewRecorder()
	s.Handler.AdminHandler().ServeHTTP(answer, httptest.NewRequest(method, path, nil))
	return answer.Code, answer.Body.String()
}

func TestMetrics(t *testing.T) {
	codes := []string{"other"}
	for i := range 104 {
		codes = append(codes, fmt.Sprintf("t%03d", i))
	}
	s := start(t, apitest.Options{Tenants: codes})
	for i, code := range codes {
		for range 1 + i%3 {
			want(t, s.Do(t, apitest.Request{Token: s.Token("user@" + code), Method: "GET", Path: products}), 200, "")
		}
	}
	want(t, s.Do(t, apitest.Request{Method: "GET", Path: "/nothing/CANARY"}), 404, "not_found")
	want(t, s.Do(t, apitest.Request{Token: s.Token("user@t001"), Method: "GET", Path: "/api/tenants/t002/data/PRODUCT"}), 403, "tenant_forbidden")
	status, text := operator(s, "GET", "/metrics")
	if status != 200 {
		t.Fatalf("/metrics: %d", status)
	}
	for _, line := range []string{
		`tenantry_requests_total{operation="listRecords",status="200"} 210`, `tenantry_requests_total{operation="listRecordsTenant",status="403"} 1`,
		`tenantry_requests_total{operation="none",status="404"} 1`, `tenantry_request_duration_seconds_count{operation="listRecords"} 210`,
		`tenantry_tenant_requests_total{tenant="t001"} 4`, `tenantry_tenant_requests_total{tenant="other"} 6`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if n := strings.Count(text, "tenantry_tenant_requests_total{"); n != 100 { // the tenant named other counts among the rest
		t.Errorf("%d tenants have a series; the 100 busiest have, and the rest together", n)
	}
	if strings.Contains(text, "CANARY") {
		t.Error("a path became a label")
	}
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "own_total", Help: "of the application"})
	if err := s.Handler.Metrics().Register(counter); err != nil {
		t.Error(err)
	}
	if err := s.Handler.Metrics().Register(counter); err == nil {
		t.Error("a collector is registered twice")
	}
	if _, text := operator(s, "GET", "/metrics"); !strings.Contains(text, "own_total 0") {
		t.Error("the application's own collector is not served")
	}
	for path, status := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/cmdline": 200, "/healthz": 200, "/": 404, "/api/me": 404} {
		if got, _ := operator(s, "GET", path); got != status {
			t.Errorf("%s on the operator's address: %d, want %d", path, got, status)
		}
	}
	if got, _ := operator(s, "POST", "/metrics"); got != 405 {
		t.Errorf("POST /metrics: %d", got)
	}
}

// TestWaitingForHandlers has records of many tenants wait for a handler: the metrics say how many, by handler and for 100 tenants.
func TestWaitingForHandlers(t *testing.T) {
	opts := apitest.Options{Tenants: []string{"other"}}
	for n := range 102 {
		opts.Tenants = append(opts.Tenants, fmt.Sprint("t", n))
	}
	opts.App.Handlers = []projection.Registration{{Name: "fails", Handler: refusingProducts{}}, {Name: "works", Module: "none", Handler: refusingProducts{}}}
	s := start(t, opts)
	for _, code := range append(opts.Tenants, "t1") {
		s.Do(t, apitest.Request{Token: s.Token("user@" + code), Method: "POST", Path: products, Body: `{"name":"A"}`})
	}
	_, text := operator(s, "GET", "/metrics")
	for _, line := range []string{`tenantry_handler_waiting{handler="fails",state="retrying"} 104`, `tenantry_handler_waiting{handler="fails",state="parked"} 0`,
		`tenantry_handler_waiting{handler="works",state="parked"} 0`, `tenantry_tenant_handler_waiting{tenant="t1"} 2`, `tenantry_tenant_handler_waiting{tenant="t2"} 1`, `tenantry_tenant_handler_waiting{tenant="other"} `} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if n := strings.Count(text, "\ntenantry_tenant_handler_waiting{"); n > 101 {
		t.Errorf("%d tenants have a series", n)
	}
}

// refusingProducts is a handler that fails for products.
type refusingProducts struct{}

func (refusingProducts) Up(_ context.Context, _ guard.Scope, cmd *record.Record) error {
	if strings.HasPrefix(cmd.PK, "PRODUCT#") {
		return errors.New("it fails")
	}
	return nil
}

func (refusingProducts) Down(context.Context, guard.Scope, *record.Record) error { return nil }

// spans keeps what is traced.
type spans struct {
	noop.Tracer
	mu   sync.Mutex
	kept []*span
}

type span struct {
	noop.Span
	name       string
	attributes []attribute.KeyValue
	failed     bool
	ended      bool
}

func (s *spans) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &span{name: name}
	s.kept = append(s.kept, one)
	return trace.ContextWithSpan(ctx, one), one
}

func (s *span) IsRecording() bool { return true }
func (s *span) SetAttributes(more ...attribute.KeyValue) {
	s.attributes = append(s.attributes, more...)
}
func (s *span) SetStatus(code codes.Code, _ string) { s.failed = code == codes.Error }
func (s *span) End(...trace.SpanEndOption)          { s.ended = true }

func TestTraces(t *testing.T) {
	tracer := &spans{}
	var inside trace.Span
	s := start(t, apitest.Options{HTTP: httpapi.Config{Tracer: tracer}, App: tenantry.Config{Routes: []route.Operation{own(func(ctx context.Context, _ *route.Call) (route.Answer, error) {
		inside = trace.SpanFromContext(ctx)
		return route.Answer{}, context.Canceled
	})}}})
	a := s.Do(t, apitest.Request{Token: s.Token("user@alpha"), Method: "POST", Path: "/api/own"})
	apitest.Eventually(t, func() bool {
		tracer.mu.Lock()
		defer tracer.mu.Unlock()
		last := tracer.kept[len(tracer.kept)-1]
		return last.ended && last == inside
	})
	one := inside.(*span)
	for _, attr := range []attribute.KeyValue{attribute.String("http.route", "own"), attribute.Int("http.response.status_code", a.Status),
		attribute.String("tenant.code", "alpha"), attribute.String("request.id", a.Header.Get("X-Request-Id"))} {
		if !slices.Contains(one.attributes, attr) {
			t.Errorf("the span lacks %v: %v", attr, one.attributes)
		}
	}
	if one.name != "POST" || one.failed {
		t.Errorf("the span is %q, failed %v", one.name, one.failed)
	}
}

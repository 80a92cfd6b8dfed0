package httpapi

import (
	"cmp"
	"maps"
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/tenant"
)

// Metrics counts what the API and the store do, for Prometheus. They are served on the operator's address only.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	streams  prometheus.Gauge
	tenants  tenantCounts
}

func newMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tenantry_requests_total", Help: "Requests answered, by operation and status."}, []string{"operation", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tenantry_request_duration_seconds", Help: "Time to answer a request, by operation.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"operation"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tenantry_event_streams", Help: "Event streams that are open."}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.streams, &m.tenants, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds collectors of the application's own.
func (m *Metrics) Register(cs ...prometheus.Collector) error {
	for _, c := range cs {
		if err := m.registry.Register(c); err != nil {
			return fault.Wrap(err, fault.InvalidRequest, "httpapi.Metrics", "a collector can't be registered")
		}
	}
	return nil
}

func (m *Metrics) request(operation string, status int, code tenant.Code, took time.Duration) {
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(operation).Observe(took.Seconds())
	if !code.IsZero() {
		m.tenants.count(code)
	}
}

// AdminHandler serves /metrics and the profiles under /debug/pprof/. It has no access control: it belongs on
// an address that only operators reach.
func (h *Handler) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /healthz", alive)
	return mux
}

// busiest is how many tenants have a label of their own.
const busiest = 100

// tenantCounts counts requests by tenant, and shows the busiest under their codes and the rest as other, so that
// the number of series stays bounded.
type tenantCounts struct {
	mu     sync.RWMutex
	counts map[tenant.Code]*atomic.Int64
}

func (t *tenantCounts) count(code tenant.Code) {
	t.mu.RLock()
	n, ok := t.counts[code]
	t.mu.RUnlock()
	if !ok {
		t.mu.Lock()
		if t.counts == nil {
			t.counts = map[tenant.Code]*atomic.Int64{}
		}
		if n, ok = t.counts[code]; !ok {
			n = &atomic.Int64{}
			t.counts[code] = n
		}
		t.mu.Unlock()
	}
	n.Add(1)
}

func (t *tenantCounts) desc() *prometheus.Desc {
	return prometheus.NewDesc("tenantry_tenant_requests_total", "Requests answered, by tenant; the 100 busiest, the rest as other.", []string{"tenant"}, nil)
}

// Describe implements prometheus.Collector.
func (t *tenantCounts) Describe(out chan<- *prometheus.Desc) { out <- t.desc() }

// Collect implements prometheus.Collector.
func (t *tenantCounts) Collect(out chan<- prometheus.Metric) {
	t.mu.RLock()
	all := make(map[tenant.Code]int64, len(t.counts))
	for code, n := range t.counts {
		all[code] = n.Load()
	}
	t.mu.RUnlock()
	perTenant(out, t.desc(), prometheus.CounterValue, all)
}

// perTenant says of each of the tenants that have most how much that is, and of the rest together.
func perTenant(out chan<- prometheus.Metric, d *prometheus.Desc, kind prometheus.ValueType, of map[tenant.Code]int64) {
	byMost := slices.SortedFunc(maps.Keys(of), func(a, b tenant.Code) int {
		return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a.String(), b.String()))
	})
	other := int64(0)
	for i, code := range byMost {
		if i >= busiest || code.String() == "other" { // a tenant of that name
			other += of[code]
			continue
		}
		out <- prometheus.MustNewConstMetric(d, kind, float64(of[code]), code.String())
	}
	if other > 0 {
		out <- prometheus.MustNewConstMetric(d, kind, float64(other), "other")
	}
}

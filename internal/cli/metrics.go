package cli

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantry/tenantry/fault"
)

// storeMetrics counts what the store does, for Prometheus.
type storeMetrics struct{ *prometheus.HistogramVec }

func newStoreMetrics() *storeMetrics {
	return &storeMetrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tenantry_store_duration_seconds",
		Help:    "Time of an operation on the store, by operation and error code; ok where it succeeded.",
		Buckets: prometheus.ExponentialBuckets(20e-6, 4, 10)}, []string{"operation", "code"})}
}

func (m *storeMetrics) observe(op string, took time.Duration, err error) {
	code := "ok"
	if err != nil {
		code = string(fault.CodeOf(err))
	}
	m.WithLabelValues(op, code).Observe(took.Seconds())
}

package cli

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantry/tenantry/fault"
	"github.com/tenantry/tenantry/jobs"
)

// storeMetrics counts what the store, the caches before it and the jobs do, for Prometheus.
type storeMetrics struct {
	*prometheus.HistogramVec
	caches *prometheus.CounterVec
	jobs   *prometheus.HistogramVec
	reads  sync.Map // from cacheRead to prometheus.Counter: a read finds its counter without an allocation
}

type cacheRead struct {
	name string
	hit  bool
}

func newStoreMetrics() *storeMetrics {
	return &storeMetrics{caches: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tenantry_cache_reads_total",
		Help: "Reads through a cache, by cache and result: hit, or miss where the store was read."}, []string{"cache", "result"}),
		jobs: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tenantry_job_duration_seconds",
			Help:    "Time of an attempt of a job, by kind and result: done, failed, dead, dropped, released, lost.",
			Buckets: prometheus.ExponentialBuckets(1e-3, 4, 10)}, []string{"kind", "result"}),
		HistogramVec: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tenantry_store_duration_seconds",
			Help:    "Time of an operation on the store, by operation and error code; ok where it succeeded.",
			Buckets: prometheus.ExponentialBuckets(20e-6, 4, 10)}, []string{"operation", "code"})}
}

func (m *storeMetrics) observeCache(name string, hit bool) {
	key := cacheRead{name, hit}
	counter, ok := m.reads.Load(key)
	if !ok {
		result := "miss"
		if hit {
			result = "hit"
		}
		counter, _ = m.reads.LoadOrStore(key, m.caches.WithLabelValues(name, result))
	}
	counter.(prometheus.Counter).Inc()
}

func (m *storeMetrics) observe(op string, took time.Duration, err error) {
	code := "ok"
	if err != nil {
		code = string(fault.CodeOf(err))
	}
	m.WithLabelValues(op, code).Observe(took.Seconds())
}

func (m *storeMetrics) observeJob(o jobs.Outcome) {
	m.jobs.WithLabelValues(o.Kind, o.Result).Observe(o.Took.Seconds())
}

package httpapi

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantry/tenantry/projection"
	"github.com/tenantry/tenantry/tenant"
)

// handlerMetrics says how many records wait for handlers that failed. Every process says it of all handlers, whichever runs them.
type handlerMetrics struct{ handlers *projection.Runner }

var (
	waitingFor = prometheus.NewDesc("tenantry_handler_waiting", "Records that wait for a handler which failed, by handler and state: retrying, or parked until an operator acts.", []string{"handler", "state"}, nil)
	waitingOf  = prometheus.NewDesc("tenantry_tenant_handler_waiting", "Records that wait for handlers which failed, by tenant; the 100 that have most, the rest as other.", []string{"tenant"}, nil)
)

// Describe implements prometheus.Collector.
func (handlerMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- waitingFor
	out <- waitingOf
}

// Collect implements prometheus.Collector.
func (m handlerMetrics) Collect(out chan<- prometheus.Metric) {
	byTenant := map[tenant.Code]int64{}
	for _, c := range m.handlers.Counts() {
		retrying, parked := int64(0), int64(0)
		for code, n := range c.Retrying {
			retrying += n
			byTenant[code] += n
		}
		for code, n := range c.Parked {
			parked += n
			byTenant[code] += n
		}
		out <- prometheus.MustNewConstMetric(waitingFor, prometheus.GaugeValue, float64(retrying), c.Handler, "retrying")
		out <- prometheus.MustNewConstMetric(waitingFor, prometheus.GaugeValue, float64(parked), c.Handler, "parked")
	}
	perTenant(out, waitingOf, prometheus.GaugeValue, byTenant)
}

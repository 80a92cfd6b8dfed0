package httpapi

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantry/tenantry/upkeep"
)

// readModelMetrics says how far the read model is, and its busiest tenants in it. What it says is read when it is asked.
type readModelMetrics struct{ keeper *upkeep.Runner }

var (
	placesBehind = prometheus.NewDesc("tenantry_read_model_behind", "Places of the change feed that the read model has not passed yet.", nil, nil)
	projectionOf = prometheus.NewDesc("tenantry_projection_waiting", "Records that wait, by projection and for what: retry or operator.", []string{"projection", "for"}, nil)
	tenantLag    = prometheus.NewDesc("tenantry_tenant_projection_lag_seconds", "Time from a tenant's last command to its effect in the read model; the 100 busiest tenants.", []string{"tenant"}, nil)
	tenantDone   = prometheus.NewDesc("tenantry_tenant_projection_applied_total", "Commands applied to the read model, by tenant; the 100 busiest.", []string{"tenant"}, nil)
	tenantErrors = prometheus.NewDesc("tenantry_tenant_projection_errors_total", "Commands that could not be applied at first, by tenant; the 100 busiest.", []string{"tenant"}, nil)
	tenantWaits  = prometheus.NewDesc("tenantry_tenant_projection_waiting", "Records that wait for another attempt or an operator, by tenant; the 100 busiest.", []string{"tenant"}, nil)
)

// Describe implements prometheus.Collector.
func (readModelMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{placesBehind, projectionOf, tenantLag, tenantDone, tenantErrors, tenantWaits} {
		out <- d
	}
}

// Collect implements prometheus.Collector. Where the read model can't be read it says nothing, as an instrument that is gone.
func (m readModelMetrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	places, waiting, err := m.keeper.Behind(ctx)
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(placesBehind, float64(places))
	for name, n := range waiting {
		gauge(projectionOf, float64(n.Aside), name, "retry")
		gauge(projectionOf, float64(n.Parked), name, "operator")
	}
	tenants, err := m.keeper.Busiest(ctx, busiest)
	if err != nil {
		return
	}
	for _, t := range tenants {
		gauge(tenantLag, float64(t.LagMillis)/1000, t.TenantCode)
		gauge(tenantWaits, float64(t.Waiting), t.TenantCode)
		out <- prometheus.MustNewConstMetric(tenantDone, prometheus.CounterValue, float64(t.Applied), t.TenantCode)
		out <- prometheus.MustNewConstMetric(tenantErrors, prometheus.CounterValue, float64(t.Errors), t.TenantCode)
	}
}

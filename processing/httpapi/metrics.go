package httpapi

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics count requests. docs/metrics.md lists them all.
type Metrics struct {
	requests *prometheus.CounterVec   // route, method, status
	duration *prometheus.HistogramVec // route, method
	waits    *prometheus.HistogramVec // projection, result
}

// NewMetrics registers the package's metrics with reg, which must not have them yet; nil registers
// nothing, and what is counted is for nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	return &Metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "ledgerline_http_requests_total", Help: "Requests answered, by the template of their path; /v1/ and any method if no template fits.",
		}, []string{"route", "method", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ledgerline_http_request_duration_seconds", Help: "From a request's headers to the end of its answer.", Buckets: buckets,
		}, []string{"route", "method"}),
		waits: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ledgerline_http_position_wait_seconds", Help: "How long queries waited for their Ledgerline-Position: until it was held, or in vain. The reading is part of it.", Buckets: buckets,
		}, []string{"projection", "result"}),
	}
}

// What waiting for a position came to.
const (
	resultHeld   = "held"
	resultInVain = "in-vain"
)

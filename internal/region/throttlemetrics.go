package region

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/throttle"
)

// refusals tells what was turned away, by the limit that was reached.
type refusals struct{ limiter *throttle.Limiter }

var throttleRefused = prometheus.NewDesc("lifeboat_throttle_refused_requests_total",
	"Requests that were turned away, by the limit reached: requests or watches in progress, account or vault rate.", []string{"limit"}, nil)

// throttleMetrics tell how far the limits of this process are used.
func (p *Process) throttleMetrics() prometheus.Collector {
	s := newReadings("throttle", func() *throttle.Limiter { return p.limiter })
	s.gauge("requests_in_progress", "Requests in progress that are no watches.", func(l *throttle.Limiter) float64 { return float64(l.Requests().InProgress()) })
	s.gauge("requests_limit", "How many may be in progress at once; 0 means any number.", func(l *throttle.Limiter) float64 { return float64(l.Requests().Limit()) })
	s.gauge("watches_in_progress", "Watches in progress.", func(l *throttle.Limiter) float64 { return float64(l.Watches().InProgress()) })
	s.gauge("watches_limit", "How many may be in progress at once; 0 means any number.", func(l *throttle.Limiter) float64 { return float64(l.Watches().Limit()) })
	return together{s, refusals{p.limiter}}
}

// Describe implements prometheus.Collector.
func (refusals) Describe(into chan<- *prometheus.Desc) { into <- throttleRefused }

// Collect implements prometheus.Collector.
func (r refusals) Collect(into chan<- prometheus.Metric) {
	accounts, vaults := r.limiter.Refused()
	for limit, n := range map[string]uint64{
		"requests": r.limiter.Requests().Refused(), "watches": r.limiter.Watches().Refused(), "account": accounts, "vault": vaults,
	} {
		into <- prometheus.MustNewConstMetric(throttleRefused, prometheus.CounterValue, float64(n), limit)
	}
}

// together are collectors that are registered as one.
type together []prometheus.Collector

// Describe implements prometheus.Collector.
func (t together) Describe(into chan<- *prometheus.Desc) {
	for _, c := range t {
		c.Describe(into)
	}
}

// Collect implements prometheus.Collector.
func (t together) Collect(into chan<- prometheus.Metric) {
	for _, c := range t {
		c.Collect(into)
	}
}

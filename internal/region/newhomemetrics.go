package region

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// passedOn is the outcome of a mutation that the new home was sent.
const passedOn = "passed_on"

// newHomeMetrics are those of mutations of records that this region has handed over. It
// implements prometheus.Collector.
type newHomeMetrics struct {
	held     prometheus.Gauge
	waited   prometheus.Histogram
	outcomes *prometheus.CounterVec
}

func newNewHomeMetrics() *newHomeMetrics {
	m := &newHomeMetrics{
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lifeboat_handed_over_requests_in_progress", Help: "Mutations of records that were handed over which wait for the new home, or are passed on to it.",
		}),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lifeboat_handed_over_wait_seconds", Help: "How long mutations of records that were handed over waited until these had arrived at the new home.",
			Buckets: []float64{0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2},
		}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_handed_over_requests_total",
			Help: "Mutations of records that were handed over, by outcome: passed_on to the new home, or why they were not and the client was told where it is.",
		}, []string{"outcome"}),
	}
	m.outcomes.WithLabelValues(passedOn)
	return m
}

// arrived takes note that a record had arrived after a wait.
func (m *newHomeMetrics) arrived(waited time.Duration) { m.waited.Observe(waited.Seconds()) }

// note takes note of how a mutation ended.
func (m *newHomeMetrics) note(err error) {
	outcome := passedOn
	if err != nil {
		outcome = string(secret.CodeOf(err))
	}
	m.outcomes.WithLabelValues(outcome).Inc()
}

// Describe implements prometheus.Collector.
func (m *newHomeMetrics) Describe(into chan<- *prometheus.Desc) {
	m.held.Describe(into)
	m.waited.Describe(into)
	m.outcomes.Describe(into)
}

// Collect implements prometheus.Collector.
func (m *newHomeMetrics) Collect(into chan<- prometheus.Metric) {
	m.held.Collect(into)
	m.waited.Collect(into)
	m.outcomes.Collect(into)
}

package canary

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics of a canary, for Prometheus. The label host is what Reader.Host says;
// result is that of Write and Read. Safe for concurrent use.
type Metrics struct {
	registry               *prometheus.Registry
	rounds, writes, reads  *prometheus.CounterVec
	write                  prometheus.Histogram
	visible, read          *prometheus.HistogramVec
	lastRound, lastSuccess *prometheus.GaugeVec
}

// buckets reach from a read of a local store to what a caller waits for.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// NewMetrics returns metrics without a round.
func NewMetrics() *Metrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lifeboat_canary_" + name, Help: help}, labels)
	}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: "lifeboat_canary_" + name, Help: help, Buckets: buckets}
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lifeboat_canary_" + name, Help: help}, labels)
	}
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		rounds:      counters("rounds_total", "Rounds by result: ok, or failed in part.", "result"),
		writes:      counters("writes_total", "Writes by result: ok or the code of the error.", "result"),
		reads:       counters("reads_total", "Reads by host and result: ok, late, no_answer, went_back, wrong_value or the code of the error.", "host", "result"),
		write:       prometheus.NewHistogram(histogram("write_duration_seconds", "Time of a write until it was acknowledged.")),
		visible:     prometheus.NewHistogramVec(histogram("visible_duration_seconds", "Time from the acknowledgement of a write until the host showed it."), []string{"host"}),
		read:        prometheus.NewHistogramVec(histogram("read_duration_seconds", "Time of a read with a revision token."), []string{"host"}),
		lastRound:   gauges("last_round_timestamp_seconds", "When the last round began."),
		lastSuccess: gauges("last_success_timestamp_seconds", "When the host last showed what it should.", "host"),
	}
	m.registry.MustRegister(m.rounds, m.writes, m.reads, m.write, m.visible, m.read, m.lastRound, m.lastSuccess)
	return m
}

// Observe counts a round.
func (m *Metrics) Observe(r Round) {
	result := OK
	if !r.OK {
		result = "failed"
	}
	m.rounds.WithLabelValues(result).Inc()
	m.lastRound.WithLabelValues().Set(float64(r.At.UnixNano()) / 1e9)
	m.writes.WithLabelValues(r.Write.Result).Inc()
	if r.Write.OK() {
		m.write.Observe(r.Write.Milliseconds / 1e3)
	}
	for _, read := range r.Reads {
		m.reads.WithLabelValues(read.Host, read.Result).Inc()
		if read.OK() {
			m.visible.WithLabelValues(read.Host).Observe(read.VisibleMilliseconds / 1e3)
			m.read.WithLabelValues(read.Host).Observe(read.ReadMilliseconds / 1e3)
			m.lastSuccess.WithLabelValues(read.Host).Set(float64(time.Now().UnixNano()) / 1e9)
		}
	}
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

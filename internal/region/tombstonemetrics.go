package region

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// tombstoneMetrics are those of what is left of deleted records. It implements
// prometheus.Collector.
type tombstoneMetrics struct {
	held      *prometheus.GaugeVec
	collected *prometheus.CounterVec
}

func newTombstoneMetrics() *tombstoneMetrics {
	m := &tombstoneMetrics{
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lifeboat_collection_tombstones", Help: "What is left of deleted records, by what it waits for, as the last round of collection by this process found it.",
		}, []string{"waits_for"}),
		collected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_collection_forgotten_records_total", Help: "What was left of deleted records and was forgotten by this process: of its own region's, or of others'.",
		}, []string{"of"}),
	}
	m.note(replication.Collected{})
	return m
}

// note takes up what a round of collection found and did.
func (m *tombstoneMetrics) note(c replication.Collected) {
	for _, resting := range []secret.Resting{secret.ForNothing, secret.ForAge, secret.ForRegions, secret.ForGood} {
		m.held.WithLabelValues(strings.ToLower(string(resting))).Set(float64(c.Resting[resting]))
	}
	m.held.WithLabelValues("home").Set(float64(c.Copies))
	m.collected.WithLabelValues("own").Add(float64(c.Own))
	m.collected.WithLabelValues("others").Add(float64(c.OfOthers))
}

// Describe implements prometheus.Collector.
func (m *tombstoneMetrics) Describe(into chan<- *prometheus.Desc) {
	m.held.Describe(into)
	m.collected.Describe(into)
}

// Collect implements prometheus.Collector.
func (m *tombstoneMetrics) Collect(into chan<- prometheus.Metric) {
	m.held.Collect(into)
	m.collected.Collect(into)
}

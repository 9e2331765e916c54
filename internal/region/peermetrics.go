package region

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/link"
)

// peerMetrics are those of the links, by peer. It implements
// prometheus.Collector.
type peerMetrics struct {
	status func() []link.Status

	reachable, roundTrip, clock, unknown, refused *prometheus.Desc
}

func newPeerMetrics(status func() []link.Status) *peerMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lifeboat_peer_"+name, help, append([]string{"peer"}, labels...), nil)
	}
	return &peerMetrics{
		status:    status,
		reachable: desc("reachable", "1 while the other region answers; absent while it is forgotten."),
		roundTrip: desc("round_trip_seconds", "Round trip of the last answer of the other region."),
		clock:     desc("clock_difference_seconds", "How far the clock of the other region is ahead."),
		unknown:   desc("unknown_incarnation", "1 while an incarnation of the other region answers that is not admitted."),
		refused:   desc("refused_requests_total", "Requests of the other region that its link refused, by the code of the refusal.", "outcome"),
	}
}

// Describe implements prometheus.Collector.
func (m *peerMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.reachable, m.roundTrip, m.clock, m.unknown, m.refused} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *peerMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.status() {
		peer := string(s.Region)
		gauge := func(d *prometheus.Desc, v float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, peer)
		}
		if !s.Forgotten() { // nobody expects it to answer
			gauge(m.reachable, truth(s.Reachable))
		}
		gauge(m.roundTrip, s.RoundTrip.Seconds())
		gauge(m.clock, s.ClockDifference.Seconds())
		gauge(m.unknown, truth(s.Unknown()))
		for code, n := range s.Refused {
			to <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(n), peer, string(code))
		}
	}
}

package region

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// replicationMetrics are those of what this region tells others, by target, of
// which there are as many as peers. It implements prometheus.Collector.
type replicationMetrics struct {
	outbound *replication.Outbound
	lag      *prometheus.HistogramVec
	compared *prometheus.CounterVec
	differed *prometheus.CounterVec
	// opened is by survivor, not by target.
	opened *prometheus.CounterVec
	gauges []queueGauge
}

type queueGauge struct {
	desc  *prometheus.Desc
	value func(queue.Status) float64
}

func newReplicationMetrics() *replicationMetrics {
	labels := []string{"target"}
	m := &replicationMetrics{
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lifeboat_replication_lag_seconds", Buckets: lagBuckets,
			Help: "Time from a mutation's plan until the target had received it, for those that this process sent.",
		}, labels),
		compared: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_replication_compared_secrets_total", Help: "Secrets compared with the target by digest.",
		}, labels),
		differed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_replication_differing_records_total", Help: "Secrets, and records of accounts, of which the target differed although nothing was under way.",
		}, labels),
		opened: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lifeboat_takeover_opened_secrets_total",
			Help: "Secrets of a lost region about which the survivor was asked before they moved here, or was not, since a comparison had shown that it has nothing newer.",
		}, []string{"survivor", "asked"}),
	}
	gauge := func(name, help string, value func(queue.Status) float64) {
		m.gauges = append(m.gauges, queueGauge{prometheus.NewDesc("lifeboat_queue_"+name, help, labels, nil), value})
	}
	gauge("messages", "Records of which the target lacks a mutation that it was not sent at once.", func(s queue.Status) float64 { return float64(s.Depth) })
	gauge("failed_messages", "Those of them that the target refused.", func(s queue.Status) float64 { return float64(s.Failed) })
	gauge("in_flight_messages", "Those of them that this process is sending.", func(s queue.Status) float64 { return float64(s.InFlight) })
	gauge("oldest_message_age_seconds", "How long ago the oldest mutation committed that the target lacks; 0 if it lacks none.", func(s queue.Status) float64 { return s.Age.Seconds() })
	gauge("paused", "1 while an operator has paused what is sent to the target.", func(s queue.Status) float64 { return truth(s.Paused) })
	gauge("unreachable_attempts", "Attempts in a row by this process that did not reach the target.", func(s queue.Status) float64 { return float64(s.Unreachable) })
	gauge("resynchronising", "1 while everything must be compared with the target, since its queue ran over.", func(s queue.Status) float64 {
		return truth(s.Resynchronisation != nil && !s.Resynchronisation.GetForgotten())
	})
	return m
}

// follow has the metrics tell of the targets, of which each shows from the start.
func (m *replicationMetrics) follow(o *replication.Outbound) {
	m.outbound = o
	for _, target := range o.Targets() {
		m.lag.WithLabelValues(string(target))
		m.compared.WithLabelValues(string(target))
		m.differed.WithLabelValues(string(target))
		m.noteOpened(target, 0, 0)
	}
}

func (m *replicationMetrics) noteDelivered(target secret.RegionName, lag time.Duration) {
	m.lag.WithLabelValues(string(target)).Observe(max(0, lag.Seconds()))
}

func (m *replicationMetrics) noteCompared(c replication.Comparison) {
	m.compared.WithLabelValues(string(c.Target)).Add(float64(c.Secrets))
	m.differed.WithLabelValues(string(c.Target)).Add(float64(len(c.Differing) + len(c.Identities)))
}

// noteOpened is told of secrets that are about to move here.
func (m *replicationMetrics) noteOpened(survivor secret.RegionName, asked, unasked int) {
	m.opened.WithLabelValues(string(survivor), "true").Add(float64(asked))
	m.opened.WithLabelValues(string(survivor), "false").Add(float64(unasked))
}

// Describe implements prometheus.Collector.
func (m *replicationMetrics) Describe(into chan<- *prometheus.Desc) {
	m.lag.Describe(into)
	m.compared.Describe(into)
	m.differed.Describe(into)
	m.opened.Describe(into)
	for _, g := range m.gauges {
		into <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (m *replicationMetrics) Collect(into chan<- prometheus.Metric) {
	m.lag.Collect(into)
	m.compared.Collect(into)
	m.differed.Collect(into)
	m.opened.Collect(into)
	for _, target := range m.outbound.Targets() {
		s := m.outbound.Queue.Status(target)
		for _, g := range m.gauges {
			into <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(s), string(target))
		}
	}
}

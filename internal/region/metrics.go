package region

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are named lifeboat_<subsystem>_<what>_<unit>, in base units (seconds,
// bytes), counters with _total. A label has few values, known beforehand or as
// many as there are hosts or members. docs/metrics.md lists all of them; a test
// compares it with what running processes tell.

// registry returns the process's metrics. Their values are read when they are
// asked for, so that they cost requests nothing.
func (p *Process) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lifeboat_build_info", Help: "Always 1; the labels say what runs.",
			ConstLabels: prometheus.Labels{"release": p.release, "region": string(p.config.Region.Name), "process": p.config.Process.ID},
		}, func() float64 { return 1 }),
		storeCollector{p.store},
	)
	if p.local == nil {
		return r
	}
	r.MustRegister(p.requests.collectors()...)
	r.MustRegister(p.times.applied, p.localStoreMetrics(), p.auditMetrics(), p.keyMetrics(), p.keyCacheMetrics(), p.throttleMetrics(), p.certificateMetrics(), p.traceMetrics())
	p.registerCaches(r)
	if p.forward != nil {
		p.registerRouter(r)
	}
	if p.pipeline != nil {
		r.MustRegister(p.pipelineMetrics(), p.times.cleared, p.sweeps, p.rotationSteps, p.timeHeld(), hostsCollector{p.pipeline}, p.replicated, p.tombstones, p.handedOver, p.conflictMetrics())
		r.MustRegister(p.keyWorkMetrics(), masterKeyCollector{p})
	}
	if p.links != nil {
		r.MustRegister(newPeerMetrics(p.links.Status))
	}
	return r
}

func gauge(r *prometheus.Registry, name, help string, value func() float64) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lifeboat_" + name, Help: help}, value))
}

func counter(r *prometheus.Registry, name, help string, value func() float64) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "lifeboat_" + name, Help: help}, value))
}

// readings are metrics that are read from one status, once for each scrape.
type readings[T any] struct {
	subsystem string
	read      func() T
	each      []reading[T]
}

type reading[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(T) float64
}

func newReadings[T any](subsystem string, read func() T) *readings[T] {
	return &readings[T]{subsystem: subsystem, read: read}
}

func (s *readings[T]) gauge(name, help string, value func(T) float64) {
	s.add(prometheus.GaugeValue, name, help, value)
}

func (s *readings[T]) counter(name, help string, value func(T) uint64) {
	s.add(prometheus.CounterValue, name, help, func(t T) float64 { return float64(value(t)) })
}

func (s *readings[T]) add(kind prometheus.ValueType, name, help string, value func(T) float64) {
	desc := prometheus.NewDesc("lifeboat_"+s.subsystem+"_"+name, help, nil, nil)
	s.each = append(s.each, reading[T]{desc, kind, value})
}

// Describe implements prometheus.Collector.
func (s *readings[T]) Describe(into chan<- *prometheus.Desc) {
	for _, r := range s.each {
		into <- r.desc
	}
}

// Collect implements prometheus.Collector.
func (s *readings[T]) Collect(into chan<- prometheus.Metric) {
	now := s.read()
	for _, r := range s.each {
		into <- prometheus.MustNewConstMetric(r.desc, r.kind, r.value(now))
	}
}

// truth is 1 or 0.
func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unixSeconds is 0 for no time.
func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

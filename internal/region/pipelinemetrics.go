package region

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// lagBuckets reach from a quick commit to a host that was away for long.
var lagBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// times are how long what follows a commit takes.
type times struct{ applied, cleared prometheus.Histogram }

func newTimes() *times {
	return &times{
		applied: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lifeboat_local_store_apply_lag_seconds", Buckets: lagBuckets,
			Help: "Time from a mutation's plan, by the clock of the process that committed it, until the local store has it.",
		}),
		cleared: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "lifeboat_pipeline_clear_duration_seconds", Buckets: lagBuckets,
			Help: "Time from a mutation's plan until this process has cleared it.",
		}),
	}
}

// noteApplied measures how late mutations arrive. What a comparison with the whole
// store brings is older than its way took.
func (p *Process) noteApplied(changes []record.Change) {
	if p.local.Position().Resyncing {
		return
	}
	for _, c := range changes {
		if c.Deleted || !c.Key.HasPrefix(record.WorkPrefix) {
			continue
		}
		work, err := record.WorkItems.Decode(c.Value)
		if err != nil {
			continue
		}
		committed, now := record.FromNanos(work.GetCommittedAt()), p.clock()
		p.times.applied.Observe(max(0, now.Sub(committed).Seconds()))
		if p.tracer != nil {
			p.tracer.Record("apply", work.GetTraceparent(), committed, now)
		}
	}
}

// noteCleared is told of each mutation that this process clears.
func (p *Process) noteCleared(c pipeline.Cleared) {
	p.times.cleared.Observe(max(0, c.At.Sub(c.Committed).Seconds()))
	if p.tracer != nil {
		p.tracer.Record("clear", c.Traceparent, c.Committed, c.At)
	}
}

// pipelineState is what a scrape reads of the pipeline.
type pipelineState struct {
	pipeline.Status
	oldestEvent time.Duration
	live        int
}

func (p *Process) pipelineMetrics() prometheus.Collector {
	s := newReadings("pipeline", func() pipelineState {
		state := pipelineState{Status: p.pipeline.Status()}
		if at, err := p.pipeline.OldestEvent(); err == nil && !at.IsZero() {
			state.oldestEvent = max(0, p.clock().Sub(at))
		}
		for _, h := range state.Hosts {
			if h.Live {
				state.live++
			}
		}
		return state
	})
	s.gauge("owner", "1 while this process clears mutations.", func(p pipelineState) float64 { return truth(p.Owner) })
	s.gauge("open_work_items", "Mutations that are not cleared: not every live host has applied them.", func(p pipelineState) float64 { return float64(p.Open) })
	s.gauge("held_work_items", "Those of them that wait because a host cannot apply the record.", func(p pipelineState) float64 { return float64(p.Held) })
	s.gauge("oldest_work_item_age_seconds", "Age of the oldest mutation that is not cleared; 0 if there is none.", func(p pipelineState) float64 { return p.OldestAge.Seconds() })
	s.gauge("failed_mutations", "Records in quarantine: a host cannot apply them.", func(p pipelineState) float64 { return float64(p.Failed) })
	s.gauge("cleared_revision", "Revision of the store up to which all live hosts have applied everything.", func(p pipelineState) float64 { return float64(p.Cleared) })
	s.gauge("outbox_events", "Events that are kept for watchers that resume.", func(p pipelineState) float64 { return float64(p.Events) })
	s.gauge("outbox_oldest_event_age_seconds", "Age of the oldest of them; they are kept for an hour.", func(p pipelineState) float64 { return p.oldestEvent.Seconds() })
	s.gauge("registered_hosts", "Hosts of the region's set.", func(p pipelineState) float64 { return float64(len(p.Hosts)) })
	s.gauge("live_hosts", "Registered hosts that are live.", func(p pipelineState) float64 { return float64(p.live) })
	return s
}

// hostsCollector tells of each registered host. There are as many as operators
// have started.
type hostsCollector struct{ pipeline *pipeline.Pipeline }

var (
	hostLive = prometheus.NewDesc("lifeboat_host_live",
		"1 if the host is live: its last report to this process is at most 3 s old.", []string{"host"}, nil)
	hostApplied = prometheus.NewDesc("lifeboat_host_applied_revision",
		"Revision of the store that the host has applied, by its last report to this process; 0 if there was none.", []string{"host"}, nil)
)

// Describe implements prometheus.Collector.
func (hostsCollector) Describe(into chan<- *prometheus.Desc) {
	into <- hostLive
	into <- hostApplied
}

// Collect implements prometheus.Collector.
func (c hostsCollector) Collect(into chan<- prometheus.Metric) {
	for _, h := range c.pipeline.Status().Hosts {
		into <- prometheus.MustNewConstMetric(hostLive, prometheus.GaugeValue, truth(h.Live), h.Record.GetId())
		into <- prometheus.MustNewConstMetric(hostApplied, prometheus.GaugeValue, float64(h.Report.Applied), h.Record.GetId())
	}
}

func (p *Process) noteSweep(err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	p.sweeps.WithLabelValues(outcome).Inc()
}

// timeHeld tells why what is due is not purged.
func (p *Process) timeHeld() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lifeboat_sweep_time_held_seconds",
		Help: "How much of the time of day the sweep of this process does not count yet, because it may have come by a jump of the clock.",
	}, func() float64 { return p.service.TimeHeld().Seconds() })
}

// newRotationSteps counts steps of rotations by how they ended.
func newRotationSteps() *prometheus.CounterVec {
	steps := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lifeboat_rotation_steps_total", Help: "Steps that rotators were asked for, by step and outcome, ok or failed; a failed one is tried again.",
	}, []string{"step", "outcome"})
	for _, step := range []secret.RotationStep{secret.CreateStep, secret.SetStep, secret.TestStep, secret.FinishStep} {
		steps.WithLabelValues(string(step), "ok")
		steps.WithLabelValues(string(step), "failed")
	}
	return steps
}

// newSweeps counts sweeps by how they ended.
func newSweeps() *prometheus.CounterVec {
	sweeps := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lifeboat_sweep_runs_total", Help: "Sweeps by outcome, ok or failed; one that failed in part is repeated with the next.",
	}, []string{"outcome"})
	sweeps.WithLabelValues("ok")
	sweeps.WithLabelValues("failed")
	return sweeps
}

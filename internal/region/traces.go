package region

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/tracing"
)

// startTraces has requests traced if the configuration names a receiver. Without
// one nothing is in their way.
func (p *Process) startTraces(ctx context.Context) error {
	t := p.config.Traces
	if t.OTLPEndpoint == "" {
		return nil
	}
	o := tracing.Options{
		Endpoint: t.OTLPEndpoint, Ratio: t.SampleRatio, Names: t.Names,
		Region: p.config.Region.Name, Process: p.config.Process.ID, Release: p.release, Logger: p.log.With("part", "traces"),
	}
	var err error
	if t.CAFile != "" {
		if o.TLS, err = pki.ClientTLS(t.CAFile); err != nil {
			return err
		}
	}
	if p.tracer, err = tracing.New(ctx, o); err != nil {
		return err
	}
	p.onClose(p.tracer.Close)
	return nil
}

// traceMetrics count spans; without a receiver there are none.
func (p *Process) traceMetrics() prometheus.Collector {
	s := newReadings("traces", func() tracing.Stats {
		if p.tracer == nil {
			return tracing.Stats{}
		}
		return p.tracer.Stats()
	})
	s.counter("ended_spans_total", "Spans that ended.", func(t tracing.Stats) uint64 { return t.Ended })
	s.counter("sent_spans_total", "Those of them that the receiver took.", func(t tracing.Stats) uint64 { return t.Sent })
	s.counter("failed_spans_total", "Those that it did not take; the rest waits, or was dropped because too many waited.", func(t tracing.Stats) uint64 { return t.Failed })
	return s
}

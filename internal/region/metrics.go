package region

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

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
	)
	if p.local == nil {
		return r
	}
	p.registerLocalStore(r)
	p.registerRequests(r)
	if p.pipeline != nil {
		p.registerPipeline(r)
	}
	return r
}

func gauge(r *prometheus.Registry, name, help string, value func() float64) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lifeboat_" + name, Help: help}, value))
}

func counter(r *prometheus.Registry, name, help string, value func() float64) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "lifeboat_" + name, Help: help}, value))
}

func (p *Process) registerLocalStore(r *prometheus.Registry) {
	gauge(r, "local_store_applied_revision", "Revision of the store that the local store has applied.", func() float64 {
		return float64(p.local.Position().Applied)
	})
	gauge(r, "local_store_age_seconds", "How long ago the local store was known to be up to date; 0 while it follows the store.", func() float64 {
		return p.local.Age().Seconds()
	})
	gauge(r, "local_store_connected", "1 while the change feed is followed.", func() float64 {
		if p.local.Position().Connected {
			return 1
		}
		return 0
	})
	gauge(r, "local_store_records", "Records in the local store.", func() float64 { return float64(p.local.Position().Records) })
	gauge(r, "local_store_quarantined_records", "Records that could not be applied.", func() float64 {
		return float64(p.local.Position().Quarantined)
	})
	counter(r, "local_store_resyncs_total", "Comparisons of the local store with the whole store.", func() float64 {
		return float64(p.local.Position().Resyncs)
	})
	counter(r, "local_store_rebuilds_total", "Damaged local stores moved aside and built anew.", func() float64 {
		return float64(p.local.Position().Rebuilds)
	})
	counter(r, "local_store_corruptions_found_total", "Reads of records that failed their checksum.", func() float64 {
		return float64(p.local.Position().CorruptionsFound)
	})
	counter(r, "local_store_corruptions_mended_total", "Records replaced from the store because of that.", func() float64 {
		return float64(p.local.Position().CorruptionsMended)
	})
}

func (p *Process) registerRequests(r *prometheus.Registry) {
	r.MustRegister(p.requests.requestsVec, p.requests.durationVec, p.requests.other)
	counter(r, "store_fallback_reads_total", "Reads that the local store could not answer.", func() float64 { return float64(p.service.StoreReads()) })
	counter(r, "audit_lines_total", "Audit lines written.", func() float64 { return float64(p.audit.Stats().Lines) })
	counter(r, "audit_refused_total", "Requests refused because they could not be audited.", func() float64 { return float64(p.audit.Stats().Refused) })
	counter(r, "audit_write_errors_total", "Failed writes of audit files.", func() float64 { return float64(p.audit.Stats().WriteErrors) })
	counter(r, "keyring_hits_total", "Uses of a cached data key.", func() float64 { return float64(p.keyring.Stats().Hits) })
	counter(r, "keyring_unwraps_total", "Calls of the key service.", func() float64 { return float64(p.keyring.Stats().Unwraps) })
	counter(r, "keyring_failures_total", "Calls of the key service that failed.", func() float64 { return float64(p.keyring.Stats().Failures) })
	counter(r, "keyring_stale_uses_total", "Uses of a data key past its lifetime while the key service was away.", func() float64 {
		return float64(p.keyring.Stats().StaleServes)
	})
	gauge(r, "certificate_expiry_timestamp_seconds", "When the front door's certificate expires.", func() float64 {
		return float64(p.serverCert.NotAfter().Unix())
	})
	if p.forward != nil {
		counter(r, "forwarded_requests_total", "Requests that a control process answered.", func() float64 {
			n, _ := p.forward.Counts()
			return float64(n)
		})
		counter(r, "forward_failures_total", "Requests that reached no control process.", func() float64 {
			_, n := p.forward.Counts()
			return float64(n)
		})
	}
}

func (p *Process) registerPipeline(r *prometheus.Registry) {
	gauge(r, "pipeline_open_work_items", "Mutations that not every live host has applied.", func() float64 { return float64(p.pipeline.Status().Open) })
	gauge(r, "pipeline_oldest_work_item_seconds", "Age of the oldest of them.", func() float64 { return p.pipeline.Status().OldestAge.Seconds() })
	gauge(r, "pipeline_failed_mutations", "Records that a host cannot apply.", func() float64 { return float64(p.pipeline.Status().Failed) })
	gauge(r, "hosts_registered", "Registered hosts.", func() float64 { return float64(len(p.pipeline.Status().Hosts)) })
	gauge(r, "hosts_live", "Registered hosts that are live.", func() float64 {
		n := 0
		for _, h := range p.pipeline.Status().Hosts {
			if h.Live {
				n++
			}
		}
		return float64(n)
	})
}

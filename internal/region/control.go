package region

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"time"

	peerv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replica"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// cellName is that of the one cell that serves the shard.
	cellName = "base"
	// sweepEvery is how often what time makes due is looked for. What is due was
	// so for days, and looking at a million secrets takes seconds.
	sweepEvery = 10 * time.Minute
)

func (p *Process) newPipeline() {
	p.pipeline = pipeline.New(pipeline.Options{
		Store: p.records(), Local: p.local, Logger: p.log.With("part", "pipeline"), Cleared: p.noteCleared, Now: p.clock, PeerAges: p.currency.ages,
		Deliver: func(mutations []pipeline.Mutation) []bool { return p.outbound.Deliver(mutations) },
		Enqueue: func(view record.View, txn *record.Txn, m pipeline.Mutation, received []secret.RegionName) error {
			return p.outbound.Enqueue(view, txn, m, received)
		},
	})
}

// startPipeline starts what follows a commit: the local store, which feeds
// everything else, and, by role, the pipeline, the sweep and reports.
func (p *Process) startPipeline(ctx context.Context) error {
	if p.pipeline != nil {
		p.resynced()
		p.run(ctx, "load of the pipeline", p.loadPipeline)
	}
	p.run(ctx, "local store", p.local.Run)
	p.run(ctx, "retries", p.retryQuarantined)
	p.run(ctx, "formats of this process", func(ctx context.Context) error { return p.gate.Announce(ctx, p.isControl() && !p.isHost()) })
	if p.pipeline != nil {
		p.run(ctx, "formats", p.gate.Run)
		p.run(ctx, "pipeline", p.pipeline.Run)
		p.startKeyWork(ctx)
		p.runReplication(ctx)
		p.runOwnership(ctx)
		p.runRotation(ctx)
		p.run(ctx, "sweep", func(ctx context.Context) error { return p.store.Hold(ctx, "sweep", p.sweep) })
	}
	if p.isHost() {
		p.startReports(ctx)
	}
	return nil
}

// loadPipeline has the pipeline take up what the local store holds, at first and
// whenever it is another one. A damaged one is being mended meanwhile.
func (p *Process) loadPipeline(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.reload:
		}
		for err := p.load(); err != nil && ctx.Err() == nil; err = p.load() {
			p.log.Warn("the pipeline cannot read the local store yet", "error", err)
			sleep(ctx, 200*time.Millisecond)
		}
	}
}

// load has what other regions must be told taken up before what clears mutations.
func (p *Process) load() error {
	if err := p.outbound.Load(); err != nil {
		return err
	}
	return p.pipeline.Load()
}

// sweep runs while this process holds the sweep's lease.
func (p *Process) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		swept, err := p.service.Sweep(ctx)
		p.noteSweep(err)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("sweep failed in part; what is left comes with the next one", "error", err)
		}
		if swept.Purged+swept.Pruned+swept.Credentials > 0 {
			p.log.Info("swept", "secrets purged", swept.Purged, "versions pruned", swept.Pruned, "credentials removed", swept.Credentials)
		}
	}
}

// startReports tells every control process how far the local store has come.
func (p *Process) startReports(ctx context.Context) {
	log := p.log.With("part", "reports")
	if p.pipeline != nil {
		p.run(ctx, "reports", p.reportToSelf)
	}
	if p.peerCert == nil {
		return
	}
	client := &http.Client{Transport: p.peerTransport()}
	for _, address := range p.config.Control.Addresses {
		if p.pipeline != nil && address == p.config.Listen.Advertise {
			continue
		}
		p.run(ctx, "reports to "+address, func(ctx context.Context) error {
			return pipeline.RunReporter(ctx, pipeline.ReporterOptions{
				Address: address, Client: client, State: p.progress, Logger: log,
				Wait: p.waitProgress, Acknowledged: func(sent time.Time, answer *peerv1.ReportProgressResponse) {
					p.acknowledged()
					p.currency.take(sent, answer)
				},
			})
		})
	}
}

// peerTransport speaks HTTP/2 with mutual TLS and notices a silent peer.
func (p *Process) peerTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	return &http.Transport{
		TLSClientConfig: pki.PeerClientTLS(p.peerCert, p.config.Region.Name), Protocols: &protocols, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, TLSHandshakeTimeout: 2 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 2 * time.Second, PingTimeout: 2 * time.Second},
	}
}

// reportToSelf reports to the pipeline of this very process.
func (p *Process) reportToSelf(ctx context.Context) error {
	for {
		state := p.progress()
		report := pipeline.Report{
			Host: state.GetHost(), Cell: state.GetCell(), Address: state.GetAddress(), Release: state.GetRelease(),
			Formats: state.GetFormats(), Applied: state.GetAppliedRevision(), RestoreEpoch: state.GetRestoreEpoch(),
			Incarnation: secret.Incarnation(state.GetIncarnation()),
		}
		for _, q := range state.GetQuarantined() {
			report.Quarantined = append(report.Quarantined, pipeline.Quarantined{
				Record: record.Key(q.GetRecord()), Revision: q.GetRevision(), Reason: q.GetReason(),
			})
		}
		pause := time.Second
		if err := p.pipeline.Report(ctx, report); err != nil && ctx.Err() == nil {
			p.log.Debug("host cannot be registered yet", "error", err)
			pause = 200 * time.Millisecond
			sleep(ctx, pause)
		} else if err == nil {
			p.acknowledged()
		}
		wait, cancel := context.WithTimeout(ctx, pause)
		err := p.waitProgress(wait, state.GetAppliedRevision())
		cancel()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// progress is the present state of this host.
func (p *Process) progress() *peerv1.ReportProgressRequest {
	position := p.local.Position()
	state := &peerv1.ReportProgressRequest{
		Host: p.config.Process.ID, Cell: cellName, Address: p.config.Listen.Advertise, Release: p.release, Formats: record.Formats(),
		RestoreEpoch: position.RestoreEpoch, Incarnation: string(position.Incarnation),
	}
	if position.Synced {
		state.AppliedRevision = position.Applied
	}
	if position.Quarantined > 0 {
		addQuarantined(state, p.local.Quarantined())
	}
	return state
}

// mostReported bounds the quarantined records in a report.
const mostReported = 100

// addQuarantined lists the oldest of the records that could not be applied. If
// there are more, what they hold is not reported as applied.
func addQuarantined(state *peerv1.ReportProgressRequest, quarantined []replica.Quarantined) {
	slices.SortFunc(quarantined, func(a, b replica.Quarantined) int { return cmp.Compare(a.Revision, b.Revision) })
	if len(quarantined) > mostReported {
		state.AppliedRevision = min(state.GetAppliedRevision(), quarantined[mostReported].Revision-1)
		quarantined = quarantined[:mostReported]
	}
	for _, q := range quarantined {
		state.Quarantined = append(state.Quarantined, &peerv1.Quarantined{Record: string(q.Record), Revision: q.Revision, Reason: q.Reason})
	}
}

// waitProgress returns when there is more to report than a revision, or ctx ends.
func (p *Process) waitProgress(ctx context.Context, applied int64) error {
	if p.local.Position().Quarantined > mostReported {
		<-ctx.Done() // more is applied than is reported
		return ctx.Err()
	}
	return p.local.WaitApplied(ctx, applied+1)
}

var errNoControl = errors.New("this process has no role control")

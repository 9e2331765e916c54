package region

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// receivedAtOnce bounds the requests of other regions with states of records that
// are served at once. Together they may hold some hundred MiB.
const receivedAtOnce = 64

// startReplication makes what tells other regions of this one's records. The
// senders run once the local store does.
func (p *Process) startReplication(context.Context) error {
	if !p.isControl() {
		return nil
	}
	region := p.config.Region.Name
	log := p.log.With("part", "replication")
	o := replication.NewOutbound(region,
		queue.New(queue.Options{Store: p.records(), Local: p.local, Logger: log, Cap: p.queueCap, Now: p.clock}),
		replication.NewRoutes(region), completeCopy{p}, func(d []pipeline.Delivery) { p.pipeline.Delivered(d) })
	clients, err := p.replicationClients()
	if err != nil {
		return err
	}
	for peer, client := range clients {
		o.Senders[peer] = replication.NewSender(replication.SenderOptions{
			Region: region, Target: peer, Queue: o.Queue, Routes: o.Routes, Service: p.service, Digester: p.service, Local: o.Local,
			Store: p.records(), Client: client, Logger: log, Now: p.clock,
			Delivered: func(lag time.Duration) { p.replicated.noteDelivered(peer, lag) },
			Compared:  p.replicated.noteCompared,
		})
	}
	p.outbound = o
	p.queue.Store(o.Queue)
	p.replicated.follow(o)
	p.collector = replication.NewCollector(replication.CollectorOptions{
		Service: p.service, Queue: o.Queue, Store: p.records(), Clients: clients, Every: p.config.Replication.CollectEvery,
		Collected: p.tombstones.note, Logger: log, Now: p.clock,
	})
	return p.newRotation()
}

// replicationClients reach the peers over their links.
func (p *Process) replicationClients() (map[secret.RegionName]peerv1connect.ReplicationServiceClient, error) {
	clients := make(map[secret.RegionName]peerv1connect.ReplicationServiceClient)
	for _, peer := range p.links.Peers() {
		client, err := p.links.Client(peer)
		if err != nil {
			return nil, err
		}
		clients[peer] = peerv1connect.NewReplicationServiceClient(client, link.URL(peer))
	}
	return clients, nil
}

// runReplication runs a sender for each target, and the collector, while this process
// holds its lease.
func (p *Process) runReplication(ctx context.Context) {
	p.run(ctx, "collection", func(ctx context.Context) error { return p.store.Hold(ctx, "collection", p.collector.Run) })
	for _, target := range p.outbound.Targets() {
		sender := p.outbound.Senders[target]
		p.run(ctx, "replication to "+string(target), func(ctx context.Context) error {
			return p.store.Hold(ctx, "replication/"+string(target), sender.Run)
		})
	}
}

// peerReached has what waits for a peer sent at once when that is back.
func (p *Process) peerReached(peer secret.RegionName) {
	if q := p.queue.Load(); q != nil { // links are there first
		q.Reached(peer)
	}
}

// receiver takes in what other regions send.
func (p *Process) receiver() *replication.Receiver {
	return replication.NewReceiver(replication.ReceiverOptions{
		Region: p.config.Region.Name, Service: p.service, Digester: p.service, Local: completeCopy{p}, Capacity: receivedAtOnce, StatusOf: nativeCode,
		Source: func(ctx context.Context) (service.Source, bool) {
			peer, ok := link.PeerFrom(ctx)
			return service.Source{Region: peer.Region}, ok
		},
	})
}

// peerNames returns the regions that this one can replicate to.
func (p *Process) peerNames() []secret.RegionName {
	names := make([]secret.RegionName, len(p.config.Peers))
	for i, peer := range p.config.Peers {
		names[i] = peer.Region
	}
	return names
}

// completeCopy is the local store, as long as it is complete.
type completeCopy struct{ p *Process }

// View implements replication.LocalStore.
func (c completeCopy) View(fn func(record.View) error) error { return c.p.synced(fn) }

// Applied implements replication.Copy.
func (c completeCopy) Applied() int64 { return c.p.local.Position().Applied }

// WaitApplied implements replication.Copy.
func (c completeCopy) WaitApplied(ctx context.Context, revision int64) error {
	return c.p.local.WaitApplied(ctx, revision)
}

// received implements service.Replication.
type received struct{ p *Process }

// WaitReceived implements service.Replication.
func (r received) WaitReceived(ctx context.Context, key record.Key, revision int64, n int) (received, outstanding []secret.RegionName) {
	return r.p.outbound.WaitReceived(ctx, key, revision, n)
}

// replications implements native.Replication.
type replications struct{ p *Process }

// SecretStatus implements native.Replication.
func (r replications) SecretStatus(ctx context.Context, view record.View, s *secret.Secret) ([]*lifeboatv1.TargetStatus, error) {
	key := record.SecretKey(s.ID)
	if s.Ownership.Home != r.p.config.Region.Name {
		return r.replicaStatus(view, key)
	}
	found, err := r.p.outbound.RecordStatus(ctx, view, key)
	var all []*lifeboatv1.TargetStatus
	for _, t := range found {
		all = append(all, &lifeboatv1.TargetStatus{
			Region: string(t.Region), State: replicationStates[t.State], Code: string(t.Code), Reason: t.Reason,
			Attempts: uint32(t.Attempts), NextTryAt: timestampOf(t.NextTryAt), Since: timestampOf(t.Since), LagSeconds: r.p.lag(t.Since), //nolint:gosec // a count
		})
	}
	return all, err
}

// replicaStatus is how far a replica is here, as this region sees it.
func (r replications) replicaStatus(view record.View, key record.Key) ([]*lifeboatv1.TargetStatus, error) {
	status := &lifeboatv1.TargetStatus{Region: string(r.p.config.Region.Name), State: lifeboatv1.ReplicationState_REPLICATION_STATE_IN_SYNC}
	_, open, err := view.Get(record.WorkKey(key))
	if open {
		status.State = lifeboatv1.ReplicationState_REPLICATION_STATE_RECEIVED
	}
	return []*lifeboatv1.TargetStatus{status}, err
}

var replicationStates = map[replication.State]lifeboatv1.ReplicationState{
	replication.Pending:    lifeboatv1.ReplicationState_REPLICATION_STATE_PENDING,
	replication.InProgress: lifeboatv1.ReplicationState_REPLICATION_STATE_IN_PROGRESS,
	replication.Received:   lifeboatv1.ReplicationState_REPLICATION_STATE_RECEIVED,
	replication.InSync:     lifeboatv1.ReplicationState_REPLICATION_STATE_IN_SYNC,
	replication.Failed:     lifeboatv1.ReplicationState_REPLICATION_STATE_FAILED,
	replication.Paused:     lifeboatv1.ReplicationState_REPLICATION_STATE_PAUSED,
	replication.Promoted:   lifeboatv1.ReplicationState_REPLICATION_STATE_PROMOTED,
}

func (p *Process) lag(since time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(0, p.clock().Sub(since).Seconds())
}

// VaultStatus implements native.Replication.
func (r replications) VaultStatus(view record.View, v *secret.Vault) ([]*lifeboatv1.VaultTargetStatus, error) {
	if v.Ownership.Home != r.p.config.Region.Name {
		return nil, nil // its home knows
	}
	found, err := r.p.outbound.VaultStatus(view, v)
	var all []*lifeboatv1.VaultTargetStatus
	for _, t := range found {
		all = append(all, &lifeboatv1.VaultTargetStatus{
			Region: string(t.Region), State: replicationStates[t.State], Pending: uint32(t.PendingSecrets), Failed: uint32(t.FailedSecrets), //nolint:gosec // counts
			Synchronising: t.Synchronising, Synchronised: t.Synchronised, ToSynchronise: t.ToSynchronise,
			Since: timestampOf(t.Since), LagSeconds: r.p.lag(t.Since),
		})
	}
	return all, err
}

// CompareVault implements native.Replication.
func (r replications) CompareVault(ctx context.Context, v *secret.Vault, region secret.RegionName) (*lifeboatv1.CompareVaultResponse, error) {
	sender := r.p.outbound.Senders[region]
	if sender == nil {
		return nil, link.NotPeer(region)
	}
	if v.Ownership.Home != r.p.config.Region.Name {
		return nil, &secret.Error{
			Code: secret.CodeNotHome, Message: "the vault is a replica; its home region is " + string(v.Ownership.Home), Home: v.Ownership.Home,
		}
	}
	found, err := sender.Compare(ctx, v.ID)
	if err != nil {
		if secret.CodeOf(err) == secret.CodeInternal {
			err = secret.Wrap(secret.CodeUnavailable, err, "region "+string(region)+" cannot be compared with now")
		}
		return nil, err
	}
	answer := &lifeboatv1.CompareVaultResponse{Secrets: uint64(found.Secrets)} //nolint:gosec // a count
	for _, key := range found.Differing {
		answer.Differing = append(answer.Differing, string(record.SecretIDOf(key)))
	}
	for _, key := range found.Identities {
		answer.DifferingIdentities = append(answer.DifferingIdentities, string(key))
	}
	for _, key := range found.Surplus {
		answer.Surplus = append(answer.Surplus, string(record.SecretIDOf(key)))
	}
	return answer, nil
}

// Queues implements native.Replication.
func (r replications) Queues() []*lifeboatv1.Queue {
	var all []*lifeboatv1.Queue
	for _, target := range r.p.outbound.Targets() {
		s := r.p.outbound.Queue.Status(target)
		q := &lifeboatv1.Queue{
			Region: string(target), Paused: s.Paused, PausedUntil: timestampOf(s.PausedUntil), PauseReason: s.PauseReason,
			Depth: uint64(s.Depth), InFlight: uint64(s.InFlight), Failed: uint64(s.Failed), Since: timestampOf(s.Since), LagSeconds: s.Age.Seconds(), //nolint:gosec // counts
			Throughput: s.Throughput, Unreachable: uint32(s.Unreachable), NextTryAt: timestampOf(s.NextTryAt), //nolint:gosec // a count
		}
		if s.Resynchronisation != nil && !s.Resynchronisation.GetForgotten() {
			q.Resynchronising, q.ResynchroniseReason = true, s.Resynchronisation.GetReason()
		}
		all = append(all, q)
	}
	return all
}

func (r replications) known(region secret.RegionName) error {
	if r.p.outbound.Senders[region] == nil {
		return link.NotPeer(region)
	}
	return nil
}

// PauseQueue implements native.Replication.
func (r replications) PauseQueue(ctx context.Context, req *lifeboatv1.PauseQueueRequest) error {
	region := secret.RegionName(req.GetRegion())
	if err := r.known(region); err != nil {
		return err
	}
	if err := secret.CheckText("reason", req.GetReason(), secret.MaxDescriptionBytes); err != nil {
		return err
	}
	pause := queue.Pause{Reason: req.GetReason()}
	if req.GetUntil() != nil {
		pause.Until = req.GetUntil().AsTime()
	}
	return r.p.outbound.Queue.Pause(ctx, region, pause)
}

// ResumeQueue implements native.Replication.
func (r replications) ResumeQueue(ctx context.Context, region secret.RegionName) error {
	if err := r.known(region); err != nil {
		return err
	}
	return r.p.outbound.Queue.Resume(ctx, region)
}

// RetryQueue implements native.Replication.
func (r replications) RetryQueue(ctx context.Context, region secret.RegionName, key string) error {
	if err := r.known(region); err != nil {
		return err
	}
	if key == "" {
		return r.p.outbound.Queue.RetryAll(ctx, region)
	}
	return r.p.outbound.Queue.Retry(ctx, region, record.Key(key))
}

// maxFailures bounds a page of failures.
const maxFailures = 1000

// Failures implements native.Replication.
func (r replications) Failures(ctx context.Context, req *lifeboatv1.ListFailuresRequest) (*lifeboatv1.ListFailuresResponse, error) {
	region := secret.RegionName(req.GetRegion())
	if err := r.known(region); err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	switch {
	case size == 0:
		size = service.DefaultPageSize
	case size > maxFailures:
		return nil, secret.Invalid("page_size", "is %d; the limit is %d", size, maxFailures)
	}
	page, last, more, err := r.p.outbound.Queue.Failures(r.p.records().View(ctx), region, record.Key(req.GetPageToken()), size)
	answer := &lifeboatv1.ListFailuresResponse{}
	for _, m := range page {
		answer.Failures = append(answer.Failures, &lifeboatv1.Failure{
			Record: m.GetRecord(), Code: m.GetFailureCode(), Reason: m.GetFailureReason(), Attempts: m.GetAttempts(),
			NextTryAt: timestamppb.New(record.FromNanos(m.GetNextTryAt())), Since: timestamppb.New(record.FromNanos(m.GetSince())),
		})
	}
	if more {
		answer.NextPageToken = string(last)
	}
	return answer, err
}

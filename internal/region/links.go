package region

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/pki"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// pinCheck bounds how late a peer is pinned if no event tells of it, as when
	// the fence forbade it at first.
	pinCheck = 5 * time.Second
	// clockTolerance is the difference of clocks beyond which health says so.
	clockTolerance = time.Second
)

// startLinks makes the links with other regions, which only control processes
// have, and begins to look for them.
func (p *Process) startLinks(ctx context.Context) error {
	if !p.isControl() {
		return nil
	}
	o := link.Options{
		Region: p.config.Region.Name, Process: p.config.Process.ID, Release: p.release, ReplicationSchema: replication.SchemaVersion,
		Certificate: p.peerCert, Life: p.life, Origins: p.origins, Pinned: p.pinned, TakenOver: p.hasTakenOver, Behind: p.behind, Reached: p.peerReached, Current: p.currency.note,
		StatusOf: nativeCode, Logger: p.log.With("part", "links"), Now: p.clock,
	}
	for _, peer := range p.config.Peers {
		authorities, err := pki.NewAuthorities(pki.AuthoritiesOptions{
			Region: peer.Region, CAFile: peer.CAFile, OnError: func(err error) {
				p.log.Error("changed authorities of a peer cannot be used; the old ones stay", "peer", peer.Region, "error", err)
			},
		})
		if err != nil {
			return fmt.Errorf("peer %s: %w", peer.Region, err)
		}
		o.Peers = append(o.Peers, link.Peer{Region: peer.Region, Addresses: peer.Addresses, Authorities: authorities})
	}
	p.links = link.New(o)
	p.onClose(p.links.Close)
	if len(o.Peers) > 0 {
		p.run(ctx, "links", p.links.Run)
		p.run(ctx, "peers asked", p.rememberAnswer)
		p.run(ctx, "pins", func(ctx context.Context) error { return p.store.Hold(ctx, "pins", p.pinPeers) })
	}
	return nil
}

// startRegionListener lets the control processes of other regions in.
func (p *Process) startRegionListener(ctx context.Context) error {
	if p.links == nil || p.config.Listen.RegionAddress == "" {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle(p.links.Hello())
	mux.Handle(p.receiver().Handler())
	mux.HandleFunc("/", p.servePassedOn)
	_, err := p.serve(ctx, "region listener", p.config.Listen.RegionAddress, p.links.ServerTLS(), p.links.Accept(mux), func(s *http.Server) {
		s.HTTP2 = link.HTTP2()
	})
	return err
}

// life is the present life of this region, as far as this process knows it.
func (p *Process) life() link.Life {
	at := p.local.Position()
	if !at.Synced {
		return link.Life{}
	}
	return link.Life{Incarnation: at.Incarnation, RestoreEpoch: at.RestoreEpoch}
}

// origins are the backups that led to the present life of this region.
func (p *Process) origins() (origins []secret.Moment) {
	err := p.synced(func(view record.View) error {
		region, err := service.RegionRecord(view)
		origins = record.MomentsFromProto(region.GetOrigins())
		return err
	})
	if err != nil {
		return nil // nor is the life known
	}
	return origins
}

// pinned returns which life of a peer is accepted.
func (p *Process) pinned(peer secret.RegionName) (pin link.Pin, err error) {
	err = p.synced(func(view record.View) error {
		known, _, err := record.Load(view, record.Peers, record.PeerKey(peer))
		if errors.Is(err, record.ErrNotFound) {
			return nil
		}
		pin = link.Pin{Incarnation: secret.Incarnation(known.GetIncarnation()), AdmittedAt: record.FromNanos(known.GetAdmittedAt()), ForgottenAt: record.FromNanos(known.GetForgottenAt()), Heir: known.GetHeir()}
		for _, life := range known.GetForgotten() {
			pin.Forgotten = append(pin.Forgotten, secret.Incarnation(life))
		}
		return err
	})
	return pin, err
}

// pinPeers accepts the first life that is met of each peer, while this process
// holds the lease.
func (p *Process) pinPeers(ctx context.Context) error {
	for {
		for _, s := range p.links.Status() {
			if s.Life.Incarnation == "" || s.Pin.Incarnation != "" || s.Forgotten() {
				continue
			}
			err := p.service.PinPeer(ctx, s.Region, s.Life.Incarnation)
			if err != nil && ctx.Err() == nil {
				p.log.Warn("a peer cannot be admitted yet", "peer", s.Region, "error", err)
			} else if err == nil {
				p.log.Info("a peer is admitted because it is the first of its name", "peer", s.Region, "incarnation", s.Life.Incarnation)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.links.Met():
		case <-time.After(pinCheck):
		}
	}
}

// checkPeers reports how each peer is. None is vital: a region serves alone.
func (p *Process) checkPeers() (checks []check) {
	if p.links == nil {
		return nil
	}
	for _, s := range p.links.Status() {
		c := check{name: "peer " + string(s.Region), info: fmt.Sprintf("reachable at %s, %.1f ms away", s.Address, float64(s.RoundTrip.Microseconds())/1000)}
		switch {
		case s.Forgotten() && s.Reachable && !s.Pin.Forgets(s.Life.Incarnation):
			c.err = fmt.Errorf("it was forgotten, and incarnation %s answers; see: lifeboat region admit %s", s.Life.Incarnation, s.Region)
		case s.Forgotten():
			c.info = "forgotten at " + s.Pin.ForgottenAt.UTC().Format(time.RFC3339)
		case s.Since.IsZero():
			c.err = errors.New("not tried yet")
		case !s.Reachable:
			c.err = fmt.Errorf("not reachable since %s: %w", s.Since.UTC().Format(time.RFC3339), s.Err)
		case s.Unknown():
			c.err = fmt.Errorf("incarnation %s is not admitted; see: lifeboat region admit %s", s.Life.Incarnation, s.Region)
		case s.ClockDifference.Abs() > clockTolerance+s.RoundTrip/2:
			c.err = fmt.Errorf("its clock differs by %s", s.ClockDifference.Round(time.Millisecond))
		}
		checks = append(checks, c)
	}
	if err := p.links.CertificateErr(); err != nil {
		checks = append(checks, check{name: "authorities of peers", err: err})
	}
	return checks
}

// Peers implements native.Operations.
func (o operations) Peers(context.Context) (*lifeboatv1.ListPeersResponse, error) {
	p := o.p
	if p.links == nil {
		return nil, errNoControl
	}
	answer := &lifeboatv1.ListPeersResponse{Region: string(p.config.Region.Name), Incarnation: string(p.life().Incarnation)}
	for _, s := range p.links.Status() {
		peer := &lifeboatv1.Peer{
			Region: string(s.Region), Reachable: s.Reachable, Address: s.Address, RoundTripSeconds: s.RoundTrip.Seconds(),
			ClockDifferenceSeconds: s.ClockDifference.Seconds(), PinnedIncarnation: string(s.Pin.Incarnation),
			Incarnation: string(s.Life.Incarnation), RestoreEpoch: s.Life.RestoreEpoch, Release: s.Release, Process: s.Process,
			ReplicationSchema: s.ReplicationSchema, Since: timestampOf(s.Since), LastSeenAt: timestampOf(s.LastSeen),
			AdmittedAt: timestampOf(s.Pin.AdmittedAt), ForgottenAt: timestampOf(s.Pin.ForgottenAt),
		}
		for _, life := range s.Pin.Forgotten {
			peer.ForgottenIncarnations = append(peer.ForgottenIncarnations, string(life))
		}
		if s.Err != nil {
			peer.Error = s.Err.Error()
		}
		queued := p.outbound.Queue.Status(s.Region)
		peer.Waiting, peer.Refused, peer.LagSeconds, peer.QueueState = uint64(queued.Depth), uint64(queued.Failed), queued.Age.Seconds(), "OPEN" //nolint:gosec // counts
		switch {
		case queued.Resynchronisation.GetForgotten():
			peer.QueueState = "FORGOTTEN"
		case queued.Paused:
			peer.QueueState = "PAUSED"
		case queued.Resynchronisation != nil:
			peer.QueueState = "RESYNCHRONISING"
		}
		answer.Peers = append(answer.Peers, peer)
	}
	return answer, nil
}

func timestampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// AdmitPeer implements native.Operations. The life must be the one that answers
// now, so that an operator cannot admit one that is gone.
func (o operations) AdmitPeer(ctx context.Context, region, incarnation string, older bool) error {
	if o.p.links == nil {
		return errNoControl
	}
	if incarnation == "" {
		return secret.Invalid("incarnation", "must not be empty")
	}
	s, ok := o.p.links.PeerStatus(secret.RegionName(region))
	switch {
	case !ok:
		return link.NotPeer(secret.RegionName(region))
	case s.Life.Incarnation == "":
		return secret.Errorf(secret.CodeUnavailable, "region %s did not answer yet", region)
	case string(s.Life.Incarnation) != incarnation:
		return &secret.Error{
			Code: secret.CodeStale, Field: "incarnation",
			Message: fmt.Sprintf("is not the one that answers now, which is %s", s.Life.Incarnation), Hint: "look again: lifeboat region status",
		}
	}
	life := service.PeerLife{Incarnation: s.Life.Incarnation, Restored: s.Life.RestoreEpoch > 1, Origins: s.Origins}
	return o.p.service.AdmitPeer(ctx, s.Region, life, older)
}

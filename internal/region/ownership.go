package region

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/api/lifeboat/peer/v1/peerv1connect"
	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/ownership"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// startOwnership makes what moves records between regions.
func (p *Process) startOwnership(context.Context) error {
	if !p.isControl() {
		return nil
	}
	log := p.log.With("part", "ownership")
	p.survivors = &replication.Survivors{
		Local: completeCopy{p}, Service: p.service, Clients: map[secret.RegionName]peerv1connect.ReplicationServiceClient{}, Logger: log,
	}
	for _, peer := range p.links.Peers() {
		client, err := p.links.Client(peer)
		if err != nil {
			return err
		}
		p.survivors.Clients[peer] = peerv1connect.NewReplicationServiceClient(client, link.URL(peer))
	}
	p.keeper = ownership.New(ownership.Options{
		Service: p.service, Local: p.synced, Peers: p.ownershipPeers, Untold: p.untold, Logger: log,
	})
	return nil
}

// runOwnership runs the keeper while this process holds its lease.
func (p *Process) runOwnership(ctx context.Context) {
	p.run(ctx, "ownership", func(ctx context.Context) error { return p.store.Hold(ctx, "ownership", p.keeper.Run) })
}

// survivors implements service.Survivors.
type survivors struct{ p *Process }

// Pull implements service.Survivors.
func (s survivors) Pull(ctx context.Context, lost secret.RegionName, keys []record.Key) {
	if s.p.survivors != nil {
		s.p.survivors.Pull(ctx, lost, keys)
	}
}

func (p *Process) ownershipPeers() (all []ownership.Peer) {
	for _, s := range p.links.Status() {
		all = append(all, ownership.Peer{
			Region: s.Region, Known: s.Reachable && s.Pin.Admits(s.Life.Incarnation), TookOver: s.TookOver, HeldUp: s.HeldUp,
		})
	}
	return all
}

// askSurvivorsFor bounds how long a dry run of a takeover asks other regions.
const askSurvivorsFor = 2 * time.Second

// ownerships implements native.Ownership.
type ownerships struct{ p *Process }

// TakeOver implements native.Ownership. A region that is reachable is taken over only
// if the operator says so twice. A dry run ends before the one write.
func (o ownerships) TakeOver(ctx context.Context, req *lifeboatv1.TakeOverRegionRequest) (*recordpb.Takeover, *lifeboatv1.TakeoverScope, error) {
	region := secret.RegionName(req.GetRegion())
	s, ok := o.p.links.PeerStatus(region)
	if !ok {
		return nil, nil, link.NotPeer(region)
	}
	if vault := secret.VaultID(req.GetDrillVault()); vault != "" {
		return o.takeOverDrill(ctx, region, vault, req.GetDryRun())
	}
	view := o.p.records().View(ctx)
	var scope *lifeboatv1.TakeoverScope
	if req.GetDryRun() {
		var err error
		if scope, err = o.scope(ctx, region); err != nil {
			return nil, nil, err
		}
		scope.LastSeenAt = timestampOf(s.LastSeen)
	}
	if s.Reachable && !req.GetAcceptUnfenced() {
		return nil, scope, secret.Errorf(secret.CodeWrongState, "region %s is reachable since %s", region, s.Since.UTC().Format(time.RFC3339)).
			WithHint("move its vaults, or cut it off first; if neither can be, accept that it goes on to take writes until it learns of this")
	}
	if req.GetDryRun() {
		return nil, scope, o.p.service.MayTakeOver(view, region)
	}
	if err := o.p.service.TakeOver(ctx, region, s.Reachable); err != nil {
		return nil, nil, err
	}
	t, _, err := record.Load(o.p.records().View(ctx), record.Takeovers, record.TakeoverKey(region))
	return t, nil, err
}

// takeOverDrill takes over one vault that was made for a drill, from a region that may
// well be reachable.
func (o ownerships) takeOverDrill(ctx context.Context, lost secret.RegionName, vault secret.VaultID, dryRun bool) (*recordpb.Takeover, *lifeboatv1.TakeoverScope, error) {
	if dryRun {
		return nil, &lifeboatv1.TakeoverScope{Vaults: 1}, o.p.service.MayTakeOverDrill(o.p.records().View(ctx), lost, vault)
	}
	if err := o.p.service.TakeOverDrill(ctx, lost, vault); err != nil {
		return nil, nil, err
	}
	t, _, err := record.Load(o.p.records().View(ctx), record.Takeovers, record.DrillTakeoverKey(lost, vault))
	return t, nil, err
}

// CutDrillVault implements native.Ownership.
func (o ownerships) CutDrillVault(ctx context.Context, vault secret.VaultID, lasts time.Duration) (time.Time, error) {
	return o.p.service.CutDrillVault(ctx, vault, lasts)
}

// scope says what a takeover of a region would move, and who can be asked about it.
func (o ownerships) scope(ctx context.Context, lost secret.RegionName) (*lifeboatv1.TakeoverScope, error) {
	scope := &lifeboatv1.TakeoverScope{}
	var sample []record.Key
	err := o.p.synced(func(view record.View) error {
		found, err := o.p.service.TakeoverScope(view, lost)
		scope.Accounts, scope.Vaults, scope.Secrets, scope.PartialVaults = found.Accounts, found.Vaults, found.Secrets, found.PartialVaults
		sample = found.Sample
		return err
	})
	for _, peer := range o.p.links.Status() {
		switch {
		case peer.Region == lost:
		case peer.Reachable:
			scope.Survivors = append(scope.Survivors, string(peer.Region))
		default:
			scope.Silent = append(scope.Silent, string(peer.Region))
		}
	}
	if err != nil {
		return scope, err
	}
	ctx, cancel := context.WithTimeout(ctx, askSurvivorsFor)
	defer cancel()
	newer, asked := o.p.survivors.Newer(ctx, lost, sample)
	for _, survivor := range scope.Survivors {
		region := secret.RegionName(survivor)
		scope.Newer = append(scope.Newer, &lifeboatv1.SurvivorScope{Region: survivor, Newer: newer[region], Asked: asked[region]})
	}
	return scope, nil
}

// Takeovers implements native.Ownership.
func (o ownerships) Takeovers(ctx context.Context) (takeovers []*recordpb.Takeover, by []secret.RegionName, err error) {
	view := o.p.records().View(ctx)
	if takeovers, err = service.Takeovers(view); err == nil {
		by, err = service.SupersededBy(view)
	}
	return takeovers, by, err
}

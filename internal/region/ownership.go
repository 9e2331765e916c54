package region

import (
	"context"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor/native"
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
	clients, err := p.replicationClients()
	if err != nil {
		return err
	}
	p.survivors = replication.NewSurvivors(replication.SurvivorsOptions{
		Region: p.config.Region.Name, Local: completeCopy{p}, Service: p.service, Digester: p.service, Clients: clients, Logger: log,
		Opened: p.replicated.noteOpened,
	})
	p.keeper = ownership.New(ownership.Options{
		Service: p.service, Local: p.synced, Peers: p.askedPeers, Untold: p.untold, Logger: log,
	})
	return nil
}

// runOwnership runs the keeper while this process holds its lease, and has vaults
// compared of which records are asked for in this process.
func (p *Process) runOwnership(ctx context.Context) {
	p.run(ctx, "survivors", p.survivors.Run)
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

// Compare implements service.Survivors.
func (s survivors) Compare(ctx context.Context, lost secret.RegionName, only secret.VaultID, missing func([]record.Key) error) error {
	if s.p.survivors == nil {
		return nil
	}
	return s.p.survivors.Compare(ctx, lost, only, missing)
}

// askedPeers implements ownership.Options. It asks anew whoever said that it has taken
// this region over: that ends when this one has caught up, and must not be noted later.
func (p *Process) askedPeers(ctx context.Context) []ownership.Peer {
	for _, s := range p.links.Status() {
		if s.TookOver {
			p.links.Refresh(ctx, s.Region)
		}
	}
	return p.ownershipPeers()
}

func (p *Process) ownershipPeers() (all []ownership.Peer) {
	for _, s := range p.links.Status() {
		all = append(all, ownership.Peer{
			Region: s.Region, Known: s.Reachable && s.Pin.Admits(s.Life.Incarnation), TookOver: s.TookOver, HeldUp: s.HeldUp,
		})
	}
	return all
}

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

// Takeovers implements native.Ownership.
func (o ownerships) Takeovers(ctx context.Context) (found native.Takeovers, err error) {
	view := o.p.records().View(ctx)
	if found.Of, err = service.Takeovers(view); err != nil {
		return found, err
	}
	if found.By, err = service.SupersededBy(view); err != nil {
		return found, err
	}
	found.Conflicts, err = service.CountConflicts(view)
	return found, err
}

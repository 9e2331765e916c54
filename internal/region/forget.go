package region

import (
	"context"
	"fmt"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

// namedStranded is how many records that would be stranded a refusal names.
const namedStranded = 5

// Forget implements native.Ownership. A region that is reachable in an accepted life is
// not gone; another life that answers at its addresses has taken its place already.
func (o ownerships) Forget(ctx context.Context, req *lifeboatv1.ForgetRegionRequest) (*recordpb.Peer, *lifeboatv1.ForgetScope, error) {
	region := secret.RegionName(req.GetRegion())
	s, ok := o.p.links.PeerStatus(region)
	if !ok {
		return nil, nil, link.NotPeer(region)
	}
	var found *service.ForgetScope
	err := o.p.synced(func(view record.View) (err error) {
		found, err = o.p.service.ForgetScope(view, region)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	scope := o.forgetScope(found, s)
	err = mayBeGone(s)
	if err == nil {
		err = o.p.service.MayForget(o.p.records().View(ctx), region)
	}
	if err == nil && !req.GetAcceptLoss() {
		err = forgottenLoss(region, found)
	}
	if err != nil || req.GetDryRun() {
		return nil, scope, err
	}
	peer, err := o.p.service.Forget(ctx, region)
	if err != nil {
		return nil, scope, err
	}
	return peer, scope, o.p.clearAway(ctx, region)
}

// mayBeGone refuses a region that is reachable, or was not tried yet.
func mayBeGone(s link.Status) error {
	switch {
	case s.Since.IsZero():
		return secret.Errorf(secret.CodeUnavailable, "it is not known yet whether region %s is reachable", s.Region)
	case s.Reachable && (s.Life.Incarnation == "" || s.Pin.Admits(s.Life.Incarnation)):
		return secret.Errorf(secret.CodeWrongState, "region %s is reachable since %s", s.Region, s.Since.UTC().Format(time.RFC3339)).
			WithHint("only a region that is gone for good can be forgotten")
	}
	return nil
}

// forgottenLoss refuses to lose what has its home in a region, or what that has taken over.
func forgottenLoss(region secret.RegionName, scope *service.ForgetScope) error {
	if scope.SupersededBy {
		return secret.Errorf(secret.CodeWrongState, "region %s has taken this one over; what it made of the records here since is lost", region).
			WithHint("take it over first, so that what has arrived can be changed here; to accept the rest: --accept-loss")
	}
	if scope.Total() == 0 {
		return nil
	}
	names := ""
	for i, one := range scope.First {
		if i == namedStranded {
			names += ", …"
			break
		}
		names += fmt.Sprintf(", %s %s", one.Kind, one.Name)
	}
	return secret.Errorf(secret.CodeWrongState, "%d records have their home in region %s, and could not be changed any more%s", scope.Total(), region, names).
		WithHint("take it over first, here or in another region: lifeboat region takeover " + string(region) + "; to accept that they stay as they are: --accept-loss")
}

func (o ownerships) forgetScope(found *service.ForgetScope, s link.Status) *lifeboatv1.ForgetScope {
	scope := &lifeboatv1.ForgetScope{
		Accounts: found.Accounts, Identities: found.Identities, Vaults: found.Vaults, Secrets: found.Secrets,
		Waiting:   uint64(o.p.outbound.Queue.Status(s.Region).Depth), //nolint:gosec // a count
		TakenOver: found.TakenOver, SupersededBy: found.SupersededBy, LastSeenAt: timestampOf(s.LastSeen),
	}
	for _, one := range found.First {
		scope.FirstStranded = append(scope.FirstStranded, &lifeboatv1.Stranded{Kind: one.Kind, Id: one.ID, Name: one.Name})
	}
	return scope
}

// clearAway deletes what waited to be told to a region that was forgotten. What of it
// is left if this fails does no harm: a new life of the region is sent it too.
func (p *Process) clearAway(ctx context.Context, region secret.RegionName) error {
	if err := p.outbound.Queue.Empty(ctx, region); err != nil {
		return err
	}
	prefix := record.SynchronisationPrefix + string(region) + "/"
	_, err := p.records().DeleteRange(ctx, record.Key(prefix), record.PrefixEnd(prefix))
	return err
}

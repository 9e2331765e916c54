package region

import (
	"context"
	"errors"
	"fmt"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/link"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	// maxBehind is how many mutations a region may lack for records to be handed over
	// to it: each of them would have to wait for those before it.
	maxBehind = 1000
	// lookPause is how long, at least, it takes until what has arrived is looked at
	// again.
	lookPause = 2 * time.Millisecond
)

// handovers implements service.Handovers.
type handovers struct{ p *Process }

// Ready implements service.Handovers.
func (h handovers) Ready(to secret.RegionName) error {
	s, ok := h.p.links.PeerStatus(to)
	if !ok {
		return link.NotPeer(to)
	}
	queued := h.p.outbound.Queue.Status(to)
	why := ""
	switch {
	case !s.Reachable:
		why = fmt.Sprintf("%s is not reachable since %s", to, s.Since.UTC().Format(time.RFC3339))
	case !s.Pin.Admits(s.Life.Incarnation):
		why = fmt.Sprintf("the incarnation of %s that answers is not admitted", to)
	case queued.Paused:
		why = fmt.Sprintf("the queue to %s is paused", to)
	case queued.Resynchronisation != nil:
		why = fmt.Sprintf("%s is being compared as a whole", to)
	case queued.Depth-queued.Failed > maxBehind:
		why = fmt.Sprintf("%s lacks %d mutations", to, queued.Depth)
	default:
		synchronising, err := h.synchronising(to)
		if err != nil {
			return err
		}
		if synchronising {
			why = fmt.Sprintf("the first synchronisation with %s is under way", to)
		}
	}
	if why == "" {
		return nil
	}
	return secret.Errorf(secret.CodeUnavailable, "%s", why)
}

func (h handovers) synchronising(to secret.RegionName) (found bool, err error) {
	prefix := record.SynchronisationPrefix + string(to) + "/"
	err = h.p.synced(func(view record.View) error {
		found = false
		return view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool {
			found = true
			return false
		})
	})
	return found, err
}

// Await implements service.Handovers.
func (h handovers) Await(ctx context.Context, to secret.RegionName, keys []record.Key) (refused []record.Key, err error) {
	for {
		seen := h.p.local.Position().Applied
		var waiting int
		err := h.p.synced(func(view record.View) error {
			refused, waiting = nil, 0
			for _, key := range keys {
				arrived, failed, err := h.arrived(view, to, key)
				switch {
				case err != nil:
					return err
				case failed:
					refused = append(refused, key)
				case !arrived:
					waiting++
				}
			}
			return nil
		})
		if err != nil || waiting == 0 {
			return refused, err
		}
		if err := h.p.local.WaitApplied(ctx, seen+1); err != nil {
			return refused, secret.Wrap(secret.CodeUnavailable, err, fmt.Sprintf("%s has not received %d records that were handed over to it", to, waiting))
		}
		sleep(ctx, lookPause)
	}
}

// arrived reports whether a region has received the state by which a record was handed
// over, or has refused it.
func (h handovers) arrived(view record.View, to secret.RegionName, key record.Key) (arrived, refused bool, err error) {
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return !ok, false, err
	}
	owner, err := record.OwnerOf(key, stored.Value)
	if err != nil || owner.Ownership.Home == h.p.config.Region.Name { // the copy is behind
		return false, false, err
	}
	if _, open, err := view.Get(record.WorkKey(key)); err != nil || open {
		return false, false, err
	}
	m, _, err := record.Load(view, record.Messages, record.MessageKey(to, key))
	if errors.Is(err, record.ErrNotFound) {
		return h.p.outbound.Queue.Status(to).Resynchronisation == nil, false, nil
	}
	return false, m.GetAttempts() > 0, err
}

// MoveRegion implements native.Ownership. A dry run ends before the one write.
func (o ownerships) MoveRegion(ctx context.Context, req *lifeboatv1.MoveRegionRequest) (*recordpb.Move, *service.MoveScope, error) {
	to := secret.RegionName(req.GetTo())
	if err := o.mine(req.GetRegion()); err != nil {
		return nil, nil, err
	}
	if _, ok := o.p.links.PeerStatus(to); !ok && to != o.p.config.Region.Name {
		return nil, nil, link.NotPeer(to)
	}
	var scope *service.MoveScope
	err := o.p.synced(func(view record.View) (err error) {
		scope, err = o.p.service.MoveScope(view, to)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	refusal := o.p.service.MoveRefusal(o.p.records().View(ctx), to, scope, req.GetLeaveBehind())
	if refusal == nil {
		refusal = handovers(o).Ready(to)
	}
	if refusal != nil || req.GetDryRun() {
		return nil, scope, refusal
	}
	move, err := o.p.service.StartRegionMove(ctx, to, scope, req.GetLeaveBehind())
	return move, scope, err
}

// mine refuses what is asked of another region than this one.
func (o ownerships) mine(region string) error {
	if region == "" || region == string(o.p.config.Region.Name) {
		return nil
	}
	if _, ok := o.p.links.PeerStatus(secret.RegionName(region)); !ok {
		return link.NotPeer(secret.RegionName(region))
	}
	return &secret.Error{
		Code: secret.CodeNotHome, Message: "what " + region + " is the home of is moved from there", Home: secret.RegionName(region),
		Hint: "ask " + region + ", such as with its --address, or give both regions",
	}
}

// AbortRegionMove implements native.Ownership.
func (o ownerships) AbortRegionMove(ctx context.Context, region string) error {
	if err := o.mine(region); err != nil {
		return err
	}
	return o.p.service.AbortRegionMove(ctx)
}

// Moves implements native.Ownership.
func (o ownerships) Moves(ctx context.Context, region string) ([]*recordpb.Move, error) {
	if err := o.mine(region); err != nil {
		return nil, err
	}
	return service.Moves(o.p.records().View(ctx))
}

// Waiting implements native.Ownership.
func (o ownerships) Waiting(to secret.RegionName) string {
	if err := handovers(o).Ready(to); err != nil {
		return err.Error()
	}
	return ""
}

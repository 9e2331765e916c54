package service

import (
	"context"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// linksName is as whom the links with other regions act.
	linksName                  = "lifeboat-links"
	actionPinPeer authz.Action = "PinPeer"
)

// PinPeer accepts a life of another region because it is the first that this one
// met. It changes nothing if one was accepted before.
func (s *Service) PinPeer(ctx context.Context, peer secret.RegionName, incarnation secret.Incarnation) error {
	ctx, c, err := s.systemCall(ctx, actionPinPeer, linksName)
	if err != nil {
		return c.end(err)
	}
	c.about(authz.Resource{Kind: authz.RegionResource, ID: string(incarnation), Name: string(peer)})
	revision, err := s.putPeer(ctx, peer, incarnation, func(*recordpb.Peer) (*recordpb.Peer, error) { return nil, nil })
	if revision == 0 && err == nil {
		return nil // nothing happened that is worth a line
	}
	c.entry.Committed = revision > 0
	return c.end(err)
}

// PeerLife is a life of another region as it tells of itself.
type PeerLife struct {
	Incarnation secret.Incarnation
	// Restored is set if it began by a restore, Origins are the backups that led to it.
	Restored bool
	Origins  []secret.Moment
}

// AdmitPeer accepts a life of another region instead of the one that was accepted
// before, and waits, within bounds, until every live host knows. It is called by
// Operate, which authorises and audits. A life that came out of a backup which may
// hold what is deleted and forgotten here is refused with CodeWrongState, unless
// older says that it is accepted all the same; one that was forgotten always is. The
// first one after that is sent everything that is meant for the region.
func (s *Service) AdmitPeer(ctx context.Context, peer secret.RegionName, life PeerLife, older bool) error {
	revision, err := s.putPeer(ctx, peer, life.Incarnation, func(known *recordpb.Peer) (*recordpb.Peer, error) {
		if known.GetIncarnation() == string(life.Incarnation) {
			return nil, nil
		}
		if err := mayComeBack(known, peer, life); err != nil {
			return nil, err
		}
		horizons := append(record.MomentsFromProto(known.GetPast()), horizonOf(known))
		origins, restored := life.Origins, life.Restored
		next := &recordpb.Peer{Forgotten: known.GetForgotten(), Heir: known.GetHeir(), Earlier: known.GetEarlier()}
		if before := known.GetIncarnation(); before != "" && !slices.Contains(next.GetEarlier(), before) {
			next.Earlier = append(next.GetEarlier(), before)
		}
		for _, h := range horizons {
			if h.Revision > 0 && !older {
				next.Past = append(next.Past, record.MomentToProto(h))
			}
			if h.Incarnation == life.Incarnation { // it comes back itself
				origins, restored = append(slices.Clone(origins), h), true
				next.Horizon = h.Revision
			}
		}
		if !older && !secret.MayReturn(horizons, origins, restored) {
			return nil, secret.Errorf(secret.CodeWrongState, "region %s came out of a backup that may hold what was deleted since and is forgotten here", peer).
				WithHint("restore it from a newer backup, or make it anew; to accept deleted records that come back: --older-backup")
		}
		return next, nil
	})
	if err == nil && revision > 0 {
		s.cleared(ctx, "", revision)
	}
	return err
}

// putPeer puts the record of a peer if there is none, or the one that replace makes
// of it unless that is nil. It returns revision 0 if it did not.
func (s *Service) putPeer(ctx context.Context, peer secret.RegionName, incarnation secret.Incarnation, replace func(*recordpb.Peer) (*recordpb.Peer, error)) (int64, error) {
	return s.commit(ctx, func(view record.View) (*record.Txn, error) {
		known, revision, err := peerRecord(view, peer)
		if err != nil {
			return nil, err
		}
		next := &recordpb.Peer{}
		if known != nil {
			if next, err = replace(known); err != nil || next == nil {
				return nil, err
			}
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		next.Region, next.Incarnation, next.AdmittedAt = string(peer), string(incarnation), s.Now().UnixNano()
		txn.Require(record.PeerKey(peer), revision)
		txn.Put(record.PeerKey(peer), record.Peers.Encode(next))
		if known.GetForgottenAt() != 0 {
			return txn, s.markForgotten(view, txn, peer, false, "the region takes the place of one that was forgotten")
		}
		return txn, nil
	})
}

// mayComeBack refuses a life that was forgotten, and one that came out of a backup of such
// a life: what is forgotten of it may be in there.
func mayComeBack(known *recordpb.Peer, peer secret.RegionName, life PeerLife) error {
	if slices.Contains(known.GetForgotten(), string(life.Incarnation)) {
		return secret.Errorf(secret.CodeWrongState, "incarnation %s of region %s was forgotten for good", life.Incarnation, peer).
			WithHint("make the region anew, empty")
	}
	for _, origin := range life.Origins {
		if slices.Contains(known.GetForgotten(), string(origin.Incarnation)) {
			return secret.Errorf(secret.CodeWrongState, "region %s came out of a backup of an incarnation that was forgotten for good", peer).
				WithHint("make the region anew, empty")
		}
	}
	return nil
}

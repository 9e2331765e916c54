package service

import (
	"context"
	"errors"

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
	revision, err := s.putPeer(ctx, peer, incarnation, func(*recordpb.Peer) bool { return false })
	if revision == 0 && err == nil {
		return nil // nothing happened that is worth a line
	}
	c.entry.Committed = revision > 0
	return c.end(err)
}

// AdmitPeer accepts a life of another region instead of the one that was accepted
// before, and waits, within bounds, until every live host knows. It is called by
// Operate, which authorises and audits.
func (s *Service) AdmitPeer(ctx context.Context, peer secret.RegionName, incarnation secret.Incarnation) error {
	revision, err := s.putPeer(ctx, peer, incarnation, func(known *recordpb.Peer) bool { return known.GetIncarnation() != string(incarnation) })
	if err == nil && revision > 0 {
		s.cleared(ctx, "", revision)
	}
	return err
}

// putPeer puts the record of a peer if there is none, or if replace says so of the
// one that there is. It returns revision 0 if it did not.
func (s *Service) putPeer(ctx context.Context, peer secret.RegionName, incarnation secret.Incarnation, replace func(*recordpb.Peer) bool) (int64, error) {
	key := record.PeerKey(peer)
	return s.commit(ctx, func(view record.View) (*record.Txn, error) {
		known, revision, err := record.Load(view, record.Peers, key)
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		if known != nil && !replace(known) {
			return nil, nil
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(key, revision)
		txn.Put(key, record.Peers.Encode(&recordpb.Peer{
			Region: string(peer), Incarnation: string(incarnation), AdmittedAt: s.Now().UnixNano(),
		}))
		return txn, nil
	})
}

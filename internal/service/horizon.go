package service

import (
	"context"
	"errors"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const actionRaiseHorizon authz.Action = "RaiseHorizon"

// momentOf returns when what the view holds was so. Of a view that does not know its
// revision it is revision 0.
func momentOf(view record.View) (secret.Moment, error) {
	region, err := RegionRecord(view)
	if err != nil {
		return secret.Moment{}, err
	}
	m := secret.Moment{Incarnation: secret.Incarnation(region.GetIncarnation())}
	if r, ok := view.(authz.Revisioned); ok {
		m.Revision = r.Revision()
	}
	return m, nil
}

// peerRecord returns the record of a peer, nil if it was not met, and its revision.
func peerRecord(view record.View, peer secret.RegionName) (*recordpb.Peer, int64, error) {
	known, revision, err := record.Load(view, record.Peers, record.PeerKey(peer))
	if errors.Is(err, record.ErrNotFound) {
		return nil, 0, nil
	}
	return known, revision, err
}

// horizonOf is what is remembered of a peer's present life.
func horizonOf(known *recordpb.Peer) secret.Moment {
	return secret.Moment{Incarnation: secret.Incarnation(known.GetIncarnation()), Revision: known.GetHorizon()}
}

// refuseForgotten refuses what was on its way from a life that was forgotten meanwhile:
// what its link had let through.
func (a *arrival) refuseForgotten(view record.View) error {
	known, _, err := peerRecord(view, a.from.Region)
	if err == nil && slices.Contains(known.GetForgotten(), string(a.shipment.Read.Incarnation)) {
		err = secret.Errorf(secret.CodeUnknownIncarnation, "incarnation %s of region %s was forgotten here for good", a.shipment.Read.Incarnation, a.from.Region)
	}
	return err
}

// checkAnew refuses a state of a record of which nothing is held here, if it was read
// so long ago that the record may have been deleted, and forgotten, since.
func (a *arrival) checkAnew(view record.View, txn *record.Txn) error {
	known, revision, err := peerRecord(view, a.from.Region)
	if err != nil {
		return err
	}
	if !secret.MayBring(horizonOf(known), a.shipment.Read) {
		return errReadAgain
	}
	txn.Require(record.PeerKey(a.from.Region), revision)
	return nil
}

// checkRead is checkAnew for anything but a secret. Who takes up an account or a
// vault may have held it before, and not have been asked since what it forgets of
// it: from then on nothing of it counts that was read before.
func (a *arrival) checkRead(view record.View, txn *record.Txn, held heldRecord) error {
	key := a.shipment.Key
	switch takesUp := !a.shipment.Buried && (key.HasPrefix(record.AccountPrefix) || key.HasPrefix(record.VaultPrefix)); {
	case held.revision > 0:
		return nil
	case !takesUp && held.graveRevision > 0:
		return nil
	case !takesUp:
		return a.checkAnew(view, txn)
	case held.graveRevision > 0:
		return a.raise(view, txn)
	}
	known, _, err := peerRecord(view, a.from.Region)
	if err == nil && !secret.MayBring(horizonOf(known), a.shipment.Read) {
		err = errReadAgain
	}
	if err != nil {
		return err
	}
	return a.raise(view, txn)
}

// raise adds to a transaction that nothing counts any more which the source read
// before the shipment, of records of which nothing is held here.
func (a *arrival) raise(view record.View, txn *record.Txn) error {
	_, err := raiseHorizon(view, txn, a.from.Region, a.shipment.Read)
	if secret.HasCode(err, secret.CodeUnknownIncarnation) {
		return errReadAgain
	}
	return err
}

// raiseHorizon adds the horizon of a peer to a transaction, if it rises, and the
// condition that it stays. A peer that was not met has none. Errors:
// CodeUnknownIncarnation if the moment is of another life than the accepted one.
func raiseHorizon(view record.View, txn *record.Txn, peer secret.RegionName, said secret.Moment) (raised bool, err error) {
	known, revision, err := peerRecord(view, peer)
	if err != nil {
		return false, err
	}
	txn.Require(record.PeerKey(peer), revision)
	if known == nil {
		return false, nil
	}
	horizon, ok := secret.Horizon(horizonOf(known), said)
	if !ok {
		return false, secret.Errorf(secret.CodeUnknownIncarnation, "incarnation %s of region %s is not the accepted one", said.Incarnation, peer)
	}
	if horizon.Revision == known.GetHorizon() {
		return false, nil
	}
	known.Horizon = horizon.Revision
	txn.Put(record.PeerKey(peer), record.Peers.Encode(known))
	return true, nil
}

// RaiseHorizon takes note that nothing counts any more which a peer read, or was
// backed up, before a moment. It returns a revision of this region's store at which
// that is so. Errors: CodeUnavailable if the peer was not met;
// CodeUnknownIncarnation.
func (s *Service) RaiseHorizon(ctx context.Context, peer secret.RegionName, said secret.Moment) (revision int64, err error) {
	ctx, c, err := s.systemCall(ctx, actionRaiseHorizon, linksName)
	if err != nil {
		return 0, c.end(err)
	}
	c.about(authz.Resource{Kind: authz.RegionResource, ID: string(said.Incarnation), Name: string(peer)})
	var present int64
	committed, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		known, at, err := peerRecord(view, peer)
		if err != nil {
			return nil, err
		}
		if known == nil {
			return nil, secret.Errorf(secret.CodeUnavailable, "region %s was not met here yet", peer)
		}
		present = at
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		if raised, err := raiseHorizon(view, txn, peer, said); err != nil || !raised {
			return nil, err
		}
		return txn, nil
	})
	if committed == 0 && err == nil {
		return present, nil // nothing happened that is worth a line
	}
	c.entry.Committed = committed > 0
	return committed, c.end(err)
}

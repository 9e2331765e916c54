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

// planMove plans one more mutation of a record of any kind: its home moves from one
// region to another, to the epoch that move says. It returns nil if the record is gone or its home is not from.
// Errors: CodeInvalid for a vault of which the new home is not a target.
func (c *call) planMove(view record.View, key record.Key, from, to secret.RegionName, move func(secret.Ownership, secret.RegionName) secret.Ownership) (*record.Txn, error) {
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return nil, err
	}
	owner, err := record.OwnerOf(key, stored.Value)
	if err != nil || owner.Ownership.Home != from || owner.Account == secret.SystemAccount {
		return nil, err
	}
	txn, region, err := newTxn(view)
	if err != nil {
		return nil, err
	}
	txn.Require(key, stored.Revision)
	event := &recordpb.Event{Type: "home_moved", Account: string(owner.Account), Subject: string(key), Name: string(to)}
	moved, o, err := c.moved(key, stored.Value, move(owner.Ownership, to), c.mutationIn(region), event)
	if err != nil {
		return nil, err
	}
	txn.Put(key, moved)
	c.track(txn, key, mutationUpdate, event, o)
	return txn, nil
}

// moved returns the stored form of a record after its home has moved.
func (c *call) moved(key record.Key, value []byte, o secret.Ownership, m secret.Mutation, event *recordpb.Event) ([]byte, secret.Ownership, error) {
	switch {
	case key.HasPrefix(record.SecretPrefix):
		sec, err := record.Secrets.Decode(value)
		if err != nil {
			return nil, o, err
		}
		sec.MoveHome(m, o)
		sec.Next.Mutate(c.service.Formats.Writes(key.Kind()))
		event.Vault, event.Subject = string(sec.ID.Vault()), string(sec.ID)
		return record.Secrets.Encode(sec), sec.Ownership, nil
	case key.HasPrefix(record.VaultPrefix):
		v, err := record.Vaults.Decode(value)
		if err != nil {
			return nil, o, err
		}
		if err := v.MoveHome(m, o); err != nil {
			return nil, o, err
		}
		event.Vault, event.Subject = string(v.ID), string(v.ID)
		return record.Vaults.Encode(v), v.Ownership, nil
	}
	o.Advance(m.Incarnation)
	moved, err := record.WithOwnership(key, value, o)
	return moved, o, err
}

// handOverName is as whom a planned move acts.
const handOverName = "lifeboat-move"

const actionHandOver authz.Action = "HandOver"

// HandOver moves the home of a record from this region to another, which holds it:
// one more ordered mutation, which the ordinary replication brings there. From its
// commit on mutations are refused here, and accepted there when it has arrived. It
// does nothing if the record is gone, its home is not here, or the other region refuses
// it, nor with a secret that a promotion parted from that region. Errors: CodeInvalid
// for a region that is not meant to hold the record; CodeWrongState if it was taken
// over from a third one that has not caught up.
func (s *Service) HandOver(ctx context.Context, key record.Key, to secret.RegionName) error {
	_, err := s.handOver(ctx, key, to)
	return err
}

// handOver is HandOver, and reports whether the record moved.
func (s *Service) handOver(ctx context.Context, key record.Key, to secret.RegionName) (moved bool, err error) {
	if to == s.Region {
		return false, secret.Invalid("region", "is this region")
	}
	ctx, c, err := s.systemCall(ctx, actionHandOver, handOverName)
	if err != nil {
		return false, c.end(err)
	}
	c.entry.Resource.Kind, c.entry.Resource.ID = "Record", string(key)
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if stays, err := staysBehind(view, key, to); err != nil || stays {
			return nil, err
		}
		txn, err := c.planMove(view, key, s.Region, to, secret.Ownership.MovedTo)
		if err != nil || txn == nil {
			return nil, err
		}
		held, err := heldIn(view, key, to)
		if err == nil && !held {
			err = secret.Invalid("region", "%s is not meant to hold the record", to)
		}
		if err == nil {
			err = awaitLost(view, key, to)
		}
		if err != nil {
			return nil, err
		}
		refused, err := refusedBy(view, to, key)
		if refused || err != nil {
			s.Logger.Warn("a record does not move, because the region refuses it", "record", key, "to", to)
			return nil, err
		}
		return txn, nil
	})
	c.entry.Committed = revision > 0
	return revision > 0, c.end(err)
}

// staysBehind reports whether a record is a secret that a promotion parted from the
// region to which its vault moves.
func staysBehind(view record.View, key record.Key, to secret.RegionName) (bool, error) {
	if !key.HasPrefix(record.SecretPrefix) {
		return false, nil
	}
	sec, _, err := record.Load(view, record.Secrets, key)
	if errors.Is(err, record.ErrNotFound) {
		return true, nil
	}
	return err == nil && sec.PartedFrom(to), err
}

// refusedBy reports whether a region has refused the state of a record because of what
// it holds itself, and waits for that to be settled.
func refusedBy(view record.View, region secret.RegionName, key record.Key) (bool, error) {
	m, _, err := record.Load(view, record.Messages, record.MessageKey(region, key))
	if errors.Is(err, record.ErrNotFound) {
		return false, nil
	}
	return err == nil && m.GetFailureCode() == string(secret.CodeExists), err
}

// awaitLost refuses to hand over what was taken over from a region that has not caught
// up, unless to that region itself: CodeWrongState.
func awaitLost(view record.View, key record.Key, to secret.RegionName) error {
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return err
	}
	owner, err := record.OwnerOf(key, stored.Value)
	if err != nil {
		return err
	}
	takeovers, err := Takeovers(view)
	if err != nil {
		return err
	}
	for _, t := range takeovers {
		lost := secret.RegionName(t.GetRegion())
		concerns := t.GetVault() == "" || secret.VaultID(t.GetVault()) == record.VaultIDOf(key)
		here := len(t.GetHeldUp()) > 0 && !slices.Contains(t.GetHeldUp(), string(key))
		if concerns && !here && !owner.Ownership.MayMoveTo(to, []secret.RegionName{lost}) {
			return secret.Errorf(secret.CodeWrongState, "the record was taken over from %s, which has not caught up: it would not hear that its home has moved on", lost).
				WithHint("move it when lifeboat region status says that " + string(lost) + " has caught up")
		}
	}
	return nil
}

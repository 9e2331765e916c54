package service

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MoveVault notes that a vault is to move to a region that is a target of it, with all
// of its secrets whose home is here; the region's owner of moves carries it out.
// Errors: CodeExists if it is moving already, or the whole region is; CodeNotHome;
// CodeInvalid; CodeWrongState if it was taken over from a third region that has not
// caught up.
func (s *Service) MoveVault(ctx context.Context, ref string, to secret.RegionName) (move *recordpb.Move, err error) {
	_, err = s.administer(ctx, authz.MoveVault, func(c *call, view record.View) (*record.Txn, error) {
		vault, _, err := c.vault(view, ref)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, vaultResource(vault)); err != nil {
			return nil, err
		}
		var txn *record.Txn
		txn, move, err = s.startMove(view, c, record.VaultKey(vault.ID), to)
		return txn, err
	})
	return move, err
}

// AbortMove ends the move of a vault where it is: what has moved stays moved. Errors:
// CodeNotFound if it is not moving.
func (s *Service) AbortMove(ctx context.Context, ref string) error {
	_, err := s.administer(ctx, authz.MoveVault, func(c *call, view record.View) (*record.Txn, error) {
		vault, _, err := c.vault(view, ref)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, vaultResource(vault)); err != nil {
			return nil, err
		}
		key := record.MoveKey(record.VaultKey(vault.ID))
		_, revision, err := load(view, record.Moves, key, "vault", "move of the vault")
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(key, revision)
		txn.Delete(key)
		return txn, nil
	})
	return err
}

func (s *Service) startMove(view record.View, c *call, of record.Key, to secret.RegionName) (*record.Txn, *recordpb.Move, error) {
	stored, ok, err := view.Get(of)
	if err != nil || !ok {
		return nil, nil, err
	}
	owner, err := record.OwnerOf(of, stored.Value)
	if err != nil {
		return nil, nil, err
	}
	txn, _, err := newTxnAt(view, of, owner.Ownership)
	if err != nil {
		return nil, nil, err
	}
	held, err := heldIn(view, of, to)
	if err != nil {
		return nil, nil, err
	}
	if !held || to == s.Region {
		return nil, nil, secret.Invalid("to", "%s is not a target of all of it", to).WithHint("replicate it there first, and wait until that is in sync")
	}
	if err := firstError(refuseTwoMoves(view, of, txn), awaitLost(view, of, to)); err != nil {
		return nil, nil, err
	}
	key := record.MoveKey(of)
	old, revision, err := record.Load(view, record.Moves, key)
	if err == nil {
		return nil, nil, secret.Errorf(secret.CodeExists, "it is moving to %s already", old.GetTo())
	}
	if !errors.Is(err, record.ErrNotFound) {
		return nil, nil, err
	}
	move := &recordpb.Move{Record: string(of), To: string(to), StartedAt: c.now.UnixNano(), By: string(c.caller.Principal.ID)}
	txn.Require(key, revision)
	txn.Put(key, record.Moves.Encode(move))
	return txn, move, nil
}

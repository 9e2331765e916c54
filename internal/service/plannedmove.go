package service

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MoveVault notes that a vault is to move to a region that is a target of it, with all
// of its secrets whose home is here; the region's owner of moves carries it out.
// Errors: CodeExists if it is moving already; CodeNotHome; CodeInvalid.
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

const (
	// movePage is how many records move between two notes of how far a move came, and
	// movedAtOnce how many side by side: a record can be mutated again when its own
	// message has arrived, so that more at once would make each wait longer.
	movePage    = 64
	movedAtOnce = 8
)

// ContinueMove hands over what is left of a vault or an account that moves, from the
// bookmark on, and forgets the move when all is done. It may be called again and
// again. Errors: those of the stores.
func (s *Service) ContinueMove(ctx context.Context, of record.Key) error {
	move, _, err := record.Load(s.Store.View(ctx), record.Moves, record.MoveKey(of))
	if errors.Is(err, record.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	to := secret.RegionName(move.GetTo())
	if err := s.HandOver(ctx, of, to); err != nil {
		return err
	}
	err = fromBookmark(movesWith(of), move.GetBookmark(), func(start, end record.Key) error { return s.handOverRange(ctx, of, to, start, end) })
	if errors.Is(err, errAborted) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.endMove(ctx, of)
}

// movesWith are the prefixes of what belongs to a vault or an account.
func movesWith(of record.Key) []string {
	if id, ok := strings.CutPrefix(string(of), record.VaultPrefix); ok {
		return []string{record.SecretPrefix + id + "/"}
	}
	account := of[len(record.AccountPrefix):]
	var all []string
	for _, prefix := range []string{
		record.PrincipalPrefix, record.CredentialOfPrefix, record.PolicyPrefix, record.TrustPrefix, record.BindingPrefix,
		record.IssuerPrefix, record.IssuerKeysPrefix,
	} {
		all = append(all, prefix+string(account)+"/")
	}
	return all
}

func (s *Service) handOverRange(ctx context.Context, of record.Key, to secret.RegionName, start, end record.Key) error {
	for {
		var keys []record.Key
		var last record.Key
		var inner error
		err := s.Store.View(ctx).Scan(start, end, func(stored record.Stored) bool {
			key := stored.Key
			if key.HasPrefix(record.CredentialOfPrefix) {
				var id string
				if id, inner = record.DecodeReference(stored.Value); inner != nil {
					return false
				}
				key = record.CredentialKey(secret.CredentialID(id))
			}
			keys, last = append(keys, key), stored.Key
			return len(keys) < movePage
		})
		if err = errors.Join(err, inner); err != nil || len(keys) == 0 {
			return err
		}
		if err := sideBySide(keys, movedAtOnce, func(key record.Key) error { return s.HandOver(ctx, key, to) }); err != nil {
			return err
		}
		start = last + "\x00"
		if err := s.noteMoved(ctx, of, start, len(keys)); err != nil {
			return err
		}
	}
}

// sideBySide calls do for each key, at most so many at once, and returns their errors.
func sideBySide(keys []record.Key, atOnce int, do func(record.Key) error) error {
	var mu sync.Mutex
	var errs []error
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, key := range keys {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if err := do(key); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// errAborted ends a move that was taken back.
var errAborted = secret.Errorf(secret.CodeWrongState, "the move was aborted")

// noteMoved stores how far a move came. Errors: errAborted.
func (s *Service) noteMoved(ctx context.Context, of, bookmark record.Key, moved int) error {
	return s.changeMove(ctx, of, func(txn *record.Txn, move *recordpb.Move) {
		move.Bookmark = string(bookmark)
		move.Moved += uint64(moved) //nolint:gosec // a count
		txn.Put(record.MoveKey(of), record.Moves.Encode(move))
	})
}

func (s *Service) endMove(ctx context.Context, of record.Key) error {
	return s.changeMove(ctx, of, func(txn *record.Txn, move *recordpb.Move) {
		s.Logger.Info("moved", "record", of, "to", move.GetTo(), "records", move.GetMoved(), "since", record.FromNanos(move.GetStartedAt()))
		txn.Delete(record.MoveKey(of))
	})
}

func (s *Service) changeMove(ctx context.Context, of record.Key, change func(*record.Txn, *recordpb.Move)) error {
	_, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		move, revision, err := record.Load(view, record.Moves, record.MoveKey(of))
		if errors.Is(err, record.ErrNotFound) {
			return nil, errAborted
		}
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(record.MoveKey(of), revision)
		change(txn, move)
		return txn, nil
	})
	return err
}

// Moves returns the moves that are under way. Errors: those of the view and of
// decoding.
func Moves(view record.View) (all []*recordpb.Move, err error) {
	err = scanAll(view, record.Moves, record.MovePrefix, func(m *recordpb.Move) bool {
		all = append(all, m)
		return true
	})
	return all, err
}

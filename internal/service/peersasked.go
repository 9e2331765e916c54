package service

import (
	"context"
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// waitPeersAsked holds the first mutations after a start until it is known whether
// another region has taken this one over: it may not have noticed that it was lost.
func (s *Service) waitPeersAsked(ctx context.Context) error {
	if s.PeersAsked == nil || s.PeersAsked() {
		return nil
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !s.PeersAsked() {
		select {
		case <-ctx.Done():
			return secret.Wrap(secret.CodeUnavailable, ctx.Err(), "the peers are being asked whether one has taken this region over")
		case <-tick.C:
		}
	}
	return nil
}

func (s *Service) unanswered() bool { return s.Unanswered != nil && s.Unanswered() }

// refusedUnanswered is plan, which is refused if it mutates a record of this region that
// others hold, while no peer has answered and the configuration says to wait for one.
func (s *Service) refusedUnanswered(plan planner) planner {
	if !s.unanswered() {
		return plan
	}
	return func(view record.View) (*record.Txn, error) {
		txn, err := plan(view)
		if err != nil || txn == nil {
			return txn, err
		}
		for _, w := range txn.Writes {
			if !w.Key.HasPrefix(record.WorkPrefix) {
				continue
			}
			elsewhere, err := s.mutatesElsewhere(view, txn, w.Key[len(record.WorkPrefix):])
			if err != nil {
				return nil, err
			}
			if elsewhere {
				return nil, secret.Errorf(secret.CodeUnavailable, "no peer has said since the start whether it has taken this region over; until one does, what other regions hold is not changed here").
					WithHint("restore a link with a peer; if no other region is left, the operator can set replication.when_no_peer_answers")
			}
		}
		return txn, nil
	}
}

// mutatesElsewhere reports whether a transaction mutates a record whose home is, and
// stays, here, and which other regions hold, before or after.
func (s *Service) mutatesElsewhere(view record.View, txn *record.Txn, key record.Key) (elsewhere bool, err error) {
	var states [][]byte
	if stored, ok, err := view.Get(key); err != nil {
		return false, err
	} else if ok {
		states = append(states, stored.Value)
	}
	for _, w := range txn.Writes {
		if w.Key == key && len(w.Value) > 0 {
			states = append(states, w.Value)
		}
	}
	for _, state := range states {
		owner, err := record.OwnerOf(key, state)
		if err != nil || owner.Ownership.Home != s.Region {
			return false, err
		}
		held, err := s.stateElsewhere(view, key, state, owner.Account)
		if err != nil {
			return false, err
		}
		elsewhere = elsewhere || held
	}
	return elsewhere, nil
}

func (s *Service) stateElsewhere(view record.View, key record.Key, state []byte, account secret.AccountID) (bool, error) {
	if id := record.SecretIDOf(key); id != "" {
		sec, err := record.Secrets.Decode(state)
		if err != nil || len(sec.Targets) > 0 {
			return true, err
		}
		vault, _, err := record.Load(view, record.Vaults, record.VaultKey(id.Vault()))
		return err == nil && heldElsewhere(vault, s.Region), err
	}
	if key.HasPrefix(record.VaultPrefix) {
		vault, err := record.Vaults.Decode(state)
		return err == nil && heldElsewhere(vault, s.Region), err
	}
	return s.accountElsewhere(view, account)
}

// heldElsewhere reports whether a region other than this one holds a vault.
func heldElsewhere(v *secret.Vault, region secret.RegionName) bool {
	return v.Ownership.Home != region || slices.ContainsFunc(v.Replication.Holders(), func(r secret.RegionName) bool { return r != region })
}

// accountElsewhere reports whether another region holds a vault of an account.
func (s *Service) accountElsewhere(view record.View, account secret.AccountID) (found bool, err error) {
	err = scanVaultsOf(view, account, func(v *secret.Vault) bool {
		found = heldElsewhere(v, s.Region)
		return !found
	})
	return found, err
}

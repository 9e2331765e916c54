package service

import (
	"context"
	"errors"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// ForgetScope is what ends, and what is lost, when a region is forgotten.
type ForgetScope struct {
	// Accounts, Identities, Vaults and Secrets count the records whose home it is.
	Accounts, Identities, Vaults, Secrets uint64
	// First are the first of the accounts, vaults and secrets.
	First []Stranded
	// TakenOver is set if this region has taken it over, SupersededBy if it has taken
	// this one over: until it has caught up, or this region has.
	TakenOver, SupersededBy bool
}

// Stranded is a record whose home is a region that is forgotten.
type Stranded struct {
	// Kind is ACCOUNT, VAULT or SECRET.
	Kind, ID, Name string
}

// maxStranded bounds how many stranded records are named.
const maxStranded = 100

// Total is how many records nobody can change any more.
func (f *ForgetScope) Total() uint64 { return f.Accounts + f.Identities + f.Vaults + f.Secrets }

// ForgetScope says what forgetting a region ends, and what it loses.
func (s *Service) ForgetScope(view record.View, gone secret.RegionName) (*ForgetScope, error) {
	scope := &ForgetScope{}
	for _, prefix := range inheritedPrefixes() {
		var inner error
		err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			var owner record.Owner
			if owner, inner = record.OwnerOf(stored.Key, stored.Value); inner != nil {
				return false
			}
			if owner.Ownership.Home == gone && owner.Account != secret.SystemAccount {
				inner = scope.add(stored)
			}
			return inner == nil
		})
		if err = errors.Join(err, inner); err != nil {
			return nil, err
		}
	}
	takeovers, err := Takeovers(view)
	if err != nil {
		return nil, err
	}
	scope.TakenOver = slices.ContainsFunc(takeovers, func(t *recordpb.Takeover) bool { return t.GetRegion() == string(gone) })
	by, err := SupersededBy(view)
	scope.SupersededBy = slices.Contains(by, gone)
	return scope, err
}

// add takes up a record whose home is the region.
func (f *ForgetScope) add(stored record.Stored) error {
	var one Stranded
	switch {
	case stored.Key.HasPrefix(record.AccountPrefix):
		a, err := record.Accounts.Decode(stored.Value)
		if err != nil {
			return err
		}
		f.Accounts++
		one = Stranded{Kind: "ACCOUNT", ID: string(a.ID), Name: a.Name}
	case stored.Key.HasPrefix(record.VaultPrefix):
		v, err := record.Vaults.Decode(stored.Value)
		if err != nil {
			return err
		}
		f.Vaults++
		one = Stranded{Kind: "VAULT", ID: string(v.ID), Name: v.Name}
	case stored.Key.HasPrefix(record.SecretPrefix):
		sec, err := record.Secrets.Decode(stored.Value)
		if err != nil || sec.State == secret.Deleted {
			return err
		}
		f.Secrets++
		one = Stranded{Kind: "SECRET", ID: string(sec.ID), Name: sec.Name}
	default:
		f.Identities++
		return nil
	}
	if len(f.First) < maxStranded {
		f.First = append(f.First, one)
	}
	return nil
}

// MayForget returns why a region cannot be forgotten now, nil if it can, beside what
// that would lose. One that was forgotten may be again, which clears away what was left.
func (s *Service) MayForget(view record.View, gone secret.RegionName) error {
	if gone == s.Region {
		return secret.Invalid("region", "is this region")
	}
	known, _, err := peerRecord(view, gone)
	if err != nil {
		return err
	}
	if known == nil {
		return secret.Errorf(secret.CodeWrongState, "region %s was never met here: there is nothing to forget", gone)
	}
	takeovers, err := Takeovers(view)
	if err != nil {
		return err
	}
	for _, t := range takeovers {
		if t.GetRegion() == string(gone) && t.GetMovedAt() == 0 {
			return secret.Errorf(secret.CodeWrongState, "the records of region %s have not all moved here", gone).
				WithHint("see how far that is: lifeboat region takeovers")
		}
	}
	moving := false
	err = scanAll(view, record.Moves, record.MovePrefix, func(m *recordpb.Move) bool {
		moving = moving || m.GetTo() == string(gone) && m.GetEndedAt() == 0
		return !moving
	})
	if err == nil && moving {
		err = secret.Errorf(secret.CodeWrongState, "a move to region %s is under way, and what it has handed over may not have arrived there", gone).
			WithHint("take it over first, which ends the move: lifeboat region takeover " + string(gone))
	}
	if err == nil {
		_, _, err = newTxn(view)
	}
	return err
}

// Forget has this region never accept the known lives of a region again, nor one that
// came out of a backup of them, and ends what waits here for its return, by one write.
// It stays a target of what it was a target of: another life of it, once admitted,
// gets all of that. Repeated, it clears away what may be left. It is called by Operate,
// which authorises and audits. It returns the lives that were forgotten. Errors: those
// of MayForget.
func (s *Service) Forget(ctx context.Context, gone secret.RegionName) (*recordpb.Peer, error) {
	var peer *recordpb.Peer
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := s.MayForget(view, gone); err != nil {
			return nil, err
		}
		known, revision, err := peerRecord(view, gone)
		if err != nil {
			return nil, err
		}
		if peer = known; known.GetForgottenAt() != 0 {
			return nil, nil
		}
		txn, fence, err := s.changeFence(view)
		if err != nil {
			return nil, err
		}
		if supersede(fence, gone, false, nil) {
			txn.Put(record.FenceKey, record.Fences.Encode(fence))
		}
		heir, err := forgetTakeovers(view, txn, gone)
		if err != nil {
			return nil, err
		}
		peer = s.gravestone(known, heir)
		txn.Require(record.PeerKey(gone), revision)
		txn.Put(record.PeerKey(gone), record.Peers.Encode(peer))
		txn.Delete(record.QueueKey(gone))
		return txn, s.markForgotten(view, txn, gone, true, "the region was forgotten; a new one is sent everything once it is admitted")
	})
	if err == nil && revision > 0 {
		s.cleared(ctx, "", revision)
	}
	return peer, err
}

// gravestone is what is kept of a region that is forgotten.
func (s *Service) gravestone(known *recordpb.Peer, heir bool) *recordpb.Peer {
	grave := &recordpb.Peer{Region: known.GetRegion(), Forgotten: known.GetForgotten(), ForgottenAt: s.Now().UnixNano(), Heir: heir || known.GetHeir()}
	for _, life := range append(known.GetEarlier(), known.GetIncarnation()) {
		if life != "" && !slices.Contains(grave.GetForgotten(), life) {
			grave.Forgotten = append(grave.GetForgotten(), life)
		}
	}
	return grave
}

// forgetTakeovers adds to a transaction that takeovers of a region are over, and reports
// whether there was one of all of it.
func forgetTakeovers(view record.View, txn *record.Txn, gone secret.RegionName) (heir bool, err error) {
	scanErr := view.Scan(record.TakeoverPrefix, record.PrefixEnd(record.TakeoverPrefix), func(stored record.Stored) bool {
		var t *recordpb.Takeover
		if t, err = record.Takeovers.Decode(stored.Value); err != nil {
			return false
		}
		if t.GetRegion() == string(gone) {
			heir = heir || t.GetVault() == ""
			txn.Require(stored.Key, stored.Revision)
			txn.Delete(stored.Key)
		}
		return true
	})
	return heir, errors.Join(scanErr, err)
}

// markForgotten adds to a transaction that a target gets nothing, or that it is to be
// compared as a whole from now on.
func (s *Service) markForgotten(view record.View, txn *record.Txn, target secret.RegionName, forgotten bool, reason string) error {
	return s.markForComparison(view, txn, target, reason, func(mark *recordpb.Resynchronisation) { mark.Forgotten = forgotten })
}

// markForComparison adds to a transaction that a target is to be compared as a whole;
// change, if it is not nil, says what else the mark tells.
func (s *Service) markForComparison(view record.View, txn *record.Txn, target secret.RegionName, reason string, change func(*recordpb.Resynchronisation)) error {
	key := record.ResynchronisationKey(target)
	mark, revision, err := record.Load(view, record.Resynchronisations, key)
	if errors.Is(err, record.ErrNotFound) {
		mark, err = &recordpb.Resynchronisation{}, nil
	}
	if err != nil {
		return err
	}
	mark.Target, mark.Generation, mark.WantedAt, mark.BegunAt, mark.Reason = string(target), mark.GetGeneration()+1, s.Now().UnixNano(), 0, reason
	if change != nil {
		change(mark)
	}
	txn.Require(key, revision)
	txn.Put(key, record.Resynchronisations.Encode(mark))
	return nil
}

package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Unmovable is a record that stays when all of the region moves.
type Unmovable struct {
	Kind   string
	ID     string
	Name   string
	Reason string
}

// MoveScope counts what moves when all of the region does, and what cannot.
type MoveScope struct {
	Accounts, Identities, Vaults, Secrets, Unmovable uint64
	// First are the first of those that cannot.
	First []Unmovable
}

// Total is how many records move.
func (m *MoveScope) Total() uint64 { return m.Accounts + m.Identities + m.Vaults + m.Secrets }

// maxUnmovable bounds how many records are named that cannot be moved.
const maxUnmovable = 100

// MoveScope says what would move to a region, by the rule by which it does.
func (s *Service) MoveScope(view record.View, to secret.RegionName) (*MoveScope, error) {
	h := &handingOver{service: s, of: record.RegionKey, to: to}
	scope := &MoveScope{}
	for _, prefix := range []string{record.AccountPrefix, record.VaultPrefix, record.SecretPrefix} {
		var inner error
		err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			inner = scope.add(view, h, stored)
			return inner == nil
		})
		if err = errors.Join(err, inner); err != nil {
			return nil, err
		}
	}
	return scope, nil
}

func (m *MoveScope) add(view record.View, h *handingOver, stored record.Stored) error {
	moves, stays, err := h.moves(view, stored)
	switch {
	case err != nil:
		return err
	case stays != nil:
		if m.Unmovable++; len(m.First) < maxUnmovable {
			m.First = append(m.First, *stays)
		}
	case !moves:
	case stored.Key.HasPrefix(record.AccountPrefix):
		m.Accounts++
		keys, err := record.IdentityKeys(view, secret.AccountID(stored.Key[len(record.AccountPrefix):]))
		m.Identities += uint64(len(keys))
		return err
	case stored.Key.HasPrefix(record.VaultPrefix):
		m.Vaults++
	default:
		m.Secrets++
	}
	return nil
}

// moves reports whether a record moves: its home is here, and the new one is meant to
// hold it. Of one whose home is here, and that does not, stays says why.
func (h *handingOver) moves(view record.View, stored record.Stored) (moves bool, stays *Unmovable, err error) {
	key := stored.Key
	owner, err := record.OwnerOf(key, stored.Value)
	if err != nil || owner.Ownership.Home != h.service.Region || owner.Account == secret.SystemAccount {
		return false, nil, err
	}
	switch {
	case key.HasPrefix(record.AccountPrefix):
		stays, err = h.accountStays(view, owner.Account)
	case key.HasPrefix(record.VaultPrefix):
		stays, err = h.vaultStays(stored.Value)
	default:
		var held bool
		if held, err = heldIn(view, key, h.to); err == nil && !held {
			stays, err = h.secretStays(view, stored.Value)
			return false, stays, err
		}
	}
	return err == nil && stays == nil, stays, err
}

func (h *handingOver) vaultStays(value []byte) (*Unmovable, error) {
	v, err := record.Vaults.Decode(value)
	if err != nil || secret.TargetIn(v.Replication.Targets, h.to) != nil {
		return nil, err
	}
	return &Unmovable{Kind: "VAULT", ID: string(v.ID), Name: v.Name, Reason: fmt.Sprintf("%s is not a target of it", h.to)}, nil
}

// secretStays is nil if the secret's vault stays too.
func (h *handingOver) secretStays(view record.View, value []byte) (*Unmovable, error) {
	sec, err := record.Secrets.Decode(value)
	if err != nil {
		return nil, err
	}
	v, _, err := record.Load(view, record.Vaults, record.VaultKey(sec.ID.Vault()))
	if err != nil || v.Ownership.Home == h.service.Region {
		return nil, err
	}
	return &Unmovable{Kind: "SECRET", ID: string(sec.ID), Name: sec.Name, Reason: fmt.Sprintf("%s is a target of neither it nor its vault", h.to)}, nil
}

// accountStays says why an account does not move: the new home must hold each of its
// vaults, so that every region that holds one can see that it is no stranger.
func (h *handingOver) accountStays(view record.View, id secret.AccountID) (*Unmovable, error) {
	account, _, err := record.Load(view, record.Accounts, record.AccountKey(id))
	if err != nil {
		return nil, err
	}
	stays := &Unmovable{Kind: "ACCOUNT", ID: string(id), Name: account.Name, Reason: fmt.Sprintf("it has no vault, so %s does not hold it", h.to)}
	err = scanVaultsOf(view, id, func(v *secret.Vault) bool {
		if !v.HeldBy(h.to) {
			stays = &Unmovable{Kind: "ACCOUNT", ID: string(id), Name: account.Name, Reason: fmt.Sprintf("%s does not hold its vault %s", h.to, v.Name)}
			return false
		}
		stays = nil
		return true
	})
	return stays, err
}

// everything hands over all of the region: each account with who may do what in it,
// then vaults, then secrets.
func (h *handingOver) everything(ctx context.Context, bookmark string) error {
	return fromBookmark([]string{record.AccountPrefix, record.VaultPrefix, record.SecretPrefix}, bookmark, func(start, end record.Key) error {
		if start.HasPrefix(record.AccountPrefix) {
			return h.accounts(ctx, start, end)
		}
		return h.handOverRange(ctx, start, end)
	})
}

// accounts hands over accounts one after the other. What belongs to one moves with it
// to the end, even if the move is aborted or was interrupted: it is made and deleted
// only at the account's home, and changed only at its own.
func (h *handingOver) accounts(ctx context.Context, start, end record.Key) error {
	var all []record.Key
	err := h.service.Store.View(ctx).Scan(start, end, func(stored record.Stored) bool {
		all = append(all, stored.Key)
		return true
	})
	if err != nil {
		return err
	}
	for _, key := range all {
		if err := h.account(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (h *handingOver) account(ctx context.Context, key record.Key) error {
	view := h.service.Store.View(ctx)
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return err
	}
	owner, err := record.OwnerOf(key, stored.Value)
	if err != nil || owner.Account == secret.SystemAccount {
		return err
	}
	moves, _, err := h.moves(view, stored)
	if err != nil || !moves && owner.Ownership.Home != h.to {
		return err
	}
	// An account of which nothing was handed over yet is where a move can end.
	wave := &handingOver{service: h.service, of: h.of, to: h.to, unit: !moves}
	if err := wave.wave(ctx, []record.Key{key}, ""); err != nil {
		return err
	}
	wave.unit = true
	// The account's home is elsewhere now, so that nothing is made in it any more.
	keys, err := record.IdentityKeys(h.service.Store.View(ctx), owner.Account)
	if err != nil {
		return err
	}
	return wave.identities(ctx, keys, key)
}

// identities hands over who may do what in an account.
func (h *handingOver) identities(ctx context.Context, keys []record.Key, account record.Key) error {
	view := h.service.Store.View(ctx)
	var mine []record.Key
	for _, key := range keys {
		stored, ok, err := view.Get(key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		owner, err := record.OwnerOf(key, stored.Value)
		if err != nil {
			return err
		}
		if owner.Ownership.Home == h.service.Region {
			mine = append(mine, key)
		}
	}
	for len(mine) > movePage {
		if err := h.wave(ctx, mine[:movePage], ""); err != nil {
			return err
		}
		mine = mine[movePage:]
	}
	return h.wave(ctx, mine, account+"\x00")
}

// StartRegionMove notes that all whose home is here is to move to a region. It is
// called by Operate, which authorises and audits. What cannot be moved is refused with
// CodeWrongState, unless leave says that it stays. Errors: those of MayMoveRegion.
func (s *Service) StartRegionMove(ctx context.Context, to secret.RegionName, scope *MoveScope, leave bool) (move *recordpb.Move, err error) {
	if err := scope.refuse(to, leave); err != nil {
		return nil, err
	}
	key := record.MoveKey(record.RegionKey)
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := s.MayMoveRegion(view, to); err != nil {
			return nil, err
		}
		_, revision, err := record.Load(view, record.Moves, key)
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		move = &recordpb.Move{Record: string(record.RegionKey), To: string(to), StartedAt: s.Now().UnixNano(), Total: scope.Total()}
		txn.Require(key, revision)
		txn.Put(key, record.Moves.Encode(move))
		return txn, nil
	})
	if err == nil {
		s.cleared(ctx, "", revision)
	}
	return move, err
}

// refuse returns CodeWrongState if something cannot be moved.
func (m *MoveScope) refuse(to secret.RegionName, leave bool) error {
	if m.Unmovable == 0 || leave {
		return nil
	}
	first := m.First[0]
	message := fmt.Sprintf("the %s %s cannot be moved: %s", kindWords[first.Kind], first.Name, first.Reason)
	if m.Unmovable > 1 {
		message += fmt.Sprintf("; nor can %d other records", m.Unmovable-1)
	}
	return secret.Errorf(secret.CodeWrongState, "%s", message).
		WithHint(fmt.Sprintf("--dry-run lists them; replicate them to %s first, or leave them here with --leave-behind", to))
}

var kindWords = map[string]string{"ACCOUNT": "account", "VAULT": "vault", "SECRET": "secret"}

// MoveRefusal returns why StartRegionMove would refuse now, nil if it would not.
func (s *Service) MoveRefusal(view record.View, to secret.RegionName, scope *MoveScope, leave bool) error {
	if err := s.MayMoveRegion(view, to); err != nil {
		return err
	}
	return scope.refuse(to, leave)
}

// MayMoveRegion returns why the region cannot be moved now: CodeInvalid for a region
// that is this one, CodeExists while anything is moving, CodeWrongState if a takeover
// is in the way.
func (s *Service) MayMoveRegion(view record.View, to secret.RegionName) error {
	if to == s.Region {
		return secret.Invalid("to", "is this region")
	}
	preempted, err := preemptedBy(view, to, 0)
	if err != nil {
		return err
	}
	if preempted != "" {
		return secret.Errorf(secret.CodeWrongState, "%s", preempted).WithHint("see: lifeboat region takeovers")
	}
	moves, err := Moves(view)
	for _, m := range moves {
		if m.GetEndedAt() == 0 {
			return secret.Errorf(secret.CodeExists, "%s is moving to %s already", m.GetRecord(), m.GetTo()).WithHint("see: lifeboat region moves")
		}
	}
	return err
}

// AbortRegionMove ends the move of the region where it is; an account on its way moves
// to the end. It is called by Operate. Errors: CodeNotFound if it is not moving.
func (s *Service) AbortRegionMove(ctx context.Context) error {
	h := &handingOver{service: s, of: record.RegionKey}
	running := false
	err := h.change(ctx, func(txn *record.Txn, move *recordpb.Move) {
		if running = move.GetEndedAt() == 0; running {
			move.Abort = true
		}
		txn.Put(record.MoveKey(h.of), record.Moves.Encode(move))
	})
	if errors.Is(err, errMoveEnds) || err == nil && !running {
		return &secret.Error{Code: secret.CodeNotFound, Field: "region", Message: "the region is not moving"}
	}
	return err
}

// refuseTwoMoves refuses the move of a vault while the whole region moves.
func refuseTwoMoves(view record.View, of record.Key, txn *record.Txn) error {
	key := record.MoveKey(record.RegionKey)
	all, revision, err := record.Load(view, record.Moves, key)
	switch {
	case errors.Is(err, record.ErrNotFound):
	case err != nil:
		return err
	case all.GetEndedAt() == 0:
		return secret.Errorf(secret.CodeExists, "the whole region is moving to %s", all.GetTo()).WithHint("see: lifeboat region moves")
	}
	txn.Require(key, revision)
	return nil
}

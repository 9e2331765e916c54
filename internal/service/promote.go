package service

import (
	"context"
	"errors"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Promoted is the kind of synchronisation that tells the home of a replica that it was
// promoted here.
const Promoted = "PROMOTED"

const actionNotePromotion authz.Action = "NotePromotion"

// Promotion is what PromoteSecret does.
type Promotion struct {
	SecretRef
	// Expected, if set, is the order the replica must have.
	Expected    *secret.Order
	WaitCleared bool
}

// PromoteSecret makes a replica a secret of its own in this region, whose home it is
// from then on. It needs nothing of the home that the replica had, which is told in the
// background and sends nothing more; until it has heard, what it sends is CodeDetached.
// Of a secret that was promoted here it changes nothing. Errors: CodeWrongState if the
// secret is no replica or is scheduled for deletion; CodeStale.
func (s *Service) PromoteSecret(ctx context.Context, p Promotion) (Outcome, error) {
	return s.mutate(ctx, authz.PromoteSecret, p.WaitCleared, func(c *call, view record.View) (*edit, error) {
		t, err := c.target(view, p.SecretRef)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, t.resource()); err != nil {
			return nil, err
		}
		if t.secret == nil {
			return nil, c.noSecret(view, t.vault)
		}
		if err := p.checked(t.secret); err != nil {
			return nil, err
		}
		e, err := c.newEdit(ctx, view, t.vault)
		if err != nil {
			return nil, err
		}
		e.before, e.revision, e.vaultRevision, e.ackTargets = t.secret, t.revision, t.vaultRevision, 0
		if t.secret.IsDetached() && t.secret.Ownership.MayMutate(s.Region) {
			return e.replay(t.secret, nil), nil
		}
		if err := refuseHome(view, t.secret, s.Region); err != nil {
			return nil, err
		}
		if at := t.secret.Ownership.Order; p.Expected != nil && at != *p.Expected {
			return nil, staleOrder(at)
		}
		return e, e.promote(c, view)
	})
}

// refuseHome refuses to promote what is no replica, or is one no more once it has moved
// here in the course of a takeover; and what was handed over and has not arrived, since
// nobody else would then hear of its new home.
func refuseHome(view record.View, sec *secret.Secret, region secret.RegionName) error {
	taken, err := hasTakenOver(view, sec.Ownership.Home, record.SecretKey(sec.ID))
	if err == nil && (taken || sec.Ownership.MayMutate(region)) {
		err = secret.Errorf(secret.CodeWrongState, "the secret is no replica: its home is this region").
			WithHint("promote it in a region that it is replicated to")
	}
	if err != nil {
		return err
	}
	untold, err := toBeHeardOf(view, record.SecretKey(sec.ID))
	if err == nil && !sec.Ownership.MayPromote(region, untold) {
		err = secret.Errorf(secret.CodeWrongState, "the secret is on its way from here to %s, which has not received it yet", sec.Ownership.Home).
			WithHint("try again when it has arrived")
	}
	return err
}

func (e *edit) promote(c *call, view record.View) error {
	sec := e.before.Clone()
	home := sec.Ownership.Home
	if err := sec.Promote(c.mutationIn(e.region), c.service.Region, ulid.MustNewDefault(c.now).String()); err != nil {
		return err
	}
	dropVersions(e.txn, e.before, sec)
	// Whoever gives up the vault here, with its keys, must see the secret first.
	if err := touchActiveKey(view, e.txn, string(e.vault.ID)); err != nil {
		return err
	}
	c.synchronise(e.txn, home, e.vault.ID, sec.ID, Promoted)
	e.finish(c, sec, e.revision, mutationUpdate, "promoted")
	return nil
}

// NotePromotion takes note that a region has refused a state because it has promoted its
// replica of a secret, or, of a vault, that it has secrets of its own in it and goes on
// to hold it. settled says that this region has nothing to tell that region any more of
// the state that it has sent. It does nothing where the record's home is not here: the
// home learns of it when it sends something.
func (s *Service) NotePromotion(ctx context.Context, key record.Key, by secret.RegionName) (settled bool, err error) {
	err = s.note(ctx, key, by, func(c *call, view record.View) (txn *record.Txn, err error) {
		if key.HasPrefix(record.VaultPrefix) {
			txn, settled, err = c.planKeepHolder(view, secret.VaultID(key[len(record.VaultPrefix):]), by)
			return txn, err
		}
		sec, _, err := record.Load(view, record.Secrets, key)
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		if settled = err != nil || !sec.Insists(by); !settled {
			return nil, nil
		}
		return c.planNotePromoted(view, key, by)
	})
	return settled, err
}

// learnOfPromotion takes note of what a region tells of its replica by itself.
func (s *Service) learnOfPromotion(ctx context.Context, key record.Key, by secret.RegionName) error {
	return s.note(ctx, key, by, func(c *call, view record.View) (*record.Txn, error) { return c.planNotePromoted(view, key, by) })
}

func (s *Service) note(ctx context.Context, key record.Key, by secret.RegionName, plan func(*call, record.View) (*record.Txn, error)) error {
	ctx, c, err := s.systemCall(ctx, actionNotePromotion, "region:"+string(by))
	if err != nil {
		return c.end(err)
	}
	c.entry.Resource.Kind, c.entry.Resource.ID = "Record", string(key)
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) { return plan(c, view) })
	if revision == 0 && err == nil {
		return nil // nothing happened that is worth a line
	}
	c.entry.Committed = revision > 0
	return c.end(err)
}

func (c *call) planNotePromoted(view record.View, key record.Key, by secret.RegionName) (*record.Txn, error) {
	sec, revision, err := record.Load(view, record.Secrets, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	heir, err := heirOf(view, key)
	if err != nil || heir != "" && heir != by {
		return nil, err
	}
	txn, region, err := newTxn(view)
	if err != nil {
		return nil, err
	}
	if !sec.NotePromoted(c.mutationIn(region), c.service.Region, by) {
		return nil, nil
	}
	sec.Next.Mutate(c.service.Formats.Writes(key.Kind()))
	txn.Require(key, revision)
	txn.Put(key, record.Secrets.Encode(sec))
	c.track(txn, key, mutationUpdate, &recordpb.Event{
		Type: "replica_promoted", Account: string(sec.Account), Vault: string(sec.ID.Vault()), Subject: string(sec.ID), Name: sec.Name,
	}, sec.Ownership)
	_, err = c.keepHolder(view, txn, sec.ID.Vault(), by)
	return txn, err
}

// planKeepHolder plans that a region goes on to hold a vault of which it has secrets of
// its own.
func (c *call) planKeepHolder(view record.View, vault secret.VaultID, by secret.RegionName) (txn *record.Txn, settled bool, err error) {
	if txn, _, err = newTxn(view); err != nil {
		return nil, false, err
	}
	settled, err = c.keepHolder(view, txn, vault, by)
	if len(txn.Writes) == 0 {
		txn = nil
	}
	return txn, settled, err
}

// keepHolder adds to a transaction that a region holds a vault of this region for the
// sake of single secrets. holds is false of a vault that is deleted.
func (c *call) keepHolder(view record.View, txn *record.Txn, id secret.VaultID, region secret.RegionName) (holds bool, err error) {
	found, revision, err := record.Load(view, record.Vaults, record.VaultKey(id))
	if errors.Is(err, record.ErrNotFound) {
		return false, nil
	}
	if err != nil || !found.Ownership.MayMutate(c.service.Region) || slices.Contains(found.Replication.Partial, region) {
		return true, err
	}
	vault := found.Clone()
	vault.Replication.Partial = append(vault.Replication.Partial, region)
	slices.Sort(vault.Replication.Partial)
	_, here, err := newTxn(view)
	if err != nil {
		return false, err
	}
	vault.Ownership.Advance(c.mutationIn(here).Incarnation)
	vault.UpdatedAt = c.now
	about := c.entry.Resource
	c.putVault(txn, vault, revision, mutationUpdate, "vault_updated")
	c.entry.Resource = about
	return true, nil
}

// ShipPromotion is Ship of no more of a secret than that it was promoted here, for the
// home of the replica that it was. It is ErrNotShipped if it never was, or goes to that
// region as a replica now.
func (s *Service) ShipPromotion(view record.View, key record.Key, to secret.RegionName) (*Shipment, error) {
	sec, _, err := record.Load(view, record.Secrets, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, ErrNotShipped
	}
	if err != nil {
		return nil, err
	}
	if !sec.IsDetached() || secret.TargetIn(sec.Targets, to) != nil {
		return nil, ErrNotShipped
	}
	_, open, err := view.Get(record.WorkKey(key))
	if err != nil {
		return nil, err
	}
	if err := departs(sec.Ownership, s.Region, open); err != nil {
		return nil, err
	}
	p := &Shipment{Key: key, Order: sec.Ownership.Order, State: record.Secrets.Encode(&secret.Secret{
		ID: sec.ID, Account: sec.Account, Name: sec.Name, Ownership: sec.Ownership, State: sec.State, CreatedAt: sec.CreatedAt,
		Targets: sec.Targets, Detached: sec.Detached,
	})}
	p.Read, err = momentOf(view)
	return p, err
}

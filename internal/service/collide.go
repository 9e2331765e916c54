package service

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// errPromoted ends a plan that cannot go on before this region has taken note that the
// source has promoted its replica.
var errPromoted = errors.New("the source has promoted its replica")

// collide decides on a state of a secret where this region holds another secret of the
// same ID, because one of the two was promoted. done ends the plan.
func (a *arrival) collide(ctx context.Context, view record.View, vault *secret.Vault, held, incoming *secret.Secret) (done bool, err error) {
	a.receipt.Held = held.Ownership.Order
	if unknown, err := a.tellsOfPromotion(view, held, incoming); err != nil || unknown {
		return true, firstError(err, errPromoted)
	}
	pending := false
	if held.Account != "" && (held.State == secret.Deleted || held.IsDetached()) && held.Ownership.MayMutate(a.service.Region) {
		if pending, err = toBeHeardOf(view, record.SecretKey(held.ID)); err != nil {
			return true, err
		}
	}
	switch secret.Collide(held, incoming, meantFor(vault, incoming, a.service.Region), pending, a.mayOverwrite(vault, incoming)) {
	case secret.Overwrites:
		return false, a.keepSecret(ctx, view, held, incoming)
	case secret.StandsAlone:
		return true, secret.Errorf(secret.CodeDetached, "the replica in %s was promoted: it is a secret of its own since", a.service.Region)
	case secret.Taken:
		return true, &secret.Error{
			Code: secret.CodeExists, Field: "id", Message: "this region has the secret that the arriving one was promoted from",
			Hint: "delete one of the two",
		}
	case secret.Pends:
		return true, secret.Errorf(secret.CodeUnavailable, "the secret that had the ID in this region is deleted, and others have not heard of that yet")
	case secret.Passes:
		return true, nil
	}
	return false, nil
}

// tellsOfPromotion reports whether this region learns by an arriving state that its
// source has promoted its replica of a secret whose home is here.
func (a *arrival) tellsOfPromotion(view record.View, held, incoming *secret.Secret) (bool, error) {
	if held.Account == "" || !incoming.IsDetached() || incoming.Ownership.Home != a.from.Region || a.from.Survivor {
		return false, nil
	}
	txn, err := a.planNotePromoted(view, record.SecretKey(held.ID), a.from.Region)
	return txn != nil, err
}

// toBeHeardOf reports whether somebody, here or in another region, still has to hear of
// a record.
func toBeHeardOf(view record.View, key record.Key) (bool, error) {
	if _, open, err := view.Get(record.WorkKey(key)); open || err != nil {
		return true, err
	}
	targets, err := targetsWithMessages(view)
	if err != nil {
		return true, err
	}
	for _, target := range targets {
		if _, waiting, err := view.Get(record.MessageKey(target, key)); waiting || err != nil {
			return true, err
		}
	}
	return false, nil
}

// notePromotion takes note of what the shipment tells, and answers it then.
func (a *arrival) notePromotion(ctx context.Context) error {
	if err := a.service.learnOfPromotion(ctx, a.shipment.Key, a.from.Region); err != nil {
		return err
	}
	txn, err := a.planSecret(ctx, a.service.Store.View(ctx))
	if err == nil && txn != nil || errors.Is(err, errPromoted) {
		err = secret.Errorf(secret.CodeUnavailable, "the secret changes while it is received")
	}
	return err
}

// refuseToGiveUp refuses to give up a vault of which this region has secrets that are
// its own: their keys would go with it. What it had of the source's is dropped by now,
// so that nothing can be promoted any more before the vault goes.
func (a *arrival) refuseToGiveUp(ctx context.Context) error {
	if !a.shipment.Buried && a.meantForUs() {
		return nil
	}
	id := secret.VaultID(a.shipment.Key[len(record.VaultPrefix):])
	view, own := a.service.Store.View(ctx), false
	var ownErr error
	err := scanAll(view, record.Secrets, record.SecretPrefix+string(id)+"/", func(sec *secret.Secret) bool {
		own, ownErr = a.isOwn(view, sec)
		return !own && ownErr == nil
	})
	if err = firstError(err, ownErr); err == nil && own {
		err = secret.Errorf(secret.CodeDetached, "%s has secrets of its own in the vault", a.service.Region)
	}
	return err
}

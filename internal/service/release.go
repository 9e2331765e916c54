package service

import (
	"context"
	"errors"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// releaseSecret drops the copy of a secret that is no longer meant for this region.
// The order stays, so that no older state brings it back.
func (a *arrival) releaseSecret(view record.View, e *edit, held, incoming *secret.Secret) error {
	key := record.SecretKey(incoming.ID)
	a.buryAs(e.txn, &secret.Tombstone{Record: string(key), Account: incoming.Account, Ownership: incoming.Ownership, Detached: incoming.Detached})
	a.track(e.txn, key, mutationDelete, &recordpb.Event{
		Type: "replica_removed", Account: string(incoming.Account), Vault: string(e.vault.ID), Subject: string(incoming.ID), Name: incoming.Name,
	}, incoming.Ownership)
	if held == nil || held.Account == "" {
		return nil
	}
	return dropSecret(view, e.txn, held)
}

// dropSecret deletes a secret's record with all that belongs to it.
func dropSecret(view record.View, txn *record.Txn, held *secret.Secret) error {
	txn.Delete(record.SecretKey(held.ID))
	txn.Delete(record.AccessKey(held.ID))
	for i := range held.Versions {
		txn.Delete(record.VersionKey(held.ID, held.Versions[i].ID))
	}
	name := record.SecretNameKey(held.ID.Vault(), held.Name)
	stored, ok, err := view.Get(name)
	if err != nil || !ok {
		return err
	}
	holder, err := record.DecodeReference(stored.Value)
	if err == nil && holder == string(held.ID) {
		txn.Require(name, stored.Revision)
		txn.Delete(name)
	}
	return err
}

// releaseSecrets drops the secrets of a vault that is deleted at its home, or no longer
// meant for this region, but for those that are this region's own: before the vault's record follows, so that a
// crash in between leaves something to go on from, and after it, for what came in
// between. A newer state of the vault than the shipped one stops it.
func (a *arrival) releaseSecrets(ctx context.Context) error {
	incoming, err := a.incoming()
	if err != nil {
		return err
	}
	if err := a.admit(incoming.ownership, incoming.account); err != nil {
		return err
	}
	vault := &secret.Vault{Ownership: incoming.ownership}
	if !a.shipment.Buried {
		if vault, err = record.Vaults.Decode(a.shipment.State); err != nil {
			return err
		}
		if secret.TargetIn(vault.Replication.Targets, a.service.Region) != nil {
			return nil // every secret is meant for this region
		}
	}
	view := a.service.Store.View(ctx)
	held, err := heldIdentity(view, a.shipment.Key)
	if err != nil || held.revision+held.graveRevision == 0 || secret.Judge(held.ownership, incoming.ownership) == secret.Refuse {
		return err
	}
	id := secret.VaultID(a.shipment.Key[len(record.VaultPrefix):])
	prefix := record.SecretPrefix + string(id) + "/"
	var drop []*secret.Secret
	scanErr := scanAll(view, record.Secrets, prefix, func(sec *secret.Secret) bool {
		if !a.shipment.Buried && meantFor(vault, sec, a.service.Region) {
			return true
		}
		var may bool
		if may, err = a.mayDrop(view, sec); may {
			drop = append(drop, sec)
		}
		return err == nil
	})
	if err := firstError(err, scanErr); err != nil {
		return err
	}
	for _, sec := range drop {
		if err := a.dropReleased(ctx, sec.ID, held); err != nil {
			return err
		}
	}
	return nil
}

// dropReleased drops one secret of a vault that is being released, as long as the
// vault is as held says: if it has changed the secret may be wanted again. The
// vault's own tombstone keeps its states out, or the horizon those that were read
// before, so none of its own is left.
func (a *arrival) dropReleased(ctx context.Context, id secret.ID, vault heldRecord) error {
	return a.commitOnStore(ctx, func(view record.View) (*record.Txn, error) {
		now, err := heldIdentity(view, vault.key)
		if err != nil || now.revision != vault.revision || now.graveRevision != vault.graveRevision {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(vault.key, vault.revision)
		txn.Require(record.TombstoneKey(vault.key), vault.graveRevision)
		held, revision, err := record.Load(view, record.Secrets, record.SecretKey(id))
		if errors.Is(err, record.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if may, err := a.mayDrop(view, held); !may || err != nil { // promoted, or taken over since
			return nil, err
		}
		if err := a.raise(view, txn); err != nil {
			return nil, err
		}
		key := record.SecretKey(id)
		txn.Require(key, revision)
		a.track(txn, key, mutationDelete, &recordpb.Event{
			Type: "replica_removed", Account: string(held.Account), Vault: string(id.Vault()), Subject: string(id), Name: held.Name,
		}, held.Ownership)
		return txn, dropSecret(view, txn, held)
	})
}

// mayDrop reports whether a secret of a vault that is given up can go: one of the
// source's, or a live one of a third region, which could not be opened any more. What
// is left of those that a third region has deleted keeps its order.
func (a *arrival) mayDrop(view record.View, sec *secret.Secret) (bool, error) {
	if sec.Ownership.Home == a.from.Region {
		return true, nil
	}
	own, err := a.isOwn(view, sec)
	return !own && sec.State != secret.Deleted, err
}

// isOwn reports whether a secret is this region's: it is mutated here, or would be as
// soon as somebody asks for it.
func (a *arrival) isOwn(view record.View, sec *secret.Secret) (bool, error) {
	if sec.State == secret.Deleted {
		return false, nil
	}
	if sec.IsDetached() || sec.Ownership.MayMutate(a.service.Region) {
		return true, nil
	}
	return hasTakenOver(view, sec.Ownership.Home, record.SecretKey(sec.ID))
}

// releaseKeys deletes the data keys of a vault that was given up, if nothing is left
// that was sealed under them: what was kept as a conflict is, and secrets of this
// region's own are if it took their home over in between. Since the vault is gone
// nothing can be sealed any more.
func (a *arrival) releaseKeys(ctx context.Context) error {
	id := string(a.shipment.Key[len(record.VaultPrefix):])
	return a.commitOnStore(ctx, func(view record.View) (*record.Txn, error) {
		_, active, err := view.Get(record.ActiveDataKeyKey(id))
		if err != nil || !active {
			return nil, err
		}
		held, err := heldIdentity(view, a.shipment.Key)
		if err != nil || held.revision > 0 || held.graveRevision == 0 {
			return nil, err
		}
		needed, err := sealedUnder(view, id)
		if err != nil || needed {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(a.shipment.Key, 0)
		return txn, removeKeys(view, txn, id)
	})
}

// sealedUnder reports whether secrets or conflicts of a vault are left.
func sealedUnder(view record.View, vault string) (needed bool, err error) {
	err = scanAll(view, record.Secrets, record.SecretPrefix+vault+"/", func(sec *secret.Secret) bool {
		needed = sec.State != secret.Deleted
		return !needed
	})
	if err != nil || needed {
		return needed, err
	}
	err = scanAll(view, record.Conflicts, record.ConflictPrefix, func(c *recordpb.Conflict) bool {
		needed = keepsSealed(c, vault)
		return !needed
	})
	return needed, err
}

// releaseAccount drops the account of a vault that was released, with everybody in
// it, if this region holds no other vault of it: revocations would no longer
// reach it. The account's record goes first: if it comes back meanwhile everybody in it
// is sent after it, and nothing more is dropped. A crash in between is made up for when
// the vault's release is sent again, or by what is deleted of the account, which is sent
// with it.
func (a *arrival) releaseAccount(ctx context.Context) error {
	incoming, err := a.incoming()
	if err != nil || !a.shipment.Buried && a.meantForUs() {
		return err
	}
	dropped, err := a.dropAccount(ctx, incoming.account)
	if err != nil || !dropped {
		return err
	}
	account := string(incoming.account)
	for _, prefix := range slices.Backward(record.IdentityPrefixes(incoming.account)) {
		if err := a.dropRange(ctx, incoming.account, prefix); err != nil {
			return err
		}
	}
	return a.commitOnStore(ctx, func(view record.View) (*record.Txn, error) {
		_, active, err := view.Get(record.ActiveDataKeyKey(account))
		if err != nil || !active {
			return nil, err
		}
		txn, there, err := withoutAccount(view, incoming.account)
		if err != nil || there {
			return nil, err
		}
		return txn, removeKeys(view, txn, account)
	})
}

// keepsAccount reports whether an account stays: this region holds a vault of it, or is
// the home of the account or of anybody in it, or will be when somebody asks.
func (a *arrival) keepsAccount(view record.View, account *secret.Account) (bool, error) {
	occupied, err := anyUnder(view, string(record.VaultNameKey(account.ID, "")))
	if err != nil || occupied {
		return occupied, err
	}
	own, err := a.isHomeOf(view, record.AccountKey(account.ID), account.Ownership)
	for _, prefix := range record.IdentityPrefixes(account.ID) {
		if own || err != nil {
			return own, err
		}
		var inner error
		err = view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			own, inner = a.isHomeOfStored(view, stored)
			return !own && inner == nil
		})
		err = errors.Join(err, inner)
	}
	return own, err
}

// isHomeOfStored is isHomeOf for a record of an account, or the entry of one in a list.
func (a *arrival) isHomeOfStored(view record.View, stored record.Stored) (bool, error) {
	if stored.Key.HasPrefix(record.CredentialOfPrefix) {
		id, err := record.DecodeReference(stored.Value)
		if err != nil {
			return false, err
		}
		var there bool
		if stored, there, err = view.Get(record.CredentialKey(secret.CredentialID(id))); err != nil || !there {
			return false, err
		}
	}
	owner, err := record.OwnerOf(stored.Key, stored.Value)
	if err != nil {
		return false, err
	}
	return a.isHomeOf(view, stored.Key, owner.Ownership)
}

// isHomeOf reports whether this region is the home of a record, or has taken it over.
func (a *arrival) isHomeOf(view record.View, key record.Key, o secret.Ownership) (bool, error) {
	if o.Home == a.service.Region {
		return true, nil
	}
	return hasTakenOver(view, o.Home, key)
}

// dropAccount drops the record of an account that this region holds no vault of. It
// reports whether that was so: the account may have been dropped before.
func (a *arrival) dropAccount(ctx context.Context, id secret.AccountID) (dropped bool, err error) {
	key := record.AccountKey(id)
	err = a.commitOnStore(ctx, func(view record.View) (*record.Txn, error) {
		dropped = false
		account, revision, err := record.Load(view, record.Accounts, key)
		if errors.Is(err, record.ErrNotFound) {
			dropped = true
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		kept, err := a.keepsAccount(view, account)
		if err != nil || kept {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		// There will be no tombstones of what is dropped: what was read before is refused.
		if err := a.raise(view, txn); err != nil {
			return nil, err
		}
		txn.Require(key, revision)
		txn.Delete(key)
		txn.Delete(record.AccountNameKey(account.Name))
		a.track(txn, key, mutationDelete, &recordpb.Event{
			Type: "replica_removed", Account: string(id), Subject: string(id), Name: account.Name,
		}, account.Ownership)
		dropped = true
		return txn, nil
	})
	return dropped, err
}

// keepAccount has a transaction that requires an account, and adds a vault of it, write
// the account again as it is: whoever gives it up meanwhile, since it had no vault, looks
// again.
func keepAccount(txn *record.Txn, account record.Stored) { txn.Put(account.Key, account.Value) }

// withoutAccount begins a transaction that commits only while an account is not here.
func withoutAccount(view record.View, id secret.AccountID) (txn *record.Txn, there bool, err error) {
	if _, there, err = view.Get(record.AccountKey(id)); there || err != nil {
		return nil, there, err
	}
	txn, _, err = newTxn(view)
	if err == nil {
		txn.Require(record.AccountKey(id), 0)
	}
	return txn, false, err
}

// dropRange deletes the records under a prefix, which belong to an account that is not
// here, in transactions of bounded size; of a list of credentials also the credentials.
func (a *arrival) dropRange(ctx context.Context, account secret.AccountID, prefix string) error {
	for {
		view := a.service.Store.View(ctx)
		txn, there, err := withoutAccount(view, account)
		if err != nil || there {
			return err
		}
		err = view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			txn.Require(stored.Key, stored.Revision)
			txn.Delete(stored.Key)
			deleteIndexOf(txn, stored)
			return len(txn.Writes) < stagedOps
		})
		if err != nil || len(txn.Writes) == 0 {
			return err
		}
		if _, err := a.service.Store.Commit(ctx, *txn); err != nil && !secret.HasCode(err, secret.CodeStale) {
			return err
		}
	}
}

// deleteIndexOf deletes what is found only through a record, or lists it.
func deleteIndexOf(txn *record.Txn, stored record.Stored) {
	if stored.Key.HasPrefix(record.CredentialOfPrefix) {
		if id, err := record.DecodeReference(stored.Value); err == nil {
			txn.Delete(record.CredentialKey(secret.CredentialID(id)))
		}
	}
	if stored.Key.HasPrefix(record.BindingPrefix) || stored.Key.HasPrefix(record.IssuerPrefix) || stored.Key.HasPrefix(record.PrincipalPrefix) {
		if i, err := identityOf(stored.Key, stored.Value); err == nil && i.name != "" {
			txn.Delete(i.name)
		}
	}
}

func anyUnder(view record.View, prefix string) (found bool, err error) {
	err = view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool {
		found = true
		return false
	})
	return found, err
}

// scanAll is scan that stops at a record that cannot be decoded.
func scanAll[T any](view record.View, kind record.Kind[T], prefix string, visit func(*T) bool) error {
	var decodeErr error
	err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		var t *T
		if t, decodeErr = kind.Decode(stored.Value); decodeErr != nil {
			return false
		}
		return visit(t)
	})
	return errors.Join(err, decodeErr)
}

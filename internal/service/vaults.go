package service

import (
	"context"
	"maps"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// NewVault is what CreateVault makes; an empty Account means the caller's.
type NewVault struct {
	Account      string
	Name         string
	Description  string
	Tags         map[string]string
	Retention    secret.Retention
	RequestToken string
	// Key names the master key that wraps its data keys; empty means the region's.
	Key string
}

// CreateVault makes a vault and its data keys, and waits, within bounds, until
// every live host has it; cleared says whether they had.
func (s *Service) CreateVault(ctx context.Context, n NewVault) (vault *secret.Vault, cleared bool, err error) {
	id := secret.VaultID(ulid.MustNewDefault(s.Now()).String())
	cleared, err = s.administer(ctx, authz.CreateVault, func(c *call, view record.View) (*record.Txn, error) {
		account, err := c.account(view, n.Account)
		if err != nil {
			return nil, err
		}
		resource := accountResource(account)
		if err := c.authorize(view, resource); err != nil {
			return nil, err
		}
		if err := n.check(account); err != nil {
			return nil, err
		}
		nameKey := record.VaultNameKey(account.ID, n.Name)
		if found, ok, err := view.Get(nameKey); err != nil {
			return nil, err
		} else if ok {
			vault, err = replayedVault(view, found, n)
			return nil, err
		}
		txn, region, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		m := c.mutationIn(region)
		vault = &secret.Vault{
			ID: id, Account: account.ID, Name: n.Name, State: secret.Active, Description: n.Description, Tags: maps.Clone(n.Tags),
			Ownership: secret.NewOwnership(s.Region, m.Incarnation), Retention: n.Retention,
			CreatedAt: m.At, UpdatedAt: m.At, RequestToken: n.RequestToken, Key: n.Key,
		}
		if err := s.addKeysUnder(ctx, txn, region, n.Key, string(id), m.At); err != nil {
			return nil, err
		}
		txn.Require(nameKey, 0)
		txn.Put(nameKey, record.EncodeReference(string(id)))
		c.putVault(txn, vault, 0, mutationCreate, "vault_created")
		if account.Ownership.Home != s.Region {
			stored, ok, err := view.Get(record.AccountKey(account.ID))
			if err == nil && !ok {
				err = secret.Errorf(secret.CodeUnavailable, "the account is being given up by this region")
			}
			txn.Require(stored.Key, stored.Revision)
			keepAccount(txn, stored)
			return txn, err
		}
		return txn, nil
	})
	return vault, cleared, err
}

func (n NewVault) check(account *secret.Account) error {
	if account.ID == secret.SystemAccount {
		return secret.Errorf(secret.CodeWrongState, "the system account has no vaults").WithHint("create an account first")
	}
	return firstError(
		secret.CheckContainerName("name", n.Name),
		secret.CheckText("description", n.Description, secret.MaxDescriptionBytes),
		secret.CheckTags("tags", n.Tags),
		n.Retention.Check(),
		secret.CheckText("key", n.Key, secret.MaxKeyNameBytes),
		secret.CheckRequestToken("request_token", n.RequestToken),
	)
}

func replayedVault(view record.View, found record.Stored, n NewVault) (*secret.Vault, error) {
	id, err := record.DecodeReference(found.Value)
	if err != nil {
		return nil, err
	}
	vault, _, err := load(view, record.Vaults, record.VaultKey(secret.VaultID(id)), "vault", "vault")
	if err != nil {
		return nil, err
	}
	if n.RequestToken == "" || n.RequestToken != vault.RequestToken {
		return nil, &secret.Error{Code: secret.CodeExists, Field: "name", Message: "a vault with this name exists"}
	}
	// What was asked for shows only until the first change.
	same := n.Description == vault.Description && maps.Equal(n.Tags, vault.Tags) && n.Retention == vault.Retention && n.Key == vault.Key
	if vault.Ownership.Order.Seq == 1 && !same {
		return nil, secret.TokenReused()
	}
	return vault, nil
}

func (c *call) putVault(txn *record.Txn, v *secret.Vault, revision int64, mutation, event string) {
	key := record.VaultKey(v.ID)
	txn.Require(key, revision)
	txn.Put(key, record.Vaults.Encode(v))
	c.about(vaultResource(v))
	c.track(txn, key, mutation, &recordpb.Event{
		Type: event, Account: string(v.Account), Vault: string(v.ID), Subject: string(v.ID), Name: v.Name,
	}, v.Ownership)
}

// GetVault answers a vault.
func (s *Service) GetVault(ctx context.Context, ref string) (vault *secret.Vault, err error) {
	err = s.inspect(ctx, authz.GetVault, func(c *call, view record.View) error {
		v, _, err := c.vault(view, ref)
		if err != nil {
			return err
		}
		vault = v
		return c.authorize(view, vaultResource(v))
	})
	return vault, err
}

// ListVaults answers a page of an account's vaults in the order of their names.
func (s *Service) ListVaults(ctx context.Context, accountRef string, size int, token string) (vaults []*secret.Vault, next string, err error) {
	err = s.inspect(ctx, authz.ListVaults, func(c *call, view record.View) error {
		account, err := c.account(view, accountRef)
		if err != nil {
			return err
		}
		if err := c.authorize(view, accountResource(account)); err != nil {
			return err
		}
		prefix := string(record.VaultNameKey(account.ID, ""))
		vaults, next, err = listNamed(view, prefix, size, token, func(id string) (*secret.Vault, error) {
			v, _, err := load(view, record.Vaults, record.VaultKey(secret.VaultID(id)), "vault", "vault")
			return v, err
		})
		return err
	})
	return vaults, next, err
}

// VaultUpdate is what UpdateVault changes; a nil field stays as it is.
type VaultUpdate struct {
	Vault       string
	Description *string
	SetTags     map[string]string
	RemoveTags  []string
	Retention   *secret.Retention
	Expected    *secret.Order
	// Key names another master key, which then wraps the vault's data keys.
	Key *string
}

// UpdateVault changes metadata of a vault.
func (s *Service) UpdateVault(ctx context.Context, u VaultUpdate) (*secret.Vault, error) {
	return s.editVault(ctx, authz.UpdateVault, u.Vault, u.Expected, func(e *vaultEdit) error {
		if err := e.vault.Update(e.mutation, u.Description, u.SetTags, u.RemoveTags, u.Retention); err != nil || u.Key == nil {
			return err
		}
		return e.call.moveToKey(ctx, e.view, e.txn, e.vault, *u.Key)
	})
}

// vaultEdit is a mutation of a vault being planned.
type vaultEdit struct {
	call     *call
	view     record.View
	txn      *record.Txn
	mutation secret.Mutation
	// vault is to be changed; before is what it was.
	vault, before *secret.Vault
}

// editVault carries out a mutation of a vault at its home.
func (s *Service) editVault(ctx context.Context, action authz.Action, ref string, expected *secret.Order, change func(*vaultEdit) error) (vault *secret.Vault, err error) {
	_, err = s.administer(ctx, action, func(c *call, view record.View) (*record.Txn, error) {
		old, revision, err := c.vault(view, ref)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, vaultResource(old)); err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.VaultKey(old.ID), old.Ownership)
		if err != nil {
			return nil, err
		}
		if expected != nil && old.Ownership.Order != *expected {
			return nil, staleOrder(old.Ownership.Order)
		}
		vault = old.Clone()
		if err := change(&vaultEdit{call: c, view: view, txn: txn, mutation: c.mutationIn(region), vault: vault, before: old}); err != nil {
			return nil, err
		}
		c.putVault(txn, vault, revision, mutationUpdate, "vault_updated")
		return txn, nil
	})
	return vault, err
}

// moveToKey has the data keys of a vault wrapped by the master key of a name, in
// the transaction that writes the name.
func (c *call) moveToKey(ctx context.Context, view record.View, txn *record.Txn, vault *secret.Vault, name string) error {
	if err := secret.CheckText("key", name, secret.MaxKeyNameBytes); err != nil {
		return err
	}
	if vault.State != secret.Active {
		return secret.Errorf(secret.CodeWrongState, "the vault is being deleted")
	}
	vault.Key = name
	return c.service.rewrapUnder(ctx, view, txn, string(vault.ID), name)
}

// rewrapUnder has the data keys of a scope wrapped by the master key of a name,
// empty for the region's own, in a transaction.
func (s *Service) rewrapUnder(ctx context.Context, view record.View, txn *record.Txn, scope, name string) error {
	master, err := s.Keyring.MasterKey(ctx, name)
	if err != nil {
		return namingKey(err)
	}
	key := record.ActiveDataKeyKey(scope)
	_, revision, err := load(view, record.ActiveDataKeys, key, "", "active data key")
	if err != nil {
		return err
	}
	rewrapped, err := s.Keyring.Rewrap(ctx, view, master, scope)
	if err != nil {
		return err
	}
	txn.Require(key, revision) // no generation is made meanwhile
	txn.Conditions = append(txn.Conditions, rewrapped.Conditions...)
	txn.Writes = append(txn.Writes, rewrapped.Writes...)
	return nil
}

func staleOrder(at secret.Order) error {
	return &secret.Error{
		Code: secret.CodeStale, Field: "expected_order", Message: "the record is at order " + at.String(),
		Hint: "read it again, then decide",
	}
}

// DeleteVault deletes a vault all of whose secrets are purged, and its keys. One
// that holds secrets stays as it is. It first marks the vault, so that no
// creation can slip in behind the check; a deletion that was interrupted is
// finished by asking again.
func (s *Service) DeleteVault(ctx context.Context, ref string) error {
	c, err := s.begin(ctx, authz.DeleteVault, true)
	if err != nil {
		return c.end(err)
	}
	revision, err := s.deleteVault(ctx, c, ref)
	if err := c.end(err); err != nil {
		return err
	}
	s.cleared(ctx, "", revision)
	return nil
}

func (s *Service) deleteVault(ctx context.Context, c *call, ref string) (int64, error) {
	var id secret.VaultID
	var marked int64 // the revision of the vault's record with the mark
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := c.authenticate(view); err != nil {
			return nil, err
		}
		vault, revision, err := c.vault(view, ref)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, vaultResource(vault)); err != nil {
			return nil, err
		}
		id, marked = vault.ID, revision
		if err := refuseReplica(view, record.VaultKey(vault.ID), vault.Ownership, s.Region); err != nil {
			return nil, err
		}
		if vault.State != secret.PendingDeletion {
			if err := refuseOccupied(view, id); err != nil {
				return nil, err
			}
		}
		return c.setVaultState(view, id, secret.PendingDeletion)
	})
	if err != nil {
		return 0, err
	}
	if revision > 0 {
		marked = revision
		c.entry.Committed = true
	}
	if err := refuseOccupied(s.Store.View(ctx), id); err != nil {
		unmarked, unmarkErr := s.commit(ctx, func(view record.View) (*record.Txn, error) {
			return c.setVaultState(view, id, secret.Active)
		})
		c.entry.Committed = c.entry.Committed || unmarked > 0
		return 0, firstError(unmarkErr, err)
	}
	// The mark must be the one behind which the vault was seen empty: it may have
	// been taken off, and put on again, meanwhile.
	revision, err = s.commit(ctx, func(view record.View) (*record.Txn, error) { return c.removeVault(view, id, marked) })
	c.entry.Committed = c.entry.Committed || revision > 0
	return revision, err
}

// setVaultState changes the state, and touches the active data key, which every
// mutation in the vault compares.
func (c *call) setVaultState(view record.View, id secret.VaultID, state secret.State) (*record.Txn, error) {
	vault, revision, err := load(view, record.Vaults, record.VaultKey(id), "vault", "vault")
	if err != nil || vault.State == state {
		return nil, err
	}
	txn, region, err := newTxnAt(view, record.VaultKey(vault.ID), vault.Ownership)
	if err != nil {
		return nil, err
	}
	if err := touchActiveKey(view, txn, string(id)); err != nil {
		return nil, err
	}
	vault.State = state
	vault.Ownership.Advance(c.mutationIn(region).Incarnation)
	vault.UpdatedAt = c.now
	c.putVault(txn, vault, revision, mutationUpdate, "vault_updated")
	return txn, nil
}

func (c *call) removeVault(view record.View, id secret.VaultID, marked int64) (*record.Txn, error) {
	vault, revision, err := load(view, record.Vaults, record.VaultKey(id), "vault", "vault")
	if err != nil {
		return nil, err
	}
	txn, region, err := newTxnAt(view, record.VaultKey(vault.ID), vault.Ownership)
	if err != nil {
		return nil, err
	}
	if revision != marked {
		return nil, secret.Errorf(secret.CodeWrongState, "the vault was changed while it was being deleted").WithHint("try again")
	}
	if err := removeKeys(view, txn, string(id)); err != nil {
		return nil, err
	}
	key := record.VaultKey(id)
	txn.Require(key, revision)
	txn.Delete(key)
	txn.Delete(record.VaultNameKey(vault.Account, vault.Name))
	vault.Ownership.Advance(c.mutationIn(region).Incarnation)
	c.bury(txn, key, vault.Account, vault.Ownership, vault.Replication.Holders())
	c.track(txn, key, mutationDelete, &recordpb.Event{
		Type: "vault_deleted", Account: string(vault.Account), Vault: string(id), Subject: string(id), Name: vault.Name,
	}, vault.Ownership)
	return txn, nil
}

func refuseOccupied(view record.View, vault secret.VaultID) error {
	occupied := false
	prefix := string(record.SecretNameKey(vault, ""))
	err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool {
		occupied = true
		return false
	})
	if err == nil && occupied {
		err = secret.Errorf(secret.CodeWrongState, "the vault still holds secrets").
			WithHint("delete them first; those scheduled for deletion count until they are purged")
	}
	if err != nil {
		return err
	}
	kept := ""
	err = scanAll(view, record.Conflicts, record.ConflictPrefix, func(c *recordpb.Conflict) bool {
		if keepsSealed(c, string(vault)) {
			kept = c.GetId()
		}
		return kept == ""
	})
	if err == nil && kept != "" { // its keys go with the vault
		err = secret.Errorf(secret.CodeWrongState, "this region keeps conflicts of the vault's secrets, such as %s", kept).
			WithHint("adopt or discard them first: lifeboat conflict list")
	}
	return err
}

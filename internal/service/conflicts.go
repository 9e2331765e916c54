package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Conflict is what this region held of a secret past a fork.
type Conflict struct {
	*recordpb.Conflict
	// Secret is the state that was held.
	Secret *secret.Secret
	// Values are those of the versions that were kept; of a conflict that is only
	// listed there are none.
	Values map[secret.VersionID]secret.Plaintext
}

// ListConflicts answers the conflicts of a vault's secrets, in no order.
func (s *Service) ListConflicts(ctx context.Context, ref string) (all []Conflict, err error) {
	err = s.inspect(ctx, authz.ListConflicts, func(c *call, view record.View) error {
		all = nil
		vault, _, err := c.vault(view, ref)
		if err != nil {
			return err
		}
		if err := c.authorize(view, vaultResource(vault)); err != nil {
			return err
		}
		var decodeErr error
		err = scanAll(view, record.Conflicts, record.ConflictPrefix, func(found *recordpb.Conflict) bool {
			if found.GetVault() != string(vault.ID) || !record.Key(found.GetRecord()).HasPrefix(record.SecretPrefix) {
				return true
			}
			var sec *secret.Secret
			sec, decodeErr = record.Secrets.Decode(found.GetState())
			all = append(all, Conflict{Conflict: found, Secret: sec})
			return decodeErr == nil
		})
		return firstError(err, decodeErr)
	})
	return all, err
}

// conflict finds a conflict of a secret and authorises the call on it as on the secret.
func (c *call) conflict(view record.View, id string) (found Conflict, revision int64, err error) {
	found.Conflict, revision, err = load(view, record.Conflicts, record.ConflictKey(id), "id", "conflict")
	if err != nil {
		return found, 0, c.foreign(c.caller.Principal.Account, authz.SecretResource, err)
	}
	if found.Secret, err = record.Secrets.Decode(found.GetState()); err != nil {
		return found, 0, err
	}
	vault, _, err := c.vault(view, found.GetVault())
	if err != nil {
		return found, 0, err
	}
	return found, revision, c.authorize(view, target{vault: vault, secret: found.Secret, name: found.Secret.Name}.resource())
}

// GetConflict answers a conflict with the values of the versions that it keeps.
func (s *Service) GetConflict(ctx context.Context, id string) (found Conflict, err error) {
	err = s.inspect(ctx, authz.GetConflict, func(c *call, view record.View) (err error) {
		if found, _, err = c.conflict(view, id); err != nil {
			return err
		}
		found.Values = make(map[secret.VersionID]secret.Plaintext, len(found.GetVersions()))
		for _, version := range found.GetVersions() {
			stored, _, err := load(view, record.Versions, record.ConflictVersionKey(id, secret.VersionID(version)), "id", "value of the conflict")
			if err != nil {
				return err
			}
			value, err := s.Keyring.Open(ctx, view, found.GetVault(), stored.Value, associatedData(found.Secret, stored.ID, keyring.Value))
			if err != nil {
				return err
			}
			found.Values[stored.ID] = value
		}
		return nil
	})
	return found, err
}

// DiscardConflict deletes a conflict with the values that it keeps.
func (s *Service) DiscardConflict(ctx context.Context, id string) error {
	_, err := s.administer(ctx, authz.DiscardConflict, func(c *call, view record.View) (*record.Txn, error) {
		found, revision, err := c.conflict(view, id)
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(record.ConflictKey(id), revision)
		txn.Delete(record.ConflictKey(id))
		for _, version := range found.GetVersions() {
			txn.Delete(record.ConflictVersionKey(id, secret.VersionID(version)))
		}
		return txn, nil
	})
	return err
}

package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Conflict is what this region held of a record past a fork.
type Conflict struct {
	*recordpb.Conflict
	// Secret is the state that was held of a secret; nil of any other record.
	Secret *secret.Secret
	// Values are those of the versions that were kept; of a conflict that is only
	// listed there are none.
	Values map[secret.VersionID]secret.Plaintext
	// Held is the state that was held of any other record, as record.Content reads it;
	// nil if it had been deleted.
	Held any
	// Present is the state that this region has of it now; nil if it has none, and of a
	// conflict that is only listed.
	Present any
}

// IsOfSecret reports whether the record is a secret.
func (c *Conflict) IsOfSecret() bool { return record.Key(c.GetRecord()).HasPrefix(record.SecretPrefix) }

// Deleted reports whether this region had deleted the record.
func (c *Conflict) Deleted() bool {
	return c.Held == nil && (c.Secret == nil || c.Secret.State == secret.Deleted)
}

// keepsSealed reports whether a conflict keeps what the data keys of a vault sealed.
func keepsSealed(c *recordpb.Conflict, vault string) bool {
	return c.GetVault() == vault && (&Conflict{Conflict: c}).IsOfSecret()
}

func readConflict(kept *recordpb.Conflict) (c Conflict, err error) {
	c.Conflict = kept
	switch {
	case c.IsOfSecret():
		c.Secret, err = record.Secrets.Decode(kept.GetState())
	case len(kept.GetState()) > 0:
		c.Held, err = record.Content(record.Key(kept.GetRecord()), kept.GetState())
	}
	return c, err
}

// ListConflicts answers the conflicts of a vault and of its secrets; or without one
// those of an account, empty for the caller's own: of everything in it but secrets,
// except those whose vault this region has given up. The oldest comes first.
func (s *Service) ListConflicts(ctx context.Context, vaultRef, accountRef string) (all []Conflict, err error) {
	err = s.inspect(ctx, authz.ListConflicts, func(c *call, view record.View) (err error) {
		var wanted func(*Conflict) (bool, error)
		if vaultRef != "" {
			wanted, err = c.conflictsOfVault(view, vaultRef, accountRef)
		} else {
			wanted, err = c.conflictsOfAccount(view, accountRef)
		}
		if err != nil {
			return err
		}
		all, err = conflictsWhere(view, wanted)
		return err
	})
	return all, err
}

// conflictsOfVault authorises the call on a vault and says which conflicts are of it.
func (c *call) conflictsOfVault(view record.View, ref, account string) (func(*Conflict) (bool, error), error) {
	if account != "" {
		return nil, secret.Invalid("account", "must be empty if a vault is named")
	}
	vault, _, err := c.vault(view, ref)
	if err != nil {
		return nil, err
	}
	return func(found *Conflict) (bool, error) { return found.GetVault() == string(vault.ID), nil }, c.authorize(view, vaultResource(vault))
}

// conflictsOfAccount is conflictsOfVault for an account. Of one that this region has
// given up nobody is left but the operators.
func (c *call) conflictsOfAccount(view record.View, ref string) (func(*Conflict) (bool, error), error) {
	c.act(authz.ListAccountConflicts)
	id, resource := secret.AccountID(ref), c.regionResource()
	account, err := c.account(view, ref)
	switch {
	case err == nil:
		id, resource = account.ID, accountResource(account)
	case !secret.HasCode(err, secret.CodeNotFound) || !secret.ValidULID(ref):
		return nil, err
	}
	return func(found *Conflict) (bool, error) {
		if found.GetAccount() != string(id) || !found.IsOfSecret() {
			return found.GetAccount() == string(id), nil
		}
		_, here, err := view.Get(record.VaultKey(secret.VaultID(found.GetVault())))
		return !here, err
	}, c.authorize(view, resource)
}

// act makes the call one of another action, which is known only now; what it was
// permitted was another one.
func (c *call) act(action authz.Action) {
	if action != c.action {
		c.action, c.entry.Action, c.permitted = action, string(action), authz.Resource{}
	}
}

func conflictsWhere(view record.View, wanted func(*Conflict) (bool, error)) (all []Conflict, err error) {
	scanErr := scanAll(view, record.Conflicts, record.ConflictPrefix, func(kept *recordpb.Conflict) bool {
		var ok bool
		found := Conflict{Conflict: kept}
		if ok, err = wanted(&found); ok && err == nil {
			found, err = readConflict(kept)
			all = append(all, found)
		}
		return err == nil
	})
	slices.SortFunc(all, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.GetAt(), b.GetAt()), strings.Compare(a.GetId(), b.GetId()))
	})
	return all, firstError(scanErr, err)
}

// conflict finds a conflict and authorises the call: on the secret of one of a secret,
// else on the vault or the account. For the latter the action is another one, which may
// show only now that the plan is made again.
func (c *call) conflict(view record.View, id string, ofSecret, ofAccount authz.Action) (found Conflict, revision int64, err error) {
	c.act(ofSecret)
	kept, revision, err := load(view, record.Conflicts, record.ConflictKey(id), "id", "conflict")
	if err != nil {
		return found, 0, c.foreign(c.caller.Principal.Account, authz.SecretResource, err)
	}
	if found, err = readConflict(kept); err != nil {
		return found, 0, err
	}
	account, _, err := record.Load(view, record.Accounts, record.AccountKey(secret.AccountID(found.GetAccount())))
	if errors.Is(err, record.ErrNotFound) {
		return found, revision, c.conflictLeft(view, ofAccount)
	}
	if err != nil {
		return found, 0, err
	}
	resource, err := found.resource(view, account)
	if err != nil {
		return found, 0, err
	}
	if !found.IsOfSecret() {
		c.act(ofAccount)
	}
	return found, revision, c.authorize(view, resource)
}

// conflictLeft authorises the call on a conflict of an account that this region has given
// up: operators can make it go away, and not look into it.
func (c *call) conflictLeft(view record.View, ofAccount authz.Action) error {
	c.act(authz.DiscardAccountConflict)
	if err := c.authorize(view, c.regionResource()); err != nil || ofAccount == authz.DiscardAccountConflict {
		return err
	}
	c.act(ofAccount)
	return secret.Errorf(secret.CodeWrongState, "this region has given up the account that the conflict is of").
		WithHint("replicate a vault of the account to this region to see what it keeps, or discard it")
}

// resource describes what a conflict is of to the policies, also if this region has
// given up the vault.
func (c *Conflict) resource(view record.View, account *secret.Account) (authz.Resource, error) {
	if c.GetVault() == "" {
		return accountResource(account), nil
	}
	vault, _, err := record.Load(view, record.Vaults, record.VaultKey(secret.VaultID(c.GetVault())))
	held, _ := c.Held.(*secret.Vault)
	switch {
	case err != nil && !errors.Is(err, record.ErrNotFound):
		return authz.Resource{}, err
	case err != nil && held != nil:
		vault = held
	case err != nil:
		vault = &secret.Vault{ID: secret.VaultID(c.GetVault()), Account: account.ID, Name: c.GetVaultName()}
	}
	if !c.IsOfSecret() {
		return vaultResource(vault), nil
	}
	return target{vault: vault, id: c.Secret.ID, secret: c.Secret, name: c.Secret.Name}.resource(), nil
}

// GetConflict answers a conflict with what it keeps: of a secret the values of the
// versions, of any other record what was held beside what is there now.
func (s *Service) GetConflict(ctx context.Context, id string) (found Conflict, err error) {
	err = s.inspect(ctx, authz.GetConflict, func(c *call, view record.View) (err error) {
		if found, _, err = c.conflict(view, id, authz.GetConflict, authz.GetAccountConflict); err != nil {
			return err
		}
		if found.IsOfSecret() {
			return s.openConflict(ctx, view, &found)
		}
		key := record.Key(found.GetRecord())
		stored, ok, err := view.Get(key)
		if ok && err == nil {
			found.Present, err = record.Content(key, stored.Value)
		}
		return err
	})
	return found, err
}

func (s *Service) openConflict(ctx context.Context, view record.View, found *Conflict) error {
	found.Values = make(map[secret.VersionID]secret.Plaintext, len(found.GetVersions()))
	for _, version := range found.GetVersions() {
		stored, _, err := load(view, record.Versions, record.ConflictVersionKey(found.GetId(), secret.VersionID(version)), "id", "value of the conflict")
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
}

// DiscardConflict deletes a conflict with what it keeps.
func (s *Service) DiscardConflict(ctx context.Context, id string) error {
	_, err := s.administer(ctx, authz.DiscardConflict, func(c *call, view record.View) (*record.Txn, error) {
		found, revision, err := c.conflict(view, id, authz.DiscardConflict, authz.DiscardAccountConflict)
		if err != nil {
			return nil, err
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		txn.Require(record.ConflictKey(id), revision)
		deleteConflict(txn, found.Conflict)
		return txn, nil
	})
	return err
}

func deleteConflict(txn *record.Txn, c *recordpb.Conflict) {
	txn.Delete(record.ConflictKey(c.GetId()))
	for _, version := range c.GetVersions() {
		txn.Delete(record.ConflictVersionKey(c.GetId(), secret.VersionID(version)))
	}
}

// AccountConflicts is how many conflicts a region keeps of an account.
type AccountConflicts struct {
	Account secret.AccountID
	// Name is empty if this region has given the account up.
	Name string
	// All counts those of any record, OfSecrets those of secrets.
	All, OfSecrets int
}

// CountConflicts counts the conflicts that a region keeps, by account.
func CountConflicts(view record.View) ([]AccountConflicts, error) {
	counts := map[string]*AccountConflicts{}
	err := scanAll(view, record.Conflicts, record.ConflictPrefix, func(c *recordpb.Conflict) bool {
		n := counts[c.GetAccount()]
		if n == nil {
			n = &AccountConflicts{Account: secret.AccountID(c.GetAccount())}
			counts[c.GetAccount()] = n
		}
		n.All++
		if keepsSealed(c, c.GetVault()) {
			n.OfSecrets++
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	all := make([]AccountConflicts, 0, len(counts))
	for id, n := range counts {
		account, _, err := record.Load(view, record.Accounts, record.AccountKey(secret.AccountID(id)))
		switch {
		case err == nil:
			n.Name = account.Name
		case !errors.Is(err, record.ErrNotFound):
			return nil, err
		}
		all = append(all, *n)
	}
	slices.SortFunc(all, func(a, b AccountConflicts) int { return cmp.Compare(a.Account, b.Account) })
	return all, nil
}

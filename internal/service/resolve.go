package service

import (
	"errors"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// SecretRef names a secret the way a caller does. Vault is a vault's ID, its
// name in the caller's account, or ACCOUNT/NAME; Secret is a secret's ID or its
// name in the vault. With a secret's ID Vault may be empty.
type SecretRef struct {
	Vault  string
	Secret string
	// Is, if set, says which secret is meant: another one of that name counts as
	// missing.
	Is func(secret.AccountID, secret.ID) bool
	// Or is another name in the vault to look for if there is no secret of the first,
	// OrIs which one is meant by it.
	Or   string
	OrIs func(secret.AccountID, secret.ID) bool
	// Check, if set, is asked once the caller is known to be permitted; its error
	// refuses the request. It may be called several times, with different states,
	// and must not change what it is given.
	Check func(*secret.Secret) error
}

// checked asks Check about the secret.
func (ref *SecretRef) checked(s *secret.Secret) error {
	if ref.Check == nil {
		return nil
	}
	return ref.Check(s)
}

// lookup follows an index entry to an ID.
func lookup(view record.View, key record.Key, what string) (string, error) {
	id, ok, err := record.Lookup(view, key)
	if err == nil && !ok {
		err = notFound(what, what)
	}
	return id, err
}

func notFound(field, what string) *secret.Error {
	return &secret.Error{Code: secret.CodeNotFound, Field: field, Message: "there is no such " + what}
}

// load is record.Load with a typed error for a missing record.
func load[T any](view record.View, kind record.Kind[T], key record.Key, field, what string) (*T, int64, error) {
	t, revision, err := record.Load(view, kind, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, 0, notFound(field, what)
	}
	return t, revision, err
}

// loadShared is record.LoadShared with a typed error for a missing record.
func loadShared[T any](view record.View, kind record.Kind[T], key record.Key, field, what string) (*T, int64, error) {
	t, revision, err := record.LoadShared(view, kind, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, 0, notFound(field, what)
	}
	return t, revision, err
}

// account finds the account that ref, an ID or a name, means; empty means the
// caller's own.
func (c *call) account(view record.View, ref string) (*secret.Account, error) {
	id := secret.AccountID(ref)
	switch {
	case ref == "":
		id = c.caller.Principal.Account
	case !secret.ValidULID(ref):
		found, err := lookup(view, record.AccountNameKey(ref), "account")
		if err != nil {
			c.entry.Resource = audit.Resource{Kind: string(authz.AccountResource), Name: ref}
			return nil, c.foreign("", authz.AccountResource, err)
		}
		id = secret.AccountID(found)
	}
	account, _, err := load(view, record.Accounts, record.AccountKey(id), "account", "account")
	if err != nil {
		c.entry.Resource = audit.Resource{Kind: string(authz.AccountResource), ID: string(id)}
		return nil, c.foreign(id, authz.AccountResource, err)
	}
	return account, nil
}

// vault finds the vault that ref means. It may be shared with other calls and
// must not be changed.
func (c *call) vault(view record.View, ref string) (*secret.Vault, int64, error) {
	if ref == "" {
		return nil, 0, secret.Invalid("vault", "must not be empty")
	}
	id := secret.VaultID(ref)
	if !secret.ValidULID(ref) {
		accountID := c.caller.Principal.Account
		name := ref
		if account, rest, ok := strings.Cut(ref, "/"); ok {
			a, err := c.account(view, account)
			if err != nil {
				return nil, 0, err
			}
			accountID, name = a.ID, rest
		}
		found, err := lookup(view, record.VaultNameKey(accountID, name), "vault")
		if err != nil {
			c.entry.Resource = audit.Resource{Kind: string(authz.VaultResource), Name: ref}
			return nil, 0, c.foreign(accountID, authz.VaultResource, err)
		}
		id = secret.VaultID(found)
	}
	vault, revision, err := loadShared(view, record.Vaults, record.VaultKey(id), "vault", "vault")
	if err != nil {
		c.entry.Resource = audit.Resource{Kind: string(authz.VaultResource), ID: string(id)}
	}
	return vault, revision, err
}

// target is a secret that a request is about, with its vault.
type target struct {
	vault *secret.Vault
	// vaultRevision is that of the store when the vault was last written.
	vaultRevision int64
	id            secret.ID
	name          string
	// secret is nil if there is none of that ID or name.
	secret   *secret.Secret
	revision int64
}

// target finds the secret that ref means, by its second name if there is none of
// the first.
func (c *call) target(view record.View, ref SecretRef) (target, error) {
	t, err := c.targetOf(view, ref)
	if err == nil && t.secret != nil && ref.Is != nil && !ref.Is(t.vault.Account, t.secret.ID) {
		t.secret, t.id, t.revision = nil, "", 0
	}
	if err != nil || t.secret != nil || ref.Or == "" {
		return t, err
	}
	return c.target(view, SecretRef{Vault: ref.Vault, Secret: ref.Or, Is: ref.OrIs})
}

// targetOf finds the secret that ref names. A missing secret is no error here, so
// that the caller's right to know that it is missing can be checked first.
func (c *call) targetOf(view record.View, ref SecretRef) (target, error) {
	var t target
	if ref.Secret == "" {
		return t, secret.Invalid("secret", "must not be empty")
	}
	vaultRef := ref.Vault
	if id := secret.ID(ref.Secret); id.Valid() {
		t.id = id
		if vaultRef == "" {
			vaultRef = string(id.Vault())
		}
	} else if err := secret.CheckName("secret", ref.Secret); err != nil {
		return t, err
	}
	vault, revision, err := c.vault(view, vaultRef)
	if err != nil {
		return t, err
	}
	t.vault, t.vaultRevision, t.name = vault, revision, ref.Secret
	switch {
	case t.id != "" && t.id.Vault() != vault.ID:
		t.id = ""
		return t, nil
	case t.id == "":
		stored, ok, err := view.Get(record.SecretNameKey(vault.ID, ref.Secret))
		if err != nil || !ok {
			return t, err
		}
		id, err := record.DecodeReference(stored.Value)
		if err != nil {
			return t, err
		}
		t.id = secret.ID(id)
	}
	s, revision, err := record.Load(view, record.Secrets, record.SecretKey(t.id))
	switch {
	case errors.Is(err, record.ErrNotFound):
		return t, nil
	case err != nil:
		return t, err
	case s.State == secret.Deleted:
		return t, nil
	}
	t.secret, t.revision, t.name = s, revision, s.Name
	return t, nil
}

// noSecret says that there is none, and where it would be for sure.
func (c *call) noSecret(view record.View, vault *secret.Vault) error {
	refusal := notFound("secret", "secret")
	home, err := vaultHome(view, vault, c.service.Region)
	refusal.Home = home
	return firstError(err, refusal)
}

// resource describes the target to the policies.
func (t target) resource() authz.Resource {
	r := authz.Resource{
		Kind: authz.SecretResource, ID: string(t.id), Name: t.name, Account: t.vault.Account,
		Vault: t.vault.ID, VaultName: t.vault.Name,
	}
	if t.secret != nil {
		r.Tags = t.secret.Tags
	}
	return r
}

func vaultResource(v *secret.Vault) authz.Resource {
	return authz.Resource{
		Kind: authz.VaultResource, ID: string(v.ID), Name: v.Name, Account: v.Account, Vault: v.ID, VaultName: v.Name, Tags: v.Tags,
	}
}

func accountResource(a *secret.Account) authz.Resource {
	return authz.Resource{Kind: authz.AccountResource, ID: string(a.ID), Name: a.Name, Account: a.ID}
}

// principal finds the principal of an account that ref, an ID or a name, means.
func principal(view record.View, account secret.AccountID, ref string) (*secret.Principal, int64, error) {
	if ref == "" {
		return nil, 0, secret.Invalid("principal", "must not be empty")
	}
	id := secret.PrincipalID(ref)
	if !secret.ValidULID(ref) {
		found, err := lookup(view, record.PrincipalNameKey(account, ref), "principal")
		if err != nil {
			return nil, 0, err
		}
		id = secret.PrincipalID(found)
	}
	return load(view, record.Principals, record.PrincipalKey(account, id), "principal", "principal")
}

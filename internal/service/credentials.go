package service

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// NewCredential is what CreateToken and CreateAccessKey make.
type NewCredential struct {
	Account     string
	Principal   string
	Description string
	// ExpiresAt is when it stops working; zero means never.
	ExpiresAt time.Time
}

func (n NewCredential) check(now time.Time) error {
	if !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(now) {
		return secret.Invalid("expires_at", "is in the past")
	}
	return secret.CheckText("description", n.Description, secret.MaxDescriptionBytes)
}

// CreateToken makes a bearer token for a principal. The token is in the answer
// only; the store keeps its hash.
func (s *Service) CreateToken(ctx context.Context, n NewCredential) (*secret.Credential, secret.Plaintext, error) {
	return s.createCredential(ctx, authz.CreateToken, n, func(c *call, _ record.View, p *secret.Principal, o secret.Ownership) (*secret.Credential, secret.Plaintext, error) {
		credential, token := c.newToken(p, o)
		return credential, token, nil
	})
}

// CreateAccessKey makes an access key pair for a principal. The secret half is
// in the answer; the store keeps it sealed, because signatures are checked with it.
func (s *Service) CreateAccessKey(ctx context.Context, n NewCredential) (*secret.Credential, secret.Plaintext, error) {
	return s.createCredential(ctx, authz.CreateAccessKey, n, func(c *call, view record.View, p *secret.Principal, o secret.Ownership) (*secret.Credential, secret.Plaintext, error) {
		sealer, err := s.Keyring.Sealer(ctx, view, string(p.Account))
		if err != nil {
			return nil, secret.Plaintext{}, err
		}
		id, key := authn.NewAccessKey()
		sealed, err := sealer.Seal(key, accessKeyData(p.Account, id))
		if err != nil {
			return nil, secret.Plaintext{}, err
		}
		return &secret.Credential{
			ID: id, Account: p.Account, Principal: p.ID, Kind: secret.AccessKey, SealedKey: sealed, Ownership: o, CreatedAt: c.now,
		}, key, nil
	})
}

func credentialResource(c *secret.Credential) authz.Resource {
	return authz.Resource{
		Kind: authz.CredentialResource, ID: string(c.ID), Name: c.Description, Account: c.Account, Principal: c.Principal,
	}
}

func accessKeyData(account secret.AccountID, id secret.CredentialID) keyring.AssociatedData {
	return keyring.AssociatedData{Account: account, Version: secret.VersionID(id), Field: keyring.AccessKey}
}

func (s *Service) createCredential(ctx context.Context, action authz.Action, n NewCredential,
	create func(*call, record.View, *secret.Principal, secret.Ownership) (*secret.Credential, secret.Plaintext, error),
) (credential *secret.Credential, plaintext secret.Plaintext, err error) {
	_, err = s.administer(ctx, action, func(c *call, view record.View) (*record.Txn, error) {
		ref := n.Principal
		if ref == "" {
			ref = string(c.caller.Principal.ID)
		}
		p, revision, err := c.permittedPrincipal(view, n.Account, ref)
		if err != nil {
			return nil, err
		}
		if err := n.check(c.now); err != nil {
			return nil, err
		}
		ids, err := credentialsOf(view, p)
		if err != nil {
			return nil, err
		}
		if len(ids) >= maxCredentials {
			return nil, secret.Errorf(secret.CodeLimit, "the principal has %d credentials, the limit", len(ids)).
				WithHint("revoke those that are no longer used; they are removed a day later")
		}
		txn, region, err := newTxnAt(view, record.PrincipalKey(p.Account, p.ID), p.Ownership)
		if err != nil {
			return nil, err
		}
		credential, plaintext, err = create(c, view, p, secret.NewOwnership(s.Region, c.mutationIn(region).Incarnation))
		if err != nil {
			return nil, err
		}
		credential.Description, credential.ExpiresAt = n.Description, n.ExpiresAt
		// Writing the principal as it is makes other creations, and its deletion,
		// see this one: the bound holds, and no credential outlives its principal.
		key := record.PrincipalKey(p.Account, p.ID)
		txn.Require(key, revision)
		txn.Put(key, record.Principals.Encode(p))
		c.putCredential(txn, credential, 0, mutationCreate, "credential_created")
		resource := credentialResource(credential)
		resource.Name = p.Name
		c.about(resource)
		return txn, nil
	})
	return credential, plaintext, err
}

func (c *call) putCredential(txn *record.Txn, cred *secret.Credential, revision int64, mutation, event string) {
	key := record.CredentialKey(cred.ID)
	txn.Require(key, revision)
	txn.Put(key, record.Credentials.Encode(cred))
	if revision == 0 {
		txn.Put(record.CredentialOfKey(cred.Account, cred.Principal, cred.ID), record.EncodeReference(string(cred.ID)))
	}
	c.track(txn, key, mutation, &recordpb.Event{
		Type: event, Account: string(cred.Account), Subject: string(cred.ID), Name: string(cred.Principal),
	}, cred.Ownership)
}

// ListCredentials answers a page of the credentials of a principal, or of all
// of an account if principalRef is empty.
func (s *Service) ListCredentials(ctx context.Context, accountRef, principalRef string, size int, token string) (creds []*secret.Credential, next string, err error) {
	err = s.inspect(ctx, authz.ListCredentials, func(c *call, view record.View) error {
		prefix, err := c.heldUnder(view, record.CredentialOfPrefix, accountRef, principalRef)
		if err != nil {
			return err
		}
		creds, next, err = listNamed(view, prefix, size, token, func(id string) (*secret.Credential, error) {
			cred, _, err := load(view, record.Credentials, record.CredentialKey(secret.CredentialID(id)), "credential_id", "credential")
			return cred, err
		})
		return err
	})
	return creds, next, err
}

// heldUnder returns the prefix of the keys of what a principal holds of a kind, or
// of what all of the account do if none is named, if the caller may know.
func (c *call) heldUnder(view record.View, kind, accountRef, principalRef string) (string, error) {
	account, err := c.account(view, accountRef)
	if err != nil {
		return "", err
	}
	prefix := kind + string(account.ID) + "/"
	if principalRef == "" {
		return prefix, c.authorize(view, accountResource(account))
	}
	p, _, err := c.permittedPrincipal(view, string(account.ID), principalRef)
	if err != nil {
		return "", err
	}
	return prefix + string(p.ID) + "/", nil
}

// RevokeCredential stops a credential for good; on one that is revoked already
// it changes nothing.
func (s *Service) RevokeCredential(ctx context.Context, id secret.CredentialID) (cred *secret.Credential, err error) {
	_, err = s.administer(ctx, authz.RevokeCredential, func(c *call, view record.View) (*record.Txn, error) {
		if id == "" {
			return nil, secret.Invalid("credential_id", "must not be empty")
		}
		found, revision, err := load(view, record.Credentials, record.CredentialKey(id), "credential_id", "credential")
		if err != nil {
			return nil, err
		}
		err = c.authorize(view, credentialResource(found))
		if err != nil {
			return nil, err
		}
		cred = found
		if !found.RevokedAt.IsZero() {
			return nil, nil
		}
		txn, region, err := newTxnAt(view, record.CredentialKey(found.ID), found.Ownership)
		if err != nil {
			return nil, err
		}
		cred.RevokedAt = c.now
		cred.Ownership.Advance(c.mutationIn(region).Incarnation)
		c.putCredential(txn, cred, revision, mutationUpdate, "credential_revoked")
		return txn, nil
	})
	return cred, err
}

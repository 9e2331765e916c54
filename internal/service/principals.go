package service

import (
	"context"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/audit"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// NewPrincipal is what CreatePrincipal makes.
type NewPrincipal struct {
	Account      string
	Name         string
	Kind         secret.PrincipalKind
	Roles        []string
	RequestToken string
}

func (n NewPrincipal) check(account secret.AccountID) error {
	if operator := n.Kind == secret.Operator; operator != (account == secret.SystemAccount) {
		return secret.Invalid("kind", "operators belong in the system account, users and workloads in the others")
	}
	return firstError(
		secret.CheckContainerName("name", n.Name), secret.CheckRoles("roles", n.Roles),
		secret.CheckRequestToken("request_token", n.RequestToken),
	)
}

// CreatePrincipal makes a principal.
func (s *Service) CreatePrincipal(ctx context.Context, n NewPrincipal) (p *secret.Principal, err error) {
	_, err = s.administer(ctx, authz.CreatePrincipal, func(c *call, view record.View) (*record.Txn, error) {
		account, err := c.account(view, n.Account)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, accountResource(account)); err != nil {
			return nil, err
		}
		if err := n.check(account.ID); err != nil {
			return nil, err
		}
		holder, _, err := principal(view, account.ID, n.Name)
		if err == nil {
			if n.RequestToken == "" || holder.RequestToken != n.RequestToken {
				return nil, &secret.Error{Code: secret.CodeExists, Field: "name", Message: "a principal with this name exists"}
			}
			// What was asked for shows only until the first change.
			if n.Kind != holder.Kind || holder.Ownership.Order.Seq == 1 && !slices.Equal(n.Roles, holder.Roles) {
				return nil, secret.TokenReused()
			}
			p = holder
			return nil, nil
		}
		if !secret.HasCode(err, secret.CodeNotFound) {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.AccountKey(account.ID), account.Ownership)
		if err != nil {
			return nil, err
		}
		m := c.mutationIn(region)
		p = &secret.Principal{
			ID: secret.PrincipalID(ulid.MustNewDefault(m.At).String()), Account: account.ID, Name: n.Name, Kind: n.Kind,
			Roles: slices.Clone(n.Roles), Ownership: secret.NewOwnership(s.Region, m.Incarnation),
			CreatedAt: m.At, UpdatedAt: m.At, RequestToken: n.RequestToken,
		}
		c.putPrincipal(txn, p, 0, mutationCreate, "principal_created")
		c.about(principalResource(p))
		return txn, nil
	})
	return p, err
}

func (c *call) putPrincipal(txn *record.Txn, p *secret.Principal, revision int64, mutation, event string) {
	key := record.PrincipalKey(p.Account, p.ID)
	txn.Require(key, revision)
	txn.Put(key, record.Principals.Encode(p))
	if revision == 0 {
		nameKey := record.PrincipalNameKey(p.Account, p.Name)
		txn.Require(nameKey, 0)
		txn.Put(nameKey, record.EncodeReference(string(p.ID)))
	}
	c.track(txn, key, mutation, principalEvent(p, event), p.Ownership)
}

func principalEvent(p *secret.Principal, event string) *recordpb.Event {
	return &recordpb.Event{Type: event, Account: string(p.Account), Subject: string(p.ID), Name: p.Name}
}

func principalResource(p *secret.Principal) authz.Resource {
	return authz.Resource{Kind: authz.PrincipalResource, ID: string(p.ID), Name: p.Name, Account: p.Account}
}

// permittedPrincipal finds a principal and authorises the call on it.
func (c *call) permittedPrincipal(view record.View, accountRef, ref string) (*secret.Principal, int64, error) {
	account, err := c.account(view, accountRef)
	if err != nil {
		return nil, 0, err
	}
	p, revision, err := principal(view, account.ID, ref)
	if err != nil {
		c.entry.Resource = audit.Resource{Kind: string(authz.PrincipalResource), Name: ref, Account: account.ID}
		return nil, 0, c.foreign(account.ID, authz.PrincipalResource, err)
	}
	return p, revision, c.authorize(view, principalResource(p))
}

// GetPrincipal answers a principal.
func (s *Service) GetPrincipal(ctx context.Context, account, ref string) (p *secret.Principal, err error) {
	err = s.inspect(ctx, authz.GetPrincipal, func(c *call, view record.View) error {
		p, _, err = c.permittedPrincipal(view, account, ref)
		return err
	})
	return p, err
}

// ListPrincipals answers a page of an account's principals in the order of their
// names.
func (s *Service) ListPrincipals(ctx context.Context, accountRef string, size int, token string) (ps []*secret.Principal, next string, err error) {
	err = s.inspect(ctx, authz.ListPrincipals, func(c *call, view record.View) error {
		account, err := c.account(view, accountRef)
		if err != nil {
			return err
		}
		if err := c.authorize(view, accountResource(account)); err != nil {
			return err
		}
		prefix := string(record.PrincipalNameKey(account.ID, ""))
		ps, next, err = listNamed(view, prefix, size, token, func(id string) (*secret.Principal, error) {
			p, _, err := principal(view, account.ID, id)
			return p, err
		})
		return err
	})
	return ps, next, err
}

// PrincipalUpdate is what UpdatePrincipal changes; a nil field stays as it is.
type PrincipalUpdate struct {
	Account   string
	Principal string
	Roles     *[]string
	Disabled  *bool
}

// UpdatePrincipal changes the roles of a principal, or disables or enables it.
func (s *Service) UpdatePrincipal(ctx context.Context, u PrincipalUpdate) (p *secret.Principal, err error) {
	_, err = s.administer(ctx, authz.UpdatePrincipal, func(c *call, view record.View) (*record.Txn, error) {
		old, revision, err := c.permittedPrincipal(view, u.Account, u.Principal)
		if err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.PrincipalKey(old.Account, old.ID), old.Ownership)
		if err != nil {
			return nil, err
		}
		p = old.Clone()
		if u.Roles != nil {
			if err := secret.CheckRoles("roles", *u.Roles); err != nil {
				return nil, err
			}
			p.Roles = slices.Clone(*u.Roles)
		}
		if u.Disabled != nil {
			if *u.Disabled && p.ID == c.caller.Principal.ID {
				return nil, secret.Errorf(secret.CodeWrongState, "a principal cannot disable itself")
			}
			p.Disabled = *u.Disabled
		}
		m := c.mutationIn(region)
		p.Ownership.Advance(m.Incarnation)
		p.UpdatedAt = m.At
		c.putPrincipal(txn, p, revision, mutationUpdate, "principal_updated")
		return txn, nil
	})
	return p, err
}

// maxCredentials bounds the credentials of a principal, so that it can be
// deleted with all of them in one transaction.
const maxCredentials = 50

// DeletePrincipal deletes a principal with its credentials and bindings.
func (s *Service) DeletePrincipal(ctx context.Context, account, ref string) error {
	_, err := s.administer(ctx, authz.DeletePrincipal, func(c *call, view record.View) (*record.Txn, error) {
		p, revision, err := c.permittedPrincipal(view, account, ref)
		if err != nil {
			return nil, err
		}
		if p.ID == c.caller.Principal.ID {
			return nil, secret.Errorf(secret.CodeWrongState, "a principal cannot delete itself")
		}
		return c.removePrincipal(view, p, revision)
	})
	return err
}

// removePrincipal plans to delete a principal with its credentials and bindings.
func (c *call) removePrincipal(view record.View, p *secret.Principal, revision int64) (*record.Txn, error) {
	key := record.PrincipalKey(p.Account, p.ID)
	txn, region, err := newTxnAt(view, key, p.Ownership)
	if err != nil {
		return nil, err
	}
	ids, err := credentialsOf(view, p)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		txn.Delete(record.CredentialKey(id))
		txn.Delete(record.CredentialOfKey(p.Account, p.ID, id))
	}
	if err := removeBindings(view, txn, p); err != nil {
		return nil, err
	}
	txn.Require(key, revision)
	txn.Delete(key)
	txn.Delete(record.PrincipalNameKey(p.Account, p.Name))
	ownership := p.Ownership
	ownership.Advance(c.mutationIn(region).Incarnation)
	c.bury(txn, key, p.Account, ownership, nil)
	c.track(txn, key, mutationDelete, principalEvent(p, "principal_deleted"), ownership)
	return txn, nil
}

// credentialsOf returns the IDs of a principal's credentials.
func credentialsOf(view record.View, p *secret.Principal) ([]secret.CredentialID, error) {
	prefix := string(record.CredentialOfKey(p.Account, p.ID, ""))
	var ids []secret.CredentialID
	err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		ids = append(ids, secret.CredentialID(stored.Key[len(prefix):]))
		return true
	})
	return ids, err
}

// Identity is the answer to WhoAmI.
type Identity struct {
	Principal  *secret.Principal
	Account    *secret.Account
	Credential secret.CredentialID
	// Method and Until are how the caller proved who it is, and how long that works.
	Method string
	Until  time.Time
}

// WhoAmI answers who the caller is; no policy is needed.
func (s *Service) WhoAmI(ctx context.Context) (id Identity, err error) {
	err = s.inspect(ctx, actionWhoAmI, func(c *call, view record.View) error {
		id = Identity{Principal: c.caller.Principal, Credential: c.caller.Credential, Method: c.caller.Method, Until: c.caller.Until}
		id.Account, err = c.account(view, "")
		return err
	})
	return id, err
}

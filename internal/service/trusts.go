package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxTrusts and maxIssuers bound those of an account.
const (
	maxTrusts  = 100
	maxIssuers = 100
)

// NewTrust is what CreateTrust makes.
type NewTrust struct {
	Account     string
	Name        string
	Description string
	CAPEM       string
}

func (n *NewTrust) check() error {
	if _, err := secret.Authorities("ca_pem", n.CAPEM); err != nil {
		return err
	}
	return secret.CheckText("description", n.Description, secret.MaxDescriptionBytes)
}

func trustResource(account secret.AccountID, name string) authz.Resource {
	return authz.Resource{Kind: authz.TrustResource, ID: string(account) + "/" + name, Name: name, Account: account}
}

// permittedTrust authorises the call on a trust bundle and finds it; nil if there
// is none.
func (c *call) permittedTrust(view record.View, accountRef, name string) (*secret.Account, *secret.TrustBundle, int64, error) {
	account, err := c.account(view, accountRef)
	if err != nil {
		return nil, nil, 0, err
	}
	if err := secret.CheckContainerName("name", name); err != nil {
		return nil, nil, 0, err
	}
	if err := c.authorize(view, trustResource(account.ID, name)); err != nil {
		return nil, nil, 0, err
	}
	t, revision, err := load(view, record.TrustBundles, record.TrustKey(account.ID, name), "name", "trust bundle")
	if secret.HasCode(err, secret.CodeNotFound) {
		return account, nil, 0, nil
	}
	return account, t, revision, err
}

// CreateTrust makes a trust bundle. Errors: CodeExists, CodeInvalid, CodeLimit.
func (s *Service) CreateTrust(ctx context.Context, n NewTrust) (t *secret.TrustBundle, err error) {
	_, err = s.administer(ctx, authz.CreateTrust, func(c *call, view record.View) (*record.Txn, error) {
		account, old, _, err := c.permittedTrust(view, n.Account, n.Name)
		if err != nil {
			return nil, err
		}
		if err := n.check(); err != nil {
			return nil, err
		}
		if old != nil {
			return nil, &secret.Error{Code: secret.CodeExists, Field: "name", Message: "a trust bundle with this name exists"}
		}
		if err := atMost(view, string(record.TrustKey(account.ID, "")), maxTrusts, "trust bundles"); err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.AccountKey(account.ID), account.Ownership)
		if err != nil {
			return nil, err
		}
		m := c.mutationIn(region)
		t = &secret.TrustBundle{
			Account: account.ID, Name: n.Name, Description: n.Description, CAPEM: n.CAPEM,
			Ownership: secret.NewOwnership(s.Region, m.Incarnation), CreatedAt: m.At, UpdatedAt: m.At,
		}
		if err := continueOrder(view, txn, record.TrustKey(t.Account, t.Name), &t.Ownership); err != nil {
			return nil, err
		}
		c.putTrust(txn, t, 0, mutationCreate, "trust_created")
		return txn, nil
	})
	return t, err
}

// atMost refuses one more record with a key prefix than the limit.
func atMost(view record.View, prefix string, limit int, what string) error {
	n := 0
	err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(record.Stored) bool {
		n++
		return n < limit
	})
	if err == nil && n >= limit {
		err = secret.Errorf(secret.CodeLimit, "the account has %d %s, the limit", n, what)
	}
	return err
}

func (c *call) putTrust(txn *record.Txn, t *secret.TrustBundle, revision int64, mutation, event string) {
	key := record.TrustKey(t.Account, t.Name)
	txn.Require(key, revision)
	txn.Put(key, record.TrustBundles.Encode(t))
	c.track(txn, key, mutation, trustEvent(t, event), t.Ownership)
}

func trustEvent(t *secret.TrustBundle, event string) *recordpb.Event {
	return &recordpb.Event{Type: event, Account: string(t.Account), Subject: t.Name, Name: t.Name}
}

// UpdateTrust replaces the authorities of a bundle.
func (s *Service) UpdateTrust(ctx context.Context, accountRef, name, caPEM string) (t *secret.TrustBundle, err error) {
	_, err = s.administer(ctx, authz.UpdateTrust, func(c *call, view record.View) (*record.Txn, error) {
		_, old, revision, err := c.permittedTrust(view, accountRef, name)
		if err != nil {
			return nil, err
		}
		if old == nil {
			return nil, notFound("name", "trust bundle")
		}
		if _, err := secret.Authorities("ca_pem", caPEM); err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.TrustKey(old.Account, old.Name), old.Ownership)
		if err != nil {
			return nil, err
		}
		m := c.mutationIn(region)
		t = old.Clone()
		t.CAPEM, t.UpdatedAt = caPEM, m.At
		t.Ownership.Advance(m.Incarnation)
		c.putTrust(txn, t, revision, mutationUpdate, "trust_updated")
		return txn, nil
	})
	return t, err
}

// ListTrusts answers a page of an account's trust bundles in the order of their
// names.
func (s *Service) ListTrusts(ctx context.Context, accountRef string, size int, token string) (ts []*secret.TrustBundle, next string, err error) {
	err = s.inspect(ctx, authz.ListTrusts, func(c *call, view record.View) error {
		account, err := c.account(view, accountRef)
		if err != nil {
			return err
		}
		if err := c.authorize(view, accountResource(account)); err != nil {
			return err
		}
		ts, next, err = listRecords(view, record.TrustBundles, string(record.TrustKey(account.ID, "")), size, token)
		return err
	})
	return ts, next, err
}

// DeleteTrust deletes a trust bundle. Bindings that name it stay, and are of no
// effect unless one of its name is made again.
func (s *Service) DeleteTrust(ctx context.Context, accountRef, name string) error {
	_, err := s.administer(ctx, authz.DeleteTrust, func(c *call, view record.View) (*record.Txn, error) {
		_, t, revision, err := c.permittedTrust(view, accountRef, name)
		if err != nil {
			return nil, err
		}
		if t == nil {
			return nil, notFound("name", "trust bundle")
		}
		txn, region, err := newTxnAt(view, record.TrustKey(t.Account, t.Name), t.Ownership)
		if err != nil {
			return nil, err
		}
		key := record.TrustKey(t.Account, name)
		txn.Require(key, revision)
		txn.Delete(key)
		ownership := t.Ownership
		ownership.Advance(c.mutationIn(region).Incarnation)
		c.bury(txn, key, t.Account, ownership, nil)
		c.track(txn, key, mutationDelete, trustEvent(t, "trust_deleted"), ownership)
		return txn, nil
	})
	return err
}

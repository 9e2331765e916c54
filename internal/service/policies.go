package service

import (
	"context"
	"errors"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// NewPolicy is what PutPolicy makes or replaces.
type NewPolicy struct {
	Account     string
	Name        string
	Text        string
	Description string
	// Expected, if set, is the order the policy must have; seq 0 means that it
	// must not exist.
	Expected *secret.Order
}

func policyResource(account secret.AccountID, name string) authz.Resource {
	return authz.Resource{Kind: authz.PolicyResource, ID: string(account) + "/" + name, Name: name, Account: account}
}

// permittedPolicy authorises the call on a policy and finds it; nil if there is
// none.
func (c *call) permittedPolicy(view record.View, accountRef, name string) (*secret.Account, *secret.Policy, int64, error) {
	account, err := c.account(view, accountRef)
	if err != nil {
		return nil, nil, 0, err
	}
	if err := secret.CheckContainerName("name", name); err != nil && name != recoveryName {
		return nil, nil, 0, err
	}
	if err := c.authorize(view, policyResource(account.ID, name)); err != nil {
		return nil, nil, 0, err
	}
	p, revision, err := load(view, record.Policies, record.PolicyKey(account.ID, name), "name", "policy")
	if secret.HasCode(err, secret.CodeNotFound) {
		return account, nil, 0, nil
	}
	return account, p, revision, err
}

// PutPolicy makes or replaces a policy of an account. Errors: CodeInvalid for a
// text that does not parse, CodeStale.
func (s *Service) PutPolicy(ctx context.Context, n NewPolicy) (p *secret.Policy, err error) {
	check := sync.OnceValue(func() error { // takes long for a long text, and the plan may be made many times
		return firstError(authz.ParsePolicy(n.Name, n.Text), secret.CheckText("description", n.Description, secret.MaxDescriptionBytes))
	})
	_, err = s.administer(ctx, authz.PutPolicy, func(c *call, view record.View) (*record.Txn, error) {
		account, old, revision, err := c.permittedPolicy(view, n.Account, n.Name)
		if err != nil {
			return nil, err
		}
		if err := check(); err != nil {
			return nil, err
		}
		var at secret.Order
		if old != nil {
			at = old.Ownership.Order
		}
		if n.Expected != nil && (*n.Expected != at && (old != nil || n.Expected.Seq != 0)) {
			return nil, staleOrder(at)
		}
		txn, region, err := newTxnAt(view, record.AccountKey(account.ID), account.Ownership)
		if err == nil && old != nil {
			err = refuseReplica(view, record.PolicyKey(account.ID, n.Name), old.Ownership, s.Region)
		}
		if err != nil {
			return nil, err
		}
		m := c.mutationIn(region)
		p = &secret.Policy{
			Account: account.ID, Name: n.Name, Text: n.Text, Description: n.Description,
			Ownership: secret.NewOwnership(s.Region, m.Incarnation), CreatedAt: m.At, UpdatedAt: m.At,
		}
		return txn, c.replacePolicy(view, txn, p, old, revision)
	})
	return p, err
}

// continueOrder has a new record that is known by its name go on with the order of
// a deleted one of that name, since other regions refuse what is not newer than
// what they had.
func continueOrder(view record.View, txn *record.Txn, of record.Key, o *secret.Ownership) error {
	key := record.TombstoneKey(of)
	grave, revision, err := record.Load(view, record.Tombstones, key)
	if errors.Is(err, record.ErrNotFound) {
		txn.Require(key, 0)
		return nil
	}
	if err != nil {
		return err
	}
	txn.Require(key, revision)
	txn.Delete(key)
	incarnation, home := o.Incarnation, o.Home
	*o = grave.Ownership
	advance(o, home, incarnation)
	return nil
}

// replacePolicy puts a policy in place of the old one, if there is one.
func (c *call) replacePolicy(view record.View, txn *record.Txn, p, old *secret.Policy, revision int64) error {
	if old == nil {
		if err := continueOrder(view, txn, record.PolicyKey(p.Account, p.Name), &p.Ownership); err != nil {
			return err
		}
		c.putPolicy(txn, p, 0, mutationCreate)
		return nil
	}
	incarnation := p.Ownership.Incarnation
	p.CreatedAt, p.Ownership = old.CreatedAt, old.Ownership
	p.Ownership.Advance(incarnation)
	c.putPolicy(txn, p, revision, mutationUpdate)
	return nil
}

func (c *call) putPolicy(txn *record.Txn, p *secret.Policy, revision int64, mutation string) {
	key := record.PolicyKey(p.Account, p.Name)
	txn.Require(key, revision)
	txn.Put(key, record.Policies.Encode(p))
	c.track(txn, key, mutation, &recordpb.Event{
		Type: "policy_put", Account: string(p.Account), Subject: p.Name, Name: p.Name,
	}, p.Ownership)
}

// GetPolicy answers a policy.
func (s *Service) GetPolicy(ctx context.Context, account, name string) (p *secret.Policy, err error) {
	err = s.inspect(ctx, authz.GetPolicy, func(c *call, view record.View) error {
		if _, p, _, err = c.permittedPolicy(view, account, name); err != nil {
			return err
		}
		if p == nil {
			return notFound("name", "policy")
		}
		return nil
	})
	return p, err
}

// ListPolicies answers a page of an account's policies in the order of their
// names.
func (s *Service) ListPolicies(ctx context.Context, accountRef string, size int, token string) (ps []*secret.Policy, next string, err error) {
	err = s.inspect(ctx, authz.ListPolicies, func(c *call, view record.View) error {
		account, err := c.account(view, accountRef)
		if err != nil {
			return err
		}
		if err := c.authorize(view, accountResource(account)); err != nil {
			return err
		}
		ps, next, err = listRecords(view, record.Policies, string(record.PolicyKey(account.ID, "")), size, token)
		return err
	})
	return ps, next, err
}

// DeletePolicy deletes a policy.
func (s *Service) DeletePolicy(ctx context.Context, account, name string) error {
	_, err := s.administer(ctx, authz.DeletePolicy, func(c *call, view record.View) (*record.Txn, error) {
		_, p, revision, err := c.permittedPolicy(view, account, name)
		if err != nil {
			return nil, err
		}
		if p == nil {
			return nil, notFound("name", "policy")
		}
		txn, region, err := newTxnAt(view, record.PolicyKey(p.Account, p.Name), p.Ownership)
		if err != nil {
			return nil, err
		}
		c.removePolicy(txn, p, revision, c.mutationIn(region))
		return txn, nil
	})
	return err
}

func (c *call) removePolicy(txn *record.Txn, p *secret.Policy, revision int64, m secret.Mutation) {
	key, ownership := record.PolicyKey(p.Account, p.Name), p.Ownership
	ownership.Advance(m.Incarnation)
	txn.Require(key, revision)
	txn.Delete(key)
	c.bury(txn, key, p.Account, ownership, nil)
	c.track(txn, key, mutationDelete, &recordpb.Event{
		Type: "policy_deleted", Account: string(p.Account), Subject: p.Name, Name: p.Name,
	}, ownership)
}

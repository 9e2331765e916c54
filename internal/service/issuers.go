package service

import (
	"context"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// IssuerState is an issuer with its keys; Keys is nil if there is no record of
// them.
type IssuerState struct {
	Issuer *secret.Issuer
	Keys   *secret.IssuerKeys
}

// NewIssuer is what CreateIssuer makes. Of Issuer it takes all that a caller may
// say; principals of the rules are IDs or names.
type NewIssuer struct {
	Account string
	Issuer  secret.Issuer
	// Keys is the key set of a static issuer.
	Keys []byte
}

func issuerResource(account secret.AccountID, name string) authz.Resource {
	return authz.Resource{Kind: authz.IssuerResource, ID: string(account) + "/" + name, Name: name, Account: account}
}

// permittedIssuer authorises the call on an issuer and finds it; nil if there is
// none.
func (c *call) permittedIssuer(view record.View, accountRef, name string) (*secret.Account, *secret.Issuer, int64, error) {
	account, err := c.account(view, accountRef)
	if err != nil {
		return nil, nil, 0, err
	}
	if err := secret.CheckContainerName("name", name); err != nil {
		return nil, nil, 0, err
	}
	if err := c.authorize(view, issuerResource(account.ID, name)); err != nil {
		return nil, nil, 0, err
	}
	i, revision, err := load(view, record.Issuers, record.IssuerKey(account.ID, name), "name", "issuer")
	if secret.HasCode(err, secret.CodeNotFound) {
		return account, nil, 0, nil
	}
	return account, i, revision, err
}

// existingIssuer is permittedIssuer for one that must exist.
func (c *call) existingIssuer(view record.View, accountRef, name string) (*secret.Issuer, int64, error) {
	_, i, revision, err := c.permittedIssuer(view, accountRef, name)
	if err == nil && i == nil {
		err = notFound("name", "issuer")
	}
	return i, revision, err
}

// resolveRules puts the IDs of principals in place of their names.
func resolveRules(view record.View, account secret.AccountID, rules []secret.MappingRule) ([]secret.MappingRule, error) {
	resolved := make([]secret.MappingRule, len(rules))
	for n, r := range rules {
		if r.Principal != "" {
			p, _, err := principal(view, account, string(r.Principal))
			if err != nil {
				return nil, err
			}
			r.Principal = p.ID
		}
		resolved[n] = r
	}
	return resolved, nil
}

// CreateIssuer trusts an issuer of JWTs. Errors: CodeExists if the account has one
// of that name or URL, CodeInvalid, CodeLimit.
func (s *Service) CreateIssuer(ctx context.Context, n NewIssuer) (state IssuerState, err error) {
	n.Issuer.SetDefaults()
	_, err = s.administer(ctx, authz.CreateIssuer, func(c *call, view record.View) (*record.Txn, error) {
		account, old, _, err := c.permittedIssuer(view, n.Account, n.Issuer.Name)
		if err != nil {
			return nil, err
		}
		keys, err := n.check()
		if err != nil {
			return nil, err
		}
		if old != nil {
			return nil, &secret.Error{Code: secret.CodeExists, Field: "name", Message: "an issuer with this name exists"}
		}
		if err := n.fits(view, account.ID); err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.AccountKey(account.ID), account.Ownership)
		if err != nil {
			return nil, err
		}
		state, err = c.newIssuer(view, txn, c.mutationIn(region), account.ID, n.Issuer, keys)
		return txn, err
	})
	if err == nil && state.Issuer.Source != secret.KeysStatic && s.IssuerKeys != nil {
		s.IssuerKeys.Ask(state.Issuer.Account, state.Issuer.Name)
	}
	return state, err
}

// fits refuses an issuer whose URL the account has already, or one too many.
func (n *NewIssuer) fits(view record.View, account secret.AccountID) error {
	_, taken, err := view.Get(record.IssuerURLKey(n.Issuer.URL, account))
	if err != nil {
		return err
	}
	if taken {
		return &secret.Error{Code: secret.CodeExists, Field: "url", Message: "the account has an issuer with this URL"}
	}
	return atMost(view, string(record.IssuerKey(account, "")), maxIssuers, "issuers")
}

// newIssuer adds an issuer and its keys to a transaction.
func (c *call) newIssuer(view record.View, txn *record.Txn, m secret.Mutation, account secret.AccountID, asked secret.Issuer, keys []byte) (IssuerState, error) {
	rules, err := resolveRules(view, account, asked.Rules)
	if err != nil {
		return IssuerState{}, err
	}
	i := asked.Clone()
	i.ID, i.Account, i.Rules = secret.IssuerID(ulid.MustNewDefault(m.At).String()), account, rules
	i.Ownership, i.CreatedAt, i.UpdatedAt = secret.NewOwnership(c.service.Region, m.Incarnation), m.At, m.At
	if err := continueOrder(view, txn, record.IssuerKey(account, i.Name), &i.Ownership); err != nil {
		return IssuerState{}, err
	}
	k := &secret.IssuerKeys{Account: account, Name: i.Name, Issuer: i.ID, Ownership: secret.NewOwnership(c.service.Region, m.Incarnation)}
	if err := continueOrder(view, txn, record.IssuerKeysKey(account, i.Name), &k.Ownership); err != nil {
		return IssuerState{}, err
	}
	if len(keys) > 0 {
		k.Set, k.FetchedAt = keys, m.At
	}
	c.putIssuer(txn, i, 0, mutationCreate, "issuer_created")
	c.putIssuerKeys(txn, i, k, 0, mutationCreate)
	txn.Require(record.IssuerURLKey(i.URL, account), 0)
	txn.Put(record.IssuerURLKey(i.URL, account), record.EncodeReference(i.Name))
	return IssuerState{Issuer: i, Keys: k}, nil
}

// check returns the public keys of a static issuer.
func (n *NewIssuer) check() ([]byte, error) {
	if err := n.Issuer.Check(); err != nil {
		return nil, err
	}
	if n.Issuer.Source != secret.KeysStatic {
		if len(n.Keys) > 0 {
			return nil, secret.Invalid("jwks", "is given beside another source of keys")
		}
		return nil, nil
	}
	keys, _, err := authn.PublicKeys("jwks", n.Keys)
	return keys, err
}

func (c *call) putIssuer(txn *record.Txn, i *secret.Issuer, revision int64, mutation, event string) {
	key := record.IssuerKey(i.Account, i.Name)
	txn.Require(key, revision)
	txn.Put(key, record.Issuers.Encode(i))
	c.track(txn, key, mutation, issuerEvent(i, event), i.Ownership)
}

func (c *call) putIssuerKeys(txn *record.Txn, i *secret.Issuer, k *secret.IssuerKeys, revision int64, mutation string) {
	key := record.IssuerKeysKey(i.Account, i.Name)
	txn.Require(key, revision)
	txn.Put(key, record.IssuerKeySets.Encode(k))
	c.track(txn, key, mutation, issuerEvent(i, "issuer_keys_put"), k.Ownership)
}

func issuerEvent(i *secret.Issuer, event string) *recordpb.Event {
	return &recordpb.Event{Type: event, Account: string(i.Account), Subject: string(i.ID), Name: i.Name}
}

func stateOf(view record.View, i *secret.Issuer) (IssuerState, error) {
	k, _, err := load(view, record.IssuerKeySets, record.IssuerKeysKey(i.Account, i.Name), "name", "keys")
	if secret.HasCode(err, secret.CodeNotFound) {
		return IssuerState{Issuer: i}, nil
	}
	return IssuerState{Issuer: i, Keys: k}, err
}

// GetIssuer answers an issuer and its keys.
func (s *Service) GetIssuer(ctx context.Context, account, name string) (state IssuerState, err error) {
	err = s.inspect(ctx, authz.GetIssuer, func(c *call, view record.View) error {
		i, _, err := c.existingIssuer(view, account, name)
		if err != nil {
			return err
		}
		state, err = stateOf(view, i)
		return err
	})
	return state, err
}

// ListIssuers answers a page of an account's issuers in the order of their names.
func (s *Service) ListIssuers(ctx context.Context, accountRef string, size int, token string) (states []IssuerState, next string, err error) {
	err = s.inspect(ctx, authz.ListIssuers, func(c *call, view record.View) error {
		account, err := c.account(view, accountRef)
		if err != nil {
			return err
		}
		if err := c.authorize(view, accountResource(account)); err != nil {
			return err
		}
		var issuers []*secret.Issuer
		issuers, next, err = listRecords(view, record.Issuers, string(record.IssuerKey(account.ID, "")), size, token)
		states = nil
		for _, i := range issuers {
			state, stateErr := stateOf(view, i)
			err = firstError(err, stateErr)
			states = append(states, state)
		}
		return err
	})
	return states, next, err
}

// IssuerUpdate is what UpdateIssuer changes; what is nil or empty stays as it is.
type IssuerUpdate struct {
	Account     string
	Name        string
	Description *string
	Audiences   []string
	Algorithms  []string
	Rules       []secret.MappingRule
	Keys        []byte
	CAPEM       *string
}

func (u *IssuerUpdate) apply(view record.View, i *secret.Issuer) (err error) {
	if u.Description != nil {
		i.Description = *u.Description
	}
	if u.CAPEM != nil {
		i.CAPEM = *u.CAPEM
	}
	if len(u.Audiences) > 0 {
		i.Audiences = u.Audiences
	}
	if len(u.Algorithms) > 0 {
		i.Algorithms = u.Algorithms
	}
	if len(u.Rules) > 0 {
		i.Rules = u.Rules
	}
	if err := i.Check(); err != nil {
		return err
	}
	if len(u.Keys) > 0 && i.Source != secret.KeysStatic {
		return secret.Invalid("jwks", "the keys of this issuer are fetched, not given")
	}
	if len(u.Rules) > 0 { // others may name a principal that was deleted since
		i.Rules, err = resolveRules(view, i.Account, i.Rules)
	}
	return err
}

// UpdateIssuer changes an issuer. Its URL and where its keys come from stay.
func (s *Service) UpdateIssuer(ctx context.Context, u IssuerUpdate) (state IssuerState, err error) {
	_, err = s.administer(ctx, authz.UpdateIssuer, func(c *call, view record.View) (*record.Txn, error) {
		old, revision, err := c.existingIssuer(view, u.Account, u.Name)
		if err != nil {
			return nil, err
		}
		i := old.Clone()
		if err := u.apply(view, i); err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.IssuerKey(i.Account, i.Name), i.Ownership)
		if err != nil {
			return nil, err
		}
		m := c.mutationIn(region)
		i.UpdatedAt = m.At
		i.Ownership.Advance(m.Incarnation)
		c.putIssuer(txn, i, revision, mutationUpdate, "issuer_updated")
		if len(u.Keys) == 0 {
			state, err = stateOf(view, i)
			return txn, err
		}
		set, _, err := authn.PublicKeys("jwks", u.Keys)
		if err != nil {
			return nil, err
		}
		state.Issuer = i
		state.Keys, err = c.replaceKeys(view, txn, i, m, set, nil)
		return txn, err
	})
	return state, err
}

// DeleteIssuer stops trusting an issuer.
func (s *Service) DeleteIssuer(ctx context.Context, account, name string) error {
	_, err := s.administer(ctx, authz.DeleteIssuer, func(c *call, view record.View) (*record.Txn, error) {
		i, revision, err := c.existingIssuer(view, account, name)
		if err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.IssuerKey(i.Account, i.Name), i.Ownership)
		if err != nil {
			return nil, err
		}
		key := record.IssuerKey(i.Account, i.Name)
		txn.Require(key, revision)
		txn.Delete(key)
		txn.Delete(record.IssuerURLKey(i.URL, i.Account))
		ownership := i.Ownership
		ownership.Advance(c.mutationIn(region).Incarnation)
		if err := c.removeIssuerKeys(view, txn, i); err != nil {
			return nil, err
		}
		c.bury(txn, key, i.Account, ownership, nil)
		c.track(txn, key, mutationDelete, issuerEvent(i, "issuer_deleted"), ownership)
		return txn, nil
	})
	return err
}

// removeIssuerKeys deletes the keys of an issuer that is deleted.
func (c *call) removeIssuerKeys(view record.View, txn *record.Txn, i *secret.Issuer) error {
	key := record.IssuerKeysKey(i.Account, i.Name)
	k, revision, err := load(view, record.IssuerKeySets, key, "name", "keys")
	if secret.HasCode(err, secret.CodeNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	txn.Require(key, revision)
	txn.Delete(key)
	ownership := k.Ownership
	advance(&ownership, c.service.Region, i.Ownership.Incarnation)
	c.bury(txn, key, i.Account, ownership, nil)
	c.track(txn, key, mutationDelete, issuerEvent(i, "issuer_keys_deleted"), ownership)
	return nil
}

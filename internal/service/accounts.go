package service

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const adminName = "admin"

// reissueFor is how long after its creation a repeated request makes a new token
// for an account's admin. The answer with the first one may have been lost, and
// nobody else could ever make one.
const reissueFor = 10 * time.Minute

// NewAccountResult is the answer to CreateAccount. On a replay after reissueFor
// Credential is nil and Token empty.
type NewAccountResult struct {
	Account    *secret.Account
	Admin      *secret.Principal
	Credential *secret.Credential
	Token      secret.Plaintext
}

// CreateAccount makes an account with its key, and in it a user named admin with
// a token and a policy that permits that user everything in the account.
func (s *Service) CreateAccount(ctx context.Context, name, requestToken string) (NewAccountResult, error) {
	var result NewAccountResult
	_, err := s.administer(ctx, authz.CreateAccount, func(c *call, view record.View) (*record.Txn, error) {
		if err := c.authorize(view, c.regionResource()); err != nil {
			return nil, err
		}
		err := firstError(secret.CheckContainerName("name", name), secret.CheckRequestToken("request_token", requestToken))
		if err != nil {
			return nil, err
		}
		if found, ok, err := view.Get(record.AccountNameKey(name)); err != nil {
			return nil, err
		} else if ok {
			if result, err = replayedAccount(view, found, requestToken); err != nil {
				return nil, err
			}
			return c.reissue(view, &result)
		}
		txn, region, err := newTxn(view)
		if err != nil {
			return nil, err
		}
		result, err = c.newAccount(ctx, txn, region, name, requestToken)
		return txn, err
	})
	return result, err
}

func replayedAccount(view record.View, found record.Stored, requestToken string) (NewAccountResult, error) {
	id, err := record.DecodeReference(found.Value)
	if err != nil {
		return NewAccountResult{}, err
	}
	account, _, err := load(view, record.Accounts, record.AccountKey(secret.AccountID(id)), "account", "account")
	if err != nil {
		return NewAccountResult{}, err
	}
	if requestToken == "" || account.RequestToken != requestToken {
		return NewAccountResult{}, &secret.Error{Code: secret.CodeExists, Field: "name", Message: "an account with this name exists"}
	}
	admin, _, err := principal(view, account.ID, adminName)
	return NewAccountResult{Account: account, Admin: admin}, err
}

// reissue replaces the first token of an account's admin, while nothing but the
// creation can have used it.
func (c *call) reissue(view record.View, result *NewAccountResult) (*record.Txn, error) {
	if c.now.Sub(result.Account.CreatedAt) > reissueFor {
		return nil, nil
	}
	p, revision, err := load(view, record.Principals, record.PrincipalKey(result.Account.ID, result.Admin.ID), "principal", "principal")
	if err != nil {
		return nil, err
	}
	ids, err := credentialsOf(view, p)
	if err != nil || len(ids) != 1 || p.Ownership.Order.Seq != 1 {
		return nil, err
	}
	txn, region, err := newTxn(view)
	if err != nil {
		return nil, err
	}
	key := record.PrincipalKey(p.Account, p.ID)
	txn.Require(key, revision)
	txn.Put(key, record.Principals.Encode(p))
	txn.Delete(record.CredentialKey(ids[0]))
	txn.Delete(record.CredentialOfKey(p.Account, p.ID, ids[0]))
	result.Credential, result.Token = c.newToken(p, secret.NewOwnership(c.service.Region, c.mutationIn(region).Incarnation))
	c.putCredential(txn, result.Credential, 0, mutationCreate, "credential_created")
	c.about(accountResource(result.Account))
	return txn, nil
}

func (c *call) newAccount(ctx context.Context, txn *record.Txn, region *recordpb.Region, name, requestToken string) (NewAccountResult, error) {
	m := c.mutationIn(region)
	account := &secret.Account{
		ID: secret.AccountID(ulid.MustNewDefault(m.At).String()), Name: name, Ownership: secret.NewOwnership(c.service.Region, m.Incarnation),
		CreatedAt: m.At, UpdatedAt: m.At, RequestToken: requestToken,
	}
	if err := c.service.addKeys(ctx, txn, region, string(account.ID), m.At); err != nil {
		return NewAccountResult{}, err
	}
	c.putAccount(txn, account)
	admin := &secret.Principal{
		ID: secret.PrincipalID(ulid.MustNewDefault(m.At).String()), Account: account.ID, Name: adminName, Kind: secret.User,
		Ownership: account.Ownership, CreatedAt: m.At, UpdatedAt: m.At,
	}
	c.putPrincipal(txn, admin, 0, mutationCreate, "principal_created")
	credential, token := c.newToken(admin, account.Ownership)
	c.putCredential(txn, credential, 0, mutationCreate, "credential_created")
	c.putPolicy(txn, &secret.Policy{
		Account: account.ID, Name: adminName, Text: authz.AdminPolicy(admin),
		Description: "permits the user admin everything in the account",
		Ownership:   account.Ownership, CreatedAt: m.At, UpdatedAt: m.At,
	}, 0, mutationCreate)
	return NewAccountResult{Account: account, Admin: admin, Credential: credential, Token: token}, nil
}

func (c *call) newToken(p *secret.Principal, ownership secret.Ownership) (*secret.Credential, secret.Plaintext) {
	id, token, hash := authn.NewToken()
	return &secret.Credential{
		ID: id, Account: p.Account, Principal: p.ID, Kind: secret.Token, TokenHash: hash, Ownership: ownership, CreatedAt: c.now,
	}, token
}

func (c *call) putAccount(txn *record.Txn, a *secret.Account) {
	nameKey, key := record.AccountNameKey(a.Name), record.AccountKey(a.ID)
	txn.Require(nameKey, 0)
	txn.Require(key, 0)
	txn.Put(nameKey, record.EncodeReference(string(a.ID)))
	txn.Put(key, record.Accounts.Encode(a))
	c.about(accountResource(a))
	c.track(txn, key, mutationCreate, &recordpb.Event{
		Type: "account_created", Account: string(a.ID), Subject: string(a.ID), Name: a.Name,
	}, a.Ownership)
}

// GetAccount answers an account.
func (s *Service) GetAccount(ctx context.Context, ref string) (account *secret.Account, err error) {
	err = s.inspect(ctx, authz.GetAccount, func(c *call, view record.View) error {
		if account, err = c.account(view, ref); err != nil {
			return err
		}
		return c.authorize(view, accountResource(account))
	})
	return account, err
}

// ListAccounts answers a page of the region's accounts in the order of their age.
func (s *Service) ListAccounts(ctx context.Context, size int, token string) (accounts []*secret.Account, next string, err error) {
	err = s.inspect(ctx, authz.ListAccounts, func(c *call, view record.View) error {
		if err := c.authorize(view, c.regionResource()); err != nil {
			return err
		}
		accounts, next, err = listRecords(view, record.Accounts, record.AccountPrefix, size, token)
		return err
	})
	return accounts, next, err
}

// regionResource is what operator actions are about.
func (c *call) regionResource() authz.Resource { return authz.RegionOf(c.service.Region) }

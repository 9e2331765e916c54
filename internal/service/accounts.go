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

const adminName = "admin"

// NewAccountResult is the answer to CreateAccount. On a replay Credential is nil
// and Token empty.
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
			result, err = replayedAccount(view, found, requestToken)
			return nil, err
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
	c.entry.Resource.ID = string(a.ID)
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

package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/keyring"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	systemAccountName = "system"
	operatorName      = "operator"
	operatorsRole     = "operators"
	operatorsPolicy   = "operators"
	// The system account holds no vaults, so operators get no one's secrets by it.
	operatorsPolicyText = `permit (
  principal in Role::"` + operatorsRole + `",
  action,
  resource in Account::"` + string(secret.SystemAccount) + `"
);
`
)

// Initialized is what initialisation made.
type Initialized struct {
	Region      secret.RegionName
	Incarnation secret.Incarnation
	Operator    secret.PrincipalID
	// Token is the first operator's; it is shown once.
	Token secret.Plaintext
}

// NewIncarnation returns a random ID for a new life of a region.
func NewIncarnation() secret.Incarnation {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return secret.Incarnation(hex.EncodeToString(b))
}

// Initialize makes a region out of an empty store: its identity, the fence, the
// system account and the first operator with a token. A store that holds a
// region already is CodeExists and stays as it is. It is reached only through a
// process's control socket, never over the network.
func Initialize(ctx context.Context, store Store, keys *keyring.Keyring, region secret.RegionName, now time.Time) (Initialized, error) {
	if err := secret.CheckRegionName("region", region); err != nil {
		return Initialized{}, err
	}
	incarnation := NewIncarnation()
	check, err := keys.NewCheck(ctx, region, incarnation)
	if err != nil {
		return Initialized{}, err
	}
	system, err := keys.NewScope(ctx, string(secret.SystemAccount), now)
	if err != nil {
		return Initialized{}, err
	}
	id, token, hash := authn.NewToken()
	ownership := secret.NewOwnership(region, incarnation)
	operator := &secret.Principal{
		ID: secret.PrincipalID(ulid.MustNewDefault(now).String()), Account: secret.SystemAccount, Name: operatorName, Kind: secret.Operator,
		Roles: []string{operatorsRole}, Ownership: ownership, CreatedAt: now, UpdatedAt: now,
	}
	var txn record.Txn
	put := func(key record.Key, value []byte) {
		txn.Require(key, 0)
		txn.Put(key, value)
	}
	put(record.RegionKey, record.Regions.Encode(&recordpb.Region{
		Name: string(region), Incarnation: string(incarnation), RestoreEpoch: 1, InitializedAt: now.UnixNano(),
		KeyCheck: check.Bytes, MasterKey: check.MasterKey,
	}))
	put(record.FenceKey, record.Fences.Encode(&recordpb.Fence{Incarnation: string(incarnation), Role: FenceServing, RestoreEpoch: 1}))
	put(record.AccountKey(secret.SystemAccount), record.Accounts.Encode(&secret.Account{
		ID: secret.SystemAccount, Name: systemAccountName, Ownership: ownership, CreatedAt: now, UpdatedAt: now,
	}))
	put(record.AccountNameKey(systemAccountName), record.EncodeReference(string(secret.SystemAccount)))
	put(record.PrincipalKey(operator.Account, operator.ID), record.Principals.Encode(operator))
	put(record.PrincipalNameKey(operator.Account, operator.Name), record.EncodeReference(string(operator.ID)))
	put(record.CredentialKey(id), record.Credentials.Encode(&secret.Credential{
		ID: id, Account: operator.Account, Principal: operator.ID, Kind: secret.Token, TokenHash: hash, Ownership: ownership,
		Description: "made by initialization", CreatedAt: now,
	}))
	put(record.CredentialOfKey(operator.Account, operator.ID, id), record.EncodeReference(string(id)))
	put(record.PolicyKey(operator.Account, operatorsPolicy), record.Policies.Encode(&secret.Policy{
		Account: operator.Account, Name: operatorsPolicy, Text: operatorsPolicyText,
		Description: "permits operators to run the region", Ownership: ownership, CreatedAt: now, UpdatedAt: now,
	}))
	system.AddTo(&txn)
	if _, err := store.Commit(ctx, txn); err != nil {
		if secret.HasCode(err, secret.CodeStale) {
			return Initialized{}, secret.Errorf(secret.CodeExists, "the store holds an initialized region already, or what an interrupted restore left").
				WithHint("if a restore was interrupted, run it again; if the operators' tokens are lost: lifeboat operator recover")
		}
		return Initialized{}, err
	}
	return Initialized{Region: region, Incarnation: incarnation, Operator: operator.ID, Token: token}, nil
}

// RegionRecord returns the region's identity as the view holds it, or
// CodeUnavailable if the region is not initialised. It must not be changed.
func RegionRecord(view record.View) (*recordpb.Region, error) {
	region, _, err := record.LoadShared(view, record.Regions, record.RegionKey)
	if errors.Is(err, record.ErrNotFound) {
		return nil, notInitialized()
	}
	return region, err
}

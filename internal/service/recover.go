package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	actionRecoverOperator authz.Action = "RecoverOperator"
	// recoveryName is that of the principal whom recovery gives a token, of its role,
	// and of the policy that permits it.
	recoveryName       = "recovery"
	recoveryPolicyText = `permit (
  principal in Role::"` + recoveryName + `",
  action,
  resource in Account::"` + string(secret.SystemAccount) + `"
);
`
	// MinRecovery and MaxRecovery bound how long a token from RecoverOperator works.
	MinRecovery = time.Minute
	MaxRecovery = 24 * time.Hour
)

// RecoverOperator makes a token that may do what operators may, for a region whose
// operators have none any more. It stops working after lasts, and when the next one is
// made. It is an operator's of its own, called recovery: what the operators made stays as
// it is. It is reached only through a process's control socket, never over the network.
// Who asks is by in the audit log. Errors: CodeInvalid if lasts is not between MinRecovery
// and MaxRecovery; CodeUnavailable; CodeOutcomeUnknown, and then it can be asked again.
func (s *Service) RecoverOperator(ctx context.Context, by string, lasts time.Duration) (*secret.Credential, secret.Plaintext, error) {
	ctx, c, err := s.systemCall(ctx, actionRecoverOperator, by)
	if err != nil {
		return nil, secret.Plaintext{}, c.end(err)
	}
	var credential *secret.Credential
	var token secret.Plaintext
	if lasts < MinRecovery || lasts > MaxRecovery {
		return nil, token, c.end(secret.Invalid("expires", "must be between %s and %s", MinRecovery, MaxRecovery))
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		key := record.AccountKey(secret.SystemAccount)
		system, _, err := load(view, record.Accounts, key, "account", "account")
		if err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, key, system.Ownership)
		if err != nil {
			return nil, err
		}
		m := c.mutationIn(region)
		p, err := c.recoveryPrincipal(view, txn, m)
		if err != nil {
			return nil, err
		}
		if err := c.recoveryPolicy(view, txn, m); err != nil {
			return nil, err
		}
		credential, token = c.newToken(p, secret.NewOwnership(s.Region, m.Incarnation))
		credential.Description, credential.ExpiresAt = "made by recovery", c.now.Add(lasts)
		c.putCredential(txn, credential, 0, mutationCreate, "credential_created")
		c.about(credentialResource(credential))
		return txn, nil
	})
	c.entry.Committed = revision > 0
	if err := c.end(err); err != nil {
		return nil, secret.Plaintext{}, err
	}
	s.cleared(ctx, "", revision)
	return credential, token, nil
}

// recoveryPrincipal makes the principal, or makes it one again that may act, without the
// tokens that it had.
func (c *call) recoveryPrincipal(view record.View, txn *record.Txn, m secret.Mutation) (*secret.Principal, error) {
	p, revision, err := principal(view, secret.SystemAccount, recoveryName)
	if secret.HasCode(err, secret.CodeNotFound) {
		p = &secret.Principal{
			ID: secret.PrincipalID(ulid.MustNewDefault(m.At).String()), Account: secret.SystemAccount, Name: recoveryName,
			Kind: secret.Operator, Roles: []string{recoveryName}, Ownership: secret.NewOwnership(c.service.Region, m.Incarnation),
			CreatedAt: m.At, UpdatedAt: m.At,
		}
		c.putPrincipal(txn, p, 0, mutationCreate, "principal_created")
		return p, nil
	}
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
	if p = p.Clone(); !slices.Contains(p.Roles, recoveryName) {
		p.Roles = append(p.Roles, recoveryName)
	}
	p.Disabled, p.UpdatedAt = false, m.At
	p.Ownership.Advance(m.Incarnation)
	c.putPrincipal(txn, p, revision, mutationUpdate, "principal_updated")
	return p, nil
}

// recoveryPolicy puts the policy, unless it is there as it should be.
func (c *call) recoveryPolicy(view record.View, txn *record.Txn, m secret.Mutation) error {
	key := record.PolicyKey(secret.SystemAccount, recoveryName)
	p := &secret.Policy{
		Account: secret.SystemAccount, Name: recoveryName, Text: recoveryPolicyText,
		Description: "permits who holds a token made by recovery to run the region",
		Ownership:   secret.NewOwnership(c.service.Region, m.Incarnation), CreatedAt: m.At, UpdatedAt: m.At,
	}
	old, revision, err := record.Load(view, record.Policies, key)
	switch {
	case errors.Is(err, record.ErrNotFound):
		if err := continueOrder(view, txn, key, &p.Ownership); err != nil {
			return err
		}
		c.putPolicy(txn, p, 0, mutationCreate)
	case err != nil:
		return err
	case old.Text == p.Text:
		txn.Require(key, revision)
	default:
		p.CreatedAt, p.Ownership = old.CreatedAt, old.Ownership
		p.Ownership.Advance(m.Incarnation)
		c.putPolicy(txn, p, revision, mutationUpdate)
	}
	return nil
}

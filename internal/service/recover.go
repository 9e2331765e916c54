package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Bounds of Recovery.
const (
	MinRecovery = time.Minute
	MaxRecovery = 24 * time.Hour
	// MaxRecoveryPolicies is how many policies one recovery deletes; all changes are one
	// transaction.
	MaxRecoveryPolicies = 10
)

const (
	actionOperatorRecover authz.Action = "OperatorRecover"
	// recoveryName is that of the operator whom recovery gives a token, and of the policy
	// that permits it. CheckContainerName refuses it, so nobody else has it.
	recoveryName = "operator:recovery"
)

// Recovery says what RecoverOperator is to do.
type Recovery struct {
	// By is who asks, for the audit log.
	By string
	// Lasts is how long the token works, MinRecovery to MaxRecovery.
	Lasts time.Duration
	// DeletePolicies are the names of policies of the system account to delete, because
	// they forbid what the token is for; at most MaxRecoveryPolicies.
	DeletePolicies []string
}

func (r Recovery) check() error {
	if r.Lasts < MinRecovery || r.Lasts > MaxRecovery {
		return secret.Invalid("expires", "must be between %s and %s", MinRecovery, MaxRecovery)
	}
	if n := len(r.DeletePolicies); n > MaxRecoveryPolicies {
		return secret.Invalid("delete_policy", "has %d names; the limit is %d", n, MaxRecoveryPolicies)
	}
	for _, name := range r.DeletePolicies {
		if err := secret.CheckContainerName("delete_policy", name); err != nil {
			return err
		}
	}
	return nil
}

// Recovered is what RecoverOperator made.
type Recovered struct {
	Credential *secret.Credential
	Token      secret.Plaintext
	// Cleared says that every live host knows of it.
	Cleared bool
	// ForbiddenBy are the names of the policies that forbid the token to change policies.
	ForbiddenBy []string
}

// RecoverOperator makes a token that may do what operators may, for a region whose
// operators have none any more. It stops working after a while, and as soon as the next
// one is made. It is of an operator that is made for it, with a policy that permits
// nothing to anybody else: what the operators made stays as it is, but for the policies
// that are to be deleted. It is reached only through a process's control socket, never
// over the network. It can be asked again after any error. Errors: CodeInvalid;
// CodeNotFound for a policy; CodeUnavailable; CodeOutcomeUnknown.
func (s *Service) RecoverOperator(ctx context.Context, r Recovery) (made Recovered, err error) {
	ctx, c, err := s.systemCall(ctx, actionOperatorRecover, r.By)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return made, c.end(err)
	}
	// Two transactions, as one may have too little room for all that an operator can have.
	removed, err := s.commit(ctx, c.removeRecovered)
	c.entry.Committed = removed > 0
	if err != nil {
		return made, c.end(err)
	}
	revision, err := s.commit(ctx, func(view record.View) (txn *record.Txn, err error) {
		made, txn, err = c.makeRecovered(view, r)
		return txn, err
	})
	c.entry.Committed = removed > 0 || revision > 0
	if err := c.end(err); err != nil {
		if secret.HasCode(err, secret.CodeOutcomeUnknown) {
			err = secret.Wrap(secret.CodeOutcomeUnknown, err, "a token may have been made").WithHint("run it again: a token that was made stops working then")
		}
		return Recovered{}, err
	}
	made.Cleared = s.cleared(ctx, "", revision)
	made.ForbiddenBy, err = c.forbiddenBy(s.Store.View(ctx), made.Credential.Principal)
	if err != nil {
		s.Logger.Warn("it is not known what the policies forbid the token of a recovery", "error", err)
	}
	return made, nil
}

// removeRecovered removes what the last recovery made, with all that it was given since.
func (c *call) removeRecovered(view record.View) (*record.Txn, error) {
	if _, err := RegionRecord(view); err != nil {
		return nil, err
	}
	p, revision, err := principal(view, secret.SystemAccount, recoveryName)
	if secret.HasCode(err, secret.CodeNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.removePrincipal(view, p, revision)
}

func (c *call) makeRecovered(view record.View, r Recovery) (made Recovered, txn *record.Txn, err error) {
	key := record.AccountKey(secret.SystemAccount)
	system, _, err := load(view, record.Accounts, key, "account", "account")
	if err != nil {
		return made, nil, err
	}
	if _, _, err := principal(view, secret.SystemAccount, recoveryName); !secret.HasCode(err, secret.CodeNotFound) {
		return made, nil, errors.Join(err, secret.Errorf(secret.CodeUnavailable, "another recovery was made at the same time").WithHint("run it again"))
	}
	txn, region, err := newTxnAt(view, key, system.Ownership)
	if err != nil {
		return made, nil, err
	}
	m := c.mutationIn(region)
	p := &secret.Principal{
		ID: secret.PrincipalID(ulid.MustNewDefault(m.At).String()), Account: secret.SystemAccount, Name: recoveryName,
		Kind: secret.Operator, Ownership: secret.NewOwnership(c.service.Region, m.Incarnation), CreatedAt: m.At, UpdatedAt: m.At,
	}
	c.putPrincipal(txn, p, 0, mutationCreate, "principal_created")
	if err := c.permitRecovered(view, txn, m, p.ID); err != nil {
		return made, nil, err
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(r.DeletePolicies))) {
		policy, revision, err := load(view, record.Policies, record.PolicyKey(secret.SystemAccount, name), "delete_policy", "policy "+name)
		if err != nil {
			return made, nil, err
		}
		c.removePolicy(txn, policy, revision, m)
	}
	made.Credential, made.Token = c.newToken(p, p.Ownership)
	made.Credential.Description, made.Credential.ExpiresAt = "made by recovery", c.now.Add(r.Lasts)
	c.putCredential(txn, made.Credential, 0, mutationCreate, "credential_created")
	resource := credentialResource(made.Credential)
	resource.Name = p.Name
	c.about(resource)
	return made, txn, nil
}

// permitRecovered puts the policy for the operator that was made.
func (c *call) permitRecovered(view record.View, txn *record.Txn, m secret.Mutation, operator secret.PrincipalID) error {
	key := record.PolicyKey(secret.SystemAccount, recoveryName)
	p := &secret.Policy{
		Account: secret.SystemAccount, Name: recoveryName,
		Text:        fmt.Sprintf("permit (\n  principal == Operator::%q,\n  action,\n  resource in Account::%q\n);\n", operator, secret.SystemAccount),
		Description: "permits the operator whom the last recovery made to run the region",
		Ownership:   secret.NewOwnership(c.service.Region, m.Incarnation), CreatedAt: m.At, UpdatedAt: m.At,
	}
	old, revision, err := record.Load(view, record.Policies, key)
	if errors.Is(err, record.ErrNotFound) {
		if err := continueOrder(view, txn, key, &p.Ownership); err != nil {
			return err
		}
		c.putPolicy(txn, p, 0, mutationCreate)
		return nil
	}
	if err != nil {
		return err
	}
	p.CreatedAt, p.Ownership = old.CreatedAt, old.Ownership
	p.Ownership.Advance(m.Incarnation)
	c.putPolicy(txn, p, revision, mutationUpdate)
	return nil
}

// forbiddenBy returns the policies that forbid an operator to change policies.
func (c *call) forbiddenBy(view record.View, operator secret.PrincipalID) ([]string, error) {
	p, _, err := principal(view, secret.SystemAccount, string(operator))
	if err != nil {
		return nil, err
	}
	decision, err := c.service.Authorizer.Decide(view, authz.Request{
		Caller: p, Action: authz.DeletePolicy, Resource: policyResource(secret.SystemAccount, operatorsPolicy),
		Context: authz.Context{Time: c.now, Region: c.service.Region, Method: authn.MethodToken},
	})
	if err != nil || decision.Allowed {
		return nil, err
	}
	var names []string
	for _, policy := range decision.Policies { // NAME/INDEX, sorted
		name, _, _ := strings.Cut(policy, "/")
		names = append(names, name)
	}
	return slices.Compact(names), nil
}

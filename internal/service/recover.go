package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Bounds of Recovery.Lasts.
const (
	MinRecovery = time.Minute
	MaxRecovery = 24 * time.Hour
)

const (
	// OperatorRecover is the action of RecoverOperator in the audit log.
	OperatorRecover authz.Action = "OperatorRecover"
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
	// DeletePolicies are the names of policies of the system account to delete first,
	// because they forbid what the token is for.
	DeletePolicies []string
}

// Recovered is what RecoverOperator made.
type Recovered struct {
	Credential *secret.Credential
	Token      secret.Plaintext
	// Cleared says that every live host knows of it.
	Cleared bool
	// ForbiddenBy are the names of the policies that forbid the token to delete a policy,
	// or may by the address that it is used from.
	ForbiddenBy []string
}

// RecoverOperator makes a token that may do what operators may, for a region whose
// operators have none any more. It stops working after a while, and as soon as the next
// one is made. It is of an operator that is made for it, with a policy that permits
// nothing to anybody else: what the operators made stays as it is, but for the policies
// that are to be deleted, each with an audit line of its own. It is reached only through
// a process's control socket, never over the network. It can be asked again after any
// error. Errors: CodeInvalid, and CodeNotFound for a policy, when nothing was done;
// CodeUnavailable; CodeOutcomeUnknown.
func (s *Service) RecoverOperator(ctx context.Context, r Recovery) (Recovered, error) {
	ctx, c, err := s.systemCall(ctx, OperatorRecover, r.By)
	if err == nil {
		err = r.check(s.Store.View(ctx))
	}
	if err != nil {
		return Recovered{}, c.end(err)
	}
	c.about(authz.Resource{Kind: authz.PrincipalResource, Name: recoveryName, Account: secret.SystemAccount})
	for _, name := range r.DeletePolicies {
		if err := s.deletePolicyFor(ctx, r.By, name); err != nil {
			return Recovered{}, againAfter(c.end(err))
		}
	}
	made, revision, err := c.recover(ctx, r.Lasts)
	if err := c.end(err); err != nil {
		return Recovered{}, againAfter(err)
	}
	made.Cleared = s.cleared(ctx, "", revision)
	made.ForbiddenBy, err = c.forbiddenBy(s.Store.View(ctx), made.Credential.Principal)
	if err != nil {
		s.Logger.Warn("it is not known what policies forbid the token of a recovery", "error", err)
	}
	return made, nil
}

// check finds what is wrong before anything is done.
func (r *Recovery) check(view record.View) error {
	if r.Lasts < MinRecovery || r.Lasts > MaxRecovery {
		return secret.Invalid("expires", "must be between %s and %s", MinRecovery, MaxRecovery)
	}
	if _, err := RegionRecord(view); err != nil {
		return err
	}
	r.DeletePolicies = slices.Compact(slices.Sorted(slices.Values(r.DeletePolicies)))
	for _, name := range r.DeletePolicies {
		if err := secret.CheckContainerName("delete_policy", name); err != nil {
			return err
		}
		if _, _, err := load(view, record.Policies, record.PolicyKey(secret.SystemAccount, name), "delete_policy", "policy "+name); err != nil {
			return err
		}
	}
	return nil
}

// againAfter hints at what to do when it is not known what was done.
func againAfter(err error) error {
	if !secret.HasCode(err, secret.CodeOutcomeUnknown) {
		return err
	}
	return secret.Wrap(secret.CodeOutcomeUnknown, err, "a token may have been made").WithHint("run it again: a token that was made stops working then")
}

// deletePolicyFor deletes a policy of the system account, if it is there.
func (s *Service) deletePolicyFor(ctx context.Context, by, name string) error {
	ctx, c, err := s.systemCall(ctx, authz.DeletePolicy, by)
	if err != nil {
		return c.end(err)
	}
	c.about(policyResource(secret.SystemAccount, name))
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		key := record.PolicyKey(secret.SystemAccount, name)
		p, revision, err := record.Load(view, record.Policies, key)
		if errors.Is(err, record.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, key, p.Ownership)
		if err != nil {
			return nil, err
		}
		c.removePolicy(txn, p, revision, c.mutationIn(region))
		return txn, nil
	})
	c.entry.Committed = revision > 0
	return c.end(err)
}

// recover makes the token, in two transactions: one may have too little room for all that
// an operator can have.
func (c *call) recover(ctx context.Context, lasts time.Duration) (made Recovered, revision int64, err error) {
	removed, err := c.service.commit(ctx, c.removeRecovered)
	c.entry.Committed = removed > 0
	if err != nil {
		return made, 0, err
	}
	revision, err = c.service.commit(ctx, func(view record.View) (txn *record.Txn, err error) {
		made, txn, err = c.makeRecovered(view, lasts)
		return txn, err
	})
	c.entry.Committed = removed > 0 || revision > 0
	return made, revision, err
}

// removeRecovered removes what the last recovery made, with all that it was given since.
func (c *call) removeRecovered(view record.View) (*record.Txn, error) {
	p, revision, err := principal(view, secret.SystemAccount, recoveryName)
	if secret.HasCode(err, secret.CodeNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.removePrincipal(view, p, revision)
}

func (c *call) makeRecovered(view record.View, lasts time.Duration) (made Recovered, txn *record.Txn, err error) {
	key := record.AccountKey(secret.SystemAccount)
	system, _, err := load(view, record.Accounts, key, "account", "account")
	if err != nil {
		return made, nil, err
	}
	_, _, err = principal(view, secret.SystemAccount, recoveryName)
	if err == nil {
		return made, nil, secret.Errorf(secret.CodeUnavailable, "another recovery was made at the same time").WithHint("run it again")
	}
	if !secret.HasCode(err, secret.CodeNotFound) {
		return made, nil, err
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
	made.Credential, made.Token = c.newToken(p, p.Ownership)
	made.Credential.Description, made.Credential.ExpiresAt = "made by recovery", c.now.Add(lasts)
	c.putCredential(txn, made.Credential, 0, mutationCreate, "credential_created")
	resource := credentialResource(made.Credential)
	resource.Name = p.Name
	c.about(resource)
	return made, txn, nil
}

// permitRecovered puts the policy for the operator that was made.
func (c *call) permitRecovered(view record.View, txn *record.Txn, m secret.Mutation, operator secret.PrincipalID) error {
	p := &secret.Policy{
		Account: secret.SystemAccount, Name: recoveryName,
		Text:        fmt.Sprintf("permit (\n  principal == Operator::%q,\n  action,\n  resource in Account::%q\n);\n", operator, secret.SystemAccount),
		Description: "permits the operator whom the last recovery made to run the region",
		Ownership:   secret.NewOwnership(c.service.Region, m.Incarnation), CreatedAt: m.At, UpdatedAt: m.At,
	}
	old, revision, err := record.Load(view, record.Policies, record.PolicyKey(p.Account, p.Name))
	if err != nil && !errors.Is(err, record.ErrNotFound) {
		return err
	}
	return c.replacePolicy(view, txn, p, old, revision)
}

// forbiddenBy returns the names of the policies that forbid an operator to delete a policy
// of the system account, sorted.
func (c *call) forbiddenBy(view record.View, operator secret.PrincipalID) ([]string, error) {
	p, _, err := principal(view, secret.SystemAccount, string(operator))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	prefix := string(record.PolicyKey(secret.SystemAccount, ""))
	var inner error
	err = view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		var decision authz.Decision
		decision, inner = c.service.Authorizer.Decide(view, authz.Request{
			Caller: p, Action: authz.DeletePolicy, Resource: policyResource(secret.SystemAccount, string(stored.Key[len(prefix):])),
			Context: authz.Context{Time: c.now, Region: c.service.Region, Method: authn.MethodToken},
		})
		for _, policy := range decision.Policies { // NAME/INDEX
			if name, _, _ := strings.Cut(policy, "/"); !decision.Allowed {
				names[name] = true
			}
		}
		return inner == nil
	})
	return slices.Sorted(maps.Keys(names)), errors.Join(err, inner)
}

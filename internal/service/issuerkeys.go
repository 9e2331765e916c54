package service

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// IssuerKeySource fetches keys of issuers over the network, in a control process.
type IssuerKeySource interface {
	// Fetch returns the issuer's key set as it is published now. Errors are
	// CodeUnavailable and say nothing of what was answered.
	Fetch(ctx context.Context, i *secret.Issuer) ([]byte, error)
	// Ask has the keys fetched soon. It does not block.
	Ask(account secret.AccountID, issuer string)
}

// Keys that are fetched in the background are stored by a principal of the system
// account.
const keeperName = "lifeboat-issuer-keys"

// maxKeyErrorBytes bounds what is stored of why keys cannot be fetched.
const maxKeyErrorBytes = 300

// RefreshIssuer fetches an issuer's keys now, for a caller who waits. Errors:
// CodeUnavailable if they cannot be fetched, after that has been noted.
func (s *Service) RefreshIssuer(ctx context.Context, account, name string) (state IssuerState, err error) {
	c, err := s.begin(ctx, authz.RefreshIssuer, true)
	if err != nil {
		return state, c.end(err)
	}
	var i *secret.Issuer
	_, err = s.read(ctx, func(view record.View) (err error) {
		if err := c.authenticate(view); err != nil {
			return err
		}
		i, _, err = c.existingIssuer(view, account, name)
		return err
	})
	if err != nil {
		return state, c.end(err)
	}
	state, revision, err := s.refresh(ctx, c, i)
	c.entry.Committed = revision > 0
	if err := c.end(err); err != nil {
		return state, err
	}
	s.cleared(ctx, "", revision)
	return state, nil
}

// KeepIssuerKeys fetches an issuer's keys in the background. An issuer that does
// not exist is no error. Errors: as RefreshIssuer.
func (s *Service) KeepIssuerKeys(ctx context.Context, account secret.AccountID, name string) error {
	var i *secret.Issuer
	err := s.Local.View(func(view record.View) (err error) {
		i, _, err = record.Load(view, record.Issuers, record.IssuerKey(account, name))
		return err
	})
	if errors.Is(err, record.ErrNotFound) || err == nil && (i.Source == secret.KeysStatic || i.Ownership.Home != s.Region) {
		return nil // keys of an issuer of another region come from there
	}
	if err != nil {
		return err
	}
	ctx, c, err := s.systemCall(ctx, authz.RefreshIssuer, keeperName)
	if err != nil {
		return c.end(err)
	}
	c.about(issuerResource(account, name))
	_, revision, err := s.refresh(ctx, c, i)
	c.entry.Committed = revision > 0
	return c.end(err)
}

// refresh fetches keys and stores them, or why that failed.
func (s *Service) refresh(ctx context.Context, c *call, i *secret.Issuer) (state IssuerState, revision int64, err error) {
	err = s.Local.View(func(view record.View) error {
		taken, err := hasTakenOver(view, i.Ownership.Home, "")
		if err != nil || taken {
			return err
		}
		return refuseReplica(view, record.IssuerKey(i.Account, i.Name), i.Ownership, s.Region)
	})
	if err != nil {
		return state, 0, err
	}
	if s.IssuerKeys == nil {
		return state, 0, secret.Errorf(secret.CodeUnavailable, "this process fetches no keys")
	}
	if i.Source == secret.KeysStatic {
		return state, 0, secret.Errorf(secret.CodeWrongState, "the keys of this issuer are given, not fetched").
			WithHint("replace them: lifeboat issuer update --jwks-file")
	}
	set, fetchErr := s.IssuerKeys.Fetch(ctx, i)
	if fetchErr == nil {
		set, _, fetchErr = authn.PublicKeys("jwks", set)
	}
	revision, err = s.commit(ctx, func(view record.View) (*record.Txn, error) {
		current, _, err := record.Load(view, record.Issuers, record.IssuerKey(i.Account, i.Name))
		if errors.Is(err, record.ErrNotFound) || err == nil && current.ID != i.ID {
			return nil, notFound("name", "issuer")
		}
		if err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.IssuerKey(current.Account, current.Name), current.Ownership)
		if err != nil {
			return nil, err
		}
		state.Issuer = current
		m := c.mutationIn(region)
		if state.Keys, err = c.replaceKeys(view, txn, current, m, set, fetchErr); err != nil || len(txn.Writes) == 0 {
			return nil, err
		}
		return txn, nil
	})
	if err == nil && fetchErr != nil {
		err = secret.Wrap(secret.CodeUnavailable, fetchErr, "the keys of the issuer cannot be fetched: "+shortError(fetchErr))
	}
	return state, revision, err
}

// replaceKeys adds to a transaction the keys of an issuer, or why they could not
// be fetched. The same failure again is not stored again.
func (c *call) replaceKeys(view record.View, txn *record.Txn, i *secret.Issuer, m secret.Mutation, set []byte, failed error) (*secret.IssuerKeys, error) {
	k, revision, err := load(view, record.IssuerKeySets, record.IssuerKeysKey(i.Account, i.Name), "name", "keys")
	switch {
	case secret.HasCode(err, secret.CodeNotFound):
		k = &secret.IssuerKeys{Account: i.Account, Name: i.Name, Ownership: secret.NewOwnership(c.service.Region, m.Incarnation)}
	case err != nil:
		return nil, err
	default:
		k = k.Clone()
		advance(&k.Ownership, c.service.Region, m.Incarnation)
	}
	if k.Issuer != i.ID { // of an earlier issuer of this name
		k.Issuer, k.Set = i.ID, nil
	}
	if failed == nil {
		k.Set, k.FetchedAt, k.LastError, k.FailedAt = set, m.At, "", secret.IssuerKeys{}.FailedAt
	} else {
		reason := shortError(failed)
		if k.LastError == reason {
			return k, nil
		}
		k.LastError, k.FailedAt = reason, m.At
	}
	c.putIssuerKeys(txn, i, k, revision, mutationUpdate)
	return k, nil
}

// shortError is what callers may see of a failure to fetch.
func shortError(err error) string {
	text := err.Error()
	if e, ok := errors.AsType[*secret.Error](err); ok {
		text = e.Message
	}
	return text[:min(len(text), maxKeyErrorBytes)]
}

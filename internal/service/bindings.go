package service

import (
	"context"
	"errors"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// maxBindings bounds the bindings of a principal, so that it can be deleted with
// all of them, and all its credentials, in one transaction.
const maxBindings = 10

// NewBinding is what BindPrincipal makes.
type NewBinding struct {
	Account   string
	Principal string
	// URI of the certificates, or a pattern for it.
	URI string
	// Trust names the bundle that must have signed them.
	Trust string
}

// BindPrincipal lets the holders of certificates act as a principal. Doing it
// again changes nothing. Errors: CodeExists if the URI is bound in the account
// already, in another way; CodeLimit.
func (s *Service) BindPrincipal(ctx context.Context, n NewBinding) (b *secret.Binding, err error) {
	_, err = s.administer(ctx, authz.BindPrincipal, func(c *call, view record.View) (*record.Txn, error) {
		p, revision, err := c.permittedPrincipal(view, n.Account, n.Principal)
		if err != nil {
			return nil, err
		}
		if err := firstError(secret.CheckURIPattern("uri", n.URI), secret.CheckContainerName("trust", n.Trust)); err != nil {
			return nil, err
		}
		if _, _, err := load(view, record.TrustBundles, record.TrustKey(p.Account, n.Trust), "trust", "trust bundle"); err != nil {
			return nil, err
		}
		old, _, err := bindingOf(view, p.Account, n.URI)
		switch {
		case err == nil && old.Principal == p.ID && old.Trust == n.Trust:
			b = old
			return nil, nil
		case err == nil:
			return nil, &secret.Error{Code: secret.CodeExists, Field: "uri", Message: "is bound already: " + string(old.ID)}
		case !secret.HasCode(err, secret.CodeNotFound):
			return nil, err
		}
		if others, err := bindingsOf(view, p); err != nil {
			return nil, err
		} else if len(others) >= maxBindings {
			return nil, secret.Errorf(secret.CodeLimit, "the principal has %d bindings, the limit", len(others)).
				WithHint("one binding whose URI ends in /* covers many certificates")
		}
		return s.newBinding(c, view, p, revision, n, &b)
	})
	return b, err
}

func (s *Service) newBinding(c *call, view record.View, p *secret.Principal, revision int64, n NewBinding, made **secret.Binding) (*record.Txn, error) {
	txn, region, err := newTxnAt(view, record.PrincipalKey(p.Account, p.ID), p.Ownership)
	if err != nil {
		return nil, err
	}
	m := c.mutationIn(region)
	b := &secret.Binding{
		ID: secret.BindingID(ulid.MustNewDefault(m.At).String()), Account: p.Account, Principal: p.ID, URI: n.URI, Trust: n.Trust,
		Ownership: secret.NewOwnership(s.Region, m.Incarnation), CreatedAt: m.At,
	}
	*made = b
	// Writing the principal as it is makes other bindings, and its deletion, see
	// this one.
	principalKey := record.PrincipalKey(p.Account, p.ID)
	txn.Require(principalKey, revision)
	txn.Put(principalKey, record.Principals.Encode(p))
	key, uriKey := record.BindingKey(p.Account, p.ID, b.ID), record.BindingURIKey(b.URI, p.Account)
	txn.Require(key, 0)
	txn.Require(uriKey, 0)
	txn.Put(key, record.Bindings.Encode(b))
	txn.Put(uriKey, record.EncodeReference(string(p.ID)+"/"+string(b.ID)))
	c.track(txn, key, mutationCreate, bindingEvent(b, "principal_bound"), b.Ownership)
	return txn, nil
}

func bindingEvent(b *secret.Binding, event string) *recordpb.Event {
	return &recordpb.Event{Type: event, Account: string(b.Account), Subject: string(b.ID), Name: string(b.Principal)}
}

// bindingOf returns the binding of a URI in an account.
func bindingOf(view record.View, account secret.AccountID, uri string) (*secret.Binding, int64, error) {
	ref, err := lookup(view, record.BindingURIKey(uri, account), "binding")
	if err != nil {
		return nil, 0, err
	}
	principal, id, _ := strings.Cut(ref, "/")
	return load(view, record.Bindings, record.BindingKey(account, secret.PrincipalID(principal), secret.BindingID(id)), "binding", "binding")
}

// bindingsOf returns the bindings of a principal.
func bindingsOf(view record.View, p *secret.Principal) (bindings []*secret.Binding, err error) {
	prefix := string(record.BindingKey(p.Account, p.ID, ""))
	scanErr := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		var b *secret.Binding
		if b, err = record.Bindings.Decode(stored.Value); err == nil {
			bindings = append(bindings, b)
		}
		return err == nil
	})
	return bindings, errors.Join(scanErr, err)
}

// removeBindings deletes all bindings of a principal.
func removeBindings(view record.View, txn *record.Txn, p *secret.Principal) error {
	bindings, err := bindingsOf(view, p)
	for _, b := range bindings {
		txn.Delete(record.BindingKey(b.Account, b.Principal, b.ID))
		txn.Delete(record.BindingURIKey(b.URI, b.Account))
	}
	return err
}

// UnbindPrincipal takes a binding, named by its URI or ID, off a principal.
func (s *Service) UnbindPrincipal(ctx context.Context, accountRef, principalRef, ref string) error {
	_, err := s.administer(ctx, authz.UnbindPrincipal, func(c *call, view record.View) (*record.Txn, error) {
		p, _, err := c.permittedPrincipal(view, accountRef, principalRef)
		if err != nil {
			return nil, err
		}
		id := secret.BindingID(ref)
		if !secret.ValidULID(ref) {
			if err := secret.CheckURIPattern("binding", ref); err != nil {
				return nil, err
			}
			found, _, err := bindingOf(view, p.Account, ref)
			if err != nil {
				return nil, err
			}
			id = found.ID
		}
		key := record.BindingKey(p.Account, p.ID, id)
		b, revision, err := load(view, record.Bindings, key, "binding", "binding of this principal")
		if err != nil {
			return nil, err
		}
		txn, region, err := newTxnAt(view, record.BindingKey(b.Account, b.Principal, b.ID), b.Ownership)
		if err != nil {
			return nil, err
		}
		txn.Require(key, revision)
		txn.Delete(key)
		txn.Delete(record.BindingURIKey(b.URI, b.Account))
		ownership := b.Ownership
		ownership.Advance(c.mutationIn(region).Incarnation)
		c.bury(txn, key, b.Account, ownership, nil)
		c.track(txn, key, mutationDelete, bindingEvent(b, "principal_unbound"), ownership)
		return txn, nil
	})
	return err
}

// ListBindings answers a page of the bindings of a principal, or of all of an
// account if principalRef is empty.
func (s *Service) ListBindings(ctx context.Context, accountRef, principalRef string, size int, token string) (bs []*secret.Binding, next string, err error) {
	err = s.inspect(ctx, authz.ListBindings, func(c *call, view record.View) error {
		prefix, err := c.heldUnder(view, record.BindingPrefix, accountRef, principalRef)
		if err != nil {
			return err
		}
		bs, next, err = listRecords(view, record.Bindings, prefix, size, token)
		return err
	})
	return bs, next, err
}

package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// conflictID names what a region held of a record at an order. It is the same
// however often the same state is kept.
func conflictID(key record.Key, order secret.Order) string {
	sum := sha256.Sum256([]byte(string(key) + "@" + order.String()))
	return hex.EncodeToString(sum[:8])
}

// keepSecret keeps a secret that is past the fork at which the incoming history
// leaves it as a conflict, before the incoming state replaces it: the record, and
// the values of the versions that the incoming state does not have. A state that
// differs in its ownership alone is not worth keeping.
func (a *arrival) keepSecret(ctx context.Context, view record.View, held, incoming *secret.Secret) error {
	if held.Account == "" { // given up here
		return nil
	}
	same, err := a.sameButOwnership(ctx, view, held, incoming)
	if err != nil || same {
		return err
	}
	stored, _, err := view.Get(record.SecretKey(held.ID))
	if err != nil {
		return err
	}
	c := &recordpb.Conflict{Account: string(held.Account), Vault: string(held.ID.Vault()), Name: held.Name, State: stored.Value}
	if vault, _, err := record.Load(view, record.Vaults, record.VaultKey(held.ID.Vault())); err == nil {
		c.VaultName = vault.Name // policies may go by it after the vault was given up
	}
	var values []record.Write
	id := conflictID(stored.Key, held.Ownership.Order)
	for _, version := range secret.Missing(held, incoming) {
		value, ok, err := view.Get(record.VersionKey(held.ID, version))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		c.Versions = append(c.Versions, string(version))
		values = append(values, record.Write{Key: record.ConflictVersionKey(id, version), Value: bytes.Clone(value.Value)})
	}
	return a.keep(ctx, c, stored, held.Ownership, incoming.Ownership, values)
}

// sameButOwnership reports whether two states of a secret say the same, but for
// where it is mutated and where it goes.
func (a *arrival) sameButOwnership(ctx context.Context, view record.View, held, incoming *secret.Secret) (bool, error) {
	content := func(s *secret.Secret) []byte {
		c := *s
		c.Ownership, c.Targets, c.Promoted, c.Detached, c.UpdatedAt = secret.Ownership{}, nil, nil, "", s.CreatedAt
		return bareState(&c)
	}
	if !bytes.Equal(content(held), content(incoming)) {
		return false, nil
	}
	return a.sameText(ctx, view, held)
}

// keepIdentity is keepSecret for any other record, and for what is left of a deleted one.
func (a *arrival) keepIdentity(ctx context.Context, view record.View, held heldRecord, incoming identity) error {
	same, err := sameButOwnership(held, a.shipment)
	if err != nil || same {
		return err
	}
	state, buried := held.stored.Value, held.revision == 0
	if buried {
		if deleted, err := wasDeleted(view, held.key); err != nil || !deleted {
			return err
		}
		state = a.shipment.State // says what it was that was deleted
	}
	content, err := record.Content(held.key, state)
	if err != nil {
		return err
	}
	if fetched, err := isFetched(view, content); err != nil || fetched {
		return err
	}
	c := &recordpb.Conflict{Account: string(held.account), Name: nameOf(content)}
	if v, ok := content.(*secret.Vault); ok {
		c.Vault, c.VaultName = string(v.ID), v.Name
	}
	credential, ok := content.(*secret.Credential)
	switch {
	case buried:
	case ok: // nothing lets it work again
		credential.TokenHash, credential.SealedKey = nil, nil
		c.State = record.Credentials.Encode(credential)
	default:
		c.State = state
	}
	return a.keep(ctx, c, record.Stored{Key: held.key, Value: held.stored.Value, Revision: held.revision}, held.ownership, incoming.ownership, nil)
}

// wasDeleted reports whether what is left of a record is so because it was deleted. That
// of a vault may be there because this region gave it up.
func wasDeleted(view record.View, key record.Key) (bool, error) {
	if !key.HasPrefix(record.VaultPrefix) {
		return true, nil
	}
	grave, _, err := record.Load(view, record.Tombstones, record.TombstoneKey(key))
	return err == nil && len(grave.Holders) > 0, err
}

// isFetched reports whether a record is the keys of an issuer that regions fetch by
// themselves: nobody has written them.
func isFetched(view record.View, content any) (bool, error) {
	keys, ok := content.(*secret.IssuerKeys)
	if !ok {
		return false, nil
	}
	issuer, _, err := record.Load(view, record.Issuers, record.IssuerKey(keys.Account, keys.Name))
	if errors.Is(err, record.ErrNotFound) {
		return false, nil
	}
	return err == nil && issuer.Source != secret.KeysStatic, err
}

// nameOf is what people know a record by, other than a secret.
func nameOf(content any) string {
	switch t := content.(type) {
	case *secret.Account:
		return t.Name
	case *secret.Vault:
		return t.Name
	case *secret.Principal:
		return t.Name
	case *secret.Credential:
		return string(t.ID)
	case *secret.Policy:
		return t.Name
	case *secret.TrustBundle:
		return t.Name
	case *secret.Binding:
		return t.URI
	case *secret.Issuer:
		return t.Name
	case *secret.IssuerKeys:
		return t.Name
	}
	return ""
}

// sameButOwnership reports whether a shipped state of anything but a secret says
// what is held, but for where the record is mutated and where it goes.
func sameButOwnership(held heldRecord, p *Shipment) (bool, error) {
	if p.Buried || held.revision == 0 {
		return p.Buried && held.revision == 0, nil
	}
	a, err := record.WithoutOwnership(held.key, held.stored.Value)
	if err != nil {
		return false, err
	}
	b, err := record.WithoutOwnership(held.key, p.State)
	return err == nil && bytes.Equal(a, b), err
}

// keep commits a conflict: first the values, then the record that lists them, both
// only as long as what is held has not changed.
func (a *arrival) keep(ctx context.Context, c *recordpb.Conflict, stored record.Stored, held, incoming secret.Ownership, values []record.Write) error {
	c.Id = conflictID(stored.Key, held.Order)
	c.Record, c.From, c.At = string(stored.Key), string(a.from.Region), a.now.UnixNano()
	c.Order, c.CollidesWith = record.OrderToProto(held.Order), record.OrderToProto(incoming.Order)
	view := a.service.Store.View(ctx)
	if _, kept, err := view.Get(record.ConflictKey(c.GetId())); err != nil || kept {
		return err
	}
	commit := func(writes []record.Write) error {
		txn, _, err := newTxn(view)
		if err != nil {
			return err
		}
		txn.Require(stored.Key, stored.Revision)
		txn.Writes = writes
		_, err = a.service.Store.Commit(ctx, *txn)
		if secret.HasCode(err, secret.CodeStale) {
			err = secret.Wrap(secret.CodeUnavailable, err, "the record changed while its conflict was kept")
		}
		return err
	}
	for len(values) > 0 {
		n := staged(values)
		if err := commit(values[:n]); err != nil {
			return err
		}
		values = values[n:]
	}
	if err := commit([]record.Write{{Key: record.ConflictKey(c.GetId()), Value: record.Conflicts.Encode(c)}}); err != nil {
		return err
	}
	a.service.Logger.Warn("what this region held of a record past a fork is kept as a conflict", "conflict", c.GetId(), "record", stored.Key,
		"held", held.Order.String(), "collides_with", incoming.Order.String(), "source", a.from.Region)
	return nil
}

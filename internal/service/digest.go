package service

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Compared says which secrets two regions compare by digest: those of a vault whose
// home is Home, as far as they are meant for each of For. That is the target of what
// Home sends; or, if Home is lost, the region that takes it over and another survivor.
type Compared struct {
	Vault secret.VaultID
	Home  secret.RegionName
	For   []secret.RegionName
	// Only, if it is set, leaves out other records.
	Only func(record.Stored) bool
}

// VaultDigests calls visit with each secret of a vault whose home is c.Home, in the
// order of their keys, and a digest of it, nil if it is not meant for all of c.For: of
// its state without what each region seals for itself, under the vault's digest key.
// Nothing can be derived from it, and for other regions it is another one. A vault that
// the view lacks has no secrets. It returns the moment of the view. Errors: those of the
// view and of keyring.Keyring.Sealer.
func (s *Service) VaultDigests(ctx context.Context, view record.View, c Compared, visit func(sec *secret.Secret, digest secret.MAC)) (secret.Moment, error) {
	at, err := momentOf(view)
	if err != nil {
		return at, err
	}
	vault, _, err := record.Load(view, record.Vaults, record.VaultKey(c.Vault))
	if errors.Is(err, record.ErrNotFound) {
		return at, nil
	}
	if err != nil {
		return at, err
	}
	sealer, err := s.Keyring.Sealer(ctx, view, string(c.Vault))
	if err != nil {
		return at, err
	}
	frame := [][]byte{[]byte(c.Home)}
	for _, region := range c.For {
		frame = append(frame, []byte(region))
	}
	digest := func(sec *secret.Secret) secret.MAC {
		for _, region := range c.For {
			if !meantFor(vault, sec, region) {
				return nil
			}
		}
		return sealer.MAC("digest", append(frame[:len(frame):len(frame)], []byte(sec.ID), bareState(sec))...)
	}
	prefix := record.SecretPrefix + string(c.Vault) + "/"
	var inner error
	err = view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		if c.Only != nil && !c.Only(stored) {
			return true
		}
		var sec *secret.Secret
		if sec, inner = record.Secrets.Decode(stored.Value); inner != nil {
			return false
		}
		if sec.Ownership.Home == c.Home {
			visit(sec, digest(sec))
		}
		return ctx.Err() == nil
	})
	return at, errors.Join(err, inner, ctx.Err())
}

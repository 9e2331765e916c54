package service

import (
	"context"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// VaultDigests calls visit with a digest of each secret of a vault that home sends
// to target, and whether it is deleted, in the order of their keys: of its state without what each region
// seals for itself, under the vault's digest key. Nothing can be derived from it,
// and for another pair of regions it is another one. In a third region there are
// none. A vault that the view lacks has none. Errors: those of the view and of
// keyring.Keyring.Sealer.
func (s *Service) VaultDigests(ctx context.Context, view record.View, id secret.VaultID, home, target secret.RegionName,
	visit func(key record.Key, digest secret.MAC, deleted bool),
) error {
	vault, _, err := record.Load(view, record.Vaults, record.VaultKey(id))
	if errors.Is(err, record.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	sealer, err := s.Keyring.Sealer(ctx, view, string(id))
	if err != nil {
		return err
	}
	return scanAll(view, record.Secrets, record.SecretPrefix+string(id)+"/", func(sec *secret.Secret) bool {
		if sec.Ownership.Home == home && meantFor(vault, sec, target) {
			visit(record.SecretKey(sec.ID), sealer.MAC("digest", []byte(home), []byte(target), []byte(sec.ID), bareState(sec)), sec.State == secret.Deleted)
		}
		return ctx.Err() == nil
	})
}

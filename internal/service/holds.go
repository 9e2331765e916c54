package service

import (
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// TakesMutations returns why this life of the region may not acknowledge mutations now,
// nil if it may, as far as the local copy tells.
func (s *Service) TakesMutations() error {
	return s.Local.View(func(view record.View) error {
		_, _, err := newTxn(view)
		return err
	})
}

// HoldsVault reports whether the local copy holds a vault, by its ID alone, and whether
// this region is its home. It is for everybody, without authentication, and tells
// nothing else.
func (s *Service) HoldsVault(id secret.VaultID) (held, home bool) {
	if !secret.ValidULID(string(id)) {
		return false, false
	}
	err := s.Local.View(func(view record.View) error {
		vault, _, err := record.LoadShared(view, record.Vaults, record.VaultKey(id))
		if err != nil {
			return err
		}
		at, err := vaultHome(view, vault, s.Region)
		if err != nil {
			return err
		}
		held = vault.State == secret.Active
		home = held && at == s.Region && !(s.unanswered() && heldElsewhere(vault, s.Region))
		return nil
	})
	return held && err == nil, home && err == nil
}

package service

import (
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/faultpoint"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Shredded says what a shredding left.
type Shredded struct {
	ID   secret.VaultID
	Name string
	// Backups hold the wrapped data keys and the sealed secrets.
	Backups []KeptBackup
}

// KeptBackup is a backup that may be restored until then.
type KeptBackup struct {
	ID    string
	Until time.Time
}

// ShredVault deletes a vault with all that is in it by destroying its data keys: from
// the commit on nothing that they sealed can be opened, here and, as soon as the
// change has reached them, on any host. The sealed records are deleted in the
// background. confirm must be the vault's name. It is an action of its own, in a
// group of its own. A vault that other regions hold is refused, since they
// have data keys of their own.
func (s *Service) ShredVault(ctx context.Context, ref, confirm string) (shredded Shredded, err error) {
	_, err = s.administer(ctx, authz.ShredVault, func(c *call, view record.View) (*record.Txn, error) {
		vault, revision, err := c.vault(view, ref)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(view, vaultResource(vault)); err != nil {
			return nil, err
		}
		if confirm != vault.Name {
			return nil, secret.Invalid("confirm_name", "is not the vault's name")
		}
		if holders := vault.Replication.Holders(); len(holders) > 0 {
			return nil, secret.Errorf(secret.CodeWrongState, "other regions hold the vault: %v", holders).
				WithHint("end its replication first; they seal it under keys of their own")
		}
		txn, err := c.removeVault(view, vault.ID, revision)
		if err != nil {
			return nil, err
		}
		txn.Put(record.ShreddingKey(vault.ID), record.Shreddings.Encode(&recordpb.Shredding{
			Vault: string(vault.ID), Account: string(vault.Account), Name: vault.Name,
			StartedAt: c.now.UnixNano(), StartedBy: string(c.caller.Principal.ID),
		}))
		shredded = Shredded{ID: vault.ID, Name: vault.Name}
		shredded.Backups, err = s.keptBackups(view)
		return txn, err
	})
	return shredded, err
}

// keptBackups lists the backups that may still be restored.
func (s *Service) keptBackups(view record.View) (kept []KeptBackup, err error) {
	now := s.Now()
	err = scanAll(view, record.Backups, record.BackupPrefix, func(b *recordpb.Backup) bool {
		if until := s.keptUntil(b); now.Before(until) {
			kept = append(kept, KeptBackup{ID: b.GetId(), Until: until})
		}
		return true
	})
	return kept, err
}

// shredAtATime bounds the records that one transaction deletes.
const shredAtATime = 100

// MaintainShreddings deletes the sealed records of shredded vaults. One control
// process does it at a time, though more would do no harm. What is left after an
// error comes with the next call.
func (s *Service) MaintainShreddings(ctx context.Context) (soon bool, err error) {
	var open, past []record.Key
	err = s.Local.View(func(view record.View) error {
		return scan(view, record.Shreddings, record.ShreddingPrefix, func(sh *recordpb.Shredding) bool {
			key := record.ShreddingKey(secret.VaultID(sh.GetVault()))
			switch at := sh.GetFinishedAt(); {
			case at == 0:
				open = append(open, key)
			case s.Now().Sub(record.FromNanos(at)) > s.Keys.BackupsKeptFor:
				past = append(past, key)
			}
			return true
		})
	})
	errs := []error{err}
	for _, key := range open {
		errs = append(errs, s.shred(ctx, key))
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	for _, key := range past {
		var txn record.Txn
		txn.Delete(key)
		_, err := s.Store.Commit(ctx, txn)
		errs = append(errs, err)
	}
	return false, errors.Join(errs...)
}

// shred deletes what is left of one vault. The shredding's record is in every
// transaction, so that of two processes at it only one goes on.
func (s *Service) shred(ctx context.Context, key record.Key) error {
	for {
		view := s.Unchecked(ctx)
		sh, revision, err := record.Load(view, record.Shreddings, key)
		if errors.Is(err, record.ErrNotFound) || err == nil && sh.GetFinishedAt() != 0 {
			return nil
		}
		if err != nil {
			return err
		}
		found, err := page(view, []string{
			record.PurgePrefix + sh.GetVault() + "/", record.SecretPrefix + sh.GetVault() + "/",
			record.SecretNamePrefix + sh.GetVault() + "/", record.VersionPrefix + sh.GetVault() + "/",
			record.AccessPrefix + sh.GetVault() + "/",
		}, "")
		if err != nil {
			return err
		}
		found = found[:min(len(found), shredAtATime)]
		if len(found) == 0 {
			if found, err = conflictsToShred(view, sh.GetVault()); err != nil {
				return err
			}
		}
		txn, _, err := newTxn(view)
		if err != nil {
			return err
		}
		for _, stored := range found {
			txn.Delete(stored.Key)
		}
		sh.Deleted += uint64(len(found))
		if len(found) == 0 {
			sh.FinishedAt = s.Now().UnixNano()
		}
		txn.Require(key, revision)
		txn.Put(key, record.Shreddings.Encode(sh))
		if err := s.resealRate.WaitN(ctx, min(len(found), resealRecords)); err != nil {
			return kmsCancelled(ctx)
		}
		if _, err := s.Store.Commit(ctx, *txn); err != nil && !secret.HasCode(err, secret.CodeStale) {
			return err
		}
		faultpoint.Hit("keys.shred", sh.GetVault())
		if len(found) == 0 {
			s.shredded.Add(1)
			s.Logger.Info("vault shredded", "vault", sh.GetVault(), "records", sh.GetDeleted())
		}
	}
}

// conflictsToShred finds what is left of the conflicts of a vault that was shredded, up
// to what one transaction deletes: of each first the values, which only it lists.
func conflictsToShred(view record.View, vault string) (found []record.Stored, err error) {
	scanErr := scanAll(view, record.Conflicts, record.ConflictPrefix, func(c *recordpb.Conflict) bool {
		if c.GetVault() != vault {
			return true
		}
		prefix := record.Key(record.ConflictVersionPrefix + c.GetId() + "/")
		err = view.Scan(prefix, record.PrefixEnd(string(prefix)), func(stored record.Stored) bool {
			found = append(found, stored)
			return len(found) < shredAtATime
		})
		if len(found) < shredAtATime && err == nil {
			found = append(found, record.Stored{Key: record.ConflictKey(c.GetId())})
		}
		return len(found) < shredAtATime && err == nil
	})
	return found, firstError(scanErr, err)
}

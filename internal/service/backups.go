package service

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// RecordBackup has the region remember a backup for as long as it may be
// restored, KeyOptions.BackupsKeptFor.
func (s *Service) RecordBackup(ctx context.Context, b *recordpb.Backup) error {
	b.KeepUntil = record.FromNanos(b.GetCreatedAt()).Add(s.Keys.BackupsKeptFor).UnixNano()
	txn, _, err := newTxn(s.Store.View(ctx))
	if err != nil {
		return err
	}
	txn.Put(record.BackupKey(b.GetId()), record.Backups.Encode(b))
	_, err = s.Store.Commit(ctx, *txn)
	return err
}

// forgetBackups deletes what the region remembers of backups that nobody is
// expected to restore any more.
func (s *Service) forgetBackups(ctx context.Context) error {
	var past []record.Key
	now := s.Now()
	err := s.Local.View(func(view record.View) error {
		return scan(view, record.Backups, record.BackupPrefix, func(b *recordpb.Backup) bool {
			if !now.Before(s.keptUntil(b)) {
				past = append(past, record.BackupKey(b.GetId()))
			}
			return len(past) < pageRecords/4
		})
	})
	if err != nil || len(past) == 0 {
		return err
	}
	txn, _, err := newTxn(s.Store.View(ctx))
	if err != nil {
		return err
	}
	for _, key := range past {
		txn.Delete(key)
	}
	_, err = s.Store.Commit(ctx, *txn)
	return err
}

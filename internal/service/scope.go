package service

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// addKeys adds the data keys of a new vault or account to the transaction that
// makes it. It refuses to wrap them with the master key of another region, which
// this process may have been given by mistake.
func (s *Service) addKeys(ctx context.Context, txn *record.Txn, region *recordpb.Region, scope string, now time.Time) error {
	return s.addKeysUnder(ctx, txn, region, "", scope, now)
}

// addKeysUnder is addKeys under the master key of a name, empty for the region's.
func (s *Service) addKeysUnder(ctx context.Context, txn *record.Txn, region *recordpb.Region, masterKey, scope string, now time.Time) error {
	if err := s.Keyring.Check(ctx, region); err != nil {
		return err
	}
	keys, err := s.Keyring.NewScopeUnder(ctx, masterKey, scope, now)
	if err != nil && masterKey != "" {
		return namingKey(err)
	}
	if err != nil {
		return err
	}
	keys.AddTo(txn)
	return nil
}

// touchActiveKey writes the record that names the active generation as it is, so
// that every mutation planned before in that scope is planned again.
func touchActiveKey(view record.View, txn *record.Txn, scope string) error {
	key := record.ActiveDataKeyKey(scope)
	active, revision, err := load(view, record.ActiveDataKeys, key, "", "active data key")
	if err != nil {
		return err
	}
	txn.Require(key, revision)
	txn.Put(key, record.ActiveDataKeys.Encode(active))
	return nil
}

// removeKeys deletes all data keys of a scope: what was sealed under them can
// never be opened again.
func removeKeys(view record.View, txn *record.Txn, scope string) error {
	key := record.ActiveDataKeyKey(scope)
	_, revision, err := load(view, record.ActiveDataKeys, key, "", "active data key")
	if err != nil {
		return err
	}
	txn.Require(key, revision) // no generation is made meanwhile
	txn.Delete(key)
	txn.Delete(record.DataKeyRotationKey(scope))
	for _, prefix := range []string{record.DataKeyPrefix + scope + "/", record.DataKeyUsagePrefix + scope + "/"} {
		if err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
			txn.Delete(stored.Key)
			return true
		}); err != nil {
			return err
		}
	}
	return nil
}

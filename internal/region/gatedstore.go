package region

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/formatgate"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// gatedStore is the shard's store for whoever changes records: what it reads holds
// nothing that this release does not know, so that to write it again loses
// nothing, and what it writes is in formats for which the gate is open.
type gatedStore struct {
	*lateStore
	gate *formatgate.Gate
}

// View implements service.Store.
func (s gatedStore) View(ctx context.Context) record.View { return checkedView{s.lateStore.View(ctx)} }

// Commit implements service.Store.
func (s gatedStore) Commit(ctx context.Context, txn record.Txn) (int64, error) {
	if err := s.gate.Check(ctx, txn); err != nil {
		return 0, err
	}
	return s.lateStore.Commit(ctx, txn)
}

// CommitEach implements pipeline.Store.
func (s gatedStore) CommitEach(ctx context.Context, txns []record.Txn) ([]bool, error) {
	for _, txn := range txns {
		if err := s.gate.Check(ctx, txn); err != nil {
			return nil, err
		}
	}
	return s.lateStore.CommitEach(ctx, txns)
}

// checkedView is a view of the store that refuses records with fields that this
// release does not know. The local copy holds none: it is checked when it is
// applied.
type checkedView struct{ record.View }

// Linearizable says that what the view reads is never old.
func (checkedView) Linearizable() {}

// Get implements record.View.
func (v checkedView) Get(key record.Key) (record.Stored, bool, error) {
	stored, found, err := v.View.Get(key)
	if err == nil && found {
		err = checkStored(stored)
	}
	return stored, found, err
}

// Scan implements record.View.
func (v checkedView) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	var refused error
	err := v.View.Scan(start, end, func(stored record.Stored) bool {
		if refused = checkStored(stored); refused != nil {
			return false
		}
		return visit(stored)
	})
	if err == nil {
		err = refused
	}
	return err
}

func checkStored(stored record.Stored) error {
	err := record.Check(stored.Key, stored.Value)
	if err != nil {
		return secret.Wrap(secret.CodeOf(err), err, "record "+string(stored.Key))
	}
	return nil
}

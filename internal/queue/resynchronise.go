package queue

import (
	"context"
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Resynchronise marks a target to be compared as a whole. It may be called at any
// time; what has begun is then begun once more. Errors: those of the store.
func (q *Queue) Resynchronise(ctx context.Context, name secret.RegionName, reason string) error {
	key := record.ResynchronisationKey(name)
	return amend(ctx, q.Store, record.Resynchronisations, key, func(mark *recordpb.Resynchronisation) error {
		mark.Target, mark.Generation, mark.WantedAt, mark.Reason = string(name), mark.GetGeneration()+1, q.Now().UnixNano(), reason
		mark.BegunAt = 0
		return nil
	})
}

// WaitResynchronise returns when the target is marked, was not forgotten, and its queue is
// not paused, or with ctx's error when it has ended. A mark stays until EndResynchronise, also
// over a restart in between.
func (q *Queue) WaitResynchronise(ctx context.Context, name secret.RegionName) error {
	return q.wait(ctx, name, func(t *target, now time.Time) (bool, time.Time) {
		if until, paused := t.paused(now); paused {
			return false, until
		}
		return t.loaded && t.resync != nil && !t.resync.GetForgotten(), time.Time{}
	})
}

// BeginResynchronise takes note in the store that the comparison begins. What is
// compared must be read at revision or later. Records whose last mutation is not
// cleared may be passed over: clearing it enqueues it or marks the target anew.
// Errors: CodeNotFound if the target is not marked; those of the store.
func (q *Queue) BeginResynchronise(ctx context.Context, name secret.RegionName) (revision int64, err error) {
	key := record.ResynchronisationKey(name)
	for {
		mark, at, err := record.Load(q.Store.View(ctx), record.Resynchronisations, key)
		if errors.Is(err, record.ErrNotFound) {
			return 0, secret.Errorf(secret.CodeNotFound, "%s is not marked for resynchronisation", name)
		}
		if err == nil && mark.GetForgotten() {
			err = secret.Errorf(secret.CodeNotFound, "%s was forgotten, and no new life of it is admitted", name)
		}
		if err != nil {
			return 0, err
		}
		mark.BegunAt = q.Now().UnixNano()
		var txn record.Txn
		txn.Require(key, at)
		txn.Put(key, record.Resynchronisations.Encode(mark))
		revision, err := q.Store.Commit(ctx, txn)
		if !secret.HasCode(err, secret.CodeStale) {
			return revision, err
		}
	}
}

// EndResynchronise takes the mark away after everything was compared. revision is
// what BeginResynchronise returned. Errors: CodeStale if the target was marked
// again meanwhile, or another process began too: it must be compared once more;
// those of the store.
func (q *Queue) EndResynchronise(ctx context.Context, name secret.RegionName, revision int64) error {
	key := record.ResynchronisationKey(name)
	var txn record.Txn
	txn.Require(key, revision)
	txn.Delete(key)
	_, err := q.Store.Commit(ctx, txn)
	return err
}

// amend changes a record, or makes it out of an empty one, on what the store holds.
func amend[T any](ctx context.Context, store Store, kind record.Kind[T], key record.Key, change func(*T) error) error {
	for {
		t, revision, err := record.Load(store.View(ctx), kind, key)
		if errors.Is(err, record.ErrNotFound) {
			t, err = new(T), nil
		}
		if err != nil {
			return err
		}
		if err := change(t); err != nil {
			return err
		}
		var txn record.Txn
		txn.Require(key, revision)
		txn.Put(key, kind.Encode(t))
		if _, err = store.Commit(ctx, txn); !secret.HasCode(err, secret.CodeStale) {
			return err
		}
	}
}

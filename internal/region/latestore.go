package region

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/store"
)

// lateStore is the shard's store, which may become reachable only after the
// process serves reads: an embedded member waits for a majority of its cluster.
type lateStore struct {
	shard atomic.Pointer[store.Shard]
	owner string
	commitMetrics
}

func newLateStore(owner string) *lateStore {
	return &lateStore{owner: owner, commitMetrics: newCommitMetrics()}
}

const leaseTTL = 5 * time.Second

var errStarting = secret.Errorf(secret.CodeUnavailable, "the store is not ready yet")

func (l *lateStore) get() (*store.Shard, error) {
	if s := l.shard.Load(); s != nil {
		return s, nil
	}
	return nil, errStarting
}

type noView struct{}

func (noView) Get(record.Key) (record.Stored, bool, error) {
	return record.Stored{}, false, errStarting
}
func (noView) Scan(record.Key, record.Key, func(record.Stored) bool) error {
	return errStarting
}

// View implements service.Store.
func (l *lateStore) View(ctx context.Context) record.View {
	s, err := l.get()
	if err != nil {
		return noView{}
	}
	return s.View(ctx)
}

// Commit implements service.Store.
func (l *lateStore) Commit(ctx context.Context, txn record.Txn) (int64, error) {
	s, err := l.get()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	revision, err := s.Commit(ctx, txn)
	l.committed(began, err)
	return revision, err
}

// CommitEach implements pipeline.Store and queue.Store.
func (l *lateStore) CommitEach(ctx context.Context, txns []record.Txn) (committed []bool, err error) {
	s, err := l.get()
	if err != nil {
		return nil, err
	}
	results, _, err := s.CommitEach(ctx, txns)
	committed = make([]bool, len(results))
	for i, r := range results {
		committed[i] = r.Err == nil
	}
	return committed, err
}

// DeleteRange implements pipeline.Store.
func (l *lateStore) DeleteRange(ctx context.Context, start, end record.Key) (int64, error) {
	s, err := l.get()
	if err != nil {
		return 0, err
	}
	return s.DeleteRange(ctx, start, end)
}

// Hold implements pipeline.Store.
func (l *lateStore) Hold(ctx context.Context, name string, run func(context.Context) error) error {
	s, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return s.Hold(ctx, name, leaseTTL, l.owner, run)
}

// wait returns the store once it is there.
func (l *lateStore) wait(ctx context.Context) (*store.Shard, error) {
	for {
		if s, err := l.get(); err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Page implements replica.Source.
func (l *lateStore) Page(ctx context.Context, start, end record.Key, limit int) (record.Page, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return record.Page{}, err
	}
	return s.Page(ctx, start, end, limit)
}

// Feed implements replica.Source.
func (l *lateStore) Feed(ctx context.Context, after int64, apply func(record.Batch) error) error {
	s, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return s.Feed(ctx, after, apply)
}

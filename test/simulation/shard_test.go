package simulation

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// shard is a store in memory and, at the same time, its local copy. It outlives
// the crashes of its region's processes.
type shard struct {
	// feeding keeps what is told of commits in their order.
	feeding sync.Mutex
	// committing is told of each commit before others can see it, with what is there;
	// changed afterwards.
	committing func(before view, txn record.Txn)
	changed    func([]record.Change)

	// slow is how many nanoseconds a commit may take; 5 ms if 0.
	slow atomic.Int64

	mu       sync.Mutex
	revision int64
	records  map[record.Key]record.Stored
}

func (s *shard) Commit(_ context.Context, txn record.Txn) (int64, error) {
	time.Sleep(rand.N(max(time.Duration(s.slow.Load()), 5*time.Millisecond))) // others come in between
	s.feeding.Lock()
	defer s.feeding.Unlock()
	changes, err := s.commit(txn)
	if err != nil || len(changes) == 0 {
		return s.snapshot().revision, err
	}
	if s.changed != nil {
		s.changed(changes)
	}
	return changes[0].Revision, nil
}

func (s *shard) commit(txn record.Txn) (changes []record.Change, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range txn.Conditions {
		if s.records[c.Key].Revision != c.Revision {
			return nil, secret.Errorf(secret.CodeStale, "condition on %s", c.Key)
		}
	}
	if len(txn.Writes) > 128 || len(txn.Conditions) > 128 {
		return nil, secret.Errorf(secret.CodeLimit, "%d writes", len(txn.Writes))
	}
	s.revision++
	records := maps.Clone(s.records) // views keep what they have
	written := map[record.Key]bool{}
	for _, w := range txn.Writes {
		if written[w.Key] {
			return nil, secret.Errorf(secret.CodeInternal, "%s is written twice", w.Key)
		}
		written[w.Key] = true
		stored := record.Stored{Key: w.Key, Value: w.Value, Revision: s.revision}
		if delete(records, w.Key); w.Value != nil {
			records[w.Key] = stored
		}
		changes = append(changes, record.Change{Stored: stored, Deleted: w.Value == nil})
	}
	if s.committing != nil {
		s.committing(view{s.records, s.revision}, txn)
	}
	s.records = records
	return changes, nil
}

func (s *shard) CommitEach(ctx context.Context, txns []record.Txn) (committed []bool, err error) {
	committed = make([]bool, len(txns))
	for i, txn := range txns {
		_, err := s.Commit(ctx, txn)
		if err != nil && !secret.HasCode(err, secret.CodeStale) {
			return committed, err
		}
		committed[i] = err == nil
	}
	return committed, nil
}

func (s *shard) DeleteRange(ctx context.Context, start, end record.Key) (int64, error) {
	var txn record.Txn
	for key := range s.snapshot().records {
		if key >= start && (end == "" || key < end) {
			txn.Delete(key)
		}
	}
	_, err := s.Commit(ctx, txn)
	return int64(len(txn.Writes)), err
}

func (s *shard) Hold(ctx context.Context, _ string, run func(context.Context) error) error {
	return run(ctx)
}

func (s *shard) snapshot() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{s.records, s.revision}
}

func (s *shard) View(context.Context) record.View { return s.snapshot() }

// local is the shard as the process's own copy.
type local struct{ *shard }

func (l local) View(fn func(record.View) error) error        { return fn(l.snapshot()) }
func (local) Age() time.Duration                             { return 0 }
func (local) Synced() bool                                   { return true }
func (local) WaitApplied(ctx context.Context, _ int64) error { return ctx.Err() }

func (l local) Applied() int64 { return l.snapshot().revision }

type view struct {
	records  map[record.Key]record.Stored
	revision int64
}

func (v view) Revision() int64 { return v.revision }

func (v view) Get(key record.Key) (record.Stored, bool, error) {
	s, ok := v.records[key]
	return s, ok, nil
}

func (v view) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	var keys []record.Key
	for key := range v.records {
		if key >= start && (end == "" || key < end) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if !visit(v.records[key]) {
			break
		}
	}
	return nil
}

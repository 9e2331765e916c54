package queue_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/queue"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const west secret.RegionName = "west"

// shard is a store in memory with a change feed.
type shard struct {
	mu       sync.Mutex
	revision int64
	records  map[record.Key]record.Stored
	log      []record.Change
	// down is what every call returns, if set.
	down error
	// before, if set, runs once before the next transaction.
	before func()
	// followers hear of each change at once.
	followers []*process
	// largest is the most records that one call of DeleteRange deleted.
	largest int64
}

func newShard() *shard { return &shard{records: map[record.Key]record.Stored{}} }

// process is one control process with its copy of the shard.
type process struct {
	*queue.Queue
	shard *shard

	mu    sync.Mutex
	local map[record.Key]record.Stored
	heard int
}

// start returns a process that has loaded what the shard holds, and hears of
// changes only by hear.
func (s *shard) start(t interface{ Fatal(...any) }, o queue.Options) *process {
	p := &process{shard: s, local: map[record.Key]record.Stored{}}
	o.Store, o.Local = s, p
	p.Queue = queue.New(o)
	s.mu.Lock()
	maps.Copy(p.local, s.records)
	p.heard = len(s.log)
	s.mu.Unlock()
	if err := p.Load(); err != nil {
		t.Fatal(err)
	}
	return p
}

// follow returns a process that hears of each change at once.
func follow(t testing.TB, o queue.Options) (*shard, *process) {
	s := newShard()
	p := s.start(t, o)
	s.followers = append(s.followers, p)
	return s, p
}

// hear takes up to n changes.
func (p *process) hear(n int) {
	p.shard.mu.Lock()
	changes := p.shard.log[p.heard:min(p.heard+n, len(p.shard.log))]
	p.shard.mu.Unlock()
	p.mu.Lock()
	for _, c := range changes {
		if delete(p.local, c.Key); !c.Deleted {
			p.local[c.Key] = c.Stored
		}
	}
	p.heard += len(changes)
	p.mu.Unlock()
	p.Changed(changes)
}

func (p *process) View(fn func(record.View) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.shard.failure(); err != nil {
		return err
	}
	return fn(view(p.local))
}

func (s *shard) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *shard) Commit(_ context.Context, txn record.Txn) (int64, error) {
	s.mu.Lock()
	before := s.before
	s.before = nil
	s.mu.Unlock()
	if before != nil {
		before()
	}
	revision, err := s.commit(txn)
	for _, p := range s.followers {
		p.hear(len(txn.Writes))
	}
	return revision, err
}

func (s *shard) commit(txn record.Txn) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return 0, s.down
	}
	for _, c := range txn.Conditions {
		if s.records[c.Key].Revision != c.Revision {
			return 0, secret.Errorf(secret.CodeStale, "condition on %s", c.Key)
		}
	}
	s.revision++
	for _, w := range txn.Writes {
		stored := record.Stored{Key: w.Key, Value: w.Value, Revision: s.revision}
		if delete(s.records, w.Key); w.Value != nil {
			s.records[w.Key] = stored
		}
		s.log = append(s.log, record.Change{Stored: stored, Deleted: w.Value == nil})
	}
	return s.revision, nil
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
	for _, key := range s.keys(start, end) {
		txn.Delete(key)
	}
	s.largest = max(s.largest, int64(len(txn.Writes)))
	_, err := s.Commit(ctx, txn)
	return int64(len(txn.Writes)), err
}

func (s *shard) View(context.Context) record.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view(maps.Clone(s.records))
}

func (s *shard) has(key record.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.records[key]
	return ok
}

func (s *shard) keys(start, end record.Key) (keys []record.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.records {
		if key >= start && (end == "" || key < end) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// message returns what the store holds for a target, nil if nothing.
func (s *shard) message(t testing.TB, target secret.RegionName, key record.Key) *recordpb.Message {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, ok := s.records[record.MessageKey(target, key)]
	if !ok {
		return nil
	}
	m, err := record.Messages.Decode(stored.Value)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

type view map[record.Key]record.Stored

func (v view) Get(key record.Key) (record.Stored, bool, error) {
	s, ok := v[key]
	return s, ok, nil
}

func (v view) Scan(start, end record.Key, visit func(record.Stored) bool) error {
	for _, key := range slices.Sorted(maps.Keys(v)) {
		if key >= start && (end == "" || key < end) && !visit(v[key]) {
			break
		}
	}
	return nil
}

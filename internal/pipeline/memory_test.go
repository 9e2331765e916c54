package pipeline_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lifeboat-secrets/lifeboat/internal/pipeline"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a shard whose feed is the pipeline's.
type memory struct {
	pipeline *pipeline.Pipeline

	mu       sync.Mutex
	revision int64
	records  map[record.Key]record.Stored
	// cleared are the work items that were deleted, by the revision they had.
	cleared map[int64]bool
	// down is what every call returns, if set.
	down error
	// damage is what the process's own copy returns, if set, incomplete that it is.
	damage     error
	incomplete bool
	// largest is the most records that one call of DeleteRange deleted.
	largest int64
	// holds counts how often the lease was taken.
	holds atomic.Int64
	// before, if set, runs once before the next transaction.
	before func()
}

// start returns a pipeline that runs on a shard until the test ends.
func start(t testing.TB, load ...record.Write) (*memory, *pipeline.Pipeline) {
	return startWith(t, pipeline.Options{}, load...)
}

// startWith does so with options other than those of the shard.
func startWith(t testing.TB, o pipeline.Options, load ...record.Write) (*memory, *pipeline.Pipeline) {
	m := &memory{records: map[record.Key]record.Stored{}, cleared: map[int64]bool{}}
	o.Store, o.Local = m, local{m}
	p := pipeline.New(o)
	for _, w := range load {
		m.write(w)
	}
	m.pipeline = p
	if err := p.Load(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return m, p
}

// write commits writes and feeds them to the pipeline.
func (m *memory) write(writes ...record.Write) int64 {
	m.mu.Lock()
	m.revision++
	var changes []record.Change
	for _, w := range writes {
		s := record.Stored{Key: w.Key, Value: w.Value, Revision: m.revision}
		if old, had := m.records[w.Key]; had && w.Value == nil && w.Key.HasPrefix(record.WorkPrefix) {
			m.cleared[old.Revision] = true
		}
		if delete(m.records, w.Key); w.Value != nil {
			m.records[w.Key] = s
		}
		changes = append(changes, record.Change{Stored: s, Deleted: w.Value == nil})
	}
	revision := m.revision
	m.mu.Unlock()
	if m.pipeline != nil {
		m.pipeline.Changed(changes)
	}
	return revision
}

// mutate puts the work item of a record.
func (m *memory) mutate(key record.Key) int64 {
	return m.write(record.Write{Key: record.WorkKey(key), Value: record.WorkItems.Encode(&recordpb.WorkItem{
		Record: string(key), CommittedAt: time.Now().UnixNano(), Mutation: "UPDATE",
	})})
}

func (m *memory) has(key record.Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.records[key]
	return ok
}

func (m *memory) open(key record.Key) bool { return m.has(record.WorkKey(key)) }

func (m *memory) Commit(_ context.Context, txn record.Txn) (int64, error) {
	m.mu.Lock()
	before, down := m.before, m.down
	m.before = nil
	m.mu.Unlock()
	if before != nil {
		before()
	}
	if down != nil {
		return 0, down
	}
	m.mu.Lock()
	for _, c := range txn.Conditions {
		if m.records[c.Key].Revision != c.Revision {
			m.mu.Unlock()
			return 0, secret.Errorf(secret.CodeStale, "condition on %s", c.Key)
		}
	}
	m.mu.Unlock()
	return m.write(txn.Writes...), nil
}

func (m *memory) CommitEach(ctx context.Context, txns []record.Txn) (committed []bool, err error) {
	committed = make([]bool, len(txns))
	for i, txn := range txns {
		_, err := m.Commit(ctx, txn)
		if err != nil && !secret.HasCode(err, secret.CodeStale) {
			return committed, err
		}
		committed[i] = err == nil
	}
	return committed, nil
}

func (m *memory) DeleteRange(_ context.Context, start, end record.Key) (deleted int64, err error) {
	defer func() { m.largest = max(m.largest, deleted) }()
	for _, key := range m.keys() {
		if key >= start && key < end {
			m.write(record.Write{Key: key})
			deleted++
		}
	}
	return deleted, nil
}

func (m *memory) Hold(ctx context.Context, _ string, run func(context.Context) error) error {
	m.holds.Add(1)
	return run(ctx)
}

func (m *memory) keys() []record.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.records))
}

// latest returns the revision of the last write.
func (m *memory) latest() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision
}

func (m *memory) snapshot() view {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records)
}

func (m *memory) View(context.Context) record.View { return m.snapshot() }

// local is the same shard as a process's own copy.
type local struct{ *memory }

func (l local) Synced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.incomplete
}

func (l local) View(fn func(record.View) error) error {
	l.mu.Lock()
	damage := l.damage
	l.mu.Unlock()
	if damage != nil {
		return damage
	}
	return fn(l.snapshot())
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

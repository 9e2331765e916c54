package replica_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// memory is a store with the semantics of etcd that matter here: revisions,
// compaction, pages at the latest revision, and a feed in order of commits.
type memory struct {
	mu        sync.Mutex
	revision  int64
	compacted int64
	records   map[record.Key]record.Stored
	sorted    []record.Key // of records, nil after a change
	log       []record.Batch
	moved     chan struct{} // closed when something happens
	cut       error         // what every call returns, if set
	// beforePage runs before each page is read, without the lock.
	beforePage func(start record.Key)
	// perBatch bounds the changes in a batch of the feed, if set.
	perBatch int
	// perPage bounds the records of a page, if set.
	perPage int
}

func newMemory() *memory {
	return &memory{records: map[record.Key]record.Stored{}, moved: make(chan struct{})}
}

func (m *memory) wake() {
	m.sorted = nil
	close(m.moved)
	m.moved = make(chan struct{})
}

// commit does all writes in one transaction and returns its revision.
func (m *memory) commit(writes ...record.Write) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision++
	b := record.Batch{Revision: m.revision}
	for _, w := range writes {
		s := record.Stored{Key: w.Key, Value: w.Value, Revision: m.revision}
		_, had := m.records[w.Key]
		switch {
		case w.Value != nil:
			m.records[w.Key] = s
		case had:
			delete(m.records, w.Key)
		default:
			continue
		}
		b.Changes = append(b.Changes, record.Change{Stored: s, Deleted: w.Value == nil})
	}
	m.log = append(m.log, b)
	m.wake()
	return m.revision
}

func (m *memory) put(key record.Key, value []byte) int64 {
	return m.commit(record.Write{Key: key, Value: value})
}

func (m *memory) delete(key record.Key) int64 { return m.commit(record.Write{Key: key}) }

// compact forgets the history up to the latest revision.
func (m *memory) compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.compacted, m.log = m.revision, nil
	m.wake()
}

// sever makes the source fail with err until it is called with nil.
func (m *memory) sever(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = err
	m.wake()
}

// copyOf returns the present content, to be restored later.
func (m *memory) copyOf() map[record.Key]record.Stored {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records)
}

// restore replaces the content, with revisions that start anew.
func (m *memory) restore(content map[record.Key]record.Stored, region *recordpb.Region) {
	m.mu.Lock()
	m.records, m.log, m.compacted, m.revision = map[record.Key]record.Stored{}, nil, 0, 1
	for k, s := range content {
		s.Revision = 1
		m.records[k] = s
	}
	m.compacted = 1
	m.wake()
	m.mu.Unlock()
	if region != nil {
		m.put(record.RegionKey, record.Regions.Encode(region))
	}
}

func (m *memory) head() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision
}

func (m *memory) Page(ctx context.Context, start, end record.Key, limit int) (record.Page, error) {
	m.mu.Lock()
	hook := m.beforePage
	m.mu.Unlock()
	if hook != nil {
		hook(start)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.cut, ctx.Err()); err != nil {
		return record.Page{}, err
	}
	if m.perPage > 0 {
		limit = min(limit, m.perPage)
	}
	p := record.Page{Revision: m.revision}
	if m.sorted == nil {
		m.sorted = slices.Sorted(maps.Keys(m.records))
	}
	from, _ := slices.BinarySearch(m.sorted, start)
	for _, k := range m.sorted[from:] {
		if end != "" && k >= end {
			break
		}
		if len(p.Records) == limit {
			p.More = true
			break
		}
		p.Records = append(p.Records, m.records[k])
	}
	return p, nil
}

func (m *memory) Feed(ctx context.Context, after int64, apply func(record.Batch) error) error {
	for {
		b, moved, err := m.next(after)
		if err != nil {
			return err
		}
		if b == nil {
			select {
			case <-moved:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if err := apply(*b); err != nil {
			return err
		}
		after = b.Revision
	}
}

func (m *memory) next(after int64) (*record.Batch, chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cut != nil:
		return nil, nil, m.cut
	case after > m.revision:
		return nil, nil, record.ErrAhead
	case after < m.compacted:
		return nil, nil, record.ErrCompacted
	}
	var out *record.Batch
	for _, b := range m.log {
		if b.Revision <= after {
			continue
		}
		if out == nil {
			out = &record.Batch{}
		}
		out.Revision = b.Revision
		out.Changes = append(out.Changes, b.Changes...)
		if m.perBatch > 0 && len(out.Changes) >= m.perBatch {
			break
		}
	}
	return out, m.moved, nil
}

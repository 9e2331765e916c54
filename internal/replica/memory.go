package replica

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

const (
	memoryBuckets = 128
	memoryWays    = 4
)

// memory keeps what readers made of single records, for those that come after them. Its
// size is fixed: who finds a bucket full takes the place of another. Readers take no lock.
//
// A commit counts for a bucket from before it is visible. What a snapshot made of a record
// is right for another snapshot if both hold the last commit that counts: the record did
// not change between them, nor has it since.
type memory struct {
	seed    maphash.Seed
	buckets [memoryBuckets]memoryBucket
}

type memoryBucket struct {
	// changed is the last commit that wrote a record of the bucket, or is about to.
	changed atomic.Uint64
	memos   [memoryWays]atomic.Pointer[memo]
}

// memo is what was made of a record.
type memo struct {
	key   record.Key
	value any
	// snapshot is that which it was made of, seen the last commit that this is sure to hold.
	snapshot, seen uint64
}

// keeps reports whether anything is kept of a record: not of those that most mutations
// write, which would end what is kept in most buckets with each commit.
func keeps(key record.Key) bool {
	for _, prefix := range [...]string{
		record.SecretPrefix, record.SecretNamePrefix, record.VersionPrefix, record.WorkPrefix,
		record.MessagePrefix, record.AccessPrefix, record.ControlPrefix,
	} {
		if key.HasPrefix(prefix) {
			return false
		}
	}
	return true
}

// Recall returns what Keep was given for a record as it is in this view, nil if nothing
// was or it is forgotten.
func (v *view) Recall(key record.Key) any {
	b, _ := v.file.memory.of(key)
	for i := range b.memos {
		m := b.memos[i].Load()
		if m == nil || m.key != key {
			continue
		}
		if m.snapshot == v.snapshot.id {
			return m.value // also while a commit is under way
		}
		// After the memo: a commit counts before anything is made of what it wrote.
		if changed := b.changed.Load(); m.seen >= changed && v.snapshot.commit >= changed {
			return m.value
		}
		return nil
	}
	return nil
}

// Keep has Recall return value for a record. It must follow from that record alone as it
// is in this view, must not alias it, and must never be changed.
func (v *view) Keep(key record.Key, value any) {
	if !keeps(key) {
		return
	}
	b, at := v.file.memory.of(key)
	for i := range b.memos {
		old := b.memos[i].Load()
		if old != nil && old.key == key && old.seen > v.snapshot.commit {
			return // it is of a newer view
		}
		if old == nil || old.key == key {
			at = i
			break
		}
	}
	b.memos[at].Store(&memo{key: key, value: value, snapshot: v.snapshot.id, seen: v.snapshot.commit})
}

// of returns where what is made of a record is kept, and whose place it takes there.
func (m *memory) of(key record.Key) (b *memoryBucket, victim int) {
	h := maphash.String(m.seed, string(key))
	return &m.buckets[h%memoryBuckets], int(h / memoryBuckets % memoryWays)
}

// change has a commit count for a record that it writes, or has withheld.
func (m *memory) change(key record.Key, commit uint64) {
	if keeps(key) {
		b, _ := m.of(key)
		b.changed.Store(commit)
	}
}

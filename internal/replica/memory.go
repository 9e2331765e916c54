package replica

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

const (
	memoryBuckets = 64
	memoryWays    = 4
)

// memory keeps what readers of a snapshot made of its records, for those that come
// after them: it is right for as long as the snapshot is what is read, and ends
// with it. Its size is fixed, since each commit begins a new one; who finds a
// bucket full takes the place of another. Readers take no lock.
type memory [memoryBuckets][memoryWays]atomic.Pointer[memo]

type memo struct {
	key   record.Key
	value any
}

// Recall returns what Keep was given for a key in this state of the copy, nil if
// nothing was or it is forgotten.
func (v *view) Recall(key record.Key) any {
	bucket, _ := v.snapshot.remember(key)
	for i := range bucket {
		if m := bucket[i].Load(); m != nil && m.key == key {
			return m.value
		}
	}
	return nil
}

// Keep has Recall return value for a key. It must follow from what the view shows
// alone, must not alias it, and must never be changed.
func (v *view) Keep(key record.Key, value any) {
	bucket, victim := v.snapshot.remember(key)
	m := &memo{key: key, value: value}
	for i := range bucket {
		if old := bucket[i].Load(); old == nil || old.key == key {
			bucket[i].Store(m)
			return
		}
	}
	bucket[victim].Store(m)
}

// remember returns where a key is kept, and whose place it takes there.
func (s *snapshot) remember(key record.Key) (bucket *[memoryWays]atomic.Pointer[memo], victim int) {
	h := maphash.String(s.seed, string(key))
	return &s.memory[h%memoryBuckets], int(h / memoryBuckets % memoryWays)
}

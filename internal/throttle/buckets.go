package throttle

import (
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	shardCount = 64
	// minSweep is the size from which on a shard looks for idle buckets.
	minSweep = 64
)

// buckets holds a token bucket for each key that was used lately. A bucket that
// is full again is as good as none, so it is dropped: the memory is bounded by
// the keys used within the time in which a bucket fills. There is no goroutine:
// who adds a key to a shard that has doubled sweeps it.
type buckets struct {
	limit  rate.Limit
	burst  int
	seed   maphash.Seed
	shards [shardCount]shard
}

type shard struct {
	mu      sync.Mutex
	byKey   map[string]*rate.Limiter
	sweepAt int
}

func makeBuckets(limit rate.Limit, burst int) *buckets {
	b := &buckets{limit: limit, burst: burst, seed: maphash.MakeSeed()}
	for i := range b.shards {
		b.shards[i].byKey = make(map[string]*rate.Limiter)
		b.shards[i].sweepAt = minSweep
	}
	return b
}

// take takes a token, or takes none and returns how long until there is one. A
// nil receiver, or an empty key, has no limit and returns a nil reservation.
func (b *buckets) take(key string, now time.Time) (*rate.Reservation, time.Duration) {
	if b == nil || key == "" {
		return nil, 0
	}
	s := &b.shards[maphash.String(b.seed, key)%shardCount]
	s.mu.Lock() // held while taking, so that no bucket in use is swept
	defer s.mu.Unlock()
	bucket := s.byKey[key]
	if bucket == nil {
		s.sweep(now, b.burst)
		bucket = rate.NewLimiter(b.limit, b.burst)
		s.byKey[key] = bucket
	}
	r := bucket.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return r, wait
}

// sweep drops full buckets if the shard has doubled since the last time.
func (s *shard) sweep(now time.Time, burst int) {
	if len(s.byKey) < s.sweepAt {
		return
	}
	for key, bucket := range s.byKey {
		if bucket.TokensAt(now) >= float64(burst) {
			delete(s.byKey, key)
		}
	}
	s.sweepAt = max(minSweep, 2*len(s.byKey))
}

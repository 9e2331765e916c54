package keyring

import (
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

// Stats count since the keyring was made.
type Stats struct {
	// Hits are uses of a cached key, Misses those that had to wait for the key
	// service, StaleServes those of a key past its lifetime (also counted above).
	Hits, Misses, StaleServes uint64
	// Unwraps are calls of the key service, Failures those it did not fulfil.
	Unwraps, Failures uint64
	// Cached is the number of keys in the cache.
	Cached int
	// MostSeals is the highest number of seals by one generation; see MaxSeals.
	MostSeals uint64
}

// Stats returns the counts. They are read one by one, not at one instant.
func (k *Keyring) Stats() Stats {
	s := Stats{
		Misses: k.misses.Load(), StaleServes: k.stale.Load(),
		Unwraps: k.unwraps.Load(), Failures: k.failures.Load(),
	}
	k.uses.Range(func(_, u any) bool {
		s.Hits += u.(*usage).hits.Load()
		s.MostSeals = max(s.MostSeals, u.(*usage).seals.Load())
		return true
	})
	k.keys.Range(func(_, _ any) bool {
		s.Cached++
		return true
	})
	return s
}

// Health says how the key service answered last.
type Health struct {
	KeyService kms.Description
	// FailingSince is when the first of the failures began that no success has
	// followed yet; zero means that the key service is well, or was not asked.
	FailingSince time.Time
	// Err is the last of those failures.
	Err error
	// LastSuccess is when the key service last unwrapped a key.
	LastSuccess time.Time
}

// OK reports whether the last call of the key service succeeded, or none was made.
func (h Health) OK() bool { return h.Err == nil }

// Health returns how the key service answered last. It does no I/O.
func (k *Keyring) Health() Health {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.health
	h.KeyService = k.opts.Wrapper.Describe()
	return h
}

func (k *Keyring) answered() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.health = Health{LastSuccess: k.opts.Now()}
}

func (k *Keyring) noteFailure(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.health.Err == nil {
		k.health.FailingSince = k.opts.Now()
	}
	k.health.Err = err
}

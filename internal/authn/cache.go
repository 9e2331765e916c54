package authn

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// entry is what was decoded of a credential and its principal, and from which
// bytes. It is never changed once it is in the cache.
type entry struct {
	credential      *secret.Credential
	credentialKey   record.Key
	credentialValue []byte
	// decodedPrincipal is nil until the principal was looked at.
	*decodedPrincipal
}

// decodedPrincipal is what was decoded of a principal, and from which bytes.
type decodedPrincipal struct {
	principal      *secret.Principal
	principalKey   record.Key
	principalValue []byte
}

func (e *entry) cacheKey() secret.CredentialID { return e.credential.ID }

const ways = 4

// cached is a pointer to what a cache keeps.
type cached[K comparable, E any] interface {
	*E
	cacheKey() K
}

// cache keeps entries by their key in buckets of a fixed number of slots. A full
// bucket gives up one of its entries, so memory is bounded; readers take no lock.
// An entry is valid only after a look at the view, so losing one, or holding one
// twice, costs time and nothing else.
type cache[K comparable, E any, P cached[K, E]] struct {
	seed    maphash.Seed
	mask    uint64
	buckets []bucket[E]
	victim  atomic.Uint32
}

type bucket[E any] [ways]atomic.Pointer[E]

func newCache[K comparable, E any, P cached[K, E]](entries int) *cache[K, E, P] {
	n := 1 << bits.Len(uint(max(entries/ways, 1)-1))
	return &cache[K, E, P]{seed: maphash.MakeSeed(), mask: uint64(n - 1), buckets: make([]bucket[E], n)}
}

func (c *cache[K, E, P]) bucket(key K) *bucket[E] {
	return &c.buckets[maphash.Comparable(c.seed, key)&c.mask]
}

func (c *cache[K, E, P]) get(key K) *E {
	b := c.bucket(key)
	for i := range b {
		if e := b[i].Load(); e != nil && P(e).cacheKey() == key {
			return e
		}
	}
	return nil
}

func (c *cache[K, E, P]) put(e *E) {
	key := P(e).cacheKey()
	b := c.bucket(key)
	free := -1
	for i := range b {
		switch old := b[i].Load(); {
		case old == nil:
			free = i
		case P(old).cacheKey() == key:
			b[i].Store(e)
			return
		}
	}
	if free < 0 {
		free = int(c.victim.Add(1) % ways)
	}
	b[free].Store(e)
}

func (c *cache[K, E, P]) remove(key K) {
	b := c.bucket(key)
	for i := range b {
		if e := b[i].Load(); e != nil && P(e).cacheKey() == key {
			b[i].CompareAndSwap(e, nil)
		}
	}
}

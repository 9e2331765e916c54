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
	principal       *secret.Principal
	principalKey    record.Key
	principalValue  []byte
}

const ways = 4

// cache keeps entries by credential ID in buckets of a fixed number of slots. A
// full bucket gives up one of its entries, so memory is bounded; readers take
// no lock. An entry is valid only after a look at the view, so losing one, or
// holding one twice, costs time and nothing else.
type cache struct {
	seed    maphash.Seed
	mask    uint64
	buckets []bucket
	victim  atomic.Uint32
}

type bucket [ways]atomic.Pointer[entry]

func newCache(entries int) *cache {
	n := 1 << bits.Len(uint(max(entries/ways, 1)-1))
	return &cache{seed: maphash.MakeSeed(), mask: uint64(n - 1), buckets: make([]bucket, n)}
}

func (c *cache) bucket(id secret.CredentialID) *bucket {
	return &c.buckets[maphash.String(c.seed, string(id))&c.mask]
}

func (c *cache) get(id secret.CredentialID) *entry {
	b := c.bucket(id)
	for i := range b {
		if e := b[i].Load(); e != nil && e.credential.ID == id {
			return e
		}
	}
	return nil
}

func (c *cache) put(e *entry) {
	b := c.bucket(e.credential.ID)
	free := -1
	for i := range b {
		switch old := b[i].Load(); {
		case old == nil:
			free = i
		case old.credential.ID == e.credential.ID:
			b[i].Store(e)
			return
		}
	}
	if free < 0 {
		free = int(c.victim.Add(1) % ways)
	}
	b[free].Store(e)
}

func (c *cache) remove(id secret.CredentialID) {
	b := c.bucket(id)
	for i := range b {
		if e := b[i].Load(); e != nil && e.credential.ID == id {
			b[i].CompareAndSwap(e, nil)
		}
	}
}

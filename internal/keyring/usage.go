package keyring

import (
	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// Usage counts what this process sealed under one generation since it started.
type Usage struct {
	Scope      string
	Generation uint32
	Seals      uint64
}

// Usages returns the counts of all generations that sealed.
func (k *Keyring) Usages() []Usage {
	var all []Usage
	k.uses.Range(func(id, u any) bool {
		if seals := u.(*usage).seals.Load(); seals > 0 {
			all = append(all, Usage{Scope: id.(keyID).scope, Generation: id.(keyID).generation, Seals: seals})
		}
		return true
	})
	return all
}

// Deleted drops the cached key whose data-key record was deleted, at once: the
// generation was retired, or its vault was deleted.
func (k *Keyring) Deleted(key record.Key) {
	k.mu.Lock()
	k.era.Add(1)
	k.mu.Unlock()
	k.dropAll(func(id keyID) bool { return id.key() == key })
	k.opts.Sealed.Drop(func(id keycache.ID) bool { return (keyID{id.Scope, id.Generation}).key() == key })
}

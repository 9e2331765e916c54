package keyring

import (
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

func (id keyID) sealedID() keycache.ID {
	return keycache.ID{Scope: id.scope, Generation: id.generation}
}

// standIn returns a key of the sealed cache, nil if that has none: past its
// lifetime, as one that the key service did not confirm in this process.
func (k *Keyring) standIn(id keyID, stored *recordpb.DataKey) *dataKey {
	if k.opts.Sealed == nil {
		return nil
	}
	raw, until, err := k.opts.Sealed.Find(id.sealedID(), wrappedOf(stored))
	if err != nil {
		return nil // the key service's answer counts, and Status tells why
	}
	key, err := newDataKey(id, raw, k.usageOf(id))
	if err != nil {
		return nil
	}
	now := k.opts.Now()
	key.usableUntil = until.UnixNano()
	key.renewAt.Store(now.Add(retryAfter).UnixNano())
	return key
}

// adopt puts a stand-in into the cache for as long as it may be used, unless there
// is a key already or Forget was called since its record was read.
func (k *Keyring) adopt(key *dataKey, era uint64) *dataKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key.expiry != nil || k.closed || k.era.Load() != era {
		return key
	}
	now := k.opts.Now()
	there := k.cached(key.id)
	if there != nil && now.UnixNano() < there.usableUntil {
		return there
	}
	if there != nil {
		there.expiry.Stop()
	}
	k.opts.Sealed.Used()
	left := time.Unix(0, key.usableUntil).Sub(now)
	key.expiry = time.AfterFunc(left, func() { k.keys.CompareAndDelete(key.id, key) })
	k.keys.Store(key.id, key)
	return key
}

// PruneSealed drops from the sealed cache what is too old and what the view has no
// record of, or another. Errors: those of the view; nothing is dropped then.
func (k *Keyring) PruneSealed(view record.View) error {
	if k.opts.Sealed == nil {
		return nil
	}
	return k.opts.Sealed.Prune(func(id keycache.ID) (kms.Wrapped, bool, error) {
		stored, _, err := record.Load(view, record.DataKeys, keyID{id.Scope, id.Generation}.key())
		if errors.Is(err, record.ErrNotFound) {
			return kms.Wrapped{}, false, nil
		}
		return wrappedOf(stored), err == nil, err
	})
}

package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// get returns a key, from the cache if it can. A hit takes no lock and does not
// read the view.
func (k *Keyring) get(ctx context.Context, view record.View, id keyID) (*dataKey, error) {
	key := k.cached(id)
	if key == nil {
		return k.renew(ctx, view, id, nil)
	}
	now := k.opts.Now().UnixNano()
	switch {
	case now >= key.usableUntil:
		return k.renew(ctx, view, id, nil)
	case now >= key.renewAt.Load():
		return k.renew(ctx, view, id, key)
	case now >= key.freshUntil:
		k.stale.Add(1)
	}
	key.usage.hits.Add(1)
	return key, nil
}

func (k *Keyring) cached(id keyID) *dataKey {
	if v, ok := k.keys.Load(id); ok {
		return v.(*dataKey)
	}
	return nil
}

// renew has the key service unwrap a key. However many callers ask for a key,
// one call is under way; it goes on when its first caller gives up. If there is
// a stale key, callers wait for a short time only and then use that.
func (k *Keyring) renew(ctx context.Context, view record.View, id keyID, stale *dataKey) (*dataKey, error) {
	k.misses.Add(1)
	era := k.era.Load() // before the record is read; a flight from before Forget is not joined
	stored, _, err := loadRecord(view, id)
	if err != nil {
		return nil, err
	}
	flight := k.flights.DoChan(fmt.Sprintf("%s@%d", id, era), func() (any, error) {
		return k.unwrap(id, wrappedOf(stored), era)
	})
	if stale == nil {
		stale = k.standIn(id, stored)
	}
	var enough <-chan time.Time
	if stale != nil {
		timer := time.NewTimer(staleWait)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case result := <-flight:
		if result.Err == nil {
			return result.Val.(*dataKey), nil
		}
		if stale == nil || !mayUseStale(result.Err) {
			return nil, result.Err
		}
	case <-enough:
		k.postpone(stale)
	case <-ctx.Done():
		return nil, kms.Cancelled(ctx)
	}
	k.stale.Add(1)
	return k.adopt(stale, era), nil
}

// unwrap asks the key service for a key and puts it into the cache. It is the
// one flight for that key.
func (k *Keyring) unwrap(id keyID, wrapped kms.Wrapped, era uint64) (*dataKey, error) {
	if err := k.enter(); err != nil {
		return nil, err
	}
	defer k.running.Done()
	now := k.opts.Now()
	if key := k.cached(id); key != nil && now.UnixNano() < key.freshUntil {
		return key, nil // a flight ended just before this one began
	}
	ctx, cancel := context.WithTimeout(k.ctx, k.opts.UnwrapTimeout)
	defer cancel()
	k.unwraps.Add(1)
	raw, err := k.opts.Wrapper.Unwrap(ctx, wrapped, id.binding())
	if err != nil {
		if ctx.Err() != nil {
			err = kms.Fault(k.opts.Wrapper.Describe().Driver, err)
		}
		k.failed(id, wrapped, err)
		return nil, err
	}
	sealed := k.opts.Sealed.Seal(id.sealedID(), wrapped, raw, now)
	key, err := newDataKey(id, raw, k.usageOf(id))
	if err != nil {
		k.failed(id, wrapped, err)
		return nil, err
	}
	k.answered()
	return key, k.insert(key, sealed, now, era)
}

func (k *Keyring) enter() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return errClosed()
	}
	k.running.Add(1)
	return nil
}

// insert puts a key into the cache, unless Forget was called since its record was
// read. Its lifetime began when the key service was asked.
func (k *Keyring) insert(key *dataKey, sealed *keycache.Entry, asked time.Time, era uint64) error {
	key.freshUntil = asked.Add(k.opts.CacheFor).UnixNano()
	key.usableUntil = asked.Add(k.opts.CacheFor + k.opts.StaleFor).UnixNano()
	key.renewAt.Store(key.freshUntil)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return errClosed()
	}
	if k.era.Load() != era {
		return nil
	}
	k.opts.Sealed.Add(sealed)
	// The timer drops a key that nobody asks for any more.
	key.expiry = time.AfterFunc(k.opts.CacheFor+k.opts.StaleFor, func() { k.keys.CompareAndDelete(key.id, key) })
	if old, ok := k.keys.Swap(key.id, key); ok {
		old.(*dataKey).expiry.Stop()
	}
	return nil
}

// failed notes that the key service did not unwrap a key. A cached one is used
// on if it did not answer, and dropped if it refused.
func (k *Keyring) failed(id keyID, wrapped kms.Wrapped, err error) {
	k.failures.Add(1)
	if !errors.Is(err, kms.ErrTampered) { // that is the record's fault
		k.noteFailure(err)
	}
	if errors.Is(err, kms.ErrWrongKey) {
		k.opts.Sealed.Refused(wrapped.MasterKey)
	}
	switch key := k.cached(id); {
	case key == nil:
	case mayUseStale(err):
		k.postpone(key)
	default:
		k.drop(key)
	}
}

// mayUseStale reports whether a key that outlived its lifetime may be used after
// err: the key service did not answer, rather than refuse.
func mayUseStale(err error) bool {
	return !errors.Is(err, kms.ErrWrongKey) && !errors.Is(err, kms.ErrTampered)
}

func (k *Keyring) postpone(key *dataKey) {
	key.renewAt.Store(k.opts.Now().Add(retryAfter).UnixNano())
}

func (k *Keyring) drop(key *dataKey) {
	key.expiry.Stop()
	k.keys.CompareAndDelete(key.id, key)
}

func (k *Keyring) dropAll(match func(keyID) bool) {
	k.keys.Range(func(id, key any) bool {
		if match(id.(keyID)) {
			k.drop(key.(*dataKey))
		}
		return true
	})
}

func (k *Keyring) usageOf(id keyID) *usage {
	u, ok := k.uses.Load(id)
	if !ok {
		u, _ = k.uses.LoadOrStore(id, new(usage))
	}
	return u.(*usage)
}

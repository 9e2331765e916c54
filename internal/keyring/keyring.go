// Package keyring holds the data keys: it makes them, has the key service unwrap
// them, keeps them for a bounded time, and seals and opens content with them.
//
// A scope, a vault or an account, has one MAC key and a succession of SEAL keys.
// All are data-key records; the MAC key is generation 0 and the SEAL keys are
// generations 1, 2, 3…, of which the active-data-key record names the one that
// seals. The MAC key is the same in all regions, so that they can compare
// content they sealed differently; SEAL keys never leave their region. A
// generation of a scope is never made twice with another key.
package keyring

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/lifeboat-secrets/lifeboat/internal/keycache"
	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Defaults of Options.
const (
	DefaultCacheFor      = time.Hour
	DefaultStaleFor      = 24 * time.Hour
	DefaultUnwrapTimeout = 10 * time.Second
)

const (
	// retryAfter is how long a key that outlived its lifetime is used before the
	// key service is asked again.
	retryAfter = 5 * time.Second
	// staleWait is how long a caller waits for a slow key service when there is
	// such a key to go on with.
	staleWait = time.Second
)

// Options configure a Keyring.
type Options struct {
	// Wrapper is the key service; required. The keyring does not close it.
	Wrapper kms.Wrapper
	// CacheFor is how long an unwrapped key is used before the key service must
	// unwrap it again; zero means DefaultCacheFor.
	CacheFor time.Duration
	// StaleFor is how much longer a key is used while the key service fails to
	// answer; zero means DefaultStaleFor, negative means not at all. A key that
	// the key service refuses (kms.ErrWrongKey) is dropped at once.
	StaleFor time.Duration
	// UnwrapTimeout bounds one call of the key service; zero means
	// DefaultUnwrapTimeout.
	UnwrapTimeout time.Duration
	// Sealed keeps unwrapped keys over a restart, for while the key service does not
	// answer; nil means that none are kept. The keyring does not write it.
	Sealed *keycache.Cache
	// Now is the clock of lifetimes; nil means time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.CacheFor <= 0 {
		o.CacheFor = DefaultCacheFor
	}
	switch {
	case o.StaleFor == 0:
		o.StaleFor = DefaultStaleFor
	case o.StaleFor < 0:
		o.StaleFor = 0
	}
	if o.UnwrapTimeout <= 0 {
		o.UnwrapTimeout = DefaultUnwrapTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Keyring seals and opens content under the data keys of all scopes of a region.
// Its methods are safe for concurrent use.
type Keyring struct {
	opts    Options
	keys    sync.Map // keyID → *dataKey
	uses    sync.Map // keyID → *usage, kept when the key is dropped
	flights singleflight.Group
	// pool recycles the buffers of associated data, which hold nothing secret.
	pool sync.Pool

	// ctx ends, and running is waited for, when the keyring is closed.
	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex // guards closed, era, health, and additions to running and keys
	closed  bool
	era     atomic.Uint64 // counts calls of Forget; read without mu
	running sync.WaitGroup
	health  Health

	misses, unwraps, failures, stale atomic.Uint64
}

// New returns a keyring without any keys. Close it after use.
func New(opts Options) *Keyring {
	opts.setDefaults()
	k := &Keyring{opts: opts}
	k.pool.New = func() any { b := make([]byte, 0, 512); return &b }
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Close drops all keys and waits for calls of the key service that are under
// way. Afterwards nothing is sealed or opened, except by a Sealer obtained
// before. It always returns nil.
func (k *Keyring) Close() error {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cancel()
	k.running.Wait()
	k.dropAll(func(keyID) bool { return true })
	return nil
}

// Forget drops the cached keys of a scope, so that its next use unwraps them
// again: after the scope was removed, or its records were restored.
func (k *Keyring) Forget(scope string) {
	k.mu.Lock()
	k.era.Add(1)
	k.mu.Unlock()
	k.dropAll(func(id keyID) bool { return id.scope == scope })
	k.opts.Sealed.Drop(func(id keycache.ID) bool { return id.Scope == scope })
}

// ForgetAll is Forget for all scopes: the store has begun a new life, in which
// the same generation of a key may be another key.
func (k *Keyring) ForgetAll() {
	k.mu.Lock()
	k.era.Add(1)
	k.mu.Unlock()
	k.dropAll(func(keyID) bool { return true })
}

func errClosed() error {
	return secret.Errorf(secret.CodeKeyUnavailable, "the keyring was closed")
}

package region

import (
	"context"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// retries are the records that an operator took out of quarantine and that this
// process has not tried again yet.
type retries struct {
	mu   *sync.Mutex
	keys map[record.Key]bool
	// added has a token while there may be keys.
	added chan struct{}
}

func newRetries() retries {
	return retries{mu: new(sync.Mutex), keys: make(map[record.Key]bool), added: make(chan struct{}, 1)}
}

// add does not block.
func (r *retries) add(key record.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[key] = true
	select {
	case r.added <- struct{}{}:
	default:
	}
}

// waiting returns how many there are.
func (r *retries) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

func (r *retries) take() []record.Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []record.Key
	for key := range r.keys {
		keys = append(keys, key)
	}
	clear(r.keys)
	return keys
}

// retryQuarantined tries records again that an operator took out of quarantine.
func (p *Process) retryQuarantined(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.retries.added:
		}
		for _, key := range p.retries.take() {
			if err := p.local.Retry(ctx, key); err != nil && ctx.Err() == nil {
				p.log.Warn("record still cannot be applied", "record", key, "error", err)
			}
		}
	}
}

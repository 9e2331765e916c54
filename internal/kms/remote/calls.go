// Package remote is what drivers of key services across a network share: calls
// that are bounded in time and that end when the driver is closed.
package remote

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Calls are those of one driver that are under way. It is safe for concurrent use.
type Calls struct {
	driver  string
	timeout time.Duration
	closing chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

// NewCalls returns the calls of a driver, each bounded by timeout.
func NewCalls(driver string, timeout time.Duration) *Calls {
	return &Calls{driver: driver, timeout: timeout, closing: make(chan struct{})}
}

// Do runs call with a context that ends with ctx, at the timeout and on Close. An
// error of call that is typed already is returned as it is; others become
// kms.ErrClosed, the context's error or else kms.ErrFault.
func (c *Calls) Do(ctx context.Context, call func(context.Context) error) error {
	if err := kms.Cancelled(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if !c.enter(bounded, cancel) {
		return kms.Closed(c.driver)
	}
	defer c.running.Done()
	err := call(bounded)
	switch {
	case err == nil || verdict(err):
		return err
	case c.isClosed():
		return kms.Closed(c.driver)
	}
	if cancelled := kms.Cancelled(ctx); cancelled != nil {
		return cancelled
	}
	if errors.Is(err, kms.ErrFault) {
		return err
	}
	return kms.Fault(c.driver, err)
}

// verdict reports whether the key service had its say.
func verdict(err error) bool {
	return errors.Is(err, kms.ErrTampered) || errors.Is(err, kms.ErrWrongKey) || secret.HasCode(err, secret.CodeInvalid)
}

func (c *Calls) enter(call context.Context, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Add(1)
	c.running.Go(func() {
		select {
		case <-c.closing:
			cancel()
		case <-call.Done():
		}
	})
	return true
}

func (c *Calls) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close ends the calls under way and waits for them. It may be called again.
func (c *Calls) Close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
	}
	c.mu.Unlock()
	c.running.Wait()
}

package kms

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// lateEvery is how long a failure to open the key service is the answer before it
// is tried again.
const lateEvery = time.Second

// Late is a key service that could not be opened yet: each call tries to. Until it
// is open, calls fail with ErrFault, or with what else Open says.
type Late struct {
	driver string
	// production is what Describe says until it is open.
	production bool
	open       func(context.Context) (Wrapper, error)

	turn     chan struct{} // holds one element, taken by whoever opens or closes
	opened   atomic.Pointer[Wrapper]
	closed   bool
	failedAt time.Time
	failure  error
}

// LateRotator is a Late of a driver that implements Rotator.
type LateRotator struct{ *Late }

var (
	_ Wrapper = (*Late)(nil)
	_ Rotator = LateRotator{}
)

// NewLate returns a key service that open opens when it can.
func NewLate(driver string, production bool, open func(context.Context) (Wrapper, error)) *Late {
	l := &Late{driver: driver, production: production, open: open, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

func (l *Late) wrapper(ctx context.Context) (Wrapper, error) {
	if w := l.opened.Load(); w != nil {
		return *w, nil
	}
	select {
	case <-ctx.Done():
		return nil, Cancelled(ctx)
	case <-l.turn:
	}
	defer func() { l.turn <- struct{}{} }()
	switch w := l.opened.Load(); {
	case w != nil:
		return *w, nil
	case l.closed:
		return nil, Closed(l.driver)
	case l.failure != nil && time.Since(l.failedAt) < lateEvery:
		return nil, l.failure
	}
	w, err := l.open(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, Cancelled(ctx)
		}
		if secret.HasCode(err, secret.CodeKeyUnavailable) && !errors.Is(err, ErrFault) {
			err = Fault(l.driver, err)
		}
		l.failedAt, l.failure = time.Now(), err
		return nil, err
	}
	l.opened.Store(&w)
	return w, nil
}

// Describe implements Wrapper.
func (l *Late) Describe() Description {
	if w := l.opened.Load(); w != nil {
		return (*w).Describe()
	}
	return Description{Driver: l.driver, Production: l.production}
}

// Wrap implements Wrapper.
func (l *Late) Wrap(ctx context.Context, plaintext, aad []byte) (Wrapped, error) {
	return l.WrapUnder(ctx, "", plaintext, aad)
}

// WrapUnder implements Wrapper.
func (l *Late) WrapUnder(ctx context.Context, name string, plaintext, aad []byte) (Wrapped, error) {
	w, err := l.wrapper(ctx)
	if err != nil {
		return Wrapped{}, err
	}
	return w.WrapUnder(ctx, name, plaintext, aad)
}

// MasterKey implements Wrapper.
func (l *Late) MasterKey(ctx context.Context, name string) (string, error) {
	w, err := l.wrapper(ctx)
	if err != nil {
		return "", err
	}
	return w.MasterKey(ctx, name)
}

// Unwrap implements Wrapper.
func (l *Late) Unwrap(ctx context.Context, wrapped Wrapped, aad []byte) ([]byte, error) {
	w, err := l.wrapper(ctx)
	if err != nil {
		return nil, err
	}
	return w.Unwrap(ctx, wrapped, aad)
}

// Close implements Wrapper. It waits for an attempt that is under way.
func (l *Late) Close() error {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	l.closed = true
	if w := l.opened.Load(); w != nil {
		return (*w).Close()
	}
	return nil
}

// RotateMasterKey implements Rotator. Errors: also those of opening.
func (l LateRotator) RotateMasterKey(ctx context.Context, name string) (string, error) {
	w, err := l.wrapper(ctx)
	if err != nil {
		return "", err
	}
	r, ok := w.(Rotator)
	if !ok {
		return "", secret.Errorf(secret.CodeInternal, "the %s key service makes no master keys", l.driver)
	}
	return r.RotateMasterKey(ctx, name)
}

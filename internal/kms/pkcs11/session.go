//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"errors"
	"fmt"

	hsm "github.com/miekg/pkcs11"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

// connection is what holds from a login until the HSM loses it. Only gone is
// changed once made, under the wrapper's mutex.
type connection struct {
	// gone means that its sessions are: they are not closed, because a library
	// that started anew may have given their handles to others.
	gone   bool
	slot   uint
	active string
	keys   map[string]hsm.ObjectHandle // by the ID of the master key
	// missing says, by label, why a configured key is not in keys.
	missing map[string]error
}

// session is in use by one operation at a time, as PKCS#11 demands.
type session struct {
	*connection
	handle hsm.SessionHandle
}

// connect logs in and looks up the keys. The session is the connection's first.
func (w *wrapper) connect() (session, error) {
	slot, handle, err := w.token.connect()
	if err != nil {
		return session{}, err
	}
	c := &connection{slot: slot, keys: map[string]hsm.ObjectHandle{}, missing: map[string]error{}}
	for i, label := range w.labels {
		k, err := w.token.module.findKey(handle, label)
		switch {
		case errors.Is(err, errNoKey) || errors.Is(err, ErrUnfitKey):
			c.missing[label] = err
		case err != nil:
			_ = w.token.module.CloseSession(handle)
			return session{}, err
		default:
			c.keys[k.id] = k.handle
			if i == 0 {
				c.active = k.id
			}
		}
	}
	return session{connection: c, handle: handle}, nil
}

// operate runs use with a session of its own, at most twice: when the session,
// the login or the token turns out to be gone it connects again first. It returns
// when ctx is done, though an HSM cannot be told to stop; the operation then
// ends in the background, where its result is wiped. Errors: kms.ErrClosed,
// kms.ErrFault, the context's, and those of use that are already typed.
func (w *wrapper) operate(ctx context.Context, use func(session) ([]byte, error)) ([]byte, error) {
	if err := w.permit(ctx); err != nil {
		return nil, err
	}
	type result struct {
		bytes []byte
		err   error
	}
	done := make(chan result)
	go func() {
		b, err := w.attempt(use)
		<-w.permits
		select {
		case done <- result{b, err}:
		case <-ctx.Done():
			clear(b)
		}
	}()
	select {
	case r := <-done:
		return r.bytes, r.err
	case <-ctx.Done():
		return nil, kms.Cancelled(ctx)
	}
}

// permit waits for one of the permits, which the operation gives back.
func (w *wrapper) permit(ctx context.Context) error {
	if err := kms.Cancelled(ctx); err != nil {
		return err
	}
	select {
	case <-w.closing: // first, or a free permit might win
		return kms.Closed(Driver)
	default:
	}
	select {
	case <-w.closing:
		return kms.Closed(Driver)
	case <-ctx.Done():
		return kms.Cancelled(ctx)
	case w.permits <- struct{}{}:
		return nil
	}
}

func (w *wrapper) attempt(use func(session) ([]byte, error)) (b []byte, err error) {
	for range 2 {
		var s session
		if s, err = w.acquire(); err != nil {
			if lost(err) {
				continue
			}
			break
		}
		b, err = use(s)
		w.release(s, err)
		if !lost(err) {
			break
		}
	}
	if err == nil || typed(err) {
		return b, err
	}
	return nil, kms.Fault(Driver, err)
}

func typed(err error) bool {
	return errors.Is(err, kms.ErrTampered) || errors.Is(err, kms.ErrWrongKey) || errors.Is(err, kms.ErrClosed)
}

// acquire returns an idle session, a new one, or the first of a new connection.
func (w *wrapper) acquire() (session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closing:
		return session{}, kms.Closed(Driver)
	default:
	}
	if w.current == nil {
		s, err := w.connect()
		if err != nil {
			return session{}, err
		}
		w.current = s.connection
		if s.active != "" {
			w.activeKey = s.active
		}
		return s, nil
	}
	if n := len(w.idle); n > 0 {
		s := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return s, nil
	}
	handle, err := w.token.module.OpenSession(w.current.slot, hsm.CKF_SERIAL_SESSION|hsm.CKF_RW_SESSION)
	if err != nil {
		w.loseLocked(w.current, err)
		return session{}, fmt.Errorf("cannot open a session: %w", err)
	}
	return session{connection: w.current, handle: handle}, nil
}

// release makes the session idle, or closes it after an error: an operation may
// be left in it.
func (w *wrapper) release(s session, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && s.connection == w.current {
		w.idle = append(w.idle, s)
		return
	}
	if lost(err) {
		w.loseLocked(s.connection, err)
	}
	if !s.gone {
		_ = w.token.module.CloseSession(s.handle)
	}
}

// loseLocked gives up a connection because of err, if it is not given up yet.
func (w *wrapper) loseLocked(c *connection, err error) {
	if c == nil {
		return
	}
	c.gone = c.gone || sessionsGone(err)
	if w.current != c {
		return
	}
	for _, s := range w.idle {
		if !c.gone {
			_ = w.token.module.CloseSession(s.handle)
		}
	}
	w.current, w.idle = nil, nil
}

// lookAgain gives up the connection so that the next use looks up the keys anew.
func (w *wrapper) lookAgain(c *connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loseLocked(c, nil)
}

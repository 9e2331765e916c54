// Package kmstest is the conformance suite of key service drivers.
package kmstest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Run tests a driver. Each call of open returns a wrapper that works and that
// shares no master key with the others; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) kms.Wrapper) {
	s := suite{open}
	for name, test := range map[string]func(*testing.T){
		"describe":           s.describe,
		"roundtrip":          s.roundtrip,
		"limits":             s.limits,
		"associated data":    s.associatedData,
		"flipped bits":       s.flippedBits,
		"truncated":          s.truncated,
		"renamed master key": s.renamedKey,
		"foreign master key": s.foreignKey,
		"newer format":       s.newerFormat,
		"concurrent":         s.concurrent,
		"cancelled":          s.cancelled,
		"closed":             s.closed,
	} {
		t.Run(name, test)
	}
}

type suite struct {
	open func(t *testing.T) kms.Wrapper
}

var (
	plaintext = []byte("0123456789abcdef0123456789abcdef")
	aad       = []byte("what the key is for")
)

func (s suite) start(t *testing.T) kms.Wrapper {
	t.Helper()
	w := s.open(t)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return w
}

func wrap(t *testing.T, w kms.Wrapper) kms.Wrapped {
	t.Helper()
	wrapped, err := w.Wrap(t.Context(), plaintext, aad)
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}
	return wrapped
}

func wantTampered(t *testing.T, w kms.Wrapper, wrapped kms.Wrapped, aad []byte, what string) {
	t.Helper()
	got, err := w.Unwrap(t.Context(), wrapped, aad)
	if got != nil || !errors.Is(err, kms.ErrTampered) || !secret.HasCode(err, secret.CodeTampered) {
		t.Errorf("%s: got %d bytes and error %v, want ErrTampered with CodeTampered", what, len(got), err)
	}
	if errors.Is(err, kms.ErrFault) || errors.Is(err, kms.ErrWrongKey) {
		t.Errorf("%s: %v is more than tampering", what, err)
	}
}

func (s suite) describe(t *testing.T) {
	w := s.start(t)
	d := w.Describe()
	if d.Driver == "" || d.ActiveKey == "" {
		t.Errorf("Describe = %+v, want a driver and an active key", d)
	}
	if wrapped := wrap(t, w); wrapped.MasterKey != d.ActiveKey {
		t.Errorf("wrapped by %q, the active key is %q", wrapped.MasterKey, d.ActiveKey)
	}
}

func (s suite) roundtrip(t *testing.T) {
	w := s.start(t)
	for _, n := range []int{1, 16, 32, 33, kms.MaxPlaintextBytes} {
		want := bytes.Repeat([]byte{7}, n)
		for _, aad := range [][]byte{nil, aad, bytes.Repeat([]byte{9}, 1000)} {
			a, err := w.Wrap(t.Context(), want, aad)
			if err != nil {
				t.Fatalf("Wrap of %d bytes: %v", n, err)
			}
			got, err := w.Unwrap(t.Context(), a, aad)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("Unwrap of %d bytes: %v", n, err)
			}
		}
	}
	a, b := wrap(t, w), wrap(t, w)
	if bytes.Equal(a.Bytes, b.Bytes) {
		t.Error("the same plaintext was wrapped twice to the same bytes")
	}
	if bytes.Contains(a.Bytes, plaintext) {
		t.Error("the envelope contains the plaintext")
	}
}

func (s suite) limits(t *testing.T) {
	w := s.start(t)
	for _, n := range []int{0, kms.MaxPlaintextBytes + 1} {
		if _, err := w.Wrap(t.Context(), make([]byte, n), aad); !secret.HasCode(err, secret.CodeInvalid) {
			t.Errorf("Wrap of %d bytes: %v, want CodeInvalid", n, err)
		}
	}
}

func (s suite) associatedData(t *testing.T) {
	w := s.start(t)
	wrapped := wrap(t, w)
	for _, other := range [][]byte{nil, {}, aad[:len(aad)-1], append(slices.Clone(aad), 0), []byte("something else")} {
		wantTampered(t, w, wrapped, other, "associated data "+string(other))
	}
}

func (s suite) flippedBits(t *testing.T) {
	w := s.start(t)
	wrapped := wrap(t, w)
	for i := range wrapped.Bytes {
		for bit := range 8 {
			changed := kms.Wrapped{MasterKey: wrapped.MasterKey, Bytes: slices.Clone(wrapped.Bytes)}
			changed.Bytes[i] ^= 1 << bit
			if i == 0 && changed.Bytes[0] != 0 {
				continue // another format, see newerFormat
			}
			wantTampered(t, w, changed, aad, "flipped bit")
		}
	}
}

func (s suite) truncated(t *testing.T) {
	w := s.start(t)
	wrapped := wrap(t, w)
	for n := range wrapped.Bytes {
		wantTampered(t, w, kms.Wrapped{MasterKey: wrapped.MasterKey, Bytes: wrapped.Bytes[:n]}, aad, "truncated")
	}
	longer := append(slices.Clone(wrapped.Bytes), 0)
	wantTampered(t, w, kms.Wrapped{MasterKey: wrapped.MasterKey, Bytes: longer}, aad, "extended")
}

func (s suite) renamedKey(t *testing.T) {
	w := s.start(t)
	wrapped := wrap(t, w)
	wrapped.MasterKey += "0"
	wantTampered(t, w, wrapped, aad, "renamed master key")
}

func (s suite) foreignKey(t *testing.T) {
	a, b := s.start(t), s.start(t)
	wrapped := wrap(t, a)
	got, err := b.Unwrap(t.Context(), wrapped, aad)
	if got != nil || !errors.Is(err, kms.ErrWrongKey) || !secret.HasCode(err, secret.CodeWrongKey) {
		t.Fatalf("got %d bytes and error %v, want ErrWrongKey with CodeWrongKey", len(got), err)
	}
	if errors.Is(err, kms.ErrFault) || errors.Is(err, kms.ErrTampered) {
		t.Errorf("%v is more than a missing key", err)
	}
	if !strings.Contains(err.Error(), wrapped.MasterKey) {
		t.Errorf("%q does not name the master key %q", err, wrapped.MasterKey)
	}
}

func (s suite) newerFormat(t *testing.T) {
	w := s.start(t)
	wrapped := wrap(t, w)
	wrapped.Bytes[0]++
	if got, err := w.Unwrap(t.Context(), wrapped, aad); got != nil || !secret.HasCode(err, secret.CodeUnknownFormat) {
		t.Errorf("got %d bytes and error %v, want CodeUnknownFormat", len(got), err)
	}
}

func (s suite) concurrent(t *testing.T) {
	w := s.start(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			want := bytes.Repeat([]byte{byte(i)}, 32)
			for range 20 {
				wrapped, err := w.Wrap(t.Context(), want, aad)
				if err != nil {
					t.Errorf("Wrap: %v", err)
					return
				}
				if got, err := w.Unwrap(t.Context(), wrapped, aad); err != nil || !bytes.Equal(got, want) {
					t.Errorf("Unwrap: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func (s suite) cancelled(t *testing.T) {
	w := s.start(t)
	wrapped := wrap(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, wrapErr := w.Wrap(ctx, plaintext, aad)
	_, unwrapErr := w.Unwrap(ctx, wrapped, aad)
	for _, err := range []error{wrapErr, unwrapErr} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, kms.ErrTampered) || errors.Is(err, kms.ErrWrongKey) {
			t.Errorf("got %v, want the context's error", err)
		}
	}
}

func (s suite) closed(t *testing.T) {
	w := s.start(t)
	wrapped := wrap(t, w)
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	_, wrapErr := w.Wrap(t.Context(), plaintext, aad)
	_, unwrapErr := w.Unwrap(t.Context(), wrapped, aad)
	for _, err := range []error{wrapErr, unwrapErr} {
		if !errors.Is(err, kms.ErrClosed) || !secret.HasCode(err, secret.CodeKeyUnavailable) {
			t.Errorf("got %v, want ErrClosed with CodeKeyUnavailable", err)
		}
	}
}

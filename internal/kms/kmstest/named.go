package kmstest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Named tests a driver's named master keys. Each call of open returns a wrapper of
// the same key service, which has a key of that name beside the active one, and
// none named "missing".
func Named(t *testing.T, name string, open func(t *testing.T) kms.Wrapper) {
	s := suite{open}
	w := s.start(t)
	active, err := w.MasterKey(t.Context(), "")
	if err != nil || active != w.Describe().ActiveKey {
		t.Errorf("the master key without a name is %q, %v; the active one is %q", active, err, w.Describe().ActiveKey)
	}
	id, err := w.MasterKey(t.Context(), name)
	if err != nil || id == "" || id == active {
		t.Fatalf("the master key %q is %q, %v; the active one is %q", name, id, err, active)
	}
	wrapped, err := w.WrapUnder(t.Context(), name, plaintext, aad)
	if err != nil || wrapped.MasterKey != id {
		t.Fatalf("wrapped under %q by %q, %v; want %q", name, wrapped.MasterKey, err, id)
	}
	without, err := w.WrapUnder(t.Context(), "", plaintext, aad)
	if err != nil || without.MasterKey != active {
		t.Errorf("wrapped without a name by %q, %v; want %q", without.MasterKey, err, active)
	}
	for _, w := range []kms.Wrapper{w, s.start(t)} { // the other knows of the key by what it wrapped alone
		if got, err := w.Unwrap(t.Context(), wrapped, aad); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("Unwrap: %v", err)
		}
	}
	swapped := kms.Wrapped{MasterKey: active, Bytes: wrapped.Bytes}
	wantTampered(t, w, swapped, aad, "moved to another master key")
	for _, name := range []string{"missing", strings.Repeat("x", 4000), "../" + name} { // one that is too long or malformed for most
		_, wrapErr := w.WrapUnder(t.Context(), name, plaintext, aad)
		_, lookErr := w.MasterKey(t.Context(), name)
		for _, err := range []error{wrapErr, lookErr} {
			if !errors.Is(err, kms.ErrWrongKey) || !secret.HasCode(err, secret.CodeWrongKey) || errors.Is(err, kms.ErrFault) || !strings.Contains(err.Error(), name[:7]) {
				t.Errorf("master key %.20q: %.300v, want ErrWrongKey that names it", name, err)
			}
		}
	}
	s.namedLimits(t, w, name)
}

func (s suite) namedLimits(t *testing.T, w kms.Wrapper, name string) {
	t.Helper()
	if _, err := w.WrapUnder(t.Context(), name, nil, aad); !secret.HasCode(err, secret.CodeInvalid) {
		t.Errorf("WrapUnder of nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.MasterKey(ctx, name); !errors.Is(err, context.Canceled) {
		t.Errorf("MasterKey: %v, want the context's error", err)
	}
	closed := s.open(t)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := closed.MasterKey(t.Context(), name); !errors.Is(err, kms.ErrClosed) {
		t.Errorf("MasterKey: %v, want ErrClosed", err)
	}
}

// Rotating tests a driver that makes new master keys, of a name that has one. open
// is as in Named.
func Rotating(t *testing.T, name string, open func(t *testing.T) kms.Wrapper) {
	s := suite{open}
	w := s.start(t)
	r, ok := w.(kms.Rotator)
	if !ok {
		t.Fatal("the driver cannot rotate")
	}
	for _, name := range []string{"", name} {
		before, err := w.WrapUnder(t.Context(), name, plaintext, aad)
		if err != nil {
			t.Fatal(err)
		}
		id, err := r.RotateMasterKey(t.Context(), name)
		if err != nil || id == before.MasterKey {
			t.Fatalf("rotated to %q, %v, from %q", id, err, before.MasterKey)
		}
		for _, w := range []kms.Wrapper{w, s.start(t)} {
			after, err := w.WrapUnder(t.Context(), name, plaintext, aad)
			if err != nil || after.MasterKey != id {
				t.Errorf("wraps by %q, %v; want %q", after.MasterKey, err, id)
			}
			for _, wrapped := range []kms.Wrapped{before, after} {
				if got, err := w.Unwrap(t.Context(), wrapped, aad); err != nil || !bytes.Equal(got, plaintext) {
					t.Errorf("Unwrap of what %q wrapped: %v", wrapped.MasterKey, err)
				}
			}
		}
	}
	if w.Describe().ActiveKey == "" {
		t.Error("there is no active key")
	}
	if _, err := r.RotateMasterKey(t.Context(), "missing"); !errors.Is(err, kms.ErrWrongKey) {
		t.Errorf("rotating a missing key: %v, want ErrWrongKey", err)
	}
}

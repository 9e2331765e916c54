//go:build pkcs11 && cgo

package pkcs11

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	hsm "github.com/miekg/pkcs11"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

// Built reports whether the binary has this driver.
const Built = true

const (
	nonceBytes = 12 // NIST SP 800-38D, section 8.2.2
	tagBits    = 128
	// closeTimeout bounds how long Close waits for an HSM that does not answer.
	closeTimeout = 10 * time.Second
)

// wrapper is safe for concurrent use. The ciphertext it puts into envelopes is
// the nonce followed by that of CKM_AES_GCM with its tag.
//
// Nonces are random, so a master key must not wrap more than 2^32 times (NIST SP
// 800-38D, section 8.3); it wraps a few keys for each vault and each rotation.
type wrapper struct {
	token  *token
	labels []string // the active key's first

	permits  chan struct{} // one for each operation under way
	closing  chan struct{}
	closeOne sync.Once
	closeErr error

	mu        sync.Mutex
	current   *connection // nil until the first use and after a loss
	idle      []session   // of current
	activeKey string
}

// Open loads the library for the life of the process, logs in and looks up the keys. It lasts as long as the
// HSM takes. Errors: secret.CodeInvalid, kms.ErrFault (ErrLogin and a missing
// library or token included), and kms.ErrWrongKey for a key that is missing or
// unfit (ErrUnfitKey).
func Open(ctx context.Context, o Options) (kms.Wrapper, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m, err := modules.use(o.Module)
	if err != nil {
		return nil, kms.Fault(Driver, err)
	}
	sessions := o.Sessions
	if sessions == 0 {
		sessions = defaultSessions
	}
	w := &wrapper{
		token:  &token{module: m, label: o.Token, pinFile: o.PINFile},
		labels: o.labels(), permits: make(chan struct{}, sessions), closing: make(chan struct{}),
	}
	if _, err := w.operate(ctx, w.checkKeys); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// checkKeys returns an error unless all configured keys are there.
func (w *wrapper) checkKeys(s session) ([]byte, error) {
	for _, label := range w.labels {
		if err := s.missing[label]; err != nil {
			return nil, kms.WrongKey(Driver, label, err)
		}
	}
	if len(s.keys) < len(w.labels) {
		return nil, kms.WrongKey(Driver, w.labels[0], fmt.Errorf("%w: two of the labels are of keys with the same CKA_ID", ErrUnfitKey))
	}
	return nil, nil
}

// Describe says that the driver is for production.
func (w *wrapper) Describe() kms.Description {
	w.mu.Lock()
	defer w.mu.Unlock()
	return kms.Description{Driver: Driver, ActiveKey: w.activeKey, Production: true}
}

// Wrap implements kms.Wrapper.
func (w *wrapper) Wrap(ctx context.Context, plaintext, aad []byte) (kms.Wrapped, error) {
	return w.WrapUnder(ctx, "", plaintext, aad)
}

// MasterKey implements kms.Wrapper.
func (w *wrapper) MasterKey(ctx context.Context, label string) (string, error) {
	id, err := w.operate(ctx, func(s session) ([]byte, error) {
		k, err := w.labelled(s, label)
		return []byte(k.id), err
	})
	return string(id), err
}

// labelled returns the key of a label, the active one if that is empty.
func (w *wrapper) labelled(s session, label string) (key, error) {
	if label != "" && label != w.labels[0] {
		k, err := w.token.module.findKey(s.handle, label)
		if errors.Is(err, errNoKey) || errors.Is(err, ErrUnfitKey) {
			err = kms.WrongKey(Driver, label, err)
		}
		return k, err
	}
	if s.active == "" {
		w.lookAgain(s.connection)
		return key{}, kms.WrongKey(Driver, w.labels[0], s.missing[w.labels[0]])
	}
	return key{id: s.active, handle: s.keys[s.active]}, nil
}

// WrapUnder implements kms.Wrapper.
func (w *wrapper) WrapUnder(ctx context.Context, label string, plaintext, aad []byte) (kms.Wrapped, error) {
	if err := kms.CheckPlaintext(plaintext); err != nil {
		return kms.Wrapped{}, err
	}
	// The operation may outlast this call. The copy of the plaintext is not wiped:
	// the binding of the library copies it as well.
	plaintext, aad = slices.Clone(plaintext), slices.Clone(aad)
	var id string
	ciphertext, err := w.operate(ctx, func(s session) ([]byte, error) {
		k, err := w.labelled(s, label)
		if err != nil {
			return nil, err
		}
		id = k.id
		return w.token.module.encrypt(s.handle, k.handle, plaintext, kms.Binding(id, aad))
	})
	if err != nil {
		return kms.Wrapped{}, err
	}
	return kms.SealEnvelope(id, aad, ciphertext), nil
}

// Unwrap implements kms.Wrapper. For a master key that it lacks it looks into the
// HSM again, since a key of a configured label may have come back.
func (w *wrapper) Unwrap(ctx context.Context, wrapped kms.Wrapped, aad []byte) ([]byte, error) {
	if err := kms.Cancelled(ctx); err != nil {
		return nil, err
	}
	ciphertext, err := kms.OpenEnvelope(wrapped, aad)
	if err != nil {
		return nil, err
	}
	ciphertext = slices.Clone(ciphertext)
	binding := kms.Binding(wrapped.MasterKey, aad)
	unwrap := func(s session) ([]byte, error) {
		handle, ok := s.keys[wrapped.MasterKey]
		if !ok { // a vault may name any key of the token
			k, err := w.token.module.findByID(s.handle, wrapped.MasterKey)
			if errors.Is(err, errNoKey) || errors.Is(err, ErrUnfitKey) {
				w.lookAgain(s.connection)
				return nil, kms.WrongKey(Driver, wrapped.MasterKey, err)
			}
			if err != nil {
				return nil, err
			}
			handle = k.handle
		}
		return w.decrypt(s, handle, wrapped.MasterKey, ciphertext, binding)
	}
	plaintext, err := w.operate(ctx, unwrap)
	if errors.Is(err, kms.ErrWrongKey) {
		return w.operate(ctx, unwrap)
	}
	return plaintext, err
}

// decrypt tells apart why the HSM does not decrypt: with the same code some
// answer a forged ciphertext and report a fault of theirs.
func (w *wrapper) decrypt(s session, handle hsm.ObjectHandle, id string, ciphertext, binding []byte) ([]byte, error) {
	if len(ciphertext) < nonceBytes+tagBits/8 {
		return nil, kms.Tampered(id)
	}
	plaintext, err := w.token.module.decrypt(s.handle, handle, ciphertext, binding)
	if refusedData(err) {
		plaintext, err = w.decryptAgain(s, handle, id, ciphertext, binding)
	}
	if forbidden(err) {
		return nil, kms.WrongKey(Driver, id, err)
	}
	return plaintext, err
}

// decryptAgain returns kms.ErrTampered only if the HSM refuses the ciphertext once
// more after it encrypted and decrypted something else with that key. It uses a
// session of its own, because an operation may be left in s.
func (w *wrapper) decryptAgain(s session, handle hsm.ObjectHandle, id string, ciphertext, binding []byte) (_ []byte, err error) {
	m := w.token.module
	fresh, err := m.OpenSession(s.slot, hsm.CKF_SERIAL_SESSION|hsm.CKF_RW_SESSION)
	if err != nil {
		return nil, fmt.Errorf("cannot open a session: %w", err)
	}
	defer func() { err = errors.Join(err, m.CloseSession(fresh)) }()
	if err := m.probe(fresh, handle); err != nil {
		return nil, err
	}
	plaintext, err := m.decrypt(fresh, handle, ciphertext, binding)
	if refusedData(err) {
		return nil, kms.Tampered(id)
	}
	return plaintext, err
}

// errProbe means that the HSM is broken.
var errProbe = errors.New("the HSM decrypts something other than it encrypted")

func (m *module) probe(s hsm.SessionHandle, handle hsm.ObjectHandle) error {
	want := []byte("lifeboat probe")
	ciphertext, err := m.encrypt(s, handle, want, nil)
	if err != nil {
		return err
	}
	got, err := m.decrypt(s, handle, ciphertext, nil)
	if err == nil && subtle.ConstantTimeCompare(got, want) != 1 {
		err = errProbe
	}
	return err
}

func (m *module) encrypt(s hsm.SessionHandle, key hsm.ObjectHandle, plaintext, binding []byte) ([]byte, error) {
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails
	params := hsm.NewGCMParams(nonce, binding, tagBits)
	defer params.Free()
	if err := m.EncryptInit(s, []*hsm.Mechanism{hsm.NewMechanism(hsm.CKM_AES_GCM, params)}, key); err != nil {
		return nil, fmt.Errorf("cannot encrypt: %w", err)
	}
	ciphertext, err := m.Encrypt(s, plaintext)
	if err != nil {
		return nil, fmt.Errorf("cannot encrypt: %w", err)
	}
	if want := len(plaintext) + tagBits/8; len(ciphertext) != want {
		return nil, fmt.Errorf("cannot encrypt: the HSM made %d bytes, not %d", len(ciphertext), want)
	}
	// Some HSMs take no nonce from outside and put theirs here.
	if nonce = params.IV(); len(nonce) != nonceBytes {
		return nil, fmt.Errorf("cannot encrypt: the HSM's nonce has %d bytes, not %d", len(nonce), nonceBytes)
	}
	return append(nonce, ciphertext...), nil
}

func (m *module) decrypt(s hsm.SessionHandle, key hsm.ObjectHandle, ciphertext, binding []byte) ([]byte, error) {
	params := hsm.NewGCMParams(ciphertext[:nonceBytes], binding, tagBits)
	defer params.Free()
	if err := m.DecryptInit(s, []*hsm.Mechanism{hsm.NewMechanism(hsm.CKM_AES_GCM, params)}, key); err != nil {
		return nil, fmt.Errorf("cannot decrypt: %w", err)
	}
	plaintext, err := m.Decrypt(s, ciphertext[nonceBytes:])
	if err != nil {
		return nil, fmt.Errorf("cannot decrypt: %w", err)
	}
	return plaintext, nil
}

// Close waits for the operations under way, closes the sessions and lets go of
// the library. It gives up (kms.ErrFault) on an HSM that does not answer for 10 s;
// the library then stays initialized.
func (w *wrapper) Close() error {
	w.closeOne.Do(func() {
		close(w.closing)
		w.closeErr = w.shutdown()
	})
	return w.closeErr
}

func (w *wrapper) shutdown() error {
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	for range cap(w.permits) {
		select {
		case w.permits <- struct{}{}:
		case <-timeout.C:
			return kms.Fault(Driver, fmt.Errorf("an operation is under way after %s", closeTimeout))
		}
	}
	w.mu.Lock()
	w.loseLocked(w.current, nil)
	w.mu.Unlock()
	if err := modules.release(w.token.module); err != nil {
		return kms.Fault(Driver, err)
	}
	return nil
}

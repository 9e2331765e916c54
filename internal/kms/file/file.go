// Package file is the key service driver that keeps master keys in a JSON file.
// It is the default of an embedded deployment and not for production: whoever
// reads the file can unwrap everything.
package file

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"io/fs"
	"os"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

// Driver is the name of this driver.
const Driver = "file"

// Wrapper wraps with AES-256-GCM under the active master key of a key file.
//
// Nonces are random, so a master key must not wrap more than 2^32 times (NIST SP
// 800-38D, section 8.3); it wraps a few keys for each vault and each rotation.
type Wrapper struct {
	path string

	mu     sync.RWMutex
	active map[string]string // by name; that of Wrap has none
	keys   map[string]cipher.AEAD
	seen   fs.FileInfo // of the file when it was read
	closed bool
}

var (
	_ kms.Wrapper = (*Wrapper)(nil)
	_ kms.Rotator = (*Wrapper)(nil)
)

// Open reads the key file. It never makes one: a missing file is an error
// (ErrNoFile, secret.CodeKeyUnavailable) with a hint, as is one that others may
// read (ErrPermissions), and one that does not parse is secret.CodeCorrupt.
func Open(path string) (*Wrapper, error) {
	w := &Wrapper{path: path}
	if err := w.Reload(); err != nil {
		return nil, err
	}
	return w, nil
}

// Reload reads the key file again, after AddKey by another process. On an error
// the wrapper goes on with the keys it has. Errors: those of Open, kms.ErrClosed.
func (w *Wrapper) Reload() error {
	info, _ := os.Stat(w.path) // before it is read: a change meanwhile is noticed later
	f, err := read(w.path)
	if err != nil {
		return err
	}
	defer f.wipe()
	keys := make(map[string]cipher.AEAD, len(f.Keys))
	for _, k := range f.Keys {
		if keys[k.ID], err = newAEAD(k.Key); err != nil {
			return kms.Fault(Driver, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return kms.Closed(Driver)
	}
	w.active, w.keys, w.seen = f.actives(), keys, info
	return nil
}

// Describe says that the driver is not for production.
func (w *Wrapper) Describe() kms.Description {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return kms.Description{Driver: Driver, ActiveKey: w.active[""], Production: false}
}

// Wrap implements kms.Wrapper.
func (w *Wrapper) Wrap(ctx context.Context, plaintext, aad []byte) (kms.Wrapped, error) {
	return w.WrapUnder(ctx, "", plaintext, aad)
}

// WrapUnder implements kms.Wrapper.
func (w *Wrapper) WrapUnder(ctx context.Context, name string, plaintext, aad []byte) (kms.Wrapped, error) {
	if err := kms.CheckPlaintext(plaintext); err != nil {
		return kms.Wrapped{}, err
	}
	if err := kms.Cancelled(ctx); err != nil {
		return kms.Wrapped{}, err
	}
	id, err := w.MasterKey(ctx, name)
	if err != nil {
		return kms.Wrapped{}, err
	}
	aead, err := w.key(id)
	if err != nil {
		return kms.Wrapped{}, err
	}
	ciphertext := aead.Seal(nil, nil, plaintext, kms.Binding(id, aad))
	return kms.SealEnvelope(id, aad, ciphertext), nil
}

// MasterKey implements kms.Wrapper. It reads the key file again if that has
// changed: what is wrapped is to be wrapped by the key that is active now.
func (w *Wrapper) MasterKey(ctx context.Context, name string) (string, error) {
	if err := kms.Cancelled(ctx); err != nil {
		return "", err
	}
	w.mu.RLock()
	seen := w.seen
	w.mu.RUnlock()
	if info, err := os.Stat(w.path); err == nil && (seen == nil || !os.SameFile(info, seen) || !info.ModTime().Equal(seen.ModTime())) {
		_ = w.Reload() // else the keys that are known go on
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	switch id := w.active[name]; {
	case w.closed:
		return "", kms.Closed(Driver)
	case id == "":
		return "", kms.WrongKey(Driver, name, nil)
	default:
		return id, nil
	}
}

// RotateMasterKey implements kms.Rotator: it adds a key to the key file. A name
// that is not there is kms.ErrWrongKey; see AddKey.
func (w *Wrapper) RotateMasterKey(ctx context.Context, name string) (string, error) {
	if _, err := w.MasterKey(ctx, name); err != nil {
		return "", err
	}
	id, err := AddKey(w.path, name)
	if err != nil {
		return "", err
	}
	return id, w.Reload()
}

// Unwrap implements kms.Wrapper. For a master key that it does not know it reads
// the key file again, since another process may have added one.
func (w *Wrapper) Unwrap(ctx context.Context, wrapped kms.Wrapped, aad []byte) ([]byte, error) {
	if err := kms.Cancelled(ctx); err != nil {
		return nil, err
	}
	ciphertext, err := kms.OpenEnvelope(wrapped, aad)
	if err != nil {
		return nil, err
	}
	aead, err := w.key(wrapped.MasterKey)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nil, ciphertext, kms.Binding(wrapped.MasterKey, aad))
	if err != nil {
		// The ID of a master key is derived from it, so it is the right one.
		return nil, kms.Tampered(wrapped.MasterKey)
	}
	return plaintext, nil
}

func (w *Wrapper) key(id string) (cipher.AEAD, error) {
	aead, closed := w.lookup(id)
	var err error
	if aead == nil && !closed {
		err = w.Reload()
		aead, closed = w.lookup(id)
	}
	switch {
	case closed:
		return nil, kms.Closed(Driver)
	case aead == nil:
		return nil, kms.WrongKey(Driver, id, err)
	}
	return aead, nil
}

func (w *Wrapper) lookup(id string) (aead cipher.AEAD, closed bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.keys[id], w.closed
}

// Close forgets the keys.
func (w *Wrapper) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.keys = true, nil
	return nil
}

// newAEAD returns AES-256-GCM that makes its own random nonces.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

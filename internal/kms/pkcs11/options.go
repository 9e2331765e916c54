// Package pkcs11 is the key service driver for hardware security modules. Master
// keys are AES keys that never leave the HSM; it wraps by CKM_AES_GCM.
//
// The driver loads the vendor's library, so it is built only with cgo and the
// build tag pkcs11. In other binaries Open and CreateKey return ErrNotBuilt.
//
// It calls the library from many threads (CKF_OS_LOCKING_OK), each session from
// one at a time, closes no session in use, finalizes only when no call is under
// way, and never unloads. Other code of the process that uses the same library
// must keep to that too: a library may crash the process when sessions that it
// is working in are closed. SoftHSM up to 2.7 does.
package pkcs11

import (
	"errors"
	"fmt"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Driver is the name of this driver.
const Driver = "pkcs11"

// Causes of this driver's own errors, for errors.Is.
var (
	// ErrNotBuilt means that the binary lacks this driver.
	ErrNotBuilt = errors.New("this binary was built without PKCS#11")
	// ErrLogin means that the HSM refused the PIN. It is around kms.ErrFault and
	// not kms.ErrWrongKey, so that data keys in use go on working meanwhile. A
	// refused PIN is not tried again until the file has another, since HSMs lock
	// after a few failures.
	ErrLogin = errors.New("the HSM refused the PIN")
	// ErrUnfitKey means that a key of that label is there but is not one that the
	// driver would use: it must be AES, allow encryption and decryption, be
	// sensitive and not extractable, have a CKA_ID of at least MinIDBytes, and be
	// the only one of its label.
	ErrUnfitKey = errors.New("key is not fit to be a master key")
)

// MinIDBytes is the shortest CKA_ID of a master key. The ID of a master key is
// made of its CKA_ID alone, so that an HSM which holds a clone of the key can
// stand in; it must be long and random for not naming another key elsewhere.
const MinIDBytes = 8

const (
	maxLabelBytes      = 255
	maxTokenLabelBytes = 32 // CK_TOKEN_INFO.label
	defaultSessions    = 8
	maxSessions        = 1024
	maxOlderKeys       = 100
)

// Options say where the HSM and its keys are.
type Options struct {
	// Module is the path of the vendor's library; required.
	Module string
	// Token is the label of the token, 1 to 32 bytes; required, and unique among
	// the tokens that the library shows.
	Token string
	// PINFile holds the PIN of the token's user; required. It is read at every
	// login. See credential.Read for who may read it.
	PINFile string
	// Key is the label of the active master key, 1 to 255 bytes; required.
	Key string
	// OlderKeys are the labels of at most 100 master keys that still unwrap.
	OlderKeys []string
	// Sessions bounds the operations under way at once: 1 to 1024, 0 means 8.
	Sessions int
}

// check returns a secret.CodeInvalid error that names the field and its limit.
func (o Options) check() error {
	switch {
	case o.Module == "":
		return secret.Invalid("module", "must not be empty")
	case o.PINFile == "":
		return secret.Invalid("pin_file", "must not be empty")
	case o.Sessions < 0 || o.Sessions > maxSessions:
		return secret.Invalid("sessions", "is %d; allowed are 1 to %d, and 0 for %d", o.Sessions, maxSessions, defaultSessions)
	case len(o.OlderKeys) > maxOlderKeys:
		return secret.Invalid("older_keys", "has %d entries; the limit is %d", len(o.OlderKeys), maxOlderKeys)
	}
	if err := checkLabel("token", o.Token, maxTokenLabelBytes); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, label := range o.labels() {
		field := "key"
		if i > 0 {
			field = fmt.Sprintf("older_keys[%d]", i-1)
		}
		if err := checkLabel(field, label, maxLabelBytes); err != nil {
			return err
		}
		if seen[label] {
			return secret.Invalid(field, "%q is named twice", label)
		}
		seen[label] = true
	}
	return nil
}

func checkLabel(field, label string, limit int) error {
	if n := len(label); n == 0 || n > limit {
		return secret.Invalid(field, "must have 1 to %d bytes, has %d", limit, n)
	}
	return nil
}

// labels are those of all keys, the active one first.
func (o Options) labels() []string { return append([]string{o.Key}, o.OlderKeys...) }

// Package kms is the seam to key services: what a driver must do, the errors it
// speaks in and the envelope that all drivers share. Drivers are in packages
// below it; package kmstest is the conformance suite every driver passes.
package kms

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxPlaintextBytes bounds what is wrapped. Data keys have 32 bytes; 4096 is
// the limit of AWS KMS Encrypt, the lowest of the intended drivers.
const MaxPlaintextBytes = 4096

// Wrapper is a key service that wraps data keys under master keys it never
// hands out. Its methods are safe for concurrent use.
type Wrapper interface {
	// Describe says what the key service is. It does no I/O.
	Describe() Description
	// Wrap encrypts plaintext (1 to MaxPlaintextBytes) under the active master
	// key, bound to aad. It keeps no reference to its arguments. Errors:
	// secret.CodeInvalid, ErrFault, ErrClosed, and the context's.
	Wrap(ctx context.Context, plaintext, aad []byte) (Wrapped, error)
	// WrapUnder is Wrap under the active master key of a name: a name in the key
	// file, the label of a key in the HSM, a key of the transit engine, an ARN, ID
	// or alias. Empty means that of Wrap. Errors: also ErrWrongKey if there is no
	// usable key of that name.
	WrapUnder(ctx context.Context, name string, plaintext, aad []byte) (Wrapped, error)
	// MasterKey returns the ID of the master key that WrapUnder uses for a name.
	// Errors: those of WrapUnder.
	MasterKey(ctx context.Context, name string) (id string, err error)
	// Unwrap decrypts what Wrap and WrapUnder returned for the same aad; the caller owns the
	// result and wipes it. Errors: ErrTampered, ErrWrongKey, ErrFault,
	// ErrClosed, secret.CodeUnknownFormat, and the context's.
	Unwrap(ctx context.Context, wrapped Wrapped, aad []byte) ([]byte, error)
	// Close forgets the master keys and ends the connection. It may be called
	// again; every other method but Describe then returns ErrClosed.
	Close() error
}

// Rotator is a Wrapper whose key service makes a new master key when it is asked.
type Rotator interface {
	// RotateMasterKey makes another master key the active one of a name, empty for
	// that of Wrap, and returns its ID. What earlier ones wrapped can still be
	// unwrapped. Errors: those of WrapUnder.
	RotateMasterKey(ctx context.Context, name string) (id string, err error)
}

// Description says what a key service is, for start-up messages and status.
type Description struct {
	// Driver is the name of the driver, as in the configuration.
	Driver string
	// ActiveKey is the ID of the master key that wraps.
	ActiveKey string
	// Production is false if the driver protects master keys no better than a
	// file does.
	Production bool
}

// Wrapped is a data key encrypted by a key service.
type Wrapped struct {
	// MasterKey is the ID of the master key.
	MasterKey string
	// Bytes is the envelope, see SealEnvelope.
	Bytes []byte
}

// CheckPlaintext returns a secret.CodeInvalid error unless a driver may be asked
// to wrap plaintext.
func CheckPlaintext(plaintext []byte) error {
	if n := len(plaintext); n == 0 || n > MaxPlaintextBytes {
		return secret.Invalid("plaintext", "must have 1 to %d bytes, has %d", MaxPlaintextBytes, n)
	}
	return nil
}

package kms

import (
	"context"
	"errors"
	"fmt"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Causes of the errors of a Wrapper, for errors.Is. The *secret.Error around
// each is made by the function that its comment names.
var (
	// ErrTampered means that the envelope was changed or that it belongs to other
	// associated data; asking again does not help. See Tampered.
	ErrTampered = errors.New("wrapped key fails its check")
	// ErrWrongKey means that the key service answers but lacks the master key, or
	// may not use it; asking again does not help until an operator acts. See
	// WrongKey.
	ErrWrongKey = errors.New("master key is missing")
	// ErrFault means that the key service did not answer or failed; asking again
	// may help. See Fault.
	ErrFault = errors.New("key service fault")
	// ErrClosed means that the wrapper was closed. See Closed.
	ErrClosed = errors.New("key service is closed")
)

// Tampered returns a secret.CodeTampered error caused by ErrTampered.
func Tampered(masterKey string) error {
	return secret.Wrap(secret.CodeTampered, ErrTampered, fmt.Sprintf("a data key wrapped by master key %q was changed or moved", masterKey)).
		WithHint("restore the data key's record from a backup or another region")
}

// WrongKey returns a secret.CodeWrongKey error caused by ErrWrongKey, and
// by cause unless it is nil.
func WrongKey(driver, masterKey string, cause error) error {
	err := ErrWrongKey
	if cause != nil {
		err = fmt.Errorf("%w: %w", ErrWrongKey, cause)
	}
	return secret.Wrap(secret.CodeWrongKey, err, fmt.Sprintf("the %s key service has no usable master key %q", driver, masterKey)).
		WithHint("give the key service that master key back; nothing was changed")
}

// Fault returns a secret.CodeKeyUnavailable error caused by ErrFault and cause.
func Fault(driver string, cause error) error {
	return secret.Wrap(secret.CodeKeyUnavailable, fmt.Errorf("%w: %w", ErrFault, cause), "the "+driver+" key service failed").
		WithHint("retry; if it persists, see the key service's own status")
}

// Closed returns a secret.CodeKeyUnavailable error caused by ErrClosed.
func Closed(driver string) error {
	return secret.Wrap(secret.CodeKeyUnavailable, ErrClosed, "the "+driver+" key service was closed")
}

// Cancelled returns nil, or a secret.CodeUnavailable error if ctx is done. It is
// not the key service's fault, so the cause is the context's alone.
func Cancelled(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return secret.Wrap(secret.CodeUnavailable, err, "gave up before the key service answered")
	}
	return nil
}

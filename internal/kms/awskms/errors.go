package awskms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
)

// The codes are those of the API reference of AWS KMS (Encrypt, Decrypt,
// DescribeKey, "Common Errors").
var (
	codesTampered = []string{"InvalidCiphertextException", "IncorrectKeyException", "IncorrectKeyMaterialException"}
	codesWrongKey = []string{
		"AccessDeniedException", "AccessDenied", "NotFoundException", "DisabledException",
		"InvalidKeyUsageException", "InvalidArnException", "ValidationException",
	}
	codesCredentials = []string{
		"UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "ExpiredToken",
		"InvalidSignatureException", "SignatureDoesNotMatch", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"IncompleteSignature", "IncompleteSignatureException", "NotAuthorized", "OptInRequired",
	}
)

const codeInvalidState = "KMSInvalidStateException"

func hasCode(err error, codes ...string) bool {
	e, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains(codes, e.ErrorCode())
}

// judge makes typed errors of what the service answered about a master key.
func (w *Wrapper) judge(ctx context.Context, masterKey string, err error) error {
	switch {
	case hasCode(err, codesWrongKey...):
		return kms.WrongKey(Driver, masterKey, err)
	case hasCode(err, codesCredentials...), isCredentialsError(err):
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	case hasCode(err, codeInvalidState):
		// The code is that of a key for good out of use and of one whose key store
		// is not connected.
		if _, stateErr := w.describe(ctx, masterKey); errors.Is(stateErr, kms.ErrWrongKey) {
			return kms.WrongKey(Driver, masterKey, err)
		}
	}
	return err
}

// isCredentialsError reports whether the SDK found no credentials to sign with.
func isCredentialsError(err error) bool {
	_, ok := errors.AsType[*credentialsError](err)
	return ok
}

// credentialsError is around whatever a provider of credentials returned.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "no credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// stateError returns nil for a key that may be used.
func stateError(masterKey string, m *types.KeyMetadata) error {
	if m.KeySpec != types.KeySpecSymmetricDefault || m.KeyUsage != types.KeyUsageTypeEncryptDecrypt {
		return kms.WrongKey(Driver, masterKey, fmt.Errorf("%w: it has the spec %s and the usage %s", ErrUnfitKey, m.KeySpec, m.KeyUsage))
	}
	switch m.KeyState {
	case types.KeyStateEnabled:
		return nil
	case types.KeyStateDisabled, types.KeyStatePendingDeletion, types.KeyStatePendingReplicaDeletion, types.KeyStatePendingImport:
		return kms.WrongKey(Driver, masterKey, fmt.Errorf("it has the state %s", m.KeyState))
	default:
		return fmt.Errorf("key %q has the state %s", masterKey, m.KeyState)
	}
}

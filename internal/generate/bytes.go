package generate

import (
	"crypto/rand"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxBytes bounds Bytes; it is the most that a value may hold.
const MaxBytes = secret.MaxValueBytes

// Bytes returns n random bytes, 1 to MaxBytes. Errors: CodeInvalid.
func Bytes(n int) (secret.Plaintext, error) {
	if n < 1 || n > MaxBytes {
		return secret.Plaintext{}, secret.Invalid("bytes", "is %d; allowed are 1 to %d", n, MaxBytes)
	}
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the process if the system has no randomness
	return secret.NewPlaintext(b), nil
}

//go:build !pkcs11 || !cgo

package pkcs11

import (
	"context"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Built reports whether the binary has this driver.
const Built = false

// Open returns ErrNotBuilt (secret.CodeKeyUnavailable), or secret.CodeInvalid.
func Open(_ context.Context, o Options) (kms.Wrapper, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return nil, notBuilt()
}

// CreateKey returns ErrNotBuilt (secret.CodeKeyUnavailable), or
// secret.CodeInvalid.
func CreateKey(_ context.Context, o Options) (string, error) {
	if err := o.check(); err != nil {
		return "", err
	}
	return "", notBuilt()
}

func notBuilt() error {
	return secret.Wrap(secret.CodeKeyUnavailable, ErrNotBuilt, "no PKCS#11 key service").
		WithHint("build with CGO_ENABLED=1 go build -tags pkcs11 ./cmd/lifeboat")
}

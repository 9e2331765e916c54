package service

import (
	"context"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Signed returns who signed a request with the access key id. verify is given the
// secret half of the key and returns nil only if the signature is right, which it
// must compare in constant time; it must not keep the key. Errors: those of verify,
// of authn.Authenticator.Signature, and of the keyring.
func (s *Service) Signed(ctx context.Context, view record.View, id secret.CredentialID, now time.Time, verify func(key secret.Plaintext) error) (authn.Caller, error) {
	return s.Authenticator.Signature(view, id, now, func(c *secret.Credential) error {
		key, err := s.Keyring.Open(ctx, view, string(c.Account), c.SealedKey, accessKeyData(c.Account, c.ID))
		if err != nil {
			return err
		}
		defer clear(key.Reveal())
		return verify(key)
	})
}

// KnownAccessKey returns whose access key an ID is, if it works; who asks need not hold
// it.
func (s *Service) KnownAccessKey(view record.View, id secret.CredentialID, now time.Time) (authn.Caller, error) {
	return s.Authenticator.Signature(view, id, now, func(*secret.Credential) error { return nil })
}

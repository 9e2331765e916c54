package service

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authn"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// SigningKey is what signatures are checked with: it is derived from the secret half
// of an access key for a scope, such as a day.
type SigningKey [32]byte

// Signature is that of a request.
type Signature struct {
	// Key is the ID of the access key.
	Key secret.CredentialID
	// Scope is what Derive derives a key for.
	Scope string
	// Derive is given the secret half, which it must not keep.
	Derive func(secret.Plaintext) SigningKey
	// Verify returns nil only if the signature is right, which it must compare in
	// constant time.
	Verify func(*SigningKey) error
}

// Signed returns who signed a request. The signing key is kept for as long as the
// access key stays the same, so that it need not be opened and derived for each
// request. Errors: those of Verify, of authn.Authenticator.Signature, and of the
// keyring.
func (s *Service) Signed(ctx context.Context, view record.View, sig *Signature, now time.Time) (authn.Caller, error) {
	return s.Authenticator.Signature(view, sig.Key, now, func(c *secret.Credential) error {
		if kept := s.signing.get(c, sig.Scope); kept != nil {
			return sig.Verify(&kept.key)
		}
		half, err := s.Keyring.Open(ctx, view, string(c.Account), c.SealedKey, accessKeyData(c.Account, c.ID))
		if err != nil {
			return err
		}
		made := &keptSigningKey{credential: c, scope: sig.Scope, key: sig.Derive(half)}
		clear(half.Reveal())
		if err := sig.Verify(&made.key); err != nil {
			return err
		}
		s.signing.put(made)
		return nil
	})
}

// KnownAccessKey returns whose access key an ID is, if it works; who asks need not
// hold it.
func (s *Service) KnownAccessKey(view record.View, id secret.CredentialID, now time.Time) (authn.Caller, error) {
	return s.Authenticator.Signature(view, id, now, func(*secret.Credential) error { return nil })
}

// keptSigningKeys bounds how many signing keys are kept.
const keptSigningKeys = 4096

// signingKeys keeps signing keys, one for each slot that IDs fall into. It is safe
// for concurrent use; losing one costs time and nothing else.
type signingKeys struct {
	seed  maphash.Seed
	slots [keptSigningKeys]atomic.Pointer[keptSigningKey]
}

// keptSigningKey is never changed.
type keptSigningKey struct {
	// credential is the record as it was decoded: another state of it is another one.
	credential *secret.Credential
	scope      string
	key        SigningKey
}

func newSigningKeys() *signingKeys { return &signingKeys{seed: maphash.MakeSeed()} }

func (k *signingKeys) slot(id secret.CredentialID) *atomic.Pointer[keptSigningKey] {
	return &k.slots[maphash.String(k.seed, string(id))%keptSigningKeys]
}

func (k *signingKeys) get(c *secret.Credential, scope string) *keptSigningKey {
	kept := k.slot(c.ID).Load()
	if kept == nil || kept.credential != c || kept.scope != scope {
		return nil
	}
	return kept
}

func (k *signingKeys) put(made *keptSigningKey) { k.slot(made.credential.ID).Store(made) }

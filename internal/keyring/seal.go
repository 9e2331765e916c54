package keyring

import (
	"context"
	"errors"
	"fmt"
	"hash"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// MaxSeals bounds how often one generation seals. Its nonces are 96 random bits,
// for which NIST SP 800-38D, section 8.3, allows 2^32 invocations of a key. Each
// process counts its own seals since it started, so the check is a backstop: to
// stay below the bound, rotate on a schedule.
const MaxSeals = 1 << 32

// Sealer seals and digests the content of one mutation of a scope. It is safe
// for concurrent use and not meant to be kept.
type Sealer struct {
	seal, mac *dataKey
	condition record.Condition
}

// Sealer returns a sealer for the active generation of a scope's data key. The
// view must hold the scope's active-data-key and data-key records. Errors:
// secret.CodeKeyUnavailable, secret.CodeTampered, those of the view.
func (k *Keyring) Sealer(ctx context.Context, view record.View, scope string) (*Sealer, error) {
	active, revision, err := record.LoadShared(view, record.ActiveDataKeys, record.ActiveDataKeyKey(scope))
	if errors.Is(err, record.ErrNotFound) {
		return nil, secret.Wrap(secret.CodeKeyUnavailable, err, fmt.Sprintf("scope %s has no active data key", scope))
	}
	if err != nil {
		return nil, err
	}
	if active.GetScope() != scope || active.GetGeneration() < firstGeneration {
		return nil, secret.Errorf(secret.CodeTampered, "the active data key record of scope %s is that of another", scope)
	}
	s := &Sealer{condition: record.Condition{Key: record.ActiveDataKeyKey(scope), Revision: revision}}
	if s.seal, err = k.get(ctx, view, keyID{scope, active.GetGeneration()}); err != nil {
		return nil, err
	}
	if s.mac, err = k.get(ctx, view, keyID{scope, macGeneration}); err != nil {
		return nil, err
	}
	return s, nil
}

// Condition says that the scope's active generation is still the sealer's. Every
// transaction that writes what was sealed must have it, so that nothing is
// sealed under a key being retired.
func (s *Sealer) Condition() record.Condition { return s.condition }

// Generation returns the generation that seals.
func (s *Sealer) Generation() uint32 { return s.seal.id.generation }

// Seal encrypts content for the place that ad names. Errors: secret.CodeLimit
// when the generation sealed MaxSeals times.
func (s *Sealer) Seal(content secret.Plaintext, ad AssociatedData) (secret.Sealed, error) {
	if err := ad.check(); err != nil {
		return nil, err
	}
	if s.seal.usage.seals.Add(1) > MaxSeals {
		return nil, secret.Errorf(secret.CodeLimit, "data key %s has sealed %d times", s.seal.id, uint64(MaxSeals)).
			WithHint("rotate the data key")
	}
	sealed := appendHeader(make([]byte, 0, Overhead+content.Len()), s.seal.id.generation)
	aad := ad.append(make([]byte, 0, 256), sealed[:headerBytes], s.seal.id.scope)
	return s.seal.aead.Seal(sealed, nil, content.Reveal(), aad), nil
}

// MAC digests content with HMAC-SHA-256 under the scope's MAC key, the same in
// every region. Domains are apart: equal parts have unrelated MACs in different
// domains; and ("ab", "c") differs from ("a", "bc").
func (s *Sealer) MAC(domain string, parts ...[]byte) secret.MAC {
	clone, err := s.mac.mac.Clone()
	if err != nil {
		panic("keyring: HMAC-SHA-256 cannot be cloned: " + err.Error()) // newDataKey tried it
	}
	h := clone.(hash.Hash)
	frame := appendFramed(make([]byte, 0, 64), domain)
	_, _ = h.Write(frame)
	for _, part := range parts {
		_, _ = h.Write(appendLength(frame[:0], len(part)))
		_, _ = h.Write(part)
	}
	return h.Sum(nil)
}

// Open decrypts content that was sealed in scope for the place that ad names,
// under any generation the scope still has. It reads the view only if the key is
// not cached. Errors: secret.CodeTampered if the content was changed or belongs
// to another place; secret.CodeKeyUnavailable, caused by record.ErrNotFound if
// the view lacks the key's record; secret.CodeUnknownFormat; those of the view.
func (k *Keyring) Open(ctx context.Context, view record.View, scope string, sealed secret.Sealed, ad AssociatedData) (secret.Plaintext, error) {
	if err := ad.check(); err != nil {
		return secret.Plaintext{}, err
	}
	generation, err := Generation(sealed)
	if err != nil {
		return secret.Plaintext{}, err
	}
	key, err := k.get(ctx, view, keyID{scope, generation})
	if err != nil {
		return secret.Plaintext{}, err
	}
	buffer := k.pool.Get().(*[]byte)
	defer k.pool.Put(buffer)
	*buffer = ad.append((*buffer)[:0], sealed[:headerBytes], scope)
	plaintext, err := key.aead.Open(nil, nil, sealed[headerBytes:], *buffer)
	if err != nil {
		return secret.Plaintext{}, tampered()
	}
	return secret.NewPlaintext(plaintext), nil
}

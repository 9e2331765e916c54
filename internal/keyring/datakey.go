package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync/atomic"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/kms"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	macGeneration   = 0
	firstGeneration = 1
	keyBytes        = 32

	purposeSeal = "SEAL"
	purposeMAC  = "MAC"
)

// keyID names a data key.
type keyID struct {
	scope      string
	generation uint32
}

func (id keyID) String() string { return fmt.Sprintf("%s/%d", id.scope, id.generation) }

func (id keyID) purpose() string {
	if id.generation == macGeneration {
		return purposeMAC
	}
	return purposeSeal
}

func (id keyID) key() record.Key { return record.DataKeyKey(id.scope, id.generation) }

// binding is the associated data under which the key service wraps the key.
func (id keyID) binding() []byte {
	b := appendFramed(nil, "lifeboat data key")
	b = appendFramed(b, id.purpose())
	b = appendFramed(b, id.scope)
	return binary.BigEndian.AppendUint32(b, id.generation)
}

// dataKey is an unwrapped key. Its raw bytes are wiped when it is made; what is
// left is the state that the cipher and the hash of the standard library keep,
// which cannot be wiped and becomes garbage when the key is dropped.
type dataKey struct {
	id    keyID
	aead  cipher.AEAD // of a SEAL key; makes its own random nonces
	mac   hash.Cloner // of a MAC key; cloned for each use
	usage *usage

	// The rest is set for cached keys, in Unix nanoseconds.

	// freshUntil is the end of the lifetime, usableUntil that of the grace while
	// the key service does not answer.
	freshUntil, usableUntil int64
	// renewAt is when the key service is asked again: freshUntil at first, later
	// when it did not answer.
	renewAt atomic.Int64
	expiry  *time.Timer
}

// usage counts what was done with a key in this process.
type usage struct{ hits, seals atomic.Uint64 }

// newDataKey takes raw over and wipes it.
func newDataKey(id keyID, raw []byte, u *usage) (*dataKey, error) {
	defer clear(raw)
	if len(raw) != keyBytes {
		return nil, secret.Wrap(secret.CodeTampered, kms.ErrTampered, fmt.Sprintf("data key %s has %d bytes, not %d", id, len(raw), keyBytes))
	}
	k := &dataKey{id: id, usage: u}
	if id.generation == macGeneration {
		h := hmac.New(sha256.New, raw)
		h.Reset() // precomputes both pads, see FIPS 198-1 section 6
		var err error
		if k.mac, err = h.(hash.Cloner).Clone(); err != nil {
			return nil, secret.Wrap(secret.CodeInternal, err, "HMAC-SHA-256 cannot be cloned")
		}
		return k, nil
	}
	block, err := aes.NewCipher(raw)
	if err == nil {
		k.aead, err = cipher.NewGCMWithRandomNonce(block)
	}
	if err != nil {
		return nil, secret.Wrap(secret.CodeInternal, err, "cannot make AES-256-GCM")
	}
	return k, nil
}

// loadRecord reads the record of a key. It stays valid when the view does not,
// since decoding a protobuf copies its bytes.
func loadRecord(view record.View, id keyID) (*recordpb.DataKey, int64, error) {
	stored, revision, err := record.Load(view, record.DataKeys, id.key())
	if errors.Is(err, record.ErrNotFound) {
		return nil, 0, secret.Wrap(secret.CodeKeyUnavailable, err, fmt.Sprintf("data key %s", id))
	}
	if err != nil {
		return nil, 0, err
	}
	if stored.GetScope() != id.scope || stored.GetGeneration() != id.generation || stored.GetPurpose() != id.purpose() {
		return nil, 0, otherRecord(id)
	}
	return stored, revision, nil
}

func otherRecord(id keyID) error {
	return secret.Errorf(secret.CodeTampered, "the record of data key %s is that of another", id).
		WithHint("restore the record from a backup or another region")
}

func wrappedOf(stored *recordpb.DataKey) kms.Wrapped {
	return kms.Wrapped{MasterKey: stored.GetMasterKey(), Bytes: stored.GetWrapped()}
}

func encodeDataKey(id keyID, wrapped kms.Wrapped, now time.Time) []byte {
	return record.DataKeys.Encode(&recordpb.DataKey{
		Scope: id.scope, Generation: id.generation, Purpose: id.purpose(),
		Wrapped: wrapped.Bytes, MasterKey: wrapped.MasterKey, CreatedAt: now.UnixNano(),
	})
}

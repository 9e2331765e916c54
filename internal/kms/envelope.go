package kms

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The envelope, format 1:
//
//	1 byte    format
//	16 bytes  check value: the first half of SHA-256(binding || ciphertext)
//	rest      the driver's ciphertext
//
// The check value is not what protects the data key: that is the driver's own
// authenticated encryption. It is there because a key service may answer a
// changed ciphertext or other associated data with the same general error as a
// fault of its own (SoftHSM2: CKR_GENERAL_ERROR). It is compared before the key
// service is asked, so whatever fails afterwards, short of a forged check value,
// is the key service's doing. It covers only what is not secret.
const (
	envelopeFormat = 1
	checkBytes     = 16
	headerBytes    = 1 + checkBytes
)

// Binding returns the 32 bytes that a driver passes to its cipher as associated
// data: a digest of the format, the master key's ID and aad. A key service with
// a low limit on associated data takes it whole.
func Binding(masterKey string, aad []byte) []byte {
	h := sha256.New()
	var frame [8]byte
	for _, part := range [][]byte{[]byte("lifeboat wrapped key"), {envelopeFormat}, []byte(masterKey), aad} {
		binary.BigEndian.PutUint64(frame[:], uint64(len(part)))
		h.Write(frame[:])
		h.Write(part)
	}
	return h.Sum(nil)
}

// SealEnvelope puts the ciphertext a driver made into an envelope.
func SealEnvelope(masterKey string, aad, ciphertext []byte) Wrapped {
	b := make([]byte, 0, headerBytes+len(ciphertext))
	b = append(b, envelopeFormat)
	b = append(b, check(masterKey, aad, ciphertext)...)
	return Wrapped{MasterKey: masterKey, Bytes: append(b, ciphertext...)}
}

// OpenEnvelope verifies the check value and returns the driver's ciphertext, a
// part of w.Bytes. Errors: ErrTampered, and secret.CodeUnknownFormat for an
// envelope of a newer release.
func OpenEnvelope(w Wrapped, aad []byte) ([]byte, error) {
	if len(w.Bytes) <= headerBytes || w.Bytes[0] == 0 {
		return nil, Tampered(w.MasterKey)
	}
	if format := w.Bytes[0]; format != envelopeFormat {
		return nil, secret.Errorf(secret.CodeUnknownFormat, "wrapped key has format %d, this release reads %d", format, envelopeFormat).
			WithHint("upgrade this process")
	}
	ciphertext := w.Bytes[headerBytes:]
	if subtle.ConstantTimeCompare(w.Bytes[1:headerBytes], check(w.MasterKey, aad, ciphertext)) != 1 {
		return nil, Tampered(w.MasterKey)
	}
	return ciphertext, nil
}

func check(masterKey string, aad, ciphertext []byte) []byte {
	h := sha256.New()
	h.Write(Binding(masterKey, aad))
	h.Write(ciphertext)
	return h.Sum(nil)[:checkBytes]
}

package keyring

import (
	"encoding/binary"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Sealed content, format 1:
//
//	1 byte    format
//	4 bytes   generation of the data key, big endian, from 1
//	12 bytes  nonce, random
//	rest      ciphertext and the 16 bytes of the tag
//
// The header (format and generation) is part of the associated data.
const (
	sealedFormat = 1
	headerBytes  = 1 + 4
	nonceBytes   = 12
	tagBytes     = 16

	// Overhead is how many bytes longer sealed content is than its plaintext.
	Overhead = headerBytes + nonceBytes + tagBytes
)

func appendHeader(b []byte, generation uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, sealedFormat), generation)
}

// Generation returns which generation of the scope's data key sealed the
// content. Errors: secret.CodeTampered, secret.CodeUnknownFormat.
func Generation(sealed secret.Sealed) (uint32, error) {
	if len(sealed) < Overhead || sealed[0] == 0 {
		return 0, tampered()
	}
	if sealed[0] != sealedFormat {
		return 0, secret.Errorf(secret.CodeUnknownFormat, "sealed content has format %d, this release reads %d", sealed[0], sealedFormat).
			WithHint("upgrade this process")
	}
	generation := binary.BigEndian.Uint32(sealed[1:headerBytes])
	if generation == macGeneration {
		return 0, tampered()
	}
	return generation, nil
}

func tampered() error {
	return secret.Errorf(secret.CodeTampered, "sealed content was changed or belongs to another record").
		WithHint("restore the record from a backup or another region")
}

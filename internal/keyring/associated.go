package keyring

import (
	"encoding/binary"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Field says which content of a record is sealed.
type Field string

// The fields that are sealed.
const (
	Value       Field = "value"       // of a version
	Description Field = "description" // of a secret
	Metadata    Field = "metadata"    // custom metadata of a secret
	AccessKey   Field = "access-key"  // the secret half of an access key
)

// AssociatedData says where sealed content belongs. Content sealed for one place
// cannot be opened at another, so nobody who can write to a store can swap
// records. Parts that a place does not have are empty; Account and Field are
// required. For an access key, Secret is empty and Version is its credential ID.
type AssociatedData struct {
	Account secret.AccountID
	Vault   secret.VaultID
	Secret  secret.ID
	Version secret.VersionID
	Field   Field
}

func (ad *AssociatedData) check() error {
	switch {
	case ad.Account == "":
		return secret.Errorf(secret.CodeInternal, "associated data without an account")
	case ad.Field == "":
		return secret.Errorf(secret.CodeInternal, "associated data without a field")
	}
	return nil
}

// append adds the unambiguous encoding: a domain, the format and generation of
// the envelope, the scope, and each part with its length.
func (ad *AssociatedData) append(b []byte, header []byte, scope string) []byte {
	b = append(b, "lifeboat sealed content\x00"...)
	b = append(b, header...)
	b = appendFramed(b, scope)
	b = appendFramed(b, string(ad.Account))
	b = appendFramed(b, string(ad.Vault))
	b = appendFramed(b, string(ad.Secret))
	b = appendFramed(b, string(ad.Version))
	return appendFramed(b, string(ad.Field))
}

// appendFramed adds a part preceded by its length, 8 bytes big endian.
func appendFramed[T string | []byte](b []byte, part T) []byte {
	return append(appendLength(b, len(part)), part...)
}

func appendLength(b []byte, n int) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n))
}

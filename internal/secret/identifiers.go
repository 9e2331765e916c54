package secret

import "strings"

// AccountID names an account: a ULID (26 characters, Crockford base 32), the
// same in every region.
type AccountID string

// VaultID names a vault: a ULID, the same in every region that holds it.
type VaultID string

// ID names a secret: the ULID of its vault, a dot, and a ULID of its own. The
// vault is part of it so that a request can be routed by ID alone.
type ID string

// VersionID names a version within its secret: 1 to 64 characters of
// [A-Za-z0-9_-.]; a ULID unless the caller chose it.
type VersionID string

// PrincipalID names a principal: a ULID.
type PrincipalID string

// CredentialID names a credential; it is the public half of a token or an
// access key.
type CredentialID string

// RegionName names a region: 1 to 32 lower-case letters, digits and dashes.
type RegionName string

// Incarnation is a random ID that a region gets anew at each initialisation
// and restore, so that its peers and its clients can tell a clone or a
// restored region from the one they knew.
type Incarnation string

// NewID joins a vault and a ULID to the ID of a secret.
func NewID(vault VaultID, ulid string) ID { return ID(string(vault) + "." + ulid) }

// Vault returns the vault that the secret belongs to, empty if id is malformed.
func (id ID) Vault() VaultID {
	vault, _, ok := strings.Cut(string(id), ".")
	if !ok {
		return ""
	}
	return VaultID(vault)
}

// Valid reports whether id is two ULIDs joined by a dot.
func (id ID) Valid() bool {
	vault, own, ok := strings.Cut(string(id), ".")
	return ok && ValidULID(vault) && ValidULID(own)
}

// ValidULID reports whether s has the form of a ULID in canonical upper case.
func ValidULID(s string) bool {
	if len(s) != 26 || s[0] > '7' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > 'Z' || c > '9' && c < 'A' || c == 'I' || c == 'L' || c == 'O' || c == 'U' {
			return false
		}
	}
	return true
}

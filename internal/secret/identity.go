package secret

import (
	"slices"
	"time"
)

// SystemAccount is the account of the region's own operators. It is made by
// initialisation, has no vaults, and cannot be deleted.
const SystemAccount AccountID = "00000000000000000000000000"

// Account is a customer: it owns vaults, principals, credentials and policies.
type Account struct {
	ID        AccountID
	Name      string
	Ownership Ownership
	CreatedAt time.Time
	UpdatedAt time.Time
	// RequestToken is the idempotency token of the creation.
	RequestToken string
}

// PrincipalKind says what acts.
type PrincipalKind string

// The kinds of principals.
const (
	User     PrincipalKind = "USER"     // a person
	Workload PrincipalKind = "WORKLOAD" // a program
	Operator PrincipalKind = "OPERATOR" // who runs the region; only in the system account
)

// Principal is who acts: it holds credentials and is named by policies.
type Principal struct {
	ID      PrincipalID
	Account AccountID
	Name    string
	Kind    PrincipalKind
	// Roles are names that policies of the account can permit or forbid as a group.
	Roles []string
	// Disabled principals keep their credentials, none of which works.
	Disabled     bool
	Ownership    Ownership
	CreatedAt    time.Time
	UpdatedAt    time.Time
	RequestToken string
}

// CredentialKind says how a credential proves itself.
type CredentialKind string

// The kinds of credentials.
const (
	Token     CredentialKind = "TOKEN"      // a bearer token; only its hash is stored
	AccessKey CredentialKind = "ACCESS_KEY" // signs requests; its secret half is stored sealed
)

// Credential lets a principal prove who it is.
type Credential struct {
	ID          CredentialID
	Account     AccountID
	Principal   PrincipalID
	Kind        CredentialKind
	Description string
	// TokenHash is the SHA-256 of the secret half of a token.
	TokenHash []byte
	// SealedKey is the sealed secret half of an access key.
	SealedKey Sealed
	Ownership Ownership
	CreatedAt time.Time
	// ExpiresAt is when it stops working; zero means never.
	ExpiresAt time.Time
	// RevokedAt is when it was revoked; zero means that it was not.
	RevokedAt time.Time
}

// Usable returns nil if the credential works at now, else a
// CodeUnauthenticated error that says why not.
func (c *Credential) Usable(now time.Time) error {
	switch {
	case !c.RevokedAt.IsZero():
		return Errorf(CodeUnauthenticated, "the credential was revoked at %s", c.RevokedAt.UTC().Format(time.RFC3339))
	case !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt):
		return Errorf(CodeUnauthenticated, "the credential expired at %s", c.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return nil
}

// Policy is a named set of Cedar policies of an account.
type Policy struct {
	Account     AccountID
	Name        string
	Text        string
	Description string
	Ownership   Ownership
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Clone returns a deep copy.
func (p *Principal) Clone() *Principal {
	c := *p
	c.Roles = slices.Clone(p.Roles)
	c.Ownership = p.Ownership.clone()
	return &c
}

package secret

import (
	"maps"
	"time"
)

// Vault is the container and namespace of secrets and the unit of placement.
type Vault struct {
	ID          VaultID
	Account     AccountID
	Name        string
	Ownership   Ownership
	State       State
	Description string
	Tags        map[string]string
	// Retention is given to secrets that are created without one.
	Retention    Retention
	CreatedAt    time.Time
	UpdatedAt    time.Time
	RequestToken string
}

// Clone returns a deep copy.
func (v *Vault) Clone() *Vault {
	c := *v
	c.Tags = maps.Clone(v.Tags)
	c.Ownership = v.Ownership.clone()
	return &c
}

package secret

import (
	"maps"
	"slices"
	"time"
)

// DrillVaultPrefix begins the names of vaults that are made for drills. Names of vaults
// never change, so no other vault becomes one.
const DrillVaultPrefix = "lifeboat-drill-"

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
	Replication  Replication
	CreatedAt    time.Time
	UpdatedAt    time.Time
	RequestToken string
	// Key names the master key that wraps its data keys, in the key service of
	// the region; empty means the region's own.
	Key string
}

// Clone returns a deep copy.
func (v *Vault) Clone() *Vault {
	c := *v
	c.Tags = maps.Clone(v.Tags)
	c.Ownership = v.Ownership.clone()
	c.Replication = v.Replication.clone()
	return &c
}

// Update changes metadata; nil stays as it is. Errors: CodeInvalid.
func (v *Vault) Update(m Mutation, description *string, setTags map[string]string, removeTags []string, retention *Retention) error {
	if description != nil {
		if err := CheckText("description", *description, MaxDescriptionBytes); err != nil {
			return err
		}
	}
	tags, err := editTags(v.Tags, setTags, removeTags)
	if err != nil {
		return err
	}
	if retention != nil {
		if err := retention.Check(); err != nil {
			return err
		}
		v.Retention = *retention
	}
	if description != nil {
		v.Description = *description
	}
	v.Tags = tags
	v.Ownership.Advance(m.Incarnation)
	v.UpdatedAt = m.At
	return nil
}

// HeldBy reports whether a region holds the vault's record: its home, and those that
// hold its secrets or some of them.
func (v *Vault) HeldBy(region RegionName) bool {
	return v.Ownership.Home == region || slices.Contains(v.Replication.Holders(), region)
}

// MoveHome moves the vault's home, as its ownership has moved, to a region that is a target of it; the former
// home becomes a target, under the key that it has there. Errors: CodeInvalid if
// the region is not a target of the whole vault.
func (v *Vault) MoveHome(m Mutation, moved Ownership) error {
	to := moved.Home
	target := TargetIn(v.Replication.Targets, to)
	if target == nil {
		return Invalid("region", "%s is not a target of the vault", to).WithHint("replicate the vault to it first")
	}
	from := v.Ownership.Home
	key := target.Key
	v.Replication.Targets = moveTargets(v.Replication.Targets, from, to, v.Key)
	v.Key = key
	if allowed := v.Replication.AllowedRegions; len(allowed) > 0 && !slices.Contains(allowed, from) {
		v.Replication.AllowedRegions = append(slices.Clone(allowed), from)
		slices.Sort(v.Replication.AllowedRegions)
	}
	v.Ownership = moved
	v.Ownership.Advance(m.Incarnation)
	v.UpdatedAt = m.At
	return nil
}

// editTags returns the tags after an edit, checked.
func editTags(tags, set map[string]string, remove []string) (map[string]string, error) {
	edited := maps.Clone(tags)
	for _, k := range remove {
		delete(edited, k)
	}
	if len(set) > 0 && edited == nil {
		edited = make(map[string]string, len(set))
	}
	maps.Copy(edited, set)
	return edited, CheckTags("tags", edited)
}

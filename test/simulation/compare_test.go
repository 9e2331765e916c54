package simulation

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// compare reports the first difference between what a target holds and what its
// home has, and what is still under way.
func (w *world) compare() error {
	for _, r := range w.regions {
		v := r.shard.snapshot()
		for key := range v.records {
			for _, prefix := range []string{record.WorkPrefix, record.MessagePrefix, record.ResynchronisationPrefix, record.SynchronisationPrefix} {
				if key.HasPrefix(prefix) {
					return fmt.Errorf("%s still has %s: %s", r.name, key, r.explain(v, key))
				}
			}
			if s, _, err := record.Load(v, record.Secrets, key); key.HasPrefix(record.TombstonePrefix) || err == nil && key.HasPrefix(record.SecretPrefix) && s.State == secret.Deleted {
				return fmt.Errorf("%s has not forgotten %s, which is deleted", r.name, key)
			}
		}
	}
	for _, home := range w.regions {
		for _, target := range w.regions {
			if home == target {
				continue
			}
			if err := home.compareWith(target); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *region) explain(v view, key record.Key) string {
	m, err := record.Messages.Decode(v.records[key].Value)
	if !key.HasPrefix(record.MessagePrefix) || err != nil {
		return ""
	}
	return m.GetFailureCode() + " " + m.GetFailureReason()
}

// compareWith compares what the target holds of this region's.
func (r *region) compareWith(target *region) error {
	own, theirs := r.shard.snapshot(), target.shard.snapshot()
	if err := r.compareIdentities(own, theirs, target); err != nil {
		return err
	}
	for key := range union(own, theirs) {
		o, _ := ownerIn(own, key)
		if key.HasPrefix(record.SecretPrefix) && o.Home == "" {
			o, _ = ownerIn(theirs, key)
		}
		if o.Home != r.name {
			continue
		}
		want, err := wanted(own, key, target.name)
		if err != nil {
			return err
		}
		got, err := bare(theirs, key)
		if err != nil {
			return err
		}
		if !bytes.Equal(want, got) {
			held, _ := ownerIn(theirs, key)
			return fmt.Errorf("G6: %s should hold %d bytes of %s at %s, and holds %d at %s", target.name, len(want), key, o.Order, len(got), held.Order)
		}
		if err := whole(theirs, key); err != nil {
			return fmt.Errorf("%s: %w", target.name, err)
		}
	}
	return nil
}

// compareIdentities compares who is in the region's account, which a target has if
// it holds the region's vault and must not have otherwise.
func (r *region) compareIdentities(own, theirs view, target *region) error {
	vault, _, err := record.Load(own, record.Vaults, record.VaultKey(secret.VaultID(r.vault)))
	if err != nil {
		return err
	}
	holds := slices.Contains(vault.Replication.Holders(), target.name)
	for _, prefix := range []string{record.AccountPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.PolicyPrefix} {
		keys := map[record.Key]bool{}
		for _, v := range []view{own, theirs} {
			for key := range v.records {
				if owner, err := record.OwnerOf(key, v.records[key].Value); key.HasPrefix(prefix) && err == nil && owner.Account == vault.Account {
					keys[key] = true
				}
			}
		}
		for key := range keys {
			want, _ := ownerIn(own, key)
			got, there := theirs.records[key]
			if there != holds {
				return fmt.Errorf("%s: %s is there: %t, holds the vault: %t", target.name, key, there, holds)
			}
			if owner, err := record.OwnerOf(key, got.Value); there && (err != nil || owner.Ownership.Order != want.Order) {
				return fmt.Errorf("G6: %s has %s at %s, not at %s", target.name, key, owner.Ownership.Order, want.Order)
			}
		}
	}
	return nil
}

// union are the keys of vaults and secrets in either view.
func union(views ...view) map[record.Key]bool {
	keys := map[record.Key]bool{}
	for _, v := range views {
		for key := range v.records {
			if key.HasPrefix(record.SecretPrefix) || key.HasPrefix(record.VaultPrefix) {
				keys[key] = true
			}
		}
	}
	return keys
}

// wanted is what a target is meant to hold of a record of this home.
func wanted(own view, key record.Key, target secret.RegionName) ([]byte, error) {
	vaultKey := key
	if rest, ok := strings.CutPrefix(string(key), record.SecretPrefix); ok {
		id, _, _ := strings.Cut(rest, "/")
		vaultKey = record.VaultKey(secret.VaultID(id))
	}
	vault, _, err := record.Load(own, record.Vaults, vaultKey)
	if err != nil {
		return nil, nil //nolint:nilerr // the vault is gone, and all that was in it
	}
	meant := secret.TargetIn(vault.Replication.Targets, target) != nil
	if vaultKey == key {
		for _, holder := range vault.Replication.Holders() {
			meant = meant || holder == target
		}
	} else if sec, _, err := record.Load(own, record.Secrets, key); err == nil {
		meant = meant || secret.TargetIn(sec.Targets, target) != nil
	}
	if !meant {
		return nil, nil
	}
	return bare(own, key)
}

// bare is a record without what each region seals for itself.
func bare(v view, key record.Key) ([]byte, error) {
	stored, ok := v.records[key]
	if !ok || !key.HasPrefix(record.SecretPrefix) {
		return stored.Value, nil
	}
	s, err := record.Secrets.Decode(stored.Value)
	if err != nil {
		return nil, err
	}
	s.Description, s.Metadata = nil, nil
	return record.Secrets.Encode(s), nil
}

// whole reports whether all that belongs to a secret is there.
func whole(v view, key record.Key) error {
	if !key.HasPrefix(record.SecretPrefix) {
		return nil
	}
	s, _, err := record.Load(v, record.Secrets, key)
	if err != nil {
		return nil //nolint:nilerr // it is not held
	}
	for _, info := range s.Versions {
		version, _, err := record.Load(v, record.Versions, record.VersionKey(s.ID, info.ID))
		if err != nil || !version.MAC.Equal(info.MAC) {
			return fmt.Errorf("version %s of %s: %w", info.ID, key, err)
		}
	}
	stored, ok, _ := v.Get(record.SecretNameKey(s.ID.Vault(), s.Name))
	if s.State == secret.Deleted {
		return nil
	}
	holder, err := record.DecodeReference(stored.Value)
	if !ok || err != nil || holder != string(s.ID) {
		return fmt.Errorf("the name %s leads to %q, not to %s", s.Name, holder, s.ID)
	}
	return nil
}

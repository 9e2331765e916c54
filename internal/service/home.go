package service

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// notHomeError is CodeNotHome of a record.
type notHomeError struct {
	refusal *secret.Error
	key     record.Key
	home    secret.RegionName
	// handedOver is set if it was this region that handed the record over to its home,
	// where it may not have arrived yet.
	handedOver bool
}

func (e *notHomeError) Error() string { return e.refusal.Error() }

func (e *notHomeError) Unwrap() error { return e.refusal }

// kindNames are the words for kinds of records where they are not their own.
var kindNames = map[string]string{"trust": "trust bundle", "issuer-keys": "issuer"}

// refuseReplica returns CodeNotHome if the record's home is another region, or is
// this one but was taken over by another that holds the record.
func refuseReplica(view record.View, key record.Key, o secret.Ownership, region secret.RegionName) error {
	home := o.Home
	if o.MayMutate(region) {
		heir, err := heirOf(view, key)
		if err != nil || heir == "" {
			return err
		}
		home = heir
	}
	refused := notHome(key, home)
	refused.handedOver = o.HandedOverBy(region)
	return refused
}

func notHome(key record.Key, home secret.RegionName) *notHomeError {
	what := key.Kind()
	if name := kindNames[what]; name != "" {
		what = name
	}
	return &notHomeError{
		key: key, home: home,
		refusal: &secret.Error{
			Code: secret.CodeNotHome, Message: fmt.Sprintf("the %s is a replica; its home region is %s", what, home),
			Hint: "change it in " + string(home), Home: home,
		},
	}
}

// vaultHome returns the region that accepts mutations of a vault, as far as this one
// knows: that of its record, or the heir of that.
func vaultHome(view record.View, vault *secret.Vault, region secret.RegionName) (secret.RegionName, error) {
	home := vault.Ownership.Home
	if home == region {
		heir, err := heirOf(view, record.VaultKey(vault.ID))
		if err != nil || heir == "" {
			return home, err
		}
		return heir, nil
	}
	taken, err := hasTakenOver(view, home, record.VaultKey(vault.ID))
	// Of a vault of which it holds single secrets only it does not become the home.
	if err == nil && taken && secret.TargetIn(vault.Replication.Targets, region) != nil {
		home = region
	}
	return home, err
}

// heirOf returns the region that has taken this one over and holds the record; empty
// if there is none.
func heirOf(view record.View, key record.Key) (secret.RegionName, error) {
	fence, _, err := record.LoadShared(view, record.Fences, record.FenceKey)
	if err != nil || len(fence.GetSupersededBy()) == 0 {
		return "", err
	}
	for _, heir := range fence.GetSupersededBy() {
		if only := HeldUpBy(fence, secret.RegionName(heir)); len(only) > 0 && !slices.Contains(only, string(key)) {
			continue
		}
		held, err := heldIn(view, key, secret.RegionName(heir))
		if err != nil || held {
			return secret.RegionName(heir), err
		}
	}
	return "", nil
}

// heldIn reports whether a region is meant to hold a record.
func heldIn(view record.View, key record.Key, region secret.RegionName) (bool, error) {
	vaultKey := key
	if id := record.SecretIDOf(key); id != "" {
		vaultKey = record.VaultKey(id.Vault())
		sec, _, err := record.Load(view, record.Secrets, key)
		if err == nil && secret.TargetIn(sec.Targets, region) != nil {
			return true, nil
		}
		if err == nil && sec.PartedFrom(region) {
			return false, nil
		}
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return false, err
		}
	}
	if vaultKey.HasPrefix(record.VaultPrefix) {
		vault, _, err := record.Load(view, record.Vaults, vaultKey)
		if err != nil {
			return false, err
		}
		return secret.MeantFor(vault.Ownership.Home, vault.Replication, vault.Ownership.Home, nil, region), nil
	}
	stored, ok, err := view.Get(key)
	if err != nil || !ok {
		return false, err
	}
	owner, err := record.OwnerOf(key, stored.Value)
	if err != nil {
		return false, err
	}
	return accountHeldIn(view, owner.Account, region)
}

// advance raises an ownership by a mutation of a record that belongs to one whose
// home is here; that of the record itself may have been in a region that was taken
// over.
func advance(o *secret.Ownership, home secret.RegionName, incarnation secret.Incarnation) {
	if o.Home != home {
		*o = o.TakenBy(home)
	}
	o.Advance(incarnation)
}

package replication

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Routes knows to which regions the records of this region go. It follows the
// vaults' records. Safe for concurrent use.
type Routes struct {
	region secret.RegionName

	mu     sync.RWMutex
	vaults map[secret.VaultID]route
}

// route is where the records of a vault whose home is this region go.
type route struct {
	account secret.AccountID
	// targets get every secret; holders also the vault's record, for some secrets.
	targets, holders []secret.RegionName
	// partial is set if secrets may have targets of their own.
	partial bool
}

// NewRoutes returns the routes of a region that has no vaults yet.
func NewRoutes(region secret.RegionName) *Routes {
	return &Routes{region: region, vaults: make(map[secret.VaultID]route)}
}

// Changed takes note of what the local store applied. Call it before the
// pipeline's.
func (r *Routes) Changed(changes []record.Change) error {
	var errs []error
	for _, c := range changes {
		if !c.Key.HasPrefix(record.VaultPrefix) {
			continue
		}
		r.mu.Lock()
		errs = append(errs, r.note(c))
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (r *Routes) note(c record.Change) error {
	id := secret.VaultID(c.Key[len(record.VaultPrefix):])
	delete(r.vaults, id)
	if c.Deleted {
		return nil
	}
	v, err := record.Vaults.Decode(c.Value)
	if err != nil {
		return err
	}
	holders := v.Replication.Holders()
	if v.Ownership.Home != r.region || len(holders) == 0 {
		return nil
	}
	to := route{account: v.Account, holders: holders, partial: len(v.Replication.Partial) > 0}
	for _, t := range v.Replication.Targets {
		to.targets = append(to.targets, t.Region)
	}
	r.vaults[id] = to
	return nil
}

// Load replaces what is known by what a view holds.
func (r *Routes) Load(view record.View) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.vaults)
	var noteErr error
	err := view.Scan(record.VaultPrefix, record.PrefixEnd(record.VaultPrefix), func(s record.Stored) bool {
		noteErr = r.note(record.Change{Stored: s})
		return noteErr == nil
	})
	return errors.Join(err, noteErr)
}

// Targets returns the regions that must hear of a mutation of the record, given
// what the view holds of it. Errors: those of the view and of decoding.
func (r *Routes) Targets(view record.View, key record.Key) ([]secret.RegionName, error) {
	r.mu.RLock()
	none := len(r.vaults) == 0
	r.mu.RUnlock()
	if id := record.SecretIDOf(key); id != "" {
		if none {
			return nil, nil
		}
		return r.ofSecret(view, key, id.Vault())
	}
	kind, _, _ := strings.Cut(string(key), "/")
	switch kind + "/" {
	case record.VaultPrefix:
		return r.ofVault(view, secret.VaultID(key[len(record.VaultPrefix):]))
	case record.AccountPrefix, record.PrincipalPrefix, record.CredentialPrefix, record.PolicyPrefix,
		record.TrustPrefix, record.BindingPrefix, record.IssuerPrefix, record.IssuerKeysPrefix:
		if none {
			return nil, nil
		}
		return r.ofIdentity(view, key)
	}
	return nil, nil
}

func (r *Routes) ofSecret(view record.View, key record.Key, vault secret.VaultID) ([]secret.RegionName, error) {
	r.mu.RLock()
	to, ok := r.vaults[vault]
	r.mu.RUnlock()
	if !ok || !to.partial {
		return to.targets, nil
	}
	sec, _, err := record.Load(view, record.Secrets, key)
	if errors.Is(err, record.ErrNotFound) {
		return to.targets, nil
	}
	if err != nil {
		return nil, err
	}
	targets := slices.Clone(to.targets)
	for _, t := range sec.Targets {
		if !slices.Contains(targets, t.Region) {
			targets = append(targets, t.Region)
		}
	}
	return targets, nil
}

// ofVault returns who holds a vault, or held it when it was deleted.
func (r *Routes) ofVault(view record.View, id secret.VaultID) ([]secret.RegionName, error) {
	r.mu.RLock()
	to, ok := r.vaults[id]
	r.mu.RUnlock()
	if ok {
		return to.holders, nil
	}
	grave, _, err := record.Load(view, record.Tombstones, record.TombstoneKey(record.VaultKey(id)))
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil
	}
	if err != nil || grave.Ownership.Home != r.region {
		return nil, err
	}
	return grave.Holders, nil
}

// ofIdentity returns the regions that hold a vault of the record's account.
func (r *Routes) ofIdentity(view record.View, key record.Key) ([]secret.RegionName, error) {
	account, home, err := ownerOf(view, key)
	if err != nil || home != r.region {
		return nil, err
	}
	return r.Holders(account), nil
}

// Holders returns the regions that hold a vault of the account whose home is this
// region, sorted.
func (r *Routes) Holders(account secret.AccountID) []secret.RegionName {
	r.mu.RLock()
	defer r.mu.RUnlock()
	holders := map[secret.RegionName]bool{}
	for _, to := range r.vaults {
		if to.account == account {
			for _, region := range to.holders {
				holders[region] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(holders))
}

// Concerns reports whether a region may hold something that the record belongs to:
// its vault, or a vault of its account. What does not concern a region need not be
// told to it: when it gave the vault up, it gave up all of it. A vault concerns
// every region. Errors: those of Targets.
func (r *Routes) Concerns(view record.View, region secret.RegionName, key record.Key) (bool, error) {
	if id := record.SecretIDOf(key); id != "" {
		r.mu.RLock()
		defer r.mu.RUnlock()
		return slices.Contains(r.vaults[id.Vault()].holders, region), nil
	}
	if key.HasPrefix(record.VaultPrefix) {
		return true, nil
	}
	targets, err := r.Targets(view, key)
	return slices.Contains(targets, region), err
}

// HeldBy returns the vaults whose home is this region and which the peer holds,
// sorted by age.
func (r *Routes) HeldBy(peer secret.RegionName) []secret.VaultID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var held []secret.VaultID
	for id, to := range r.vaults {
		if slices.Contains(to.holders, peer) {
			held = append(held, id)
		}
	}
	slices.Sort(held)
	return held
}

// ownerOf returns the account and the home of a record of an identity, or of its
// tombstone.
func ownerOf(view record.View, key record.Key) (secret.AccountID, secret.RegionName, error) {
	stored, ok, err := view.Get(key)
	if err != nil {
		return "", "", err
	}
	if !ok {
		grave, _, err := record.Load(view, record.Tombstones, record.TombstoneKey(key))
		if errors.Is(err, record.ErrNotFound) {
			return "", "", nil
		}
		if err != nil {
			return "", "", err
		}
		return grave.Account, grave.Ownership.Home, nil
	}
	o, err := record.OwnerOf(key, stored.Value)
	return o.Account, o.Ownership.Home, err
}

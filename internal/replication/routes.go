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
	// replicated counts the vaults that another region holds too.
	replicated int
}

// route is which regions hold a vault, and its record.
type route struct {
	account secret.AccountID
	home    secret.RegionName
	// holders have the vault's record besides its home, some of them for single
	// secrets only.
	holders     []secret.RegionName
	replication secret.Replication
}

// heldIn reports whether a region has the vault's record.
func (t route) heldIn(region secret.RegionName) bool {
	return t.home == region || slices.Contains(t.holders, region)
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
	if old, ok := r.vaults[id]; ok && len(old.holders) > 0 {
		r.replicated--
	}
	delete(r.vaults, id)
	if c.Deleted {
		return nil
	}
	v, err := record.Vaults.Decode(c.Value)
	if err != nil {
		return err
	}
	to := route{account: v.Account, home: v.Ownership.Home, holders: v.Replication.Holders(), replication: v.Replication}
	r.vaults[id] = to
	if len(to.holders) > 0 {
		r.replicated++
	}
	return nil
}

// Load replaces what is known by what a view holds.
func (r *Routes) Load(view record.View) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.vaults)
	r.replicated = 0
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
	none := r.replicated == 0
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
	if !ok || len(to.holders) == 0 {
		return nil, nil
	}
	sec, _, err := record.Load(view, record.Secrets, key)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil // given up, or of a vault that is being deleted
	}
	if err != nil {
		return nil, err
	}
	if sec.Ownership.Home != r.region {
		return r.handedOver(view, sec.Ownership)
	}
	return sec.Destinations(to.home, to.replication), nil
}

// handedOver returns the new home of a record that this region has handed over: it
// must hear of it from here, everybody else hears of it from there.
func (r *Routes) handedOver(view record.View, o secret.Ownership) ([]secret.RegionName, error) {
	if !o.MaySend(r.region) {
		return nil, nil
	}
	region, _, err := record.LoadShared(view, record.Regions, record.RegionKey)
	if err != nil || region.GetIncarnation() != string(o.Incarnation) {
		return nil, err // the new home took it by itself
	}
	return []secret.RegionName{o.Home}, nil
}

// ofVault returns who holds a vault, or held it when it was deleted.
func (r *Routes) ofVault(view record.View, id secret.VaultID) ([]secret.RegionName, error) {
	r.mu.RLock()
	to, ok := r.vaults[id]
	r.mu.RUnlock()
	if ok && to.home == r.region {
		return to.holders, nil
	}
	if ok {
		_, o, err := ownerOf(view, record.VaultKey(id))
		if err != nil {
			return nil, err
		}
		return r.handedOver(view, o)
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
	account, o, err := ownerOf(view, key)
	if err != nil {
		return nil, err
	}
	if o.Home != r.region {
		return r.handedOver(view, o)
	}
	return r.Holders(account), nil
}

// Holders returns the other regions that hold a vault of the account, sorted.
func (r *Routes) Holders(account secret.AccountID) []secret.RegionName {
	r.mu.RLock()
	defer r.mu.RUnlock()
	holders := map[secret.RegionName]bool{}
	for _, to := range r.vaults {
		if to.account != account {
			continue
		}
		holders[to.home] = true
		for _, region := range to.holders {
			holders[region] = true
		}
	}
	delete(holders, r.region)
	return slices.Sorted(maps.Keys(holders))
}

// accountOf returns the account of a vault; empty of one that is not here.
func (r *Routes) accountOf(vault secret.VaultID) secret.AccountID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.vaults[vault].account
}

// Concerns reports whether a region may hold something that the record belongs to:
// its vault, or a vault of its account. What does not concern a region need not be
// told to it: when it gave the vault up, it gave up all of it. A vault concerns
// every region. Errors: those of Targets.
func (r *Routes) Concerns(view record.View, region secret.RegionName, key record.Key) (bool, error) {
	if id := record.SecretIDOf(key); id != "" {
		v, _, err := record.Load(view, record.Vaults, record.VaultKey(id.Vault()))
		if errors.Is(err, record.ErrNotFound) {
			return false, nil
		}
		return err == nil && v.HeldBy(region), err
	}
	if key.HasPrefix(record.VaultPrefix) {
		return true, nil
	}
	targets, err := r.Targets(view, key)
	return slices.Contains(targets, region), err
}

// HeldBy returns the vaults of which the peer should have what this region is the
// home of, sorted by age: those whose home is this region, and those it holds for
// single secrets, which it may be the home of.
func (r *Routes) HeldBy(peer secret.RegionName) []secret.VaultID {
	return r.vaultsOf(func(to route) bool {
		return to.heldIn(peer) && (to.home == r.region || slices.Contains(to.replication.Partial, r.region))
	})
}

// SharedWith returns the vaults that the peer holds too, sorted by age: those of
// HeldBy, and those which this region may have secrets of that it hands over.
func (r *Routes) SharedWith(peer secret.RegionName) []secret.VaultID {
	return r.vaultsOf(func(to route) bool { return to.heldIn(peer) })
}

func (r *Routes) vaultsOf(wanted func(route) bool) []secret.VaultID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []secret.VaultID
	for id, to := range r.vaults {
		if wanted(to) {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// ownerOf returns the account and the ownership of a record of an identity, or of its
// tombstone.
func ownerOf(view record.View, key record.Key) (secret.AccountID, secret.Ownership, error) {
	stored, ok, err := view.Get(key)
	if err != nil {
		return "", secret.Ownership{}, err
	}
	if !ok {
		grave, _, err := record.Load(view, record.Tombstones, record.TombstoneKey(key))
		if errors.Is(err, record.ErrNotFound) {
			return "", secret.Ownership{}, nil
		}
		if err != nil {
			return "", secret.Ownership{}, err
		}
		return grave.Account, grave.Ownership, nil
	}
	o, err := record.OwnerOf(key, stored.Value)
	return o.Account, o.Ownership, err
}

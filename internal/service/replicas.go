package service

import (
	"errors"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// Replica is what this region holds of a record of another one.
type Replica struct {
	Key record.Key
	// Order is zero for a vault whose home is a third region.
	Order   secret.Order
	Deleted bool
	// Withheld is set of a vault that the region which asks is not meant to hold as a
	// whole.
	Withheld bool
}

// listedReplicas bounds one answer.
const listedReplicas = 1000

var errListFull = errors.New("the list is full")

// ListReplicas returns what this region holds of a lost one, but for secrets, that the
// heir of that is meant to hold, from a key on, and where to go on; empty if there is no
// more. Vaults in which the lost region may have secrets are all among them. Of deleted
// records there are those of which a state could let somebody in again.
func (s *Service) ListReplicas(view record.View, lost, heir secret.RegionName, start record.Key) (found []Replica, next record.Key, err error) {
	l := &replicaList{lost: lost, heir: heir, accounts: map[secret.AccountID]bool{}}
	err = scanAll(view, record.Vaults, record.VaultPrefix, func(v *secret.Vault) bool {
		l.accounts[v.Account] = l.accounts[v.Account] || v.HeldBy(heir)
		return true
	})
	if err != nil {
		return nil, "", err
	}
	prefixes := slices.DeleteFunc(inheritedPrefixes(), func(p string) bool { return p == record.SecretPrefix })
	for _, prefix := range prefixes {
		if buriedIsShipped(record.Key(prefix)) {
			prefixes = append(prefixes, record.TombstonePrefix+prefix)
		}
	}
	err = fromBookmark(prefixes, string(start), func(start, end record.Key) error {
		var inner error
		err := view.Scan(start, end, func(stored record.Stored) bool {
			if len(l.found) == listedReplicas {
				next, inner = stored.Key, errListFull
				return false
			}
			inner = l.add(stored)
			return inner == nil
		})
		return errors.Join(err, inner)
	})
	if errors.Is(err, errListFull) {
		err = nil
	}
	return l.found, next, err
}

type replicaList struct {
	lost, heir secret.RegionName
	// accounts are those of which the heir holds a vault.
	accounts map[secret.AccountID]bool
	found    []Replica
}

func (l *replicaList) add(stored record.Stored) error {
	switch {
	case stored.Key.HasPrefix(record.TombstonePrefix):
		grave, err := record.Tombstones.Decode(stored.Value)
		if err == nil && grave.Ownership.Home == l.lost && l.accounts[grave.Account] {
			l.found = append(l.found, Replica{Key: record.Key(grave.Record), Order: grave.Ownership.Order, Deleted: true})
		}
		return err
	case stored.Key.HasPrefix(record.VaultPrefix):
		v, err := record.Vaults.Decode(stored.Value)
		if err != nil || !v.HeldBy(l.lost) {
			return err
		}
		r := Replica{Key: stored.Key, Withheld: !secret.MeantFor(v.Ownership.Home, v.Replication, v.Ownership.Home, nil, l.heir)}
		if v.Ownership.Home == l.lost {
			r.Order = v.Ownership.Order
		}
		l.found = append(l.found, r)
		return nil
	}
	owner, err := record.OwnerOf(stored.Key, stored.Value)
	if err == nil && owner.Ownership.Home == l.lost && l.accounts[owner.Account] && owner.Account != secret.SystemAccount {
		l.found = append(l.found, Replica{Key: stored.Key, Order: owner.Ownership.Order})
	}
	return err
}

// buriedIsShipped reports whether what is left of a deleted record is shipped to an
// heir. A vault or an account that was deleted lives on there, since it may have
// secrets of its own in it; a secret leaves a state, and a tombstone only where it was
// given up.
func buriedIsShipped(key record.Key) bool {
	return !key.HasPrefix(record.VaultPrefix) && !key.HasPrefix(record.AccountPrefix) && !key.HasPrefix(record.SecretPrefix)
}

package service

import (
	"errors"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// settlement is what settle needs to know of a record.
type settlement struct {
	// same reports whether the shipped content is what is held.
	same func() (bool, error)
	// admit refuses a state that is newer; may be nil.
	admit func() error
	// succeed reports whether a region may succeed the home of what is held.
	succeed func(heir secret.RegionName) (bool, error)
	// keep keeps what is held as a conflict.
	keep func() error
}

// settle decides on a state of a record of which this region holds something. done
// ends the plan: nothing is to be applied.
func (a *arrival) settle(view record.View, held, incoming secret.Ownership, s settlement) (done bool, err error) {
	a.receipt.Held = held.Order
	verdict, err := a.judge(view, held, incoming)
	if err != nil {
		return true, err
	}
	switch verdict {
	case secret.Refuse:
		return true, secret.Errorf(secret.CodeStale, "this region holds the newer order %s", held.Order)
	case secret.Keep:
		equal, err := s.same()
		if err == nil && !equal {
			a.service.Logger.Error("two regions have different content under the same order", "record", a.shipment.Key, "order", held.Order.String(), "source", a.from.Region)
			err = secret.Errorf(secret.CodeCorrupt, "this region has other content under the same order %s", held.Order)
		}
		return true, err
	}
	if err := checkSuccession(held, incoming, s.succeed); err != nil {
		return true, err
	}
	if s.admit != nil {
		if err := s.admit(); err != nil {
			return true, err
		}
	}
	if verdict == secret.Diverge {
		return false, s.keep()
	}
	return false, nil
}

// checkSuccession refuses a history in which a region took the record over that held
// no copy of it.
func checkSuccession(held, incoming secret.Ownership, succeed func(secret.RegionName) (bool, error)) error {
	if incoming.Order.Epoch == held.Order.Epoch {
		return nil
	}
	may, err := succeed(incoming.Successor(held.Order.Epoch))
	if err == nil && !may {
		err = secret.Errorf(secret.CodeDenied, "the record's home is %s; %s does not go on from a copy of it", held.Home, incoming.Home)
	}
	return err
}

// judge is secret.Judge, for a region that may have taken over the record's home.
func (a *arrival) judge(view record.View, held, incoming secret.Ownership) (secret.Verdict, error) {
	taken, err := hasTakenOver(view, held.Home, a.shipment.Key)
	if err != nil {
		return secret.Refuse, err
	}
	if taken && !a.from.Survivor {
		return secret.Inherit(held, incoming, a.service.Region), nil
	}
	return secret.Judge(held, incoming), nil
}

// admitNew refuses what this region holds nothing of from a region that it is taking
// over: it is none of what was taken, and can come when that has moved.
func (a *arrival) admitNew(view record.View, incoming secret.Ownership) error {
	taken, err := hasTakenOver(view, incoming.Home, a.shipment.Key)
	if err == nil && taken && !a.from.Survivor {
		err = secret.Errorf(secret.CodeUnavailable, "%s takes over %s, and has not moved all records yet", a.service.Region, incoming.Home)
	}
	return err
}

// hasTakenOver reports whether this region has taken over another one of which it
// has not moved all records yet, or has in a drill the vault that key is of.
func hasTakenOver(view record.View, region secret.RegionName, key record.Key) (bool, error) {
	fence, _, err := record.LoadShared(view, record.Fences, record.FenceKey)
	if errors.Is(err, record.ErrNotFound) {
		return false, notInitialized()
	}
	return slices.Contains(fence.GetTakenOver(), string(region)) || drillTakesOver(fence, region, key), err
}

// maySucceed reports whether a region holds the vault, or a vault of the account
// that the record belongs to.
func maySucceed(view record.View, held heldRecord, heir secret.RegionName) (bool, error) {
	if held.revision > 0 && held.key.HasPrefix(record.VaultPrefix) {
		v, err := record.Vaults.Decode(held.stored.Value)
		return err == nil && v.HeldBy(heir), err
	}
	if held.revision == 0 {
		return true, nil // of what is deleted nothing is left that could be taken
	}
	return accountHeldIn(view, held.account, heir)
}

// accountHeldIn reports whether a region holds a vault of the account.
func accountHeldIn(view record.View, account secret.AccountID, region secret.RegionName) (found bool, err error) {
	err = scanVaultsOf(view, account, func(v *secret.Vault) bool {
		found = v.HeldBy(region)
		return !found
	})
	return found, err
}

// scanVaultsOf calls fn for the vaults of an account until it returns false.
func scanVaultsOf(view record.View, account secret.AccountID, fn func(*secret.Vault) bool) error {
	prefix := string(record.VaultNameKey(account, ""))
	var inner error
	err := view.Scan(record.Key(prefix), record.PrefixEnd(prefix), func(stored record.Stored) bool {
		var id string
		if id, inner = record.DecodeReference(stored.Value); inner != nil {
			return false
		}
		v, _, err := record.Load(view, record.Vaults, record.VaultKey(secret.VaultID(id)))
		if errors.Is(err, record.ErrNotFound) {
			return true
		}
		inner = err
		return err == nil && fn(v)
	})
	return errors.Join(err, inner)
}

// retarget notes where a vault's new targets want secrets whose home is here, which are
// this region's to send. If the vault was once its own it also has regions give up what
// they got from here.
func (a *arrival) retarget(txn *record.Txn, held heldRecord) error {
	if held.revision == 0 || !a.shipment.Key.HasPrefix(record.VaultPrefix) {
		return nil
	}
	after, err := record.Vaults.Decode(a.shipment.State)
	if err != nil {
		return err
	}
	before, err := record.Vaults.Decode(held.stored.Value)
	if err != nil {
		return err
	}
	if after.Ownership.WasIn(a.service.Region) {
		a.synchroniseVault(txn, before, after)
		return nil
	}
	known := a.destinations(before)
	for _, region := range a.destinations(after) {
		if !slices.Contains(known, region) {
			a.synchronise(txn, region, after.ID, "", Synchronise)
		}
	}
	return nil
}

// destinations are the regions that secrets of a vault go to whose home is here.
func (a *arrival) destinations(v *secret.Vault) []secret.RegionName {
	return secret.Destinations(v.Ownership.Home, v.Replication, a.service.Region, nil)
}

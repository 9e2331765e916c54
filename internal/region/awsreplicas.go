package region

import (
	"cmp"
	"errors"

	"github.com/lifeboat-secrets/lifeboat/internal/frontdoor/aws"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// replicasOf tells how far the replicas of a secret are, by the records that every
// process has: nothing is asked of other regions.
func (p *Process) replicasOf(s *secret.Secret) (replicas []aws.Replica, err error) {
	err = p.View(func(view record.View) error {
		now, _, err := record.Load(view, record.Secrets, record.SecretKey(s.ID))
		if errors.Is(err, record.ErrNotFound) {
			now, err = &secret.Secret{}, nil
		}
		if err != nil {
			return err
		}
		vault, _, err := record.LoadShared(view, record.Vaults, record.VaultKey(s.ID.Vault()))
		if err != nil {
			return err
		}
		behind := now.Ownership.Order.Compare(s.Ownership.Order) < 0
		for _, region := range s.Destinations(vault.Ownership.Home, vault.Replication) {
			replica := aws.Replica{Region: region}
			if !behind {
				if replica, err = replicaIn(view, region, s.ID); err != nil {
					return err
				}
			}
			replicas = append(replicas, replica)
		}
		return nil
	})
	return replicas, err
}

// replicaIn returns how far the last state of a secret is in a region: it has it
// unless something says that it may not.
func replicaIn(view record.View, region secret.RegionName, id secret.ID) (aws.Replica, error) {
	replica := aws.Replica{Region: region}
	key := record.SecretKey(id)
	m, _, err := record.Load(view, record.Messages, record.MessageKey(region, key))
	if err == nil {
		if m.GetAttempts() > 0 {
			replica.Failure = &secret.Error{Code: secret.Code(m.GetFailureCode()), Message: cmp.Or(m.GetFailureReason(), m.GetFailureCode())}
		}
		return replica, nil
	}
	if !errors.Is(err, record.ErrNotFound) {
		return replica, err
	}
	replica.InSync = true
	for _, open := range []record.Key{
		record.WorkKey(key), record.ResynchronisationKey(region),
		record.SynchronisationKey(region, id.Vault(), ""), record.SynchronisationKey(region, id.Vault(), id),
	} {
		_, found, err := view.Get(open)
		if err != nil {
			return replica, err
		}
		replica.InSync = replica.InSync && !found
	}
	return replica, nil
}

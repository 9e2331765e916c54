package region

import (
	"context"
	"errors"
	"fmt"
	"time"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/replication"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// surveyFor bounds how long a dry run of a takeover compares this region with others.
const surveyFor = 20 * time.Second

// scope says what a takeover of a region would move, and how the survivors' copies
// differ from this region's.
func (o ownerships) scope(ctx context.Context, lost secret.RegionName) (*lifeboatv1.TakeoverScope, error) {
	scope := &lifeboatv1.TakeoverScope{}
	err := o.p.synced(func(view record.View) error {
		found, err := o.p.service.TakeoverScope(view, lost)
		scope.Accounts, scope.Vaults, scope.Secrets, scope.PartialVaults = found.Accounts, found.Vaults, found.Secrets, found.PartialVaults
		return err
	})
	for _, peer := range o.p.links.Status() {
		switch {
		case peer.Region == lost:
		case peer.Reachable:
			scope.Survivors = append(scope.Survivors, string(peer.Region))
		default:
			scope.Silent = append(scope.Silent, string(peer.Region))
		}
	}
	if err != nil {
		return scope, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, surveyFor, fmt.Errorf("not within %s", surveyFor))
	defer cancel()
	found := o.p.survivors.Survey(limited, lost)
	return scope, o.p.synced(func(view record.View) error {
		scope.Compared = nil
		for i := range found {
			one, err := survivorScope(view, &found[i])
			if err != nil {
				return err
			}
			scope.Compared = append(scope.Compared, one)
		}
		return nil
	})
}

func survivorScope(view record.View, found *replication.Survey) (*lifeboatv1.SurvivorScope, error) {
	scope := &lifeboatv1.SurvivorScope{
		Region: string(found.Survivor), Compared: count(found.Compared), Newer: count(found.Newer), Missing: count(found.Missing),
		Stranded: count(found.Stranded), Behind: count(found.Behind), OtherRecords: count(found.OtherRecords),
	}
	for _, v := range found.Vaults {
		vault, _, err := record.Load(view, record.Vaults, record.VaultKey(v.Vault))
		if err != nil && !errors.Is(err, record.ErrNotFound) {
			return nil, err
		}
		one := &lifeboatv1.VaultScope{
			Vault: string(v.Vault), Newer: count(v.Newer), Missing: count(v.Missing), Stranded: count(v.Stranded), Behind: count(v.Behind),
			NewerExamples: v.NewerNames, MissingExamples: v.MissingNames,
		}
		if err == nil {
			one.Name = vault.Name
		}
		scope.Vaults = append(scope.Vaults, one)
	}
	for _, u := range found.Uncompared {
		one := &lifeboatv1.Uncompared{Count: count(u.Count), Reason: u.Reason}
		for _, vault := range u.Vaults {
			one.Vaults = append(one.Vaults, string(vault))
		}
		scope.Uncompared = append(scope.Uncompared, one)
	}
	return scope, nil
}

func count(n int) uint64 { return uint64(max(0, n)) } //nolint:gosec // never negative

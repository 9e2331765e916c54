package service

import (
	"context"
	"slices"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// The kinds of synchronisation with a target.
const (
	// Synchronise brings the target everything that it is meant for.
	Synchronise = "SYNCHRONISE"
	// Release has the target drop what it is no longer meant for.
	Release = "RELEASE"
)

// VaultReplication is what ReplicateVault changes; a nil field stays as it is.
type VaultReplication struct {
	Vault          string
	Targets        *[]secret.Target
	AllowedRegions *[]secret.RegionName
	AckTargets     *int
	Expected       *secret.Order
}

// ReplicateVault sets to which regions the secrets of a vault are replicated. A
// region that is added gets all of them in the background; one that is left out
// drops its copies. Errors: CodeInvalid for regions that are not peers, not
// allowed, or too many; CodeNotHome; CodeStale.
func (s *Service) ReplicateVault(ctx context.Context, r VaultReplication) (*secret.Vault, error) {
	return s.editVault(ctx, authz.ReplicateVault, r.Vault, r.Expected, func(e *vaultEdit) (err error) {
		if e.vault.Replication, err = s.replicationOf(e.before, r); err != nil {
			return err
		}
		if err := refuseToLeave(e.view, e.before, e.vault); err != nil {
			return err
		}
		e.vault.Ownership.Advance(e.mutation.Incarnation)
		e.vault.UpdatedAt = e.mutation.At
		e.call.synchroniseVault(e.txn, e.before, e.vault)
		return nil
	})
}

// refuseToLeave refuses to take a region off the targets of a vault that is the home
// of some of its secrets.
func refuseToLeave(view record.View, before, after *secret.Vault) error {
	leaves := make(map[secret.RegionName]int)
	for _, t := range before.Replication.Targets {
		if secret.TargetIn(after.Replication.Targets, t.Region) == nil {
			leaves[t.Region] = 0
		}
	}
	if len(leaves) == 0 {
		return nil
	}
	err := scanAll(view, record.Secrets, record.SecretPrefix+string(before.ID)+"/", func(sec *secret.Secret) bool {
		if _, ok := leaves[sec.Ownership.Home]; ok && sec.State != secret.Deleted {
			leaves[sec.Ownership.Home]++
		}
		return true
	})
	for region, homes := range leaves {
		if err == nil && homes > 0 {
			err = secret.Invalid("targets", "does not have %s, which is the home of %d secrets of the vault", region, homes).
				WithHint("move the vault from " + string(region) + " first, or take " + string(region) + " over")
		}
	}
	return err
}

// replicationOf returns the vault's replication as changed and checked.
func (s *Service) replicationOf(v *secret.Vault, r VaultReplication) (secret.Replication, error) {
	changed := v.Clone().Replication
	if r.AllowedRegions != nil {
		allowed := slices.Clone(*r.AllowedRegions)
		slices.Sort(allowed)
		changed.AllowedRegions = slices.Compact(allowed)
		for _, region := range changed.AllowedRegions {
			if err := secret.CheckRegionName("allowed_regions", region); err != nil {
				return changed, err
			}
		}
	}
	if r.Targets != nil {
		changed.Targets = *r.Targets
	}
	targets, err := s.checkTargets(changed.Targets, v.Replication.Targets, changed.AllowedRegions)
	if err != nil {
		return changed, err
	}
	changed.Targets = targets
	for _, region := range changed.Partial {
		if len(changed.AllowedRegions) > 0 && !slices.Contains(changed.AllowedRegions, region) {
			return changed, secret.Invalid("allowed_regions", "does not have %s, which is a target of some secrets of the vault", region)
		}
	}
	if r.AckTargets != nil {
		changed.AckTargets = *r.AckTargets
	}
	if n := changed.AckTargets; n < 0 || n > len(targets) {
		return changed, secret.Invalid("ack_targets", "is %d; the vault has %d targets", n, len(targets))
	}
	return changed, nil
}

// checkTargets checks targets, of which those that were there before need not be
// peers any more.
func (s *Service) checkTargets(targets, before []secret.Target, allowed []secret.RegionName) ([]secret.Target, error) {
	sorted, err := secret.CheckTargets("targets", s.Region, targets, allowed)
	if err != nil {
		return nil, err
	}
	peers := s.Peers()
	for _, t := range sorted {
		if !slices.Contains(peers, t.Region) && secret.TargetIn(before, t.Region) == nil {
			return nil, secret.Invalid("targets", "names %s, which is not a peer of this region", t.Region).
				WithHint("add it to peers in the configuration of the control processes")
		}
	}
	return sorted, nil
}

// synchroniseVault notes what is to be done at each region that becomes a target
// of the vault or is one no more.
func (c *call) synchroniseVault(txn *record.Txn, before, after *secret.Vault) {
	for _, t := range before.Replication.Targets {
		if secret.TargetIn(after.Replication.Targets, t.Region) == nil {
			c.synchronise(txn, t.Region, after.ID, "", Release)
		}
	}
	for _, t := range after.Replication.Targets {
		old := secret.TargetIn(before.Replication.Targets, t.Region)
		if old == nil || old.ForceOverwrite != t.ForceOverwrite {
			c.synchronise(txn, t.Region, after.ID, "", Synchronise)
		}
	}
}

func (c *call) synchronise(txn *record.Txn, target secret.RegionName, vault secret.VaultID, id secret.ID, kind string) {
	txn.Put(record.SynchronisationKey(target, vault, id), record.Synchronisations.Encode(&recordpb.Synchronisation{
		Target: string(target), Vault: string(vault), Secret: string(id), Kind: kind, StartedAt: c.now.UnixNano(),
	}))
}

// SecretReplication is what ReplicateSecret changes.
type SecretReplication struct {
	SecretRef
	// Targets are all regions that the secret is replicated to besides those of
	// its vault.
	Targets []secret.Target
	// Add and Remove, if there are any, change what the targets are instead: one that
	// is there already is replaced, one to be removed must be there.
	Add          []secret.Target
	Remove       []secret.RegionName
	RequestToken string
	Expected     *secret.Order
}

// ReplicateSecret sets to which regions a secret is replicated in addition to
// those of its vault. Errors: as for ReplicateVault.
func (s *Service) ReplicateSecret(ctx context.Context, r SecretReplication) (Outcome, error) {
	return s.mutateSecret(ctx, authz.ReplicateSecret, r.SecretRef, false, r.Expected, nil,
		func(c *call, e *edit, sec *secret.Secret) (string, error) {
			return e.once(sec, r.request(), func() (string, error) {
				targets, err := r.targets(sec.Targets)
				if err != nil {
					return "", err
				}
				return "updated", e.retarget(c, sec, targets)
			})
		})
}

// targets returns those that are asked for, where there are some now.
func (r SecretReplication) targets(now []secret.Target) ([]secret.Target, error) {
	if len(r.Add)+len(r.Remove) == 0 {
		return r.Targets, nil
	}
	targets := slices.Clone(now)
	for _, region := range r.Remove {
		if secret.TargetIn(targets, region) == nil {
			return nil, &secret.Error{Code: secret.CodeNotFound, Field: "remove", Message: "names " + string(region) + ", which is no target of the secret"}
		}
		targets = slices.DeleteFunc(targets, func(t secret.Target) bool { return t.Region == region })
	}
	for _, t := range r.Add {
		targets = append(slices.DeleteFunc(targets, func(old secret.Target) bool { return old.Region == t.Region }), t)
	}
	return targets, nil
}

func (e *edit) retarget(c *call, sec *secret.Secret, asked []secret.Target) error {
	targets, err := c.service.checkTargets(asked, sec.Targets, e.vault.Replication.AllowedRegions)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(targets, func(t secret.Target) bool { return t.Key != "" }) {
		return secret.Invalid("targets.key", "is given for a secret; data keys are those of its vault")
	}
	if e.nothing = slices.Equal(targets, sec.Targets); e.nothing {
		return nil
	}
	if err := sec.Retarget(c.mutationIn(e.region), targets); err != nil {
		return err
	}
	e.synchroniseSecret(c, e.before.Targets, sec)
	return e.enrolHolders(c, sec)
}

// synchroniseSecret notes what is to be done at each region that becomes a target
// of the secret alone or is one no more.
func (e *edit) synchroniseSecret(c *call, before []secret.Target, sec *secret.Secret) {
	for _, t := range before {
		if secret.TargetIn(sec.Targets, t.Region) == nil && !meantFor(e.vault, sec, t.Region) {
			c.synchronise(e.txn, t.Region, e.vault.ID, sec.ID, Release)
		}
	}
	for _, t := range sec.Targets {
		old := secret.TargetIn(before, t.Region)
		if old == nil || *old != t {
			c.synchronise(e.txn, t.Region, e.vault.ID, sec.ID, Synchronise)
		}
	}
}

// enrolHolders has the vault's record name the regions that will hold it for the
// sake of one secret.
func (e *edit) enrolHolders(c *call, sec *secret.Secret) error {
	vault := e.vault.Clone()
	for _, t := range sec.Targets {
		if sec.IsDetached() && slices.Contains(vault.Replication.Holders(), t.Region) {
			continue // it goes on to hold the vault as long as it has the secret
		}
		if t.Region != vault.Ownership.Home && !slices.Contains(vault.Replication.Partial, t.Region) {
			vault.Replication.Partial = append(vault.Replication.Partial, t.Region)
		}
	}
	if len(vault.Replication.Partial) == len(e.vault.Replication.Partial) {
		return nil
	}
	if !vault.Ownership.MayMutate(c.service.Region) {
		return notHome(record.VaultKey(vault.ID), vault.Ownership.Home)
	}
	if n := len(vault.Replication.Holders()); n > secret.MaxTargets {
		return secret.Invalid("targets", "the vault would be held by %d other regions; the limit is %d", n, secret.MaxTargets)
	}
	slices.Sort(vault.Replication.Partial)
	vault.Ownership.Advance(c.mutationIn(e.region).Incarnation)
	vault.UpdatedAt = c.now
	about := c.entry.Resource
	c.putVault(e.txn, vault, e.vaultRevision, mutationUpdate, "vault_updated")
	c.entry.Resource = about
	return nil
}

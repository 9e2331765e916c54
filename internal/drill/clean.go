package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
	"github.com/lifeboat-secrets/lifeboat/client"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// clean ends the loss if it is not over, and removes the vault unless it is to be kept.
func (d *drill) clean(ctx context.Context, s *Step) error {
	if d.lostAt.Load() != nil && !d.returned {
		if err := d.Loss.Return(ctx, d.vault); err != nil {
			s.saw("the loss could not be ended")
			return err
		}
		s.saw("the loss has ended")
	}
	if d.Keep {
		s.saw("the vault %s is kept; lifeboat drill clean removes it", d.vault.Name)
		return nil
	}
	if err := remove(ctx, d.all(), d.vault.Name); err != nil {
		return fmt.Errorf("the vault %s is left; lifeboat drill clean removes it: %w", d.vault.Name, err)
	}
	d.report.Vault.Removed = true
	s.saw("no region has it any more")
	return nil
}

// Clean removes what drills have left: vaults whose names say that they were made for
// one, in the account of the regions' clients. What is cut off it joins again, if it has
// operators for that. It returns the names of the vaults that it removed.
func Clean(ctx context.Context, regions []Region) (removed []string, err error) {
	found := map[string]string{} // names by ID
	for _, r := range regions {
		for vault, err := range r.Client.ListVaults(ctx, &lifeboatv1.ListVaultsRequest{}) {
			if client.CodeOf(err) == client.CodeUnauthenticated {
				break // it holds no vault of the account
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Name, err)
			}
			if strings.HasPrefix(vault.GetName(), secret.DrillVaultPrefix) {
				found[vault.GetId()] = vault.GetName()
			}
		}
	}
	var errs []error
	for id, name := range found {
		errs = append(errs, join(ctx, regions, id))
		if err := remove(ctx, regions, name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		removed = append(removed, name)
	}
	return removed, errors.Join(errs...)
}

// join ends a cut of a vault in every region that has an operator.
func join(ctx context.Context, regions []Region, vault string) error {
	for _, r := range regions {
		if r.Operator == nil {
			continue
		}
		_, err := r.Operator.CutDrillVault(ctx, &lifeboatv1.CutDrillVaultRequest{Vault: vault})
		if err != nil && client.CodeOf(err) != client.CodeNotFound {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	return nil
}

// remove deletes a vault with all in it, wherever its homes are, until no region has it.
// It goes on until ctx ends: a record that is on its way to another home can be deleted
// when it has arrived.
func remove(ctx context.Context, regions []Region, vault string) error {
	return poll(ctx, func() (bool, error) {
		known, left := 0, false
		var errs []error
		for _, r := range regions {
			leftHere, err := removeIn(ctx, r, vault)
			if client.CodeOf(err) == client.CodeUnauthenticated {
				continue // a region gives up an account with its last vault
			}
			known++
			left = left || leftHere
			errs = append(errs, err)
		}
		if known == 0 {
			errs = append(errs, errors.New("no region knows the account"))
		}
		return !left, errors.Join(errs...)
	})
}

// removeIn deletes what has its home in a region, and reports whether anything is left.
func removeIn(ctx context.Context, r Region, vault string) (left bool, err error) {
	conflicts, err := r.Client.ListConflicts(ctx, &lifeboatv1.ListConflictsRequest{Vault: vault})
	if client.CodeOf(err) == client.CodeNotFound {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("%s: %w", r.Name, err)
	}
	for _, c := range conflicts.GetConflicts() {
		if _, err := r.Client.DiscardConflict(ctx, &lifeboatv1.DiscardConflictRequest{Id: c.GetId()}); err != nil {
			return true, fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	states := []lifeboatv1.State{lifeboatv1.State_STATE_ACTIVE, lifeboatv1.State_STATE_PENDING_DELETION}
	for found, err := range r.Client.ListSecrets(ctx, &lifeboatv1.ListSecretsRequest{Vault: vault, States: states}) {
		if err != nil {
			return true, fmt.Errorf("%s: %w", r.Name, err)
		}
		_, err := r.Client.DeleteSecret(ctx, &lifeboatv1.DeleteSecretRequest{Vault: vault, Secret: found.GetId(), Immediate: true})
		if err != nil && !elsewhere(err) {
			return true, fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	_, err = r.Client.DeleteVault(ctx, &lifeboatv1.DeleteVaultRequest{Vault: vault})
	if err != nil && !elsewhere(err) {
		return true, fmt.Errorf("%s: %w", r.Name, err)
	}
	return true, nil // until it says itself that it has none
}

// elsewhere reports whether a deletion was refused because it is another region's to do,
// was done, or waits for others.
func elsewhere(err error) bool {
	switch client.CodeOf(err) {
	case client.CodeNotHome, client.CodeNotFound, client.CodeWrongState:
		return true
	}
	return false
}

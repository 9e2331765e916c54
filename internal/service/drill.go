package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

const (
	// maxDrills bounds the vaults that are cut off or taken over at a time.
	maxDrills = 8
	// maxDrillCut bounds how long a vault is cut off unless it is asked for again.
	maxDrillCut = time.Hour
)

// CutDrillVault cuts a vault that was made for a drill off from all other regions: for
// lasts nothing of it is sent, and nothing of it is taken. It ends by itself, or by a
// call with 0. Callers of this region can read and change the vault all the while. It
// is called by Operate, which authorises and audits. Errors: CodeWrongState for any
// other vault; CodeLimit while too many drills are under way.
func (s *Service) CutDrillVault(ctx context.Context, vault secret.VaultID, lasts time.Duration) (until time.Time, err error) {
	if lasts < 0 || lasts > maxDrillCut {
		return until, secret.Invalid("lasts", "is %s; allowed are 0 to %s", lasts, maxDrillCut)
	}
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		_, err := drillVault(view, vault)
		if err != nil && (lasts > 0 || !secret.HasCode(err, secret.CodeNotFound)) { // the vault may be gone, the cut must not stay
			return nil, err
		}
		txn, fence, err := s.changeFence(view)
		if err != nil {
			return nil, err
		}
		d := drillOf(fence, vault)
		if d.CutUntil, until = 0, (time.Time{}); lasts > 0 {
			until = s.Now().Add(lasts)
			d.CutUntil = until.UnixNano()
		}
		return txn, s.putDrills(txn, fence)
	})
	if err == nil {
		s.cleared(ctx, "", revision)
	}
	return until, err
}

// TakeOverDrill makes this region the home of one vault that was made for a drill, and
// of its secrets, as TakeOver does of all that has its home in a region. It is called
// by Operate, which authorises and audits. Errors: CodeWrongState for any other vault,
// for one whose home is not lost, and for one of which this region is no target;
// CodeExists if it was taken over before.
func (s *Service) TakeOverDrill(ctx context.Context, lost secret.RegionName, vault secret.VaultID) error {
	key := record.DrillTakeoverKey(lost, vault)
	revision, err := s.commit(ctx, func(view record.View) (*record.Txn, error) {
		if err := s.MayTakeOverDrill(view, lost, vault); err != nil {
			return nil, err
		}
		txn, fence, err := s.changeFence(view)
		if err != nil {
			return nil, err
		}
		drillOf(fence, vault).TakenOver = string(lost)
		txn.Require(key, 0)
		txn.Put(key, record.Takeovers.Encode(&recordpb.Takeover{Region: string(lost), At: s.Now().UnixNano(), Vault: string(vault)}))
		return txn, s.putDrills(txn, fence)
	})
	if err == nil {
		s.cleared(ctx, "", revision)
	}
	return err
}

// MayTakeOverDrill returns why a vault of a drill cannot be taken over now, nil if it
// can, as TakeOverDrill does.
func (s *Service) MayTakeOverDrill(view record.View, lost secret.RegionName, id secret.VaultID) error {
	vault, err := drillVault(view, id)
	if err != nil {
		return err
	}
	if vault.Ownership.Home != lost || lost == s.Region {
		return secret.Errorf(secret.CodeWrongState, "the home of the vault is %s", vault.Ownership.Home)
	}
	if secret.TargetIn(vault.Replication.Targets, s.Region) == nil {
		return secret.Errorf(secret.CodeWrongState, "the vault is not replicated to %s", s.Region)
	}
	_, _, err = record.Load(view, record.Takeovers, record.DrillTakeoverKey(lost, id))
	switch {
	case err == nil:
		return secret.Errorf(secret.CodeExists, "the vault was taken over before")
	case !errors.Is(err, record.ErrNotFound):
		return err
	}
	_, _, err = newTxn(view)
	return err
}

// InheritDrill is InheritAll for a vault that TakeOverDrill took over.
func (s *Service) InheritDrill(ctx context.Context, lost secret.RegionName, vault secret.VaultID) error {
	return (&inheritance{service: s, lost: lost, drill: vault}).all(ctx)
}

// EndDrillTakeover is EndTakeover for a vault that TakeOverDrill took over.
func (s *Service) EndDrillTakeover(ctx context.Context, lost secret.RegionName, vault secret.VaultID) error {
	return s.endTakeover(ctx, lost, vault)
}

// CutOff reports whether a record is of a vault that a drill has cut off from all other
// regions.
func (s *Service) CutOff(view record.View, key record.Key) (bool, error) {
	vault := record.VaultIDOf(key)
	if vault == "" {
		return false, nil
	}
	fence, _, err := record.LoadShared(view, record.Fences, record.FenceKey)
	if errors.Is(err, record.ErrNotFound) || err == nil && len(fence.GetDrills()) == 0 {
		return false, nil
	}
	return slices.ContainsFunc(fence.GetDrills(), func(d *recordpb.Drill) bool {
		return d.GetVault() == string(vault) && d.GetCutUntil() > s.Now().UnixNano()
	}), err
}

// drillVault finds a vault and refuses one that was not made for a drill.
func drillVault(view record.View, id secret.VaultID) (*secret.Vault, error) {
	vault, _, err := load(view, record.Vaults, record.VaultKey(id), "vault", "vault")
	if err == nil && !strings.HasPrefix(vault.Name, secret.DrillVaultPrefix) {
		err = secret.Errorf(secret.CodeWrongState, "the vault was not made for a drill").
			WithHint("the name of one that was begins with " + secret.DrillVaultPrefix)
	}
	return vault, err
}

// drillOf returns what a fence says of a vault; it adds it if there is nothing.
func drillOf(fence *recordpb.Fence, vault secret.VaultID) *recordpb.Drill {
	for _, d := range fence.GetDrills() {
		if d.GetVault() == string(vault) {
			return d
		}
	}
	d := &recordpb.Drill{Vault: string(vault)}
	fence.Drills = append(fence.Drills, d)
	return d
}

// drillTakesOver reports whether a key is of a vault that this region has taken over
// in a drill, and not moved yet.
func drillTakesOver(fence *recordpb.Fence, region secret.RegionName, key record.Key) bool {
	if len(fence.GetDrills()) == 0 {
		return false
	}
	vault := record.VaultIDOf(key)
	return vault != "" && slices.ContainsFunc(fence.GetDrills(), func(d *recordpb.Drill) bool {
		return d.GetVault() == string(vault) && d.GetTakenOver() == string(region)
	})
}

// forgetDrills takes off the fence what is over.
func (s *Service) forgetDrills(fence *recordpb.Fence) {
	fence.Drills = slices.DeleteFunc(fence.GetDrills(), func(d *recordpb.Drill) bool {
		return d.GetTakenOver() == "" && d.GetCutUntil() <= s.Now().UnixNano()
	})
}

func (s *Service) putDrills(txn *record.Txn, fence *recordpb.Fence) error {
	if s.forgetDrills(fence); len(fence.GetDrills()) > maxDrills {
		return secret.Errorf(secret.CodeLimit, "%d drills are under way", maxDrills)
	}
	txn.Put(record.FenceKey, record.Fences.Encode(fence))
	return nil
}

package service

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/authz"
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// MasterKeyUse is what needs a master key.
type MasterKeyUse struct {
	// ID is as the key service's driver makes it.
	ID string
	// Check is set if it wraps the check in the region's record: it is the region's
	// own.
	Check bool
	// DataKeys counts those that it wraps, Oldest is when the first of them was made.
	DataKeys int
	Oldest   time.Time
	// Backups counts those that a restore needs it for, which may happen until
	// BackupsUntil.
	Backups      int
	BackupsUntil time.Time
}

// KeyStatus is what the region's keys are like.
type KeyStatus struct {
	// MasterKeys are those that something needs, by ID.
	MasterKeys []MasterKeyUse
	// Scopes counts vaults and accounts, which have a data key each; Older the
	// generations that no longer seal and are not deleted yet.
	Scopes, Older int
	// HighestGeneration is the highest that seals, OldestActive when the oldest of
	// those that seal was made.
	HighestGeneration uint32
	OldestActive      time.Time
	// Rotating counts rotations of data keys under way, Failed the records that the
	// last rotations could not open.
	Rotating int
	Failed   uint64
	// MasterRotation is the last rotation of master keys, nil if there was none.
	MasterRotation *recordpb.MasterKeyRotation
}

// GetKeyStatus answers what the region's keys are like, to operators: it is a part
// of the region's status, and authorised as that.
func (s *Service) GetKeyStatus(ctx context.Context) (status KeyStatus, err error) {
	err = s.inspect(ctx, authz.GetStatus, func(c *call, view record.View) error {
		if err := c.authorize(view, c.regionResource()); err != nil {
			return err
		}
		status, err = s.KeyStatus(view)
		return err
	})
	return status, err
}

// KeyStatus returns what the region's keys are like by a view. It reads all data
// keys.
func (s *Service) KeyStatus(view record.View) (status KeyStatus, err error) {
	uses := map[string]*MasterKeyUse{}
	use := func(id string) *MasterKeyUse {
		if uses[id] == nil {
			uses[id] = &MasterKeyUse{ID: id}
		}
		return uses[id]
	}
	region, err := RegionRecord(view)
	if err != nil {
		return status, err
	}
	use(region.GetMasterKey()).Check = true
	now := s.Now()
	err = errors.Join(
		status.addDataKeys(view, use),
		scanAll(view, record.Backups, record.BackupPrefix, func(b *recordpb.Backup) bool {
			if until := s.keptUntil(b); now.Before(until) {
				for _, id := range b.GetMasterKeys() {
					u := use(id)
					u.Backups, u.BackupsUntil = u.Backups+1, later(u.BackupsUntil, until)
				}
			}
			return true
		}),
		scanAll(view, record.DataKeyRotations, record.DataKeyRotationPrefix, func(r *recordpb.DataKeyRotation) bool {
			if r.GetFinishedAt() == 0 {
				status.Rotating++
			}
			status.Failed += r.GetFailed()
			return true
		}),
	)
	if err != nil {
		return status, err
	}
	for _, u := range uses {
		status.MasterKeys = append(status.MasterKeys, *u)
	}
	slices.SortFunc(status.MasterKeys, func(a, b MasterKeyUse) int { return cmp.Compare(a.ID, b.ID) })
	status.MasterRotation, _, err = record.Load(view, record.MasterRotations, record.MasterKeyRotationKey)
	if errors.Is(err, record.ErrNotFound) {
		err = nil
	}
	return status, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// addDataKeys counts the data keys and what wraps them.
func (k *KeyStatus) addDataKeys(view record.View, use func(string) *MasterKeyUse) error {
	active := map[string]uint32{}
	err := scanAll(view, record.ActiveDataKeys, record.ActiveDataKeyPrefix, func(a *recordpb.ActiveDataKey) bool {
		active[a.GetScope()] = a.GetGeneration()
		return true
	})
	if err != nil {
		return err
	}
	k.Scopes = len(active)
	return scanAll(view, record.DataKeys, record.DataKeyPrefix, func(key *recordpb.DataKey) bool {
		u, made := use(key.GetMasterKey()), record.FromNanos(key.GetCreatedAt())
		u.DataKeys, u.Oldest = u.DataKeys+1, earlier(u.Oldest, made)
		switch g := key.GetGeneration(); {
		case g == active[key.GetScope()]:
			k.HighestGeneration, k.OldestActive = max(k.HighestGeneration, g), earlier(k.OldestActive, made)
		case g != 0:
			k.Older++
		}
		return true
	})
}

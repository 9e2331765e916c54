package service

import (
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/record/recordpb"
)

// purgeHeldFor is how long after a restore or a takeover nothing is purged or pruned
// because time makes it due: the backup, or the replica, may be older than a decision
// to keep a secret, and operators need time to notice. Callers may still purge on purpose.
const purgeHeldFor = 24 * time.Hour

// purgeHeld reports whether the region was restored, or took another one over, so
// recently that the sweep leaves secrets alone.
func purgeHeld(view record.View, now time.Time) (bool, error) {
	region, _, err := record.Load(view, record.Regions, record.RegionKey)
	if errors.Is(err, record.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return true, err
	}
	recent := func(at int64) bool { return at != 0 && now.Sub(record.FromNanos(at)) < purgeHeldFor }
	held := recent(region.GetRestoredAt())
	err = scanAll(view, record.Takeovers, record.TakeoverPrefix, func(t *recordpb.Takeover) bool {
		held = held || t.GetVault() == "" && recent(t.GetAt())
		return !held
	})
	return held || err != nil, err
}

package service

import (
	"errors"
	"time"

	"github.com/lifeboat-secrets/lifeboat/internal/record"
)

// purgeHeldFor is how long after a restore nothing is purged or pruned because
// time makes it due: the backup may be older than a decision to keep a secret,
// and operators need time to notice. Callers may still purge on purpose.
const purgeHeldFor = 24 * time.Hour

// purgeHeld reports whether the region was restored so recently that the sweep
// leaves secrets alone.
func purgeHeld(view record.View, now time.Time) (bool, error) {
	region, _, err := record.Load(view, record.Regions, record.RegionKey)
	if errors.Is(err, record.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return true, err
	}
	at := region.GetRestoredAt()
	return at != 0 && now.Sub(record.FromNanos(at)) < purgeHeldFor, nil
}

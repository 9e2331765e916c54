package pipeline

import (
	"github.com/lifeboat-secrets/lifeboat/internal/record"
	"github.com/lifeboat-secrets/lifeboat/internal/secret"
)

// life is one life of the store, within which revisions can be compared; zero
// until the region is initialised.
type life struct {
	incarnation  secret.Incarnation
	restoreEpoch uint64
}

func (r *Report) life() life { return life{r.Incarnation, r.RestoreEpoch} }

// begin takes note of the region's record; mu is held. In a new life no host has
// applied anything yet, whatever it has reported of the old one.
func (p *Pipeline) begin(c record.Change) {
	region, err := record.Regions.Decode(c.Value)
	if err != nil {
		p.Logger.Error("region record cannot be decoded", "error", err)
		return
	}
	now := life{secret.Incarnation(region.GetIncarnation()), region.GetRestoreEpoch()}
	if p.life != now && p.life != (life{}) {
		p.Logger.Warn("the store has begun a new life: nothing is cleared in it yet", "incarnation", now.incarnation, "restore_epoch", now.restoreEpoch)
		p.cleared = 0
	}
	p.life = now
}

package secret

import (
	"slices"
	"time"
)

// Moment is a revision of a region's store in one of the region's lives.
type Moment struct {
	Incarnation Incarnation
	Revision    int64
}

// Horizon returns what a region must remember of a peer once it forgets something on
// the strength of what the peer said at a moment: the later of both. Of another life
// than the present one nothing may be forgotten, ok is false.
func Horizon(present, said Moment) (horizon Moment, ok bool) {
	if present.Incarnation != said.Incarnation {
		return present, false
	}
	present.Revision = max(present.Revision, said.Revision)
	return present, true
}

// MayBring reports whether a state that a peer read at some moment may be applied
// where nothing is held of its record: what was read before the horizon may be of a
// record whose tombstone was collected. A region that remembers nothing of the peer
// has forgotten nothing either.
func MayBring(horizon, read Moment) bool {
	return horizon == (Moment{}) || read.Incarnation == horizon.Incarnation && read.Revision >= horizon.Revision
}

// MayReturn reports whether a life of a region that came out of backups may be
// admitted by a peer with those horizons, one for each life that it knew. A backup
// made before a horizon may hold what is deleted and forgotten. origins are all
// backups that led to the life, none if it began empty; restored is set if it did
// not.
func MayReturn(horizons, origins []Moment, restored bool) bool {
	if !restored {
		return true
	}
	for _, h := range horizons {
		late := func(o Moment) bool { return o.Incarnation == h.Incarnation && o.Revision >= h.Revision }
		if h.Revision > 0 && !slices.ContainsFunc(origins, late) {
			return false
		}
	}
	return true
}

// Grave is what the home of a deleted record has of it, at one moment.
type Grave struct {
	Ownership Ownership
	DeletedAt time.Time
	// Named is set if the record is known by a name, which another one may take
	// over: its order goes on where this one's ended.
	Named bool
	// Open is set while the deletion is not cleared, Waiting while a region lacks
	// something of the record or is being synchronised with what it belongs to.
	Open, Waiting bool
	// Occupied is set while something that belongs to the record is here.
	Occupied bool
	// Holders are the regions that may hold a copy.
	Holders []RegionName
}

// Resting says what a deleted record at its home waits for.
type Resting string

// What a deleted record at its home waits for.
const (
	// ForNothing: it can be collected once its holders confirm that it is not live
	// there.
	ForNothing Resting = "NOTHING"
	// ForAge: a backup made before the deletion may still be restored.
	ForAge Resting = "AGE"
	// ForRegions: a region lacks something of it.
	ForRegions Resting = "REGIONS"
	// ForGood: it is kept, because its name may be used again, or because the
	// record's home has moved, so that a state past a fork may turn up.
	ForGood Resting = "GOOD"
)

// Rest returns what the record waits for. forgotten is the time before which a
// deletion is in every backup that may still be restored.
func (g Grave) Rest(forgotten time.Time) Resting {
	switch {
	case g.Named, len(g.Ownership.Lineage) > 0:
		return ForGood
	case g.Open, g.Waiting, g.Occupied:
		return ForRegions
	case !g.DeletedAt.Before(forgotten):
		return ForAge
	}
	return ForNothing
}

// Collectable reports whether the home may forget the record: nothing is waited for,
// and each holder has confirmed, after it took note of a horizon at which the record
// was deleted, that it is not live there. From then on no live state of it can be
// brought anywhere.
func (g Grave) Collectable(forgotten time.Time, confirmed []RegionName) bool {
	lacks := func(holder RegionName) bool { return !slices.Contains(confirmed, holder) }
	return g.Rest(forgotten) == ForNothing && !slices.ContainsFunc(g.Holders, lacks)
}

// Confirms reports whether a holder has nothing live of a record that its home has
// deleted. held is nil if it has nothing at all of it.
func Confirms(held *Ownership, live bool) bool { return held == nil || !live }

// Forgettable reports whether a region other than the home may forget what is left
// of a record there, as the home sees it at one moment: the home has nothing of it,
// or does not mean it for the region. The region must take note of that moment as
// its horizon, so that only what was read later counts.
func Forgettable(here, meant bool) bool { return !here || !meant }

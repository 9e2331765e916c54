package secret

import (
	"cmp"
	"slices"
	"time"
)

// MaxTargets bounds the regions that a vault or a secret is replicated to, and so
// the messages that clearing one mutation enqueues.
const MaxTargets = 10

// Target is a region that a vault or a secret is replicated to.
type Target struct {
	Region RegionName
	// ForceOverwrite lets a secret take its name from one that the target has
	// itself, which the target keeps as a recoverable deleted secret.
	ForceOverwrite bool
	// Key names the master key of the target's key service that wraps a vault's data
	// keys there; empty means the target's own. Of a secret's targets it is empty.
	Key string
}

// Replication says where the secrets of a vault are replicated to.
type Replication struct {
	// Targets receive every secret of the vault, present and future; in the order
	// of their names.
	Targets []Target
	// Partial are the regions that hold the vault because some of its secrets
	// name them as their own targets. A region stays listed until it is released.
	Partial []RegionName
	// AllowedRegions, if any, are the only regions that may hold the vault
	// besides its home.
	AllowedRegions []RegionName
	// AckTargets is by how many targets a mutation must have been received before
	// it is acknowledged as replicated; 0 means that nobody waits.
	AckTargets int
}

func (r Replication) clone() Replication {
	r.Targets = slices.Clone(r.Targets)
	r.Partial = slices.Clone(r.Partial)
	r.AllowedRegions = slices.Clone(r.AllowedRegions)
	return r
}

// Holders returns the regions that hold a copy of the vault's record, sorted.
func (r Replication) Holders() []RegionName {
	holders := slices.Clone(r.Partial)
	for _, t := range r.Targets {
		holders = append(holders, t.Region)
	}
	slices.Sort(holders)
	return slices.Compact(holders)
}

// TargetIn returns the target of that region, nil if it is none.
func TargetIn(targets []Target, region RegionName) *Target {
	i := slices.IndexFunc(targets, func(t Target) bool { return t.Region == region })
	if i < 0 {
		return nil
	}
	return &targets[i]
}

// CheckTargets returns the targets in the order of their names, or a CodeInvalid
// error: too many, one named twice, the home itself, or one that allowed, unless
// it is empty, does not have.
func CheckTargets(field string, home RegionName, targets []Target, allowed []RegionName) ([]Target, error) {
	if len(targets) > MaxTargets {
		return nil, Invalid(field, "has %d regions; the limit is %d", len(targets), MaxTargets)
	}
	sorted := slices.Clone(targets)
	slices.SortFunc(sorted, func(a, b Target) int { return cmp.Compare(a.Region, b.Region) })
	for i, t := range sorted {
		if err := CheckRegionName(field, t.Region); err != nil {
			return nil, err
		}
		if err := CheckText(field+".key", t.Key, MaxKeyNameBytes); err != nil {
			return nil, err
		}
		switch {
		case t.Region == home:
			return nil, Invalid(field, "names %s, which is the home region", t.Region)
		case i > 0 && sorted[i-1].Region == t.Region:
			return nil, Invalid(field, "names %s twice", t.Region)
		case len(allowed) > 0 && !slices.Contains(allowed, t.Region):
			return nil, Invalid(field, "names %s, which the vault's allowed regions do not have", t.Region)
		}
	}
	return sorted, nil
}

// Verdict is what a copy is to do with an incoming state.
type Verdict string

// The verdicts.
const (
	// Apply: the incoming state is newer and builds on what is held.
	Apply Verdict = "APPLY"
	// Keep: what is held has the same order. Unless its content is the same too,
	// one of the two is wrong, which must raise an alarm.
	Keep Verdict = "KEEP"
	// Refuse: what is held is newer.
	Refuse Verdict = "REFUSE"
	// Diverge: the incoming state is newer, but what is held has mutations that its
	// history does not contain. They must be kept before it is applied.
	Diverge Verdict = "DIVERGE"
)

// Judge decides what becomes of an incoming state where held is the present one.
// A copy that holds nothing, not even a tombstone, applies anything. Who succeeds
// the home of what is held is judged like the home itself: its epoch is newer.
func Judge(held, incoming Ownership) Verdict {
	switch c := incoming.Order.Compare(held.Order); {
	case c == 0:
		return Keep
	case c < 0:
		return Refuse
	case !incoming.Contains(held.Order):
		return Diverge
	}
	return Apply
}

// Missing returns the versions of a state that another one does not have: what a
// conflict keeps of it. It goes by their IDs, since histories that part give the same
// numbers to different versions.
func Missing(held, incoming *Secret) (ids []VersionID) {
	for i := range held.Versions {
		if id := held.Versions[i].ID; incoming.Version(id) == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// MaySend reports whether a region may send a state: its home, or the region
// that the home was before, handing it over.
func (o Ownership) MaySend(from RegionName) bool {
	return o.Home == from || o.handedOverBy(from)
}

// handedOverBy reports whether the state is the one by which a region handed the
// record over to its present home: the first of an epoch that the region began.
func (o Ownership) handedOverBy(region RegionName) bool {
	n := len(o.Lineage)
	return n > 0 && o.Order.Epoch.Region == region && o.Order.Seq == o.Lineage[n-1].Began.Seq+1
}

// Inherit is Judge at a region that has taken over the home of what is held, and has
// not yet moved the record: it is effectively in an epoch of the region already.
func Inherit(held, incoming Ownership, heir RegionName) Verdict {
	if incoming.Order.Compare(held.TakenBy(heir).Order) < 0 {
		return Refuse
	}
	return Judge(held, incoming)
}

// Ahead reports whether what a survivor holds of a record is newer than what is held
// where the home of it is taken over, neither of which may be anything: it has to be
// asked for before the record moves, or becomes a conflict there.
func Ahead(survivor, held Order) bool { return survivor.Compare(held) > 0 }

// MayMutate reports whether a region may mutate the record: its home alone.
func (o Ownership) MayMutate(in RegionName) bool { return o.Home == in }

// MayMoveTo reports whether the home may hand the record over to a region while others
// that were taken over have not caught up: one of them that was the home once would
// hear of the move from nobody whom it waits for, and go on as if the record were its own.
func (o Ownership) MayMoveTo(to RegionName, behind []RegionName) bool {
	return !slices.ContainsFunc(behind, func(lost RegionName) bool { return lost != to && o.WasIn(lost) })
}

// Departure says whether a state leaves its region for another one.
type Departure string

// The departures.
const (
	// Leaves: the state may be sent.
	Leaves Departure = "LEAVES"
	// Waits: its mutation is not cleared, and nothing of the record may leave.
	Waits Departure = "WAITS"
	// Stays: it is another region's to send.
	Stays Departure = "STAYS"
)

// Depart decides whether a region sends its state of a record. open says whether
// the last mutation of the record is not cleared.
func Depart(o Ownership, from RegionName, open bool) Departure {
	switch {
	case open:
		return Waits
	case !o.MaySend(from):
		return Stays
	}
	return Leaves
}

// MeantFor reports whether a secret of that home and with those targets of its own, in
// a vault of that home and replication, is meant for a region: besides its targets the
// vault's home has it, unless the secret's home holds the vault for single secrets only.
func MeantFor(vaultHome RegionName, vault Replication, home RegionName, own []Target, region RegionName) bool {
	if region == vaultHome && (home == vaultHome || TargetIn(vault.Targets, home) != nil) {
		return true
	}
	return TargetIn(vault.Targets, region) != nil || TargetIn(own, region) != nil
}

// Destinations returns the regions that the home of a secret tells of it, sorted:
// all that it is meant for but the home itself.
func Destinations(vaultHome RegionName, vault Replication, home RegionName, own []Target) (to []RegionName) {
	if MeantFor(vaultHome, vault, home, nil, vaultHome) {
		to = append(to, vaultHome)
	}
	for _, targets := range [][]Target{vault.Targets, own} {
		for _, t := range targets {
			to = append(to, t.Region)
		}
	}
	slices.Sort(to)
	return slices.DeleteFunc(slices.Compact(to), func(r RegionName) bool { return r == home })
}

// moveTargets returns the targets after the home has moved from a region to
// another, which was one of them: the former home becomes a target.
func moveTargets(targets []Target, from, to RegionName, key string) []Target {
	old := TargetIn(targets, to)
	if old == nil {
		return targets
	}
	moved := slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return t.Region == to || t.Region == from })
	moved = append(moved, Target{Region: from, Key: key})
	slices.SortFunc(moved, func(a, b Target) int { return cmp.Compare(a.Region, b.Region) })
	return moved
}

// ComesBack reports whether a state that a region has given up is wanted after all:
// it came ahead of the vault's, which makes the region a target.
func ComesBack(givenUp, incoming Ownership, meant bool) bool {
	return meant && incoming.Order == givenUp.Order
}

// Yields reports whether a copy gives its name up to another secret, given the state
// of its own that comes along: its home has purged it.
func Yields(held, incoming Ownership, state State) bool {
	return state == Deleted && Judge(held, incoming) == Apply
}

// Tombstone is what is left of a deleted record that has no state of its own: a
// vault, a principal, a credential or a policy. It keeps the order, so that no
// older state can come back.
type Tombstone struct {
	// Record is the key of the record that was deleted.
	Record    string
	Account   AccountID
	Ownership Ownership
	DeletedAt time.Time
	// Holders are the regions that held a copy of a vault; those of other records
	// follow from the account.
	Holders []RegionName
	// Detached is that of a secret.
	Detached string
}
